"""Perplexity a token, and the windows in which the papers on pruning measure it."""

import math
from collections.abc import Sequence

from bench.evaluation.packed import PackedLM
from bench.evaluation.tasks import PERPLEXITY, TaskSpec


def perplexity(
    log_likelihoods: Sequence[float], tokens: Sequence[int]
) -> tuple[float, float | None]:
    """Perplexity a token over all texts, exp(-sum of log-likelihoods / sum of tokens).

    Args:
        log_likelihoods: of the texts, in nats.
        tokens: how many tokens each has.

    Returns:
        The perplexity and its standard error over texts, to first order: texts are drawn
        independently, their tokens are not. One text has no standard error.
    """
    n, total = len(tokens), sum(tokens)
    loss = -math.fsum(log_likelihoods) / total
    value = math.exp(loss)
    if n == 1:
        return value, None
    deviations = ((-ll - loss * k) ** 2 for ll, k in zip(log_likelihoods, tokens, strict=True))
    return value, value * math.sqrt(math.fsum(deviations) * n / (n - 1)) / total


def score_windows(
    lm: PackedLM, texts: Sequence[str], spec: TaskSpec
) -> tuple[dict[str, tuple], list[dict]]:
    """Perplexity as published with GPTQ, SparseGPT and Wanda.

    The texts are joined by blank lines, tokenized once with what the tokenizer puts before a text,
    and cut into windows of ``context_length`` tokens. A window is a sequence of its own: its first
    token is not predicted. Tokens that do not fill a window are not used.

    Args:
        lm: the model.
        texts: in their order.
        spec: ``context_length``, and the number of windows as ``limit``.

    Returns:
        Value and standard error over windows of each metric, and the windows as items.

    Raises:
        ValueError: the texts have no, or fewer than ``limit``, windows.
    """
    ids, length = lm.tokenizer("\n\n".join(texts))["input_ids"], spec.context_length
    windows = [ids[start : start + length] for start in range(0, len(ids) - length + 1, length)]
    if len(windows) < (spec.limit or 1):
        raise ValueError(
            f"limit = {spec.limit}, context_length = {length}: the text has {len(ids)} tokens, "
            f"which are {len(windows)} windows; allowed: at least one, and as many as there are"
        )
    windows = windows[: spec.limit]
    found = lm.loglikelihood_windows(windows)
    value = perplexity(found, [length - 1] * len(found))
    items = [
        {"id": str(number), "log_likelihood": log_likelihood, "tokens": length - 1}
        for number, log_likelihood in enumerate(found)
    ]
    return {PERPLEXITY: value}, items
