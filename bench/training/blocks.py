"""Packed blocks, and the order in which a training is served them."""

import hashlib

import torch
from torch.utils.data import Dataset

from bench.training.processes import everyone


class Blocks(Dataset):
    """Packed blocks: ``input_ids`` and ``labels``, int64 of shape (blocks, length)."""

    def __init__(self, input_ids: torch.Tensor, labels: torch.Tensor):
        self.input_ids = input_ids
        self.labels = labels

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.input_ids[index], "labels": self.labels[index]}


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
