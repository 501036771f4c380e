"""Log-likelihoods of many continuations, with every shared prefix computed once.

The answers of a multiple-choice question share the question, few-shot prompts share their examples,
and the two readings of a WinoGrande sentence share the words before the blank. Scored one request
a row, as `HFLM` does, those tokens are computed again for every request. Here the requests form
prefix trees, and a tree is one row without padding: each token sees its ancestors only and keeps
the position it has in its own sequence, so the scores are those of the separate sequences.

That holds for a model whose layers see what the mask and the positions say. Not all do: some have a
window of their own, or carry a state from token to token. No attribute tells which, so some
requests are scored both ways before the others, and where the two differ by more than rounding each
request is read alone. How much rounding is, such a request shows itself: read alone once more, with
other tokens behind it, which a causal model does not see.
"""

import inspect
import logging
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_

import numpy as np
import torch
from lm_eval.models.huggingface import HFLM
from lm_eval.utils import get_rolling_token_windows, make_disjoint_window
from tqdm import tqdm

from bench.data.forms import DataError
from bench.sources.checkpoint import no_row

# HFLM warns that it was given a loaded model, which is the way it is meant here.
logging.getLogger("lm_eval.models.huggingface").setLevel(logging.ERROR)

ROOT = -1
# The kind of attention that has a window, as `layer_types` of a configuration names it.
SLIDING = "sliding_attention"
# How requests are read: several a pass, or one.
PACKED, SINGLE = "packed", "single"
# Requests of a task that are read both ways.
TELL_TALES = 4


class PrefixTree:
    """Token sequences of which equal prefixes are stored once.

    A node is a pair of its parent's index and its token; parents come before their children.
    """

    def __init__(self):
        self._nodes: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    @property
    def tokens(self) -> list[int]:
        """The token of each node."""
        return [token for _, token in self._nodes]

    @property
    def branches(self) -> bool:
        """Whether it is more than one sequence and beginnings of it."""
        return any(parent != node - 1 for node, (parent, _) in enumerate(self._nodes))

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
        tokens = np.array(self.tokens)
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


@dataclass(frozen=True)
class Prediction:
    """What a model gives the tokens of some targets.

    Attributes:
        log_probs: of each target, the log-probabilities of its tokens.
        greedy: of each target, whether all its tokens are the most probable ones.
        largest: magnitude of the numbers that the log-probabilities are differences of.
    """

    log_probs: list[list[float]]
    greedy: list[bool]
    largest: float

    def results(self) -> list[tuple[float, bool]]:
        """Log-likelihood of each target, and whether it is greedy.

        Raises:
            FloatingPointError: a log-likelihood is not finite.
        """
        totals = [math.fsum(values) for values in self.log_probs]
        for total in totals:
            if not math.isfinite(total):
                raise FloatingPointError(f"the model's log-likelihood of a text is {total}")
        return list(zip(totals, self.greedy, strict=True))


def rounding(dtype: torch.dtype, largest: float) -> float:
    """How far two ways to compute log-probabilities may lie apart, root mean square, in nats.

    Of the digits of `dtype` the arithmetic of many layers leaves about half: the square root of
    its epsilon. Logits of the magnitude `largest` are themselves rounded, by up to half of epsilon
    times that. (A model of 30 layers, logits up to 29: 4e-6 in float32 of the 3e-4 allowed, 0.03 in
    bfloat16 of 0.11.)
    """
    epsilon = torch.finfo(dtype).eps
    return max(math.sqrt(epsilon), epsilon / 2 * largest)


def root_mean_square(parts: Sequence[np.ndarray]) -> float:
    """Of all numbers of some arrays."""
    return math.sqrt(np.mean(np.square(np.concatenate(parts))))


def cut_by(path: list[int], predicted: int) -> int:
    """The windows that, if they counted the columns of a row, would cut what a request sees.

    A window of w cuts it where a token fewer than w tokens back in the sequence is w or more
    columns back in the tree.

    Args:
        path: the request's nodes.
        predicted: how many of them, its last ones, predict something.

    Returns:
        A bit w for each such window w.
    """
    first = len(path) - predicted
    windows, strangers = 0, 0
    for back, position in enumerate(range(first, -1, -1), start=1):
        before = path[position - 1] if position else ROOT
        strangers += path[position] - before - 1
        windows |= ((1 << strangers) - 1) << (back + 1)
    return windows


