"""The raw files of data sets on the hub: gzipped JSON lines, Parquet, JSON.

A question becomes a prompt and a response, worded as lm-eval's task of the same name words them, so
that repair learns the form in which it is measured. Items with the same prompt are a group.
"""

import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.data.forms import DataError, ItemError, says_something
from bench.data.items import digest
from bench.data.overlaps import tokens
from bench.data.readers.shared import load_json, make_item


def c4(path: Path, skipped: Counter) -> Iterator[dict]:
    """C4: documents, a line each; a shard has about 356,000."""
    for text in _gzipped_texts(path):
        if text.strip():
            yield make_item(text=text)
        else:
            skipped["empty"] += 1


def wikitext(path: Path, skipped: Counter) -> Iterator[dict]:
    """WikiText: all rows of a split joined by blank lines into one text, as perplexities of it are
    published; so it has one item.
    """
    yield make_item(text="\n\n".join(row["text"] for row in _rows(path)))


def boolq(path: Path, skipped: Counter) -> Iterator[dict]:
    for row in _rows(path):
        prompt = f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"
        yield from _answered(prompt, ("no", "yes"), row["label"], skipped)


def rte(path: Path, skipped: Counter) -> Iterator[dict]:
    for row in _rows(path):
        prompt = f"{row['sentence1']}\nQuestion: {row['sentence2']} True or False?\nAnswer:"
        yield from _answered(prompt, ("True", "False"), row["label"], skipped)


def hellaswag(path: Path, skipped: Counter) -> Iterator[dict]:
    for row in _rows(path):
        context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
        endings = [_without_marks(ending) for ending in row["endings"]]
        label = int(row["label"]) if row["label"] != "" else -1
        yield from _answered(_without_marks(context), endings, label, skipped)


def winogrande(path: Path, skipped: Counter) -> Iterator[dict]:
    """WinoGrande: sentences with a blank and two options."""
    for row in _rows(path):
        if row["answer"] not in ("1", "2"):
            skipped["no answer"] += 1
        elif row["sentence"].count("_") != 1:
            skipped["not one blank"] += 1
        elif not says_something(row["sentence"].partition("_")[2]):
            skipped["no words after the blank"] += 1
        elif row["option1"].strip() == row["option2"].strip():
            skipped["equal options"] += 1
        else:
            yield make_item(
                sentence=row["sentence"],
                options=[row["option1"], row["option2"]],
                answer=int(row["answer"]) - 1,
            )


def arc(path: Path, skipped: Counter) -> Iterator[dict]:
    """ARC, easy or challenge."""
    for row in _rows(path):
        yield from _lettered(f"Question: {row['question']}\nAnswer:", row, skipped)


def openbookqa(path: Path, skipped: Counter) -> Iterator[dict]:
    for row in _rows(path):
        yield from _lettered(row["question_stem"], row, skipped)


def piqa(path: Path, skipped: Counter) -> Iterator[dict]:
    for row in _rows(path):
        prompt = f"Question: {row['goal']}\nAnswer:"
        yield from _answered(prompt, (row["sol1"], row["sol2"]), row["label"], skipped)


def gsm8k(path: Path, skipped: Counter) -> Iterator[dict]:
    """GSM8K: the response is the solution, which ends in ``####`` and the number."""
    for row in _rows(path):
        prompt = f"Question: {row['question']}\nAnswer:"
        yield from _answered(prompt, (row["answer"],), 0, skipped)


def alpaca(path: Path, skipped: Counter) -> Iterator[dict]:
    """Instructions, some with an input, and their responses, under one heading each."""
    for row in map(_Row, load_json(path)):
        given = f"\n\n### Input:\n{row['input']}" if row["input"].strip() else ""
        prompt = f"### Instruction:\n{row['instruction']}{given}\n\n### Response:\n"
        if row["output"].strip():
            yield _pair(prompt, row["output"])
        else:
            skipped["no answer"] += 1


READERS = (c4, wikitext, boolq, rte, hellaswag, winogrande, arc, openbookqa, piqa, gsm8k, alpaca)


def _gzipped_texts(path: Path) -> Iterator[str]:
    try:
        with gzip.open(path, "rt", encoding="utf-8-sig") as lines:
            for line in lines:
                yield json.loads(line)["text"]
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(f"{path}: not gzipped JSON lines: {error}") from error


def _rows(path: Path) -> Iterator[dict]:
    """The rows of a Parquet file, some at a time."""
    from pyarrow import ArrowInvalid
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(path) as file:
            for batch in file.iter_batches():
                yield from map(_Row, batch.to_pylist())
    # The second is of pages that cannot be unpacked.
    except (ArrowInvalid, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{path}: not a Parquet file: {reason}") from error


class _Row(dict):
    """A row, of which no field that is read is null: a prompt would have the word None."""

    def __getitem__(self, field: str) -> Any:
        value = super().__getitem__(field)
        if value is None:
            raise ItemError(f"{field} = None: allowed: a value")
        return value


def _pair(prompt: str, response: str) -> dict:
    return make_item(prompt=prompt, response=response, group=digest(" ".join(tokens(prompt))))


def _answered(prompt: str, options: Sequence[str], answer: int, skipped: Counter) -> Iterator[dict]:
    """The item of a question, if its answer is told and says something."""
    if 0 <= answer < len(options) and options[answer].strip():
        yield _pair(prompt, f" {options[answer].strip()}")
    else:
        skipped["no answer"] += 1


def _lettered(prompt: str, row: dict, skipped: Counter) -> Iterator[dict]:
    labels, options = row["choices"]["label"], row["choices"]["text"]
    letter = row["answerKey"].strip()
    answer = labels.index(letter) if letter in labels else -1
    yield from _answered(prompt, options, answer, skipped)


def _without_marks(text: str) -> str:
    """Without the marks of WikiHow: a title begins a new sentence, notes in brackets go."""
    text = re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))
    return text.replace("  ", " ")
