"""What a job needs of the machine: work, memory and disk, from shapes, budget and options.

There is one estimate of each: a plan adds them up (:mod:`bench.planning.plan`), and a scheduler is
asked for them with a margin. A job that still needs more is ended by it, and asks for more at its
next attempt.
"""

from dataclasses import dataclass
from math import ceil

from baselines.pruning import PRUNERS
from baselines.pruning.pattern import Pattern
from bench.cells import NO_BUDGET
from bench.config import Config
from bench.models.shape import Shape, shape_of
from bench.planning.speeds import SPEED
from bench.planning.work import GROUPS, evaluation_work, pruning_work, training_work
from bench.sources import PypiSource

MIB, GIB = 2**20, 2**30

# Start of a job, and bytes a second at which it reads a model.
START_SECONDS = 15
READING = 5e8

# What a job asks of a scheduler beside what is estimated (interpreter, libraries, text, the CUDA
# context), and factors for what the estimates do not know.
BASE_MIB = 2000
BASE_MINUTES = 30
MEMORY_MARGIN = 1.5
TIME_MARGIN = 2

# Bytes a number that trains: in float32 with its gradient and AdamW's moments, and where it is;
# before it trains; in checkpoints, of which there are two.
TRAINED_BYTES = 20
START_BYTES = 8
CHECKPOINT_BYTES = 2 * 12
# Bytes in bfloat16 that a block keeps of a token for the backward, for each feature of the hidden
# states and of the MLP; dropout keeps more.
KEPT = (20, 8)
KEPT_WITH_DROPOUT = (36, 10)
# Bytes of the logits and what is made of them, a token and entry of the vocabulary.
LOGITS_BYTES = 10
# Float32 matrices of the widest layer's inputs that it takes to invert one.
INVERSION = 5


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


@dataclass(frozen=True)
class Needs:
    """What a job needs, without margins.

    Attributes:
        work: floating-point operations.
        processes: that share the work, each with its own cores, or GPU.
        seconds: of start and reading, before any work.
        host: bytes of the host's memory of a process, at the most.
        device: bytes of a GPU's memory, at the most; 0 where the CPU computes.
        spared: of these, what smaller micro-batches spare: a repair takes them if it has to.
        disk: bytes that it leaves.
        scratch: bytes of checkpoints while it runs, at the most.
    """

    work: float = 0
    processes: int = 1
    seconds: float = START_SECONDS
    host: int = 0
    device: int = 0
    spared: int = 0
    disk: int = 0
    scratch: int = 0


def needs(config: Config, job: Job, device: str) -> Needs:
    """What a job needs on a device, cpu or cuda; a start alone while the shape is not known."""
    shape = shape_of(config.models[job.model].shape, job.model)
    if shape is None:
        return Needs()
    element = element_bytes(config, device)
    model = element * shape.parameters
    seconds = START_SECONDS + model / READING
    if job.rule == "fetch_model":
        # What comes as GGUF is converted, in float32.
        converted = isinstance(config.models[job.model].source, PypiSource)
        return Needs(host=8 * shape.parameters * converted, disk=2 * shape.parameters)
    if job.rule == "prune":
        disk = base_bytes(config, job, shape, element)
        memory = pruning_memory(config, job, shape, element)
        tokens = config.calibration.samples * config.calibration.length
        return Needs(
            work=pruning_work(shape, config.pruner(job.pruner), tokens),
            seconds=seconds,
            host=model + disk + (memory if device == "cpu" else 0),
            device=memory if device == "cuda" else 0,
            disk=disk,
        )
    if job.rule in ("repair", "try_learning_rate"):
        processes = config.processes(job.repair) if job.rule == "repair" else 1
        block = activation_bytes(config, job, shape, element)
        training = config.training_at(job.budget)
        batch = training.batch_size // processes
        memory = training_memory(config, job, shape, model, processes) + batch * block
        method, options = config.method(job.repair), config.repair_options(job.repair, job.budget)
        beside = 0
        if config.built(job.repair, job.budget).by_block:
            # The dense model, and its states and those of the repaired one.
            beside = model + 2 * element * training.tokens * shape.hidden
        return Needs(
            work=training_work(shape, method, options, training.tokens),
            processes=processes,
            seconds=seconds,
            host=beside + (memory if device == "cpu" else model),
            device=memory if device == "cuda" else 0,
            spared=(batch - 1) * block,
            disk=training_bytes(config, job, shape, element),
            scratch=CHECKPOINT_BYTES * trained_numbers(config, job, shape),
        )
    tasks = config.evaluation_of(job.model).tasks
    memory = model + evaluation_memory(config, job, shape, element)
    return Needs(
        work=evaluation_work(shape, tasks),
        seconds=seconds,
        host=memory if device == "cpu" else model,
        device=memory if device == "cuda" else 0,
    )


def memory_mib(config: Config, job: Job, device: str) -> int:
    """Memory of the host that a job asks a scheduler for; ``device`` is cpu or cuda."""
    need = needs(config, job, device)
    return need.processes * (BASE_MIB + ceil(MEMORY_MARGIN * need.host / MIB))


