"""What a model scores: tasks of lm-eval over local items, each shared prefix computed once.

Importing this package costs no import of torch or lm-eval: the configuration reads `TaskSpec`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.evaluation.tasks import TASKS_FOLDER, TaskSpec

__all__ = ["TASKS_FOLDER", "Evaluation", "TaskSpec", "evaluate"]


@dataclass(frozen=True)
class Evaluation:
    """What a model scored.

    Attributes:
        metrics: a row a task and metric: task, metric, value, stderr, n (items), tokens (predicted;
            of perplexities only), tasks (how many: of a group), version, few_shot, limit,
            context_length, scoring (``packed``, or ``single``: one request a row), data, revision.
            Accuracies are fractions. Multiple choice has ``answer_bpb`` beside them (see
            :mod:`bench.evaluation.answers`). What is not defined is None; a metric that a task
            does not have has no row.
        samples: a row an item, in the order of the data: task, id, and its value of each metric;
            of multiple choice, the log_likelihoods (nats) and bytes of its options, and which are
            right; for a perplexity, its log_likelihood in nats and its tokens.
    """

    metrics: list[dict]
    samples: list[dict]


def evaluate(
    model,
    tokenizer,
    tasks: Mapping[str, TaskSpec],
    data: Mapping[str, Path],
    *,
    batch_tokens: int = 256,
) -> Evaluation:
    """Score a model on tasks, one after another, with lm-eval.

    Every model with the same tokenizer sees the same items in the same order and batches. A group
    of lm-eval's is one task here: its scores are those of all items of its tasks together.

    Args:
        model: a decoder-only transformers model, on its device.
        tokenizer: its tokenizer.
        tasks: settings by name of task: of a file in ``config/tasks``, or of lm-eval's own.
        data: the items of each task: JSON lines, of which the first ``limit`` are taken; of
            lm-eval's own the folder that :class:`bench.evaluation.own.LmEvalSource` has filled.
        batch_tokens: tokens of one forward pass. Attention between the unrelated requests of a pass
            is computed too, and masked: on a CPU many tokens cost more than they save.

    Raises:
        DataError: a task is unknown, or its settings do not fit its items or the model. All tasks
            are looked at before the first is scored.
        FloatingPointError: the model does not give finite probabilities.
    """
    from bench.evaluation.harness import load_task, score
    from bench.evaluation.packed import PACKED, PackedLM
    from bench.models.loading import short_attention

    short_attention(model, batch_tokens, model.device)
    loaded = {name: load_task(name, spec, data[name]) for name, spec in tasks.items()}
    models = {
        name: PackedLM(model, tokenizer, max_length=spec.context_length, batch_tokens=batch_tokens)
        for name, spec in tasks.items()
    }
    metrics, samples, scoring = [], [], PACKED
    for name, spec in tasks.items():
        models[name].scoring = scoring
        rows, items = score(models[name], name, loaded[name], spec)
        scoring = models[name].scoring
        metrics += rows
        samples += items
    return Evaluation(metrics, samples)
