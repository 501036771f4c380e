"""Dropout that costs little on a CPU."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

LEVELS = 2**16


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """`torch.nn.functional.dropout`, on a CPU with p rounded to a multiple of 1 / 65,536.

    torch draws a Bernoulli number an entry there, which takes a tenth of a LoRA step; 16 random
    bits an entry cost a quarter of that.
    """
    if not training or p == 0 or x.device.type != "cpu":
        return F.dropout(x, p, training)
    words = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    dropped = bits < round(p * LEVELS) - LEVELS // 2
    return torch.where(dropped, 0, x * (1 / (1 - p)))


class Dropout(nn.Dropout):
    """:func:`dropout` as a module."""

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)