def tell_tale(
    trees: Sequence[tuple[PrefixTree, dict[int, list[int]]]], targets: Sequence[list[int]]
) -> dict[int, list[int]]:
    """The requests that show best whether a model sees trees as they are meant.

    First the one that other sequences come nearest to: a state has just seen them. Then those that
    are cut by most of the windows which cut any request. And the longest one: a window that the
    configuration does not name cuts it.

    Args:
        trees: what :func:`pack` returns.
        targets: of all requests.

    Returns:
        Indices of at most `TELL_TALES` requests, by the index of their tree; empty where no tree
        branches.
    """
    cut, lengths, owner = {}, {}, {}
    for number, (tree, paths) in enumerate(trees):
        if tree.branches:
            for index, path in paths.items():
                cut[index] = cut_by(path, len(targets[index]))
                lengths[index], owner[index] = len(path), number
    if not cut:
        return {}
    chosen = {
        max(cut, key=lambda i: (-(cut[i] & -cut[i]).bit_length() if cut[i] else -math.inf, cut[i])),
        max(lengths, key=lengths.get),
    }
    while len(chosen) < TELL_TALES:
        shown = reduce(or_, (cut[index] for index in chosen))
        best = max(cut, key=lambda i: (cut[i] & ~shown).bit_count())
        if not cut[best] & ~shown:
            break
        chosen.add(best)
    by_tree: dict[int, list[int]] = {}
    for index in sorted(chosen):
        by_tree.setdefault(owner[index], []).append(index)
    return by_tree


