"""How fast jobs compute: by the records of earlier ones, by ``bench calibrate``, or as stated."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.config.models import shape_of
from bench.config.variants import method_of, training_of
from bench.config.whole import Config
from bench.evaluation.tasks import TaskSpec
from bench.files import UnreadableError, read_json
from bench.models.loading import pick_dtype
from bench.models.shape import Shape
from bench.training.costs import training_work

CALIBRATION = Path("results/calibration.json")
# Dense operations a second in 1e12, as vendors state them, in bfloat16 and in float32: the latter
# without TF32, which torch multiplies in only where it is told to.
GPUS = {
    "H200": (989, 67),
    "H100": (989, 67),
    "A100": (312, 19.5),
    "A6000": (155, 38.7),
    "A10": (125, 31.2),
    "L40S": (362, 91.6),
    "L40": (181, 90.5),
    "L4": (121, 30.3),
    "RTX 4090": (165, 82.6),
    "RTX 3090": (71, 35.6),
}
USUAL_GPU = "A100"
# The part of them that trainings reach: on an H200, in the 7B shape, 0.27 with LoRA, 0.39 with SPP,
# in bfloat16.
EFFICIENCY = 0.3
# Seconds that a pass of a decoder block (forward, backward or optimizer) takes at the least, to
# start its kernels: SmolLM2 on an H200.
LAUNCH = 0.002
# Operations a second of a core, with SmolLM2: in bfloat16 where it multiplies in that, or float32.
CORES = {torch.bfloat16: 1.2e11, torch.float32: 2.5e10}

# A stage and a method: the pruner, the repair that is trained, or None: any.
Kind = tuple[str, str | None]


@dataclass(frozen=True)
class Device:
    """What computes: one core, or one GPU.

    Attributes:
        kind: cpu or cuda.
        name: of the GPU, or of the core.
        source: of its figures, in words.
        speed: floating-point operations a second.
        launch: seconds that a pass of a decoder block takes at the least.
        dtype: in which these are; None: not known.
        measured: operations a second in earlier jobs, by stage and method.
    """

    kind: str
    name: str
    source: str
    speed: float
    launch: float
    dtype: str | None = None
    measured: Mapping[Kind, float] = field(default_factory=dict)

    def speed_of(self, stage: str, method: str | None) -> float:
        """Operations a second: of a method; else, of its stage; else, of the device."""
        usual = self.measured.get((stage, None), self.speed)
        return self.measured.get((stage, method), usual)

    @property
    def hours(self) -> str:
        """What hours of it are called."""
        return {"cpu": "core-hours", "cuda": "GPU-hours"}[self.kind]

    def __str__(self) -> str:
        """Its speeds, and where they come from, in words."""
        speed = f"{self.speed:.1e} operations a second{f' in {self.dtype}' if self.dtype else ''}"
        parts = [f"{speed} of one {self.name} ({self.source})"]
        for (stage, method), speed in sorted(self.measured.items(), key=str):
            if method or stage == "evaluate":
                parts.append(f"{stage} {method or ''} {speed:.1e} (earlier records)")
        return "; ".join(" ".join(part.split()) for part in parts)


def device_of(kind: str, gpu: str | None = None, dtype: str = "auto") -> Device:
    """The device that jobs take: as it was calibrated, else as the table has it.

    Args:
        kind: cpu or cuda.
        gpu: name of the GPU; None: that of this machine, else the usual one.
        dtype: as in ``runtime``.
    """
    # This machine may have no such GPU to be asked.
    known = "bfloat16" if (kind, dtype) == ("cuda", "auto") else dtype
    computes = pick_dtype(known, torch.device(kind))
    dtype = str(computes).removeprefix("torch.")
    found = None
    # Damaged, it says as little as if it is not there.
    with suppress(UnreadableError, TypeError):
        found = Device(**read_json(CALIBRATION))
    same = found and found.kind == kind and found.dtype in (None, dtype)
    if same and (gpu is None or gpu in found.name):
        return found
    if kind == "cpu":
        return Device(kind, "core", "stated", CORES[computes], launch=0.0, dtype=dtype)
    if gpu is None and torch.cuda.is_available():
        gpu = torch.cuda.get_device_name()
    # The longest name first: an L40S is no L4.
    names = sorted(GPUS, key=len, reverse=True)
    like = next((name for name in names if name in (gpu or "")), USUAL_GPU)
    stated = GPUS[like][computes == torch.float32]
    source = f"{EFFICIENCY:.0%} of what is stated for {like}"
    return Device(kind, gpu or like, source, EFFICIENCY * 1e12 * stated, LAUNCH, dtype)


def with_records(device: Device, config: Config, records: Iterable[dict]) -> Device:
    """The device with the speeds of earlier jobs on its kind, in its dtype.

    Args:
        device: that jobs take.
        config: says the shapes of the records' models; those of other models are left out.
        records: of any grid.
    """
    work: dict[Kind, float] = defaultdict(float)
    seconds: dict[Kind, float] = defaultdict(float)
    for record in records:
        model, provenance = record["cell"]["model"], record["provenance"]
        shape = shape_of(config.models[model], model) if model in config.models else None
        if shape is None or (provenance["accelerator"] is None) != (device.kind == "cpu"):
            continue
        if device.dtype not in (None, provenance["dtype"]):
            continue
        cores = provenance["threads"] if device.kind == "cpu" else 1
        try:
            done_of = list(_work_done(record, shape))
        # Of a method or with options that there are no longer.
        except (LookupError, TypeError, ValueError):
            continue
        for stage, method, done in done_of:
            costs = record["stages"][stage]
            for kind in {(stage, method), (stage, None)}:
                work[kind] += done
                seconds[kind] += costs.get("processes", 1) * cores * costs["seconds"]
    known = [kind for kind in work if work[kind] and seconds[kind]]
    return replace(device, measured={kind: work[kind] / seconds[kind] for kind in known})


def _work_done(record: dict, shape: Shape) -> Iterator[tuple[str, str | None, float]]:
    """Stage, method and work of each job that a record tells of."""
    cell, stages, resolved = record["cell"], record["stages"], record["config"]["resolved"]
    if stages["prune"] is not None:
        pruner = PRUNERS[cell["pruner"]](**resolved["pruning"])
        tokens = resolved["calibration"]["samples"] * resolved["calibration"]["length"]
        yield "prune", cell["pruner"], shape.blocks * pruner.work(shape.groups, tokens)
    if stages["repair"] is not None:
        method = training_of(method_of(cell["repair"], resolved))
        tokens = stages["repair"]["tokens"]
        forwards = resolved["training"].get("activation_checkpointing", False)
        forwards += resolved["repair"].get("objective") == "distill"
        work = training_work(shape, REPAIRS[method], tokens, forwards=forwards)
        yield "repair", method, work
    if stages["evaluate"] is not None:
        items = {entry["task"]: entry["n"] for entry in record["metrics"]}
        tasks = resolved["evaluation"]["tasks"].items()
        tokens = sum(TaskSpec(**task).tokens(name, items.get(name)) for name, task in tasks)
        yield "evaluate", None, 2 * shape.parameters * tokens
