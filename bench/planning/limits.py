"""Whether jobs fit the machine, or the nodes of a cluster."""

import shutil
from collections.abc import Iterator, Mapping
from math import ceil
from pathlib import Path

import psutil
from pydantic import PositiveInt, TypeAdapter

from baselines.problems import MisfitError, validated
from bench.config import Config
from bench.documents import read_document
from bench.planning.needs import GIB, MIB, Job, memory_mib, minutes, needs
from bench.typed import Strict

LIMITS_FILE = "limits.yaml"


class Limits(Strict):
    """What there is for one job, and on disk for all; null is not checked.

    Attributes:
        memory_mib: of a node's memory.
        gpu_memory_mib: of one GPU.
        minutes: that a job may take.
        disk_gib: for weights between stages.
    """

    memory_mib: PositiveInt | None = None
    gpu_memory_mib: PositiveInt | None = None
    minutes: PositiveInt | None = None
    disk_gib: PositiveInt | None = None

    def __str__(self) -> str:
        return ", ".join(f"{name} {value:,}" for name, value in self if value is not None)


LIMITS = TypeAdapter(Limits)


def read_limits(file: Path) -> Limits:
    """Limits as a profile states them.

    Raises:
        ValueError: they cannot be read, or are not what :class:`Limits` takes; a line a problem.
    """
    try:
        return validated(LIMITS, read_document(file) or {})
    except MisfitError as error:
        lines = str(error).splitlines()
        raise ValueError("\n".join(f"{file}: {line}" for line in lines)) from None


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
