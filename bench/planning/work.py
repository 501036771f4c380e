"""The work of a job, in floating-point operations: from shapes, budget and options."""

from collections.abc import Mapping

from baselines.pruning.pruner import Pruner
from baselines.repair import REPAIRS
from bench.evaluation.tasks import PERPLEXITY, TaskSpec
from bench.models.shape import Shape

# How much longer float32 takes than bfloat16, in which all else is counted.
FLOAT32 = 3
# Choosing what is pruned, a weight: as long as so many operations take.
CHOICE = 2800
# Layers of a block that see the same input.
GROUPS = (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))

# Tasks of lm-eval's own: items, and tokens of one with its answers, without solved examples; and
# texts, in windows.
TASKS = {
    "arc_challenge": (1172, 60),
    "arc_easy": (2376, 50),
    "boolq": (3270, 130),
    "gsm8k": (1319, 240),
    "hellaswag": (10042, 160),
    "mmlu": (14042, 120),
    "openbookqa": (500, 40),
    "piqa": (1838, 70),
    "rte": (277, 90),
    "wikitext2_2048": (166, 2048),
    "wikitext2_4096": (83, 4096),
    "winogrande": (1267, 50),
}
OTHER_TASK = (1000, 30)


def pruning_work(shape: Shape, pruner: Pruner, tokens: int) -> float:
    """Of pruning with so many calibration tokens.

    A pruner that changes the weights that stay is taken to need second-order statistics of the
    inputs, as SparseGPT does: for each width w, t w² for t tokens, w³ to invert them, and w² for
    each output of the layers.
    """
    work = CHOICE * shape.prunable
    if pruner.reads_calibration:
        # Each block runs twice: so that its layers' inputs are seen, and for the next block's.
        work += 2 * 2 * shape.prunable * tokens
    if not pruner.keeps_weights:
        for names in GROUPS:
            width = shape.layers[names[0]][1]
            outputs = sum(shape.layers[name][0] for name in names)
            work += FLOAT32 * shape.blocks * width**2 * (tokens + width + outputs)
    return work


def training_work(shape: Shape, repair: str, options: Mapping, tokens: int) -> float:
    """Of training a registered repair, with these options, on so many tokens."""
    dense = options.get("objective") == "distill"  # a forward pass of the dense model
    return 2 * (REPAIRS[repair].products + dense) * shape.parameters * tokens


def evaluation_work(
    shape: Shape, tasks: Mapping[str, TaskSpec], items: Mapping[str, int] | None = None
) -> float:
    """Of the forward passes over tasks.

    Args:
        shape: of the model.
        tasks: by name, with their settings.
        items: how many there were, a task, where that is known.
    """
    items = items or {}
    tokens = sum(task_tokens(name, task, items.get(name)) for name, task in tasks.items())
    return 2 * shape.parameters * tokens


def task_tokens(name: str, task: TaskSpec, items: int | None) -> int:
    """Tokens of a task: of a text at most a window, for want of its length."""
    text = task.metric == PERPLEXITY
    usual, length = TASKS.get(name, OTHER_TASK) if text or task.data is None else OTHER_TASK
    if text:
        length = task.context_length
    return (items or task.limit or usual) * length * (1 + task.few_shot)
