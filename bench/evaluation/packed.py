"""Log-likelihoods of many continuations, with every shared prefix computed once.

The answers of a multiple-choice question share the question, few-shot prompts share their examples,
and the two readings of a WinoGrande sentence share the words before the blank. Scored one request
a row, as `HFLM` does, those tokens are computed again for every request. Here the requests form
prefix trees, and a tree is one row without padding: each token sees its ancestors only and keeps
the position it has in its own sequence, so the scores are those of the separate sequences.
"""

import inspect
import logging
import math
from collections.abc import Sequence

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from bench.data.items import DataError
from bench.sources.checkpoint import no_row

# HFLM warns that it was given a loaded model, which is the way it is meant here.
logging.getLogger("lm_eval.models.huggingface").setLevel(logging.ERROR)

ROOT = -1
# The kinds of attention, as `layer_types` of a configuration names them.
FULL, SLIDING = "full_attention", "sliding_attention"


class PrefixTree:
    """Token sequences of which equal prefixes are stored once.

    A node is a pair of its parent's index and its token; parents come before their children.
    """

    def __init__(self):
        self._nodes: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def missing(self, sequence: Sequence[int]) -> int:
        """How many nodes `add` would create."""
        node = ROOT
        for depth, token in enumerate(sequence):
            node = self._nodes.get((node, token))
            if node is None:
                return len(sequence) - depth
        return 0

    def add(self, sequence: Sequence[int]) -> list[int]:
        """The nodes of a sequence, from its first token to its last."""
        node, path = ROOT, []
        for token in sequence:
            node = self._nodes.setdefault((node, token), len(self._nodes))
            path.append(node)
        return path

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tokens (n,), positions (n,) and which nodes each node sees, itself included (n, n)."""
        tokens = np.array([token for _, token in self._nodes])
        visible = np.eye(len(self), dtype=bool)
        for node, (parent, _) in enumerate(self._nodes):
            if parent != ROOT:
                visible[node] |= visible[parent]
        return tokens, visible.sum(axis=1) - 1, visible


def pack(
    sequences: Sequence[Sequence[int]], tree_tokens: int
) -> list[tuple[PrefixTree, dict[int, list[int]]]]:
    """Put token sequences into prefix trees of at most `tree_tokens` nodes.

    In lexicographic order neighbours share the longest prefixes, so each tree takes the next
    sequences that fit. A sequence longer than `tree_tokens` gets a tree of its own. The trees
    depend on the sequences alone.

    Returns:
        The trees, each with the nodes of its sequences, by the index of the sequence.
    """
    trees = []
    for index in sorted(range(len(sequences)), key=sequences.__getitem__):
        sequence = sequences[index]
        if not trees or len(trees[-1][0]) + trees[-1][0].missing(sequence) > tree_tokens:
            trees.append((PrefixTree(), {}))
        tree, paths = trees[-1]
        paths[index] = tree.add(sequence)
    return trees


class PackedLM(HFLM):
    """`HFLM` that computes each shared prefix once; the log-likelihoods are the same.

    Probabilities are in float32 whatever the model's dtype.

    Args:
        model: a decoder-only transformers model on its device, in which attention alone, full or in
            a sliding window, mixes tokens, and positions are an input (not ALiBi).
        tokenizer: its tokenizer.
        max_length: tokens that the model sees at most; a longer request loses its beginning. None:
            the model's own limit.
        batch_tokens: tokens of one forward pass. A longer request is a pass of its own.

    Raises:
        ValueError: the model takes no positions or no mask, mixes tokens in another way, or takes
            fewer tokens than `max_length`.
    """

    def __init__(self, model, tokenizer, *, max_length: int | None = None, batch_tokens: int = 256):
        super().__init__(pretrained=model, tokenizer=tokenizer)
        if max_length is not None and max_length > self.max_length:
            raise ValueError(
                f"context_length = {max_length}: the model takes at most {self.max_length} tokens"
            )
        self._max_length = max_length
        self.batch_tokens = batch_tokens
        self._rows = model.get_input_embeddings().weight.shape[0]
        inputs = inspect.signature(model.forward).parameters
        self._selects_logits = "logits_to_keep" in inputs
        self._window = getattr(model.config, "sliding_window", None)
        self._kinds = set(
            getattr(model.config, "layer_types", None)
            or [FULL if self._window is None else SLIDING]
        )
        if "position_ids" not in inputs or getattr(model.config, "alibi", False):
            raise ValueError(f"{type(model).__name__} takes no positions, so it cannot be packed")
        if other := self._kinds - {FULL, SLIDING}:
            raise ValueError(f"{type(model).__name__} has {min(other)}: allowed: {FULL}, {SLIDING}")
        attention = model.config._attn_implementation
        if attention not in ("eager", "sdpa"):
            raise ValueError(f"attention {attention!r} takes no mask; allowed: eager, sdpa")

    def encode_text(self, text: str) -> list[int]:
        """The tokens of a text that are predicted: none that the tokenizer adds itself."""
        return self.tok_encode(text, add_special_tokens=False)

    def loglikelihood_windows(self, windows: Sequence[list[int]]) -> list[float]:
        """Log-likelihood of all but the first token of each sequence of tokens."""
        scores = self._loglikelihood_tokens([(None, tokens[:1], tokens[1:]) for tokens in windows])
        return [log_likelihood for log_likelihood, _ in scores]

    def generate_until(self, requests, disable_tqdm: bool = False) -> list[str]:
        """As `HFLM`, in batches of about `batch_tokens` tokens."""
        longest = max(len(self.tok_encode(request.args[0])) for request in requests)
        self.batch_size_per_gpu = max(1, self.batch_tokens // (longest + self.max_gen_toks))
        return super().generate_until(requests, disable_tqdm)

    def loglikelihood_rolling(self, requests, disable_tqdm: bool = False) -> list[float]:
        """Log-likelihood of each text, every token predicted once, in windows of `max_length`.

        As `HFLM`, except that a start token which the tokenizer adds is the context of the first
        token only: `HFLM` also counts it as a token of the text, predicted after itself.
        """
        owners, windows = [], []
        for owner, request in enumerate(requests):
            for window in get_rolling_token_windows(
                self.encode_text(*request.args),
                prefix_token=self.prefix_token_id,
                max_seq_len=self.max_length,
                context_len=1,
            ):
                owners.append(owner)
                windows.append((None, *make_disjoint_window(window)))
        totals = [0.0] * len(requests)
        scores = self._loglikelihood_tokens(windows, disable_tqdm=disable_tqdm)
        for owner, (log_likelihood, _) in zip(owners, scores, strict=True):
            totals[owner] += log_likelihood
        for request, total in zip(requests, totals, strict=True):
            self.cache_hook.add_partial("loglikelihood_rolling", request.args, total)
        return totals

    def _loglikelihood_tokens(self, requests, disable_tqdm: bool = False):
        """Score (key, context tokens, continuation tokens): (log-likelihood, is it greedy)."""
        inputs = [self._inputs(context, continuation) for _, context, continuation in requests]
        results = [None] * len(requests)
        with tqdm(total=len(requests), desc="Scoring", disable=disable_tqdm) as progress:
            for tree, paths in pack(inputs, self.batch_tokens):
                targets = [requests[index][2] for index in paths]
                # The last k inputs predict the k tokens of a continuation.
                nodes = [p[-len(t) :] for p, t in zip(paths.values(), targets, strict=True)]
                for index, result in zip(paths, self._score(tree, nodes, targets), strict=True):
                    results[index] = result
                    if (key := requests[index][0]) is not None:  # None: a window of a text
                        self.cache_hook.add_partial("loglikelihood", key, result)
                progress.update(len(paths))
        return results

    def _inputs(self, context: list[int], continuation: list[int]) -> list[int]:
        """What the model reads of a request: all but the last token, cut from the left.

        Raises:
            DataError: a token has no row in the embedding.
        """
        if not context or not 0 < len(continuation) <= self.max_length:
            raise ValueError(
                f"a request of {len(context)} context and {len(continuation)} continuation tokens; "
                f"allowed: at least 1, and 1 to {self.max_length}"
            )
        tokens = (context + continuation)[-(self.max_length + 1) :]
        if (highest := max(tokens)) >= self._rows:
            raise DataError(f"a task's text: {no_row(self.tokenizer, highest, self._rows)}")
        return tokens[:-1]

    def _mask(
        self, positions: torch.Tensor, visible: torch.Tensor
    ) -> torch.Tensor | dict[str, torch.Tensor]:
        """What each token attends to, (1, 1, n, n): one mask, or one a kind if the blocks differ.

        It is additive, as eager attention adds it and sdpa takes it as well.
        """
        dtype = self.model.dtype
        masks = {}
        for kind in self._kinds:
            seen = visible
            if kind == SLIDING:
                seen = visible & (positions[:, None] - positions < self._window)
            mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
            masks[kind] = mask[None, None].to(self.device)
        return masks if len(masks) > 1 else masks.popitem()[1]

    @torch.no_grad()
    def _score(
        self, tree: PrefixTree, nodes: list[list[int]], targets: list[list[int]]
    ) -> list[tuple[float, bool]]:
        """Log-likelihood of each target sequence, predicted at its nodes, and whether it is greedy.

        Raises:
            FloatingPointError: a log-likelihood is not finite.
        """
        tokens, positions, visible = (torch.from_numpy(array) for array in tree.arrays())
        used, rows = np.unique(np.concatenate(nodes), return_inverse=True)
        used, rows = torch.from_numpy(used).to(self.device), torch.from_numpy(rows)
        labels = torch.from_numpy(np.concatenate(targets))
        logits = self.model(
            input_ids=tokens[None].to(self.device),
            position_ids=positions[None].to(self.device),
            attention_mask=self._mask(positions, visible),
            use_cache=False,
            **({"logits_to_keep": used} if self._selects_logits else {}),
        ).logits[0]
        if not self._selects_logits:
            logits = logits[used]
        log_probs = logits.log_softmax(-1, dtype=torch.float32)
        values = log_probs[rows, labels].tolist()
        greedy = (log_probs.argmax(-1).cpu()[rows] == labels).tolist()
        results, start = [], 0
        for target in targets:
            end = start + len(target)
            total = math.fsum(values[start:end])
            if not math.isfinite(total):
                raise FloatingPointError(f"the model's log-likelihood of a text is {total}")
            results.append((total, all(greedy[start:end])))
            start = end
        return results