def minutes(config: Config, job: Job, device: str) -> int:
    """Time that a job asks a scheduler for; ``device`` is cpu or cuda."""
    seconds = job_seconds(config, needs(config, job, device), device, SPEED[device])
    return BASE_MINUTES + ceil(TIME_MARGIN * seconds / 60)


def job_seconds(config: Config, need: Needs, device: str, speed: float) -> float:
    """Time that a job takes at a speed of one core, or of one GPU."""
    return need.seconds + need.work / (speed * units(config, need, device))


def units(config: Config, need: Needs, device: str) -> int:
    """Cores, or GPUs, that a job takes."""
    return need.processes * (config.runtime.threads if device == "cpu" else 1)


def element_bytes(config: Config, device: str) -> int:
    """Bytes of a weight: of a CPU it is not known here whether it computes in bfloat16."""
    narrow = config.runtime.dtype == "bfloat16"
    return 2 if narrow or (config.runtime.dtype == "auto" and device == "cuda") else 4


def weights_left(job: Job, shape: Shape) -> int:
    """Weights of the prunable layers that pruning leaves."""
    return ceil((1 - Pattern.parse(job.pattern).sparsity) * shape.prunable)


def trained_numbers(config: Config, job: Job, shape: Shape) -> int:
    """How many numbers a repair trains."""
    repair, left = config.built(job.repair, job.budget), weights_left(job, shape) / shape.prunable
    return shape.blocks * sum(
        repair.numbers(outputs, inputs, ceil(left * outputs * inputs))
        for outputs, inputs in shape.layers.values()
    )


def base_bytes(config: Config, job: Job, shape: Shape, element: int) -> int:
    """Of a base on disk: one bit a weight, and the weights that are left where they changed."""
    keeps = PRUNERS[job.pruner].keeps_weights
    return shape.prunable // 8 + (0 if keeps else element * weights_left(job, shape))


def training_bytes(config: Config, job: Job, shape: Shape, element: int) -> int:
    """Of a trained repair on disk."""
    saved = config.built(job.repair, job.budget).saved_bytes or element
    return saved * trained_numbers(config, job, shape)


def pruning_memory(config: Config, job: Job, shape: Shape, element: int) -> int:
    """Of one block, the calibration set at its input, and what a pruner keeps of its layers.

    As in ``pruning_work``, a pruner that changes weights has a matrix a group of layers, inverts
    the largest, and works on float32 copies of the layers of a group.
    """
    block = element * shape.prunable // shape.blocks
    if not config.pruner(job.pruner).reads_calibration:
        return block
    tokens = config.calibration.samples * config.calibration.length
    memory = block + element * tokens * shape.hidden
    if not PRUNERS[job.pruner].keeps_weights:
        groups = [[shape.layers[name] for name in names] for names in GROUPS]
        memory += 4 * sum(layers[0][1] ** 2 for layers in groups)
        memory += 4 * INVERSION * max(shape.widths) ** 2
        memory += 4 * 2 * max(sum(m * n for m, n in layers) for layers in groups)
    return memory


def training_memory(config: Config, job: Job, shape: Shape, model: int, processes: int) -> int:
    """Of a process of a training, without activations: its model, what trains, dense gradients.

    These are of a layer or two at a time, and of the layers that gather them for an evolution.
    Processes share all but the weights that they begin with, and where these are, and the dense
    model. One that trains block by block has that on the host.
    """
    repair = config.built(job.repair, job.budget)
    largest = max(outputs * inputs for outputs, inputs in shape.layers.values())
    gathered = repair.gathered_bytes(shape.blocks * [*shape.layers.values()])
    trained = trained_numbers(config, job, shape)
    start = model + START_BYTES * trained
    training = trained // shape.blocks if repair.by_block else trained
    memory = (start + (TRAINED_BYTES - START_BYTES) * training) // processes
    memory += gathered + 4 * 3 * largest
    if repair.needs_dense and not repair.by_block:
        memory += model
    return memory if processes == 1 else max(memory, start)


def activation_bytes(config: Config, job: Job, shape: Shape, element: int) -> int:
    """Of one block of tokens: what is kept for the backward, and the logits."""
    repair = config.built(job.repair, job.budget)
    dropout = config.repair_options(job.repair, job.budget).get("dropout")
    hidden, intermediate = KEPT_WITH_DROPOUT if dropout else KEPT
    kept = (hidden * shape.hidden + intermediate * shape.intermediate) * element // 2
    if repair.by_block:
        return config.training.length * kept
    logits = LOGITS_BYTES + element * (repair.objective == "distill")
    return config.training.length * (shape.blocks * kept + logits * shape.vocabulary)


def evaluation_memory(config: Config, job: Job, shape: Shape, element: int) -> int:
    """Of an evaluation above its model: logits, or what it takes to prune again after merging."""
    tasks = config.evaluation_of(job.model).tasks.values()
    windows = [task.context_length or 0 for task in tasks]
    tokens = max(config.evaluation.batch_tokens, *windows)
    kept = KEPT[0] * shape.hidden + KEPT[1] * shape.intermediate
    forward = tokens * (kept * element // 2 + LOGITS_BYTES * shape.vocabulary)
    if job.repair is None:
        return forward
    return max(forward, pruning_memory(config, job, shape, element))
