"""What a job needs of the machine: time, memory and disk, from shapes, budget and options.

There is one estimate of each: a plan adds them up (:mod:`bench.planning.plan`), and a scheduler is
asked for them with a margin. A job that still needs more is ended by it, and asks for more at its
next attempt.
"""

from dataclasses import dataclass, replace
from functools import partial
from math import ceil

from baselines.pruning.pattern import Pattern
from bench.cells import DENSE, NO_BUDGET, Cell, base_folder, record_path, training_folder
from bench.config.models import shape_of
from bench.config.variants import training_of
from bench.config.whole import Config
from bench.models.shape import Shape
from bench.planning.speeds import Device
from bench.records.measures import MIB
from bench.training.costs import kept_bytes, trained_numbers, training_memory, training_work

GIB = 1024 * MIB

# Start of a job, and bytes a second at which it reads a model.
START_SECONDS, READING = 15, 5e8

# What a job asks of a scheduler beside what is estimated (interpreter, libraries, text, the CUDA
# context), and factors for what the estimates do not know.
BASE_MIB, BASE_MINUTES = 2000, 30
MEMORY_MARGIN, TIME_MARGIN = 1.5, 2

# Rules that compute what another one does.
STAGES = {"try_learning_rate": "repair", "evaluate_dense": "evaluate"}


@dataclass(frozen=True)
class Job:
    """A job that computes: its rule, and what decides how much.

    Attributes:
        rule: name of the rule.
        model: of the job.
        pruner, pattern: of its base; None for the dense model.
        repair: whose training is made, or merged; None for neither.
        budget: of that training.
    """

    rule: str
    model: str
    pruner: str | None = None
    pattern: str | None = None
    repair: str | None = None
    budget: str = NO_BUDGET


