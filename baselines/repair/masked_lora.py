"""Masked LoRA: SparsePEFT of SQFT (Muñoz et al. 2024).

For a pruned weight W (m outputs, n inputs), A of shape (r, n) and B of shape (m, r) train:

    y = (W + alpha / r * (B A) * 1[W]) x

with an element-wise product, where 1[W] is 1 where W is not zero. So merging keeps the zeros.

There is one product with x, of the weight that merging gives, in the precision that is computed in.
LoRA's dropout has no place in it: the mask is on B A, so an update that sees another x than W does
needs a second product of full size in the forward and the backward, and trains another function
than the one that is merged.
"""

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from baselines.repair.base import FrozenBaseOptions, FrozenLayerRepair, RepairedLinear
from seft.storage import autocasted


class MaskedLoraOptions(FrozenBaseOptions):
    learning_rate: PositiveFloat = Field(3e-4, description="Peak learning rate.")
    rank: PositiveInt = Field(8, description="Rank r of B A.")
    alpha: PositiveInt = Field(16, description="The update is scaled by alpha / rank.")


class MaskedLora(FrozenLayerRepair):
    """LoRA under the base's mask, on every target layer."""

    Options = MaskedLoraOptions
    paper = "Muñoz et al., Findings of EMNLP 2024, arXiv 2410.03750"
    training = "masked-lora"
    rank_option = "rank"

    def repaired(self, base: nn.Linear, generator: torch.Generator) -> "MaskedLoraLinear":
        options = self.options
        return MaskedLoraLinear(base, options.rank, options.alpha / options.rank, generator)


class MaskedLoraLinear(RepairedLinear):
    """A linear layer with a low-rank update of its non-zero weights.

    Attributes:
        A: Float32 of shape (r, n), Kaiming-uniform with a = sqrt(5).
        B: Float32 of shape (m, r), zero.
    """

    def __init__(self, base: nn.Linear, rank: int, scale: float, generator: torch.Generator):
        super().__init__(base)
        self.A = self.random_rows(rank, generator)
        self.B = nn.Parameter(self.A.new_zeros(base.out_features, rank))
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        x = autocasted(x)
        A, B = self.A.to(x.dtype), (self.scale * self.B).to(x.dtype)
        return _Product.apply(x, A, B, self.base_layer)

    @torch.no_grad()
    def merge(self) -> nn.Linear:
        weight = self.base_layer.weight
        weight.copy_(updated(weight.float(), self.A, self.scale * self.B))
        return self.base_layer


def updated(weight: Tensor, A: Tensor, B: Tensor) -> Tensor:
    """W + (B A) * 1[W], of shape (m, n); the scale is in B."""
    return torch.addmm(weight, B, A).mul_(indicator(weight))


def indicator(weight: Tensor) -> Tensor:
    """1[W], in the dtype of W."""
    # On a CPU, booleans cost several times more to make and to multiply by.
    return torch.ne(weight, 0, out=torch.empty_like(weight))


class _Product(torch.autograd.Function):
    """x, (..., n) -> (W + (B A) * 1[W]) x + bias, (..., m).

    Nothing of the weight's size is saved, no copy of it either: backward forms the updated weight
    again.
    Of a gradient g, it forms G = (g^T x) * 1[W], from which dA = B^T G and dB = G A^T.
    """

    @staticmethod
    def forward(ctx, x: Tensor, A: Tensor, B: Tensor, base: nn.Linear):
        ctx.save_for_backward(x, A, B)
        ctx.base = base
        bias = None if base.bias is None else base.bias.to(x.dtype)
        return F.linear(x, updated(base.weight.to(x.dtype), A, B), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, A, B = ctx.saved_tensors
        weight = ctx.base.weight.to(x.dtype)
        gradient_x = gradient @ updated(weight, A, B) if ctx.needs_input_grad[0] else None
        product = (gradient.flatten(0, -2).T @ x.flatten(0, -2)).mul_(indicator(weight))
        return gradient_x, B.T @ product, product @ A.T, None
