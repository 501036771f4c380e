"""Whether jobs fit the machine, or the nodes of a cluster, and what would make them fit."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from math import ceil
from pathlib import Path
from textwrap import indent

import psutil
from pydantic import PositiveInt, TypeAdapter

from baselines.problems import MisfitError, validated
from bench.config.repair import Variant
from bench.config.whole import Config
from bench.documents import read_document
from bench.planning.needs import GIB, MIB, Job, memory_mib, minutes, needs
from bench.planning.speeds import Device
from bench.typed import Strict

LIMITS_FILE = "limits.yaml"


class Limits(Strict):
    """What there is for one job, and on disk for all; null is not checked.

    Attributes:
        memory_mib: of a node's memory.
        gpu: name of a node's GPU, for its speed.
        gpu_memory_mib: of one GPU.
        minutes: that a job may take.
        disk_gib: for weights between stages.
    """

    memory_mib: PositiveInt | None = None
    gpu: str | None = None
    gpu_memory_mib: PositiveInt | None = None
    minutes: PositiveInt | None = None
    disk_gib: PositiveInt | None = None

    def __str__(self) -> str:
        given = self.model_dump(exclude_none=True).items()
        return ", ".join(
            f"{key} {value:,}" if key != "gpu" else f"{key} {value}" for key, value in given
        )


def read_limits(file: Path) -> Limits:
    """Limits as a profile states them.

    Raises:
        ValueError: they cannot be read, or are not what :class:`Limits` takes; a line a problem.
    """
    try:
        return validated(TypeAdapter(Limits), read_document(file) or {})
    except MisfitError as error:
        raise ValueError(indent(str(error), f"{file}: ")) from None


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


def misfits(
    config: Config, jobs: Mapping[Job, int], device: Device, limits: Limits
) -> Iterator[str]:
    """One line for each kind of jobs that asks for more than there is, and what would make it fit;
    and for each thing that cannot be compared.

    Args:
        config: the configuration.
        jobs: what is to run, and how often.
        device: that they compute on.
        limits: what there is.
    """
    found: dict[tuple, list[tuple[int, Job]]] = {}
    disk, unknown, on_gpu = 0, set(), False
    for job, number in jobs.items():
        need = needs(config, job, device.kind)
        if need is None:
            unknown.add(job.model)
            continue
        disk += number * need.disk
        on_gpu |= need.device > 0
        method = job.pruner if job.rule == "prune" else job.repair
        for what, asked in _too_much(config, job, device, limits).items():
            found.setdefault((job.rule, method, job.model, what), []).append((asked, job))
    for (*kind, model, what), cases in found.items():
        asked, job = max(cases, key=lambda case: case[0])
        name = " ".join(filter(None, (*kind, "of", model)))
        number, limit = sum(jobs[job] for _, job in cases), getattr(limits, what)
        remedy = next(_remedies(config, job, device, limits), "")
        above = f"{what} up to {asked:,}; limit {limit:,}"
        yield f"Does not fit: {name} ({number:,} jobs): {above}{remedy}"
    if limits.disk_gib is not None and disk > limits.disk_gib * GIB:
        yield (
            f"Does not fit: all jobs together: disk_gib {disk // GIB:,}; limit {limits.disk_gib:,}"
        )
    for model in sorted(unknown):
        yield f"Unknown: whether jobs of {model} fit"
    if on_gpu and limits.gpu_memory_mib is None:
        yield (
            "Unknown: whether jobs fit a GPU, whose memory is not known; gpu_memory_mib in a "
            f"profile's {LIMITS_FILE} says it"
        )


def _too_much(config: Config, job: Job, device: Device, limits: Limits) -> dict[str, int]:
    """What a job asks for above its limits."""
    available = limits.gpu_memory_mib and limits.gpu_memory_mib * MIB
    asked = {
        "memory_mib": memory_mib(config, job, device),
        "gpu_memory_mib": ceil(needs(config, job, device.kind, available).device / MIB),
        "minutes": minutes(config, job, device),
    }
    given = {what: getattr(limits, what) for what in asked}
    return {what: n for what, n in asked.items() if given[what] is not None and n > given[what]}


def _remedies(config: Config, job: Job, device: Device, limits: Limits) -> Iterator[str]:
    """Options with which a training fits, in words, the fewest first."""
    if job.rule != "repair":
        return
    recomputing = config.training.model_copy(update={"activation_checkpointing": True})
    changes = {"training.activation_checkpointing: true": {"training": recomputing}}
    options = config.repair_options(job.repair, job.budget) | {"of": config.method(job.repair)}
    # A name that no variant can have.
    packed = "storage: bitmask"
    if "storage" in options:
        variant = Variant(**options | {"storage": "bitmask"})
        changes[packed] = {"variants": config.variants | {packed: variant}}
    for names in (names for count in (1, 2) for names in combinations(changes, count)):
        update = {key: value for name in names for key, value in changes[name].items()}
        lighter = config.model_copy(update=update)
        its = replace(job, repair=packed) if packed in names else job
        if not _too_much(lighter, its, device, limits):
            yield f"; with {' and '.join(names)} it fits"
