"""The gradient of a layer's weight at some of its entries, without the others."""

import warnings

import torch
from torch import Tensor

# An entry takes a CPU core about as long alone as so many do in the product of whole matrices.
ALONE = 12

warnings.filterwarnings("ignore", "Sparse CSR tensor support is in beta")


def sampling_pays(grad: Tensor, x: Tensor, entries: int) -> bool:
    """Whether `sampled_gradient` takes less time than the dense gradient.

    Args:
        grad: gradient of the layer's output, (tokens, m).
        x: its input, (tokens, n).
        entries: how many are asked for.
    """
    possible = grad.device.type == "cpu" and grad.dtype in (torch.float32, torch.float64)
    return possible and ALONE * entries < grad.shape[1] * x.shape[1]


def sampled_gradient(grad: Tensor, x: Tensor, indices: Tensor) -> Tensor:
    """grad^T x at some entries.

    Args:
        grad: gradient of the layer's output, (tokens, m), float32 or float64, on a CPU.
        x: its input, (tokens, n), likewise.
        indices: flat positions in the weight, ascending, (k,).

    Returns:
        The gradient at `indices`, (k,).
    """
    shape = rows, columns = grad.shape[1], x.shape[1]
    starts = torch.arange(rows + 1, dtype=indices.dtype) * columns
    entries = torch.sparse_csr_tensor(
        torch.searchsorted(indices, starts),
        indices.long() % columns,
        grad.new_zeros(len(indices)),
        shape,
        check_invariants=False,
    )
    return torch.sparse.sampled_addmm(entries, grad.t(), x, beta=0).values()