def jobs_of(config: Config, cell: Cell) -> dict[str, Job]:
    """The jobs that a cell is made by, by what each of them makes: base, training, record."""
    if cell.pruner == DENSE:
        return {record_path(cell): Job("evaluate_dense", cell.model)}
    training = training_of(cell.repair)
    of_base = partial(Job, model=cell.model, pruner=cell.pruner, pattern=cell.pattern)
    of_training = partial(of_base, repair=training, budget=cell.budget)
    made = {base_folder(config.checkpoints, cell): of_base("prune")}
    if training is not None:
        made[training_folder(config.checkpoints, cell, training)] = of_training("repair")
    return made | {record_path(cell): of_training("evaluate")}


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a job needs, without margins.

    Attributes:
        seconds: of start and reading, before any work.
        work: floating-point operations.
        passes: of a decoder block, one after the other: forward, backward, optimizer.
        processes: that share the work, each with its own cores, or GPU.
        host: bytes of the host's memory of a process, at the most.
        device: bytes of a GPU's memory, at the most; 0 where the CPU computes.
        disk: bytes that it leaves.
        scratch: bytes of checkpoints while it runs, at the most.
    """

    seconds: float = START_SECONDS
    work: float = 0
    passes: int = 0
    processes: int = 1
    host: int = 0
    device: int = 0
    disk: int = 0
    scratch: int = 0


def needs(config: Config, job: Job, device: str, available: int | None = None) -> Needs | None:
    """What a job needs; None while the shape of its model is not known.

    Args:
        config: the configuration.
        job: one of its jobs.
        device: cpu or cuda.
        available: bytes of a GPU's memory, for which a training takes micro-batches.
    """
    spec = config.models[job.model]
    shape = shape_of(spec, job.model)
    if shape is None:
        return None
    if job.rule == "fetch_model":
        # What comes as GGUF is converted, in float32.
        return Needs(host=8 * shape.parameters * spec.is_gguf, disk=2 * shape.parameters)
    # Bytes of a weight: of a CPU it is not known here whether it computes in bfloat16.
    narrow = ("bfloat16", "auto") if device == "cuda" else ("bfloat16",)
    element = 2 if config.runtime.dtype in narrow else 4
    model, stays = element * shape.parameters, 0
    if job.rule == "prune":
        need = _pruning(config, job, shape, element)
        # The model stays on the host, and so does its base until it is written.
        stays = model + need.disk
    elif STAGES.get(job.rule, job.rule) == "repair":
        need = _training(config, job, shape, element, device, available)
        stays = need.host
    else:
        need = _evaluation(config, job, shape, element)
    seconds = START_SECONDS + model / READING
    if device == "cpu":
        return replace(need, seconds=seconds, host=stays + need.device, device=0)
    return replace(need, seconds=seconds, host=max(stays, model))


def _pruning(config: Config, job: Job, shape: Shape, element: int) -> Needs:
    """On a device, of one block, its input, and what the pruner keeps of its layers."""
    pruner, calibration = config.pruner(job.pruner), config.calibration
    tokens = pruner.reads_calibration * calibration.samples * calibration.length
    held = element * (shape.prunable // shape.blocks + tokens * shape.hidden)
    # One bit a weight, and the weights that are left where they changed.
    left = 0 if pruner.keeps_weights else (1 - Pattern.parse(job.pattern).sparsity) * shape.prunable
    return Needs(
        work=shape.blocks * pruner.work(shape.groups, tokens),
        device=held + pruner.workspace(shape.groups),
        disk=ceil(shape.prunable / 8 + element * left),
    )


def _training(
    config: Config, job: Job, shape: Shape, element: int, device: str, available: int | None
) -> Needs:
    repair = config.built(job.repair, job.budget, job.pattern)
    settings = config.training_at(job.budget)
    processes = config.processes(job.repair) if job.rule == "repair" else 1
    memory = training_memory(
        repair, shape, settings, element=element, device=device, processes=processes
    )
    micro_batch = memory.micro_batch(settings.batch_size // processes, available)
    forwards = settings.activation_checkpointing + (repair.objective == "distill")
    trained = trained_numbers(repair, shape)
    # The dense model, and its states and those of the repaired one.
    beside = element * (shape.parameters + 2 * settings.tokens * shape.hidden)
    return Needs(
        work=training_work(shape, repair, settings.tokens, forwards=forwards),
        passes=3 * shape.blocks * settings.blocks // (processes * micro_batch),
        processes=processes,
        host=beside * repair.by_block,
        device=memory.peak(micro_batch),
        disk=(repair.saved_bytes or element) * trained,
        # Of two checkpoints.
        scratch=2 * repair.held_bytes * trained,
    )


def _evaluation(config: Config, job: Job, shape: Shape, element: int) -> Needs:
    evaluation = config.evaluation_of(job.model)
    windows = [task.context_length or 0 for task in evaluation.tasks.values()]
    tokens = sum(task.tokens(name) for name, task in evaluation.tasks.items())
    together = max(evaluation.batch_tokens, *windows)
    # Logits and their logarithms in float32, too.
    each = kept_bytes(shape, element, 0, dropout=False) + (element + 2 * 4) * shape.vocabulary
    # Merged, it may be pruned again.
    again = 0 if job.repair is None else _pruning(config, job, shape, element).device
    return Needs(
        work=2 * shape.parameters * tokens,
        passes=shape.blocks * tokens // together,
        device=element * shape.parameters + max(together * each, again),
    )


def memory_mib(config: Config, job: Job, device: Device) -> int:
    """Memory of the host that a job asks a scheduler for."""
    need = needs(config, job, device.kind) or Needs()
    return need.processes * (BASE_MIB + ceil(MEMORY_MARGIN * need.host / MIB))


def minutes(config: Config, job: Job, device: Device) -> int:
    """Time that a job asks a scheduler for."""
    need = needs(config, job, device.kind) or Needs()
    return BASE_MINUTES + ceil(TIME_MARGIN * job_seconds(config, job, need, device) / 60)


def job_seconds(config: Config, job: Job, need: Needs, device: Device) -> float:
    """Time that a job takes on its cores, or GPUs; a variant is as fast as its method."""
    stage = STAGES.get(job.rule, job.rule)
    method = {"prune": job.pruner, "repair": config.method(job.repair)}.get(stage)
    speed = device.speed_of(stage, method) * units(config, need, device.kind)
    return need.seconds + max(need.work / speed, need.passes * device.launch)


def units(config: Config, need: Needs, device: str) -> int:
    """Cores, or GPUs, that a job takes."""
    return need.processes * (config.runtime.threads if device == "cpu" else 1)
