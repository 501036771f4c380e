"""Bits per byte of the right answer: a likelihood, where accuracy knows right and wrong alone.

Of an item with right continuation c of its context, ``-ln p(c | context) / (ln 2 · bytes of c)``.
It falls smoothly where accuracy is still chance, and tells models apart with far fewer items
(Heineman et al. 2025, arXiv 2508.13144). Where the options are put into the context, as in
WinoGrande by partial evaluation, c is what follows the right one.

Bytes are those of c in UTF-8 without the white space that joins it to its context, as lm-eval's
``acc_norm`` and ``acc_bytes`` count the length of an option; the probability is of all that is
scored, that white space included.
"""

import math
from collections.abc import Sequence
from statistics import stdev
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lm_eval.api.task import ConfigurableTask


def answer_bpb(item: dict) -> float:
    """Bits per byte of an item's right answer; of several, of the one that the model finds best.

    Args:
        item: with what :func:`options_of` returns.
    """
    return min(
        -item["log_likelihoods"][option] / (math.log(2) * item["bytes"][option])
        for option in item["right"]
    )


def mean_bpb(items: Sequence[dict]) -> tuple[float, float | None]:
    """The mean over items of :func:`answer_bpb`, and its standard error; one item has none."""
    values = [answer_bpb(item) for item in items]
    error = stdev(values) / math.sqrt(len(values)) if len(values) > 1 else None
    return math.fsum(values) / len(values), error


def options_of(task: "ConfigurableTask", sample: dict) -> dict:
    """What a model gave each option of an item, in the order of the options.

    Args:
        task: of multiple choice.
        sample: of one of its items, as lm-eval logs it.

    Returns:
        ``log_likelihoods`` in nats, ``bytes``, and ``right``, the indices of the right options.
        Nothing for an item that has no right option.
    """
    doc, choices = sample["doc"], task.doc_to_choice(sample["doc"])
    gold = task.doc_to_text(doc) if task.multiple_input else sample["target"]
    found = [_index(one, choices) for one in (gold if isinstance(gold, list) else [gold])]
    right = [index for index in found if index is not None]
    if not right:
        return {}
    # Behind the options there may be requests without a context.
    count = len(choices)
    return {
        "log_likelihoods": [responses[0][0] for responses in sample["resps"][:count]],
        "bytes": [len((c.lstrip() or c).encode()) for _, c, *_ in sample["arguments"][:count]],
        "right": right,
    }


def _index(gold: int | str, choices: Sequence[str]) -> int | None:
    if isinstance(gold, str):
        return choices.index(gold) if gold in choices else None
    return int(gold) if 0 <= gold < len(choices) else None
