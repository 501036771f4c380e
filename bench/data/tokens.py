"""From items to tensors of token ids: calibration sequences and packed repair blocks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

import torch

from bench.data.forms import DataError
from bench.data.items import document
from bench.data.splits import position
from bench.files import read_json, whole
from bench.origin import mark

IGNORED = -100
DOCUMENTS_AT_ONCE = 256


def calibration(
    items: Sequence[dict],
    tokenizer,
    *,
    samples: int,
    length: int,
    seed: int,
    sampling: str = "joined",
) -> torch.Tensor:
    """Sequences of consecutive text, drawn without overlap.

    Args:
        items: of one split; paragraphs of an article stand together in reading order.
        tokenizer: of ``transformers``; no special tokens are added.
        samples: number of sequences.
        length: tokens a sequence.
        seed: of the draw.
        sampling: ``joined``: the texts are joined by blank lines in their order and cut into
            sequences, of which some are drawn. ``documents``, as SparseGPT and Wanda do: documents
            are drawn, and of each that is longer than a sequence a window at a random place; only
            as many are tokenized as it takes.

    Returns:
        int64 token ids of shape (samples, length).

    Raises:
        DataError: when the text is too short.
    """
    generator = torch.Generator().manual_seed(seed)
    return SAMPLINGS[sampling](items, tokenizer, samples, length, generator)


def _joined(
    items: Sequence[dict], tokenizer, samples: int, length: int, generator: torch.Generator
) -> torch.Tensor:
    texts = ["".join(document(item)) + "\n\n" for item in items]
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    stream = torch.tensor([token for text in ids for token in text], dtype=torch.long)
    sequences = stream[: len(stream) // length * length].view(-1, length)
    if len(sequences) < samples:
        raise DataError(
            f"calibration: {samples} sequences of {length} tokens are {samples * length} tokens; "
            f"the text has {len(stream)}"
        )
    drawn = torch.randperm(len(sequences), generator=generator)
    return sequences[drawn[:samples]]


def _documents(
    items: Sequence[dict], tokenizer, samples: int, length: int, generator: torch.Generator
) -> torch.Tensor:
    windows: list[list[int]] = []
    order = torch.randperm(len(items), generator=generator).tolist()
    for first in range(0, len(order), DOCUMENTS_AT_ONCE):
        drawn = order[first : first + DOCUMENTS_AT_ONCE]
        texts = ["".join(document(items[index])) for index in drawn]
        for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]:
            if len(ids) > length:
                place = torch.randint(len(ids) - length + 1, (1,), generator=generator).item()
                windows.append(ids[place : place + length])
                if len(windows) == samples:
                    return torch.tensor(windows, dtype=torch.long)
    raise DataError(
        f"calibration: {samples} sequences of {length} tokens, each of a longer document: "
        f"{len(windows)} of {len(items)} documents are"
    )


SAMPLINGS = {"joined": _joined, "documents": _documents}


@dataclass(frozen=True)
class Blocks:
    """Packed repair text: ``input_ids`` and ``labels``, int64 of shape (blocks, length)."""

    input_ids: torch.Tensor
    labels: torch.Tensor
    counts: dict = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.input_ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return {"input_ids": self.input_ids[index], "labels": self.labels[index]}

    def save(self, path: str | Path, made_from: dict) -> None:
        """Write the tensors to ``path`` (safetensors), their counts and origin beside it."""
        from safetensors.torch import save_file

        with whole(path) as temporary:
            save_file({"input_ids": self.input_ids, "labels": self.labels}, temporary)
        mark(path, made_from, counts=self.counts)

    @classmethod
    def load(cls, path: str | Path) -> "Blocks":
        from safetensors.torch import load_file

        return cls(**load_file(path), counts=read_json(Path(path).with_suffix(".json"))["counts"])


def pack(
    mixture: Mapping[str, tuple[Sequence[dict], float]],
    tokenizer,
    *,
    length: int,
    blocks: int,
    prompt_loss: bool,
    seed: int,
) -> Blocks:
    """Documents of several sets, interleaved and packed into blocks of one length.

    Each document is followed by the end-of-sequence token, and the stream is cut every ``length``
    tokens, so that a document may go on in the next block. Each set's documents are in an order
    fixed by the seed, each is used once. The next document always comes from the set that is
    furthest behind its share of the tokens.

    Args:
        mixture: the items of each set and its weight, its relative share of the tokens.
        tokenizer: of ``transformers``.
        length: tokens a block.
        blocks: number of blocks.
        prompt_loss: whether the tokens of prompts have labels; texts and responses always have.
        seed: of the order.

    Raises:
        DataError: when a set is used up before there are enough blocks, or no token of them counts.
    """
    if tokenizer.eos_token_id is None:
        raise DataError("the tokenizer has no end-of-sequence token to separate documents with")
    streams = {
        name: _stream(sorted(items, key=lambda item: position(seed, item["id"])), tokenizer)
        for name, (items, _) in mixture.items()
    }
    weights = {name: weight for name, (_, weight) in mixture.items()}
    documents, tokens = dict.fromkeys(mixture, 0), dict.fromkeys(mixture, 0)
    ids, labels = [], []
    while len(ids) < blocks * length:
        name = min(mixture, key=lambda name: tokens[name] / weights[name])
        try:
            given, whole_document = next(streams[name])
        except StopIteration:
            raise DataError(
                f"repair text: {name!r} ({documents[name]} items, {tokens[name]} tokens) is used "
                f"up after {len(ids) // length} of {blocks} blocks of {length} tokens"
            ) from None
        hidden = 0 if prompt_loss else given
        ids += whole_document
        labels += [IGNORED] * hidden + whole_document[hidden:]
        documents[name] += 1
        tokens[name] += len(whole_document)

    def cut(stream: list[int]) -> torch.Tensor:
        return torch.tensor(stream[: blocks * length], dtype=torch.long).view(blocks, length)

    # The first token of a block is not predicted.
    counted = int((cut(labels)[:, 1:] != IGNORED).sum())
    if not counted:
        raise DataError(
            f"repair text: {blocks} blocks of {length} tokens are of prompts alone, which do not "
            "count (training.prompt_loss = false); allowed: more blocks, or longer ones"
        )
    counts = {
        "blocks": blocks,
        "length": length,
        "loss_tokens": counted,
        "documents": documents,
        "document_tokens": tokens,
    }
    return Blocks(cut(ids), cut(labels), counts)


def _stream(items: Sequence[dict], tokenizer) -> Iterator[tuple[int, list[int]]]:
    """Token ids of each item as a document, and how many of them were given, not to be learnt."""
    # What the tokenizer puts before any text: the beginning-of-sequence token, or nothing.
    start = tokenizer("")["input_ids"]
    for first in range(0, len(items), DOCUMENTS_AT_ONCE):
        parts = [document(item) for item in items[first : first + DOCUMENTS_AT_ONCE]]
        # The prompt's tokens are the first ones of the whole text, as in evaluation; but a space
        # that ends a prompt is one with the word behind it, which is to be learnt.
        texts = tokenizer([given + rest for given, rest in parts], add_special_tokens=False)
        prompts = tokenizer([given for given, _ in parts], add_special_tokens=False)
        for (given, _), prompt, ids in zip(
            parts, prompts["input_ids"], texts["input_ids"], strict=True
        ):
            hidden = len(start) + _shared(prompt, ids) if given else 0
            yield hidden, [*start, *ids, tokenizer.eos_token_id]


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with that are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
