"""SparseGPT: Frantar and Alistarh 2023, "Massive language models can be accurately pruned in
one-shot".

The authors' code differs in two choices. It divides the sum of x xᵀ by the number of sequences, not
of tokens: the same but where a feature is zero on every token (dead neurons of OPT), whose entry of
the diagonal is 1 whatever the others are, so that here, where these are smaller, it weighs more in
the mean that the damping is a fraction of. And it removes what is not above a threshold, in an
unstructured pattern one weight a block more than the target, and all that tie with it.
"""

from collections.abc import Callable
from typing import ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from baselines.pruning.masks import lowest_by
from baselines.pruning.pattern import Pattern
from baselines.pruning.pruner import Pruner

# Matrices of the size of H that it takes to invert it.
INVERSION = 5


class Hessian:
    """H = (2/N) Σ x xᵀ over the N calibration tokens, in float32 from inputs cast to float32.

    Only the upper triangle is kept up to date.
    """

    # Rows of H updated at once: skipping what lies left of them saves near half of the products.
    ROWS = 256

    def __init__(self, width: int, device: torch.device):
        self.sum = torch.zeros(width, width, device=device)
        self.tokens = 0

    def add(self, inputs: Tensor) -> None:
        x = inputs.float()
        for start in range(0, x.shape[1], self.ROWS):
            rows = x[:, start : start + self.ROWS]
            self.sum[start : start + self.ROWS, start:].addmm_(rows.T, x[:, start:])
        self.tokens += len(x)

    def upper(self) -> Tensor:
        """H of shape (inputs, inputs), valid on and above the diagonal."""
        return self.sum * (2 / self.tokens)


class SparseGPT(Pruner):
    """Remove weights one column after another, and let the later columns make up for the error.

    Columns are taken in blocks of ``block_size``. The weights of a block with the lowest
    w²/U_jj² are removed (U: upper Cholesky factor of H⁻¹), exactly ⌊entries · sparsity⌋ of the
    block over all rows, ties by lower index. With N:M a block is M columns, and the N lowest of
    each row go. All arithmetic is in float32 and the result is cast to the weights' dtype.

    A feature that is zero on every calibration token has its whole column removed; this may come
    on top of the target sparsity.
    """

    paper: ClassVar[str] = "Frantar and Alistarh, ICML 2023, arXiv 2301.00774"

    damping: NonNegativeFloat = Field(
        0.01, description="Fraction of the mean of diag(H) that is added to the diagonal."
    )
    block_size: PositiveInt = Field(
        128, description="Columns a mask is chosen for at once, in an unstructured pattern."
    )

    def work(self, groups, tokens):
        # H is summed, inverted, and applied for each output.
        own = sum(2 * width**2 * (tokens + width + outputs) for outputs, width in groups)
        return super().work(groups, tokens) + own

    def workspace(self, groups):
        # In float32: H of each group; what it takes to invert one; two copies of a group's layers.
        squares = [width**2 for _, width in groups]
        copies = 2 * max(outputs * width for outputs, width in groups)
        return 4 * (sum(squares) + INVERSION * max(squares) + copies)

    def statistic(self, width, device):
        return Hessian(width, device)

    def prune(self, layers, pattern, statistic):
        hessian = statistic.upper()
        diagonal = hessian.diagonal()
        dead = diagonal == 0
        diagonal[dead] = 1
        diagonal += self.damping * diagonal.mean()
        try:
            factor = inverse_factor(hessian)
        except torch.linalg.LinAlgError:
            raise ValueError(
                f"{', '.join(layers)}: the Hessian of the inputs is not positive definite with "
                f"damping {self.damping}; use a larger damping or more calibration tokens"
            ) from None
        del hessian, diagonal  # nothing reads them from here on
        # One sweep serves all layers. Transposed, so that a column of W is contiguous.
        weights = torch.cat([layer.weight.T for layer in layers.values()], dim=1).float()
        weights[dead] = 0
        sizes = [layer.out_features for layer in layers.values()]
        sweep(weights, factor, sizes, pattern, self.block_size)
        for layer, pruned in zip(layers.values(), weights.split(sizes, dim=1), strict=True):
            layer.weight.copy_(pruned.T)


def inverse_factor(hessian: Tensor) -> Tensor:
    """U, upper triangular, with H⁻¹ = UᵀU; reads the upper triangle of H only.

    With the order of the features reversed, the lower Cholesky factor of H is an upper
    triangular R with H = RRᵀ, and U = R⁻¹: H itself need not be inverted.
    """
    reverse = torch.linalg.cholesky(hessian.flip(0, 1)).flip(0, 1)
    identity = torch.eye(len(hessian), device=hessian.device)
    return torch.linalg.solve_triangular(reverse, identity, upper=True)


def sweep(
    weights: Tensor, factor: Tensor, sizes: list[int], pattern: Pattern, block_size: int
) -> None:
    """Prune the columns of W from first to last, in place (algorithm 1 of the paper).

    Args:
        weights: Wᵀ of the stacked layers, of shape (inputs, outputs of all layers).
        factor: U, of shape (inputs, inputs).
        sizes: Number of outputs of each layer; masks are chosen for each layer by itself.
        pattern: The target.
        block_size: Columns in a block of an unstructured pattern.
    """
    scale = factor.diagonal()[:, None]
    errors = torch.empty_like(weights)

    def block(start: int, stop: int) -> None:
        scores = (weights[start:stop] / scale[start:stop]).square()
        parts = scores.split(sizes, dim=1)
        mask = torch.cat([lowest_by(pattern, part.T).T for part in parts], dim=1)
        errors[start:stop] = mask / scale[start:stop]
        visit_up_to_date(weights, factor, errors, start, stop, 1, column)
        weights[start:stop].masked_fill_(mask, 0)

    def column(index: int, _: int) -> None:
        errors[index] *= weights[index]

    step = pattern.m or block_size
    visit_up_to_date(weights, factor, errors, 0, len(weights), step, block)


def visit_up_to_date(
    weights: Tensor,
    factor: Tensor,
    errors: Tensor,
    start: int,
    stop: int,
    step: int,
    visit: Callable[[int, int], None],
) -> None:
    """Visit the columns in [start, stop), ``step`` at a time, from first to last.

    When columns are visited, they have received the errors of all columns before them, which
    ``visit`` fills in. Halving makes few large matrix products of the many small updates: all
    that the left half leaves to the right half is one product.
    """
    if stop - start <= step:
        visit(start, stop)
        return
    middle = start + (stop - start + step - 1) // step // 2 * step
    visit_up_to_date(weights, factor, errors, start, middle, step, visit)
    weights[middle:stop].addmm_(factor[start:middle, middle:stop].T, errors[start:middle], alpha=-1)
    visit_up_to_date(weights, factor, errors, middle, stop, step, visit)
