"""One training of a repair: what decides it, and doing it in one process."""

from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import nn

from baselines.pruning.pattern import Pattern
from baselines.repair import build_repair
from baselines.repair.base import Repair
from bench.cells import Cell, cell_of
from bench.config.training import Training
from bench.data.tokens import Blocks
from bench.files import write_json
from bench.jobs.measure import StageClock
from bench.jobs.outcome import LOG_FILE
from bench.jobs.provenance import computed_on
from bench.models.bases import load_base
from bench.models.loading import load_model, pick_device, pick_dtype
from bench.models.shape import read_shape
from bench.origin import digest_of, identity, verify
from bench.stages.inputs import of_base, of_training
from bench.training.checkpoints import Checkpoints
from bench.training.costs import training_memory
from bench.training.processes import count, rank
from bench.training.train import TrainingReport, train


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """A training: what decides its result, and where that goes; JSON can hold it.

    Attributes:
        cell: one that merges it; its repair is what is trained, its seed moves the order of the
            blocks and the initialisation.
        config: what decides it (:func:`bench.records.record.repair_config`).
        model: folder of the dense model.
        base: folder of the pruned model.
        blocks: packed blocks of the repair text.
        code: listing of the source files that decide it.
        base_code: listing of those that decide the base.
        output: folder to create; of a trial of the sweep, JSON file to write.
        checkpoint_minutes: from one checkpoint to the next; 0: each step.
    """

    cell: Cell
    config: dict
    model: str
    base: str
    blocks: str
    code: str | None
    base_code: str | None
    output: str
    checkpoint_minutes: float = 0

    @classmethod
    def of(cls, snakemake) -> "TrainingJob":
        """The training of a rule, by what Snakemake gives to its script."""
        given = snakemake.input
        return cls(
            cell=cell_of(snakemake.wildcards),
            config=snakemake.params.config,
            **{name: given[name] for name in ("model", "base", "blocks", "code")},
            base_code=snakemake.params.made_by["base"],
            output=snakemake.output[0],
            checkpoint_minutes=snakemake.resources.get("checkpoint_minutes", 0),
        )

    @property
    def interrupted(self) -> str:
        """Folder of its checkpoints, until it is over."""
        return f"{self.output}.training"

    def verify(self) -> None:
        """Check that model, base and blocks are what is asked for.

        Raises:
            OriginError: they are not.
        """
        verify(self.model, {"source": self.config["model"]})
        base = of_base(self.cell, self.config, model=self.model, code=self.base_code)
        verify(self.base, base)
        packing = self.config["packing"]["train"]
        verify(self.blocks, {"model": identity(self.model), "packing": packing})

    def made_from(self) -> dict:
        """Inputs and configuration of the training (see :mod:`bench.origin`)."""
        origin = of_training(
            self.cell, self.config, model=self.model, base=self.base, code=self.code
        )
        blocks = verify(self.blocks)["made_from"]
        text = {"data": blocks["data"], "dropped": blocks["dropped"]}
        return origin | {"blocks": identity(self.blocks), **text}

    @cached_property
    def device(self) -> torch.device:
        return pick_device(self.config["runtime"]["device"])

    @property
    def dtype(self) -> torch.dtype:
        return pick_dtype(self.config["runtime"]["dtype"], self.device)

    @property
    def settings(self) -> Training:
        return Training(**self.config["training"])

    def repair(self) -> Repair:
        pattern = Pattern.parse(self.cell.pattern)
        return build_repair(self.cell.repair, pattern=pattern, **self.config["repair"])

    def micro_batch(self, processes: int = 1) -> int:
        """Blocks a forward pass of a process: as many of the batch as a GPU has memory for, by the
        estimate; all on a CPU, and where the shape of the model is not known.
        """
        batch, shape = self.settings.batch_size // processes, read_shape(Path(self.model))
        if self.device.type == "cpu" or shape is None:
            return batch
        memory = training_memory(
            self.repair(),
            shape,
            self.settings,
            element=self.dtype.itemsize,
            device=self.device.type,
            processes=processes,
        )
        available = torch.cuda.get_device_properties(self.device).total_memory
        return memory.micro_batch(batch, available)

    def load_base(self) -> nn.Module:
        return load_base(self.base, dense=self.model, device=self.device, dtype=self.dtype)

    def train(
        self,
        network: nn.Module,
        repair: Repair,
        micro_batch: int,
        checkpoints: Checkpoints | None = None,
    ) -> TrainingReport:
        """Train what ``repair`` has wrapped, in place."""
        dense = None
        if repair.needs_dense:
            dense = load_model(self.model, torch.device("cpu"), self.dtype)
        return train(
            network,
            repair,
            Blocks.load(self.blocks),
            self.settings,
            seed=self.cell.seed,
            dtype=self.dtype,
            micro_batch=micro_batch,
            checkpoints=checkpoints,
            dense=dense,
        )


def train_once(job: TrainingJob, folder: str | Path, micro_batch: int) -> dict:
    """Train, or go on from a checkpoint; write the result into ``folder``, return what it cost.

    Processes that have joined share the training; the first one writes, and what it says of memory
    and time is its own.

    Args:
        job: what to train.
        folder: an existing one.
        micro_batch: blocks a forward pass of a process, at most.
    """
    repair = job.repair()
    start = digest_of([job.made_from(), str(job.dtype), count()])
    clock = StageClock(job.device)
    network = job.load_base()
    checkpoints = Checkpoints(job.interrupted, start, job.checkpoint_minutes, clock)
    with clock.computing(network):
        network = repair.wrap(network, seed=job.cell.seed)
        report = job.train(
            network,
            repair,
            min(micro_batch, checkpoints.micro_batch or micro_batch),
            checkpoints,
        )
    repair.save(network, folder)
    done = asdict(report)
    log = done.pop("log")
    if rank() == 0:
        write_json(Path(folder) / LOG_FILE, log)
    return {
        **clock.costs(),
        **done,
        "computed_on": computed_on(job.device, job.dtype),
        "trainable_parameters": repair.trainable_parameters(network),
        "tokens_per_second": report.tokens / clock.computed()["seconds"],
        "seconds_evolving": repair.seconds_evolving(network),
    }