class PackedLM(HFLM):
    """`HFLM` that computes each shared prefix once; the log-likelihoods are the same.

    Probabilities are in float32 whatever the model's dtype.

    Args:
        model: a decoder-only transformers model on its device.
        tokenizer: its tokenizer.
        max_length: tokens that the model sees at most; a longer request loses its beginning. None:
            the model's own limit.
        batch_tokens: tokens of one forward pass. A longer request is a pass of its own.

    Attributes:
        scoring: `packed`; or `single` once packed requests were not scored as they are alone.

    Raises:
        DataError: the model takes fewer tokens than `max_length`.
    """

    def __init__(self, model, tokenizer, *, max_length: int | None = None, batch_tokens: int = 256):
        super().__init__(pretrained=model, tokenizer=tokenizer)
        if max_length is not None and max_length > self.max_length:
            raise DataError(
                f"context_length = {max_length}: the model takes at most {self.max_length} tokens"
            )
        self._max_length = max_length
        self.batch_tokens = batch_tokens
        self.scoring = PACKED
        self._rows = model.get_input_embeddings().weight.shape[0]
        self._selects_logits = "logits_to_keep" in inspect.signature(model.forward).parameters
        self._window = getattr(model.config, "sliding_window", None)
        # Where the model does not say, its blocks are alike.
        self._kinds = set(getattr(model.config, "layer_types", None) or [SLIDING])

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
        targets = [continuation for _, _, continuation in requests]
        trees = pack(inputs, self.batch_tokens if self.scoring == PACKED else 0)
        scored = self._scored_both_ways(trees, targets)
        if scored is None:
            self.scoring = SINGLE
            return self._loglikelihood_tokens(requests, disable_tqdm)
        results = [None] * len(requests)
        with tqdm(total=len(requests), desc="Scoring", disable=disable_tqdm) as progress:
            for number, (tree, paths) in enumerate(trees):
                found = scored.get(number) or self._predict(tree, paths, targets)
                for index, result in zip(paths, found.results(), strict=True):
                    results[index] = result
                    if (key := requests[index][0]) is not None:  # None: a window of a text
                        self.cache_hook.add_partial("loglikelihood", key, result)
                progress.update(len(paths))
        return results

    def _scored_both_ways(self, trees, targets) -> dict[int, Prediction] | None:
        """Predictions of those trees of which requests were scored alone as well, by their index.

        None, and a line on standard error, where the two differ by more than rounding, or where the
        model cannot read a tree. Rounding is what :func:`rounding` expects; or, up to four times
        that, twice what other tokens behind a request change, which it does not see.
        """
        scored, differences, alone, largest, reason = {}, [], [], 0.0, None
        for number, chosen in tell_tale(trees, targets).items():
            tree, paths = trees[number]
            try:
                scored[number] = self._predict(tree, paths, targets)
            except torch.OutOfMemoryError:
                raise
            # What models raise that do not know a mask or positions is of any kind.
            except Exception as error:
                reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                break
            together = dict(zip(paths, scored[number].log_probs, strict=True))
            for index in chosen:
                read = [tree.tokens[node] for node in paths[index]]
                prediction = self._predict_alone(read, targets[index])
                largest = max(largest, prediction.largest)
                (log_probs,) = prediction.log_probs
                differences.append(np.subtract(together[index], log_probs))
                alone.append((tree, paths[index], targets[index], log_probs))
        if reason is None:
            if not differences:
                return scored
            apart, allowed = root_mean_square(differences), rounding(self.model.dtype, largest)
            if apart > allowed:
                unseen = [self._changed_by_what_follows(*request) for request in alone]
                allowed = np.clip(2 * root_mean_square(unseen), allowed, 4 * allowed)
            if apart <= allowed:
                return scored
            reason = f"{apart:.2g} nats a token apart from alone; rounding is up to {allowed:.2g}"
        print(
            f"{type(self.model).__name__}: scores of packed requests are not its own ({reason}): "
            "one request a row",
            file=sys.stderr,
        )
        return None

    def _changed_by_what_follows(
        self, tree: PrefixTree, path: list[int], target: list[int], alone: list[float]
    ) -> np.ndarray:
        """By how much a tree's other tokens, behind a request, change its log-probabilities."""
        read = [tree.tokens[node] for node in path]
        others = np.delete(tree.tokens, path).tolist()[: self.max_length - len(read)]
        (followed,) = self._predict_alone(read, target, others).log_probs
        return np.subtract(followed, alone)

    def _predict_alone(
        self, read: list[int], target: list[int], behind: Sequence[int] = ()
    ) -> Prediction:
        """What the model gives the target of one request, in a row with other tokens behind it.

        Raises:
            FloatingPointError: its log-likelihood is not finite.
        """
        row = PrefixTree()
        nodes = row.add([*read, *behind])[: len(read)]
        prediction = self._predict(row, {0: nodes}, [target])
        prediction.results()
        return prediction

    def _inputs(self, context: list[int], continuation: list[int]) -> list[int]:
        """What the model reads of a request: all but the last token, cut from the left.

        Raises:
            DataError: there is nothing before them or to score, or more than fits; or a token has
                no row in the embedding.
        """
        if not context or not 0 < len(continuation) <= self.max_length:
            raise DataError(
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
            if kind == SLIDING and self._window is not None:
                seen = visible & (positions[:, None] - positions < self._window)
            mask = torch.zeros(seen.shape, dtype=dtype).masked_fill_(~seen, torch.finfo(dtype).min)
            masks[kind] = mask[None, None].to(self.device)
        return masks if len(masks) > 1 else masks.popitem()[1]

    @torch.no_grad()
    def _predict(
        self, tree: PrefixTree, paths: dict[int, list[int]], targets: Sequence[list[int]]
    ) -> Prediction:
        """What the model gives the targets of a tree's requests.

        Args:
            tree: of their inputs.
            paths: the nodes of each input, by the index of its request.
            targets: of all requests; the last k nodes predict the k tokens of a target.
        """
        targets = [targets[index] for index in paths]
        nodes = [p[-len(t) :] for p, t in zip(paths.values(), targets, strict=True)]
        tokens, positions, visible = (torch.from_numpy(array) for array in tree.arrays())
        used, rows = np.unique(np.concatenate(nodes), return_inverse=True)
        used, rows = torch.from_numpy(used).to(self.device), torch.from_numpy(rows)
        labels = torch.from_numpy(np.concatenate(targets))
        told_apart = {}
        # A single sequence is read as any model reads it.
        if tree.branches:
            told_apart["position_ids"] = positions[None].to(self.device)
            told_apart["attention_mask"] = self._mask(positions, visible)
        logits = self.model(
            input_ids=tokens[None].to(self.device),
            use_cache=False,
            **told_apart,
            **({"logits_to_keep": used} if self._selects_logits else {}),
        ).logits[0]
        if not self._selects_logits:
            logits = logits[used]
        log_probs = logits.log_softmax(-1, dtype=torch.float32)
        greedy = log_probs.argmax(-1).cpu()[rows] == labels
        chosen, values = logits[rows, labels].float(), log_probs[rows, labels]
        # A log-probability is a logit less the logarithm of their sum.
        largest = torch.stack([chosen, chosen - values]).abs().max().item()
        lengths = [len(target) for target in targets]
        return Prediction(
            [part.tolist() for part in values.split(lengths)],
            [bool(part.all()) for part in greedy.split(lengths)],
            largest,
        )
