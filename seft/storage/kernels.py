"""Triton kernels. Imported where there is a GPU and Triton, never else."""

import torch
import triton
import triton.language as tl
from torch import Tensor

COLUMNS_AT_ONCE = 1024


@triton.jit
def _unpack_row(bits, values, offsets, weight, columns, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    bits += row * ((columns + 7) // 8)
    weight += row * columns
    values += tl.load(offsets + row)
    for start in range(0, columns, BLOCK):
        column = start + tl.arange(0, BLOCK)
        inside = column < columns
        byte = tl.load(bits + column // 8, mask=inside, other=0).to(tl.int32)
        bit = (byte >> (column % 8)) & 1
        value = tl.load(values + tl.cumsum(bit, 0) - 1, mask=bit == 1, other=0)
        tl.store(weight + column, value, mask=inside)
        values += tl.sum(bit, 0)


def unpack_by_triton(bits: Tensor, values: Tensor, offsets: Tensor, columns: int) -> Tensor:
    """The matrix of a `seft.storage.Bitmask`: one program a row, which counts its bits itself."""
    weight = torch.empty(len(bits), columns, dtype=values.dtype, device=values.device)
    with torch.cuda.device_of(bits):
        _unpack_row[(len(bits),)](bits, values, offsets, weight, columns, BLOCK=COLUMNS_AT_ONCE)
    return weight
