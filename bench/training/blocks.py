"""The order in which a training is served its blocks."""

import hashlib

import torch
from torch.utils.data import Dataset

from bench.data.tokens import Blocks
from bench.training.processes import everyone


class Served(Dataset):
    """Blocks as a process of a training is served them.

    Attributes:
        order: numbers of the blocks served to it so far.
    """

    def __init__(self, blocks: Blocks):
        self.blocks = blocks
        self.order: list[int] = []

    def __len__(self) -> int:
        return len(self.blocks)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.order.append(int(index))
        return self.blocks[index]

    def digest(self, micro_batch: int) -> str:
        """SHA-256 of the blocks served so far to all processes, in their order.

        Args:
            micro_batch: blocks that each process is served for a forward pass.
        """
        digest = hashlib.sha256()
        orders = everyone(self.order)
        for start in range(0, len(self.order), micro_batch):
            for order in orders:
                for index in order[start : start + micro_batch]:
                    for values in self.blocks[index].values():
                        digest.update(values.numpy().tobytes())
        return digest.hexdigest()
