"""Whether jobs fit the machine, or the nodes of a cluster."""

import shutil
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

import psutil
import yaml
from pydantic import BaseModel, ConfigDict, PositiveInt, ValidationError

from bench.config import Config
from bench.planning.needs import GIB, MIB, Job, memory_mib, minutes, needs

LIMITS_FILE = "limits.yaml"


class Limits(BaseModel):
    """What there is for one job, and on disk for all; null is not checked.

    Attributes:
        memory_mib: of a node's memory.
        gpu_memory_mib: of one GPU.
        minutes: that a job may take.
        disk_gib: for weights between stages.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    memory_mib: PositiveInt | None = None
    gpu_memory_mib: PositiveInt | None = None
    minutes: PositiveInt | None = None
    disk_gib: PositiveInt | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in self if value is not None)


def read_limits(file: Path) -> Limits:
    """Limits as a profile states them.

    Raises:
        ValueError: they are not what :class:`Limits` takes; one line.
    """
    try:
        return Limits.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")) or {})
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"])) or "it"
        allowed = ", ".join(Limits.model_fields)
        raise ValueError(
            f"{file}: {key} = {problem['input']!r}: {problem['msg']}; allowed: whole numbers for "
            f"{allowed}"
        ) from None


def limits_here(config: Config) -> Limits:
    """Those of this machine: its memory, its GPU's, and what is free where checkpoints go."""
    import torch

    gpu = torch.cuda.get_device_properties(0).total_memory if torch.cuda.is_available() else None
    checkpoints = Path(config.checkpoints).absolute()
    folder = next(path for path in (checkpoints, *checkpoints.parents) if path.is_dir())
    return Limits(
        memory_mib=psutil.virtual_memory().total // MIB,
        gpu_memory_mib=None if gpu is None else gpu // MIB,
        disk_gib=max(1, shutil.disk_usage(folder).free // GIB),
    )


def misfits(config: Config, jobs: Mapping[Job, int], device: str, limits: Limits) -> Iterator[str]:
    """One line for each kind of jobs that asks for more than there is.

    Args:
        config: the configuration.
        jobs: what is to run, and how often.
        device: cpu or cuda.
        limits: what there is.
    """
    found: dict[tuple, list[tuple[float, int]]] = {}
    for job, number in jobs.items():
        method = job.pruner if job.rule == "prune" else job.repair
        need = needs(config, job, device)
        gpu_memory = ceil((need.device - need.spared) / MIB)
        for what, asked, limit in (
            ("MiB of memory", memory_mib(config, job, device), limits.memory_mib),
            ("MiB of GPU memory", gpu_memory, limits.gpu_memory_mib),
            ("minutes", minutes(config, job, device), limits.minutes),
        ):
            if limit is not None and asked > limit:
                kind = (job.rule, method, job.model, what, limit)
                found.setdefault(kind, []).append((asked, number))
    for (rule, method, model, what, limit), cases in found.items():
        name = " ".join(part for part in (rule, method, "of", model) if part)
        jobs_of_it = sum(number for _, number in cases)
        yield f"{name} ({jobs_of_it:,} jobs): up to {max(cases)[0]:,} {what}; limit {limit:,}"
    disk = sum(number * needs(config, job, device).disk for job, number in jobs.items()) // GIB
    if limits.disk_gib is not None and disk > limits.disk_gib:
        yield f"all jobs together: {disk:,} GiB of disk; limit {limits.disk_gib:,}"
