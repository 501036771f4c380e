"""The training of a repair that several processes share out."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)

from baselines.repair.base import Repair
from bench.training.trainer import RepairTrainer

PARTS_FOLDER = "parts"
TRAINED_ALONE = StateDictOptions(ignore_frozen_params=True, strict=False)


class ShardedTrainer(RepairTrainer):
    """A RepairTrainer of which each process holds, writes and reads a part.

    Args:
        repair: that ``shards``.
        dtype: as of RepairTrainer.
        model: what ``repair`` has wrapped and sharded.
        **arguments: of the Trainer.
    """

    def __init__(self, repair: Repair, dtype: torch.dtype, *, model: nn.Module, **arguments):
        # So transformers marks a model that it has sharded itself: Trainer and Accelerate then
        # neither wrap nor move it.
        model._is_distributed_loading_by_transformers = True
        super().__init__(repair, dtype, model=model, **arguments)

    @contextmanager
    def _defer_fsdp_gradient_reduction(self) -> Iterator[None]:
        """Nothing is deferred: a process has no room for the whole gradients of several passes."""
        yield

    def _parts(self) -> dict:
        """What a checkpoint holds."""
        trained, optimizer = get_state_dict(
            self.model, self.optimizer.optimizer, options=TRAINED_ALONE
        )
        return {"trained": trained, "optimizer": optimizer, "schedule": self.lr_scheduler}

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """Nothing yet: the trained tensors are written with the optimizer's."""
        Path(output_dir).mkdir(parents=True, exist_ok=True)

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        checkpoint.save(self._parts(), checkpoint_id=Path(output_dir) / PARTS_FOLDER)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model=None) -> None:
        """Nothing yet, as in ``_save``."""

    def _load_optimizer_and_scheduler(self, checkpoint_folder: str | None) -> None:
        if checkpoint_folder is None:
            return
        parts = self._parts()
        checkpoint.load(parts, checkpoint_id=Path(checkpoint_folder) / PARTS_FOLDER)
        set_state_dict(
            self.model,
            self.optimizer.optimizer,
            model_state_dict=parts["trained"],
            optim_state_dict=parts["optimizer"],
            options=TRAINED_ALONE,
        )
