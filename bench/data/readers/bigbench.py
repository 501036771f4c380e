"""Readers: one function a raw format, from a file to uniform items.

A reader takes the file and a counter, to which it adds the reason of each item that it skips.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.data.items import DataError, content, digest, identifier

Reader = Callable[[Path, Counter], Iterator[dict]]


def squad(path: Path, skipped: Counter) -> Iterator[dict]:
    """SQuAD: paragraphs, the article's title as group."""
    for article in _json(path)["data"]:
        for paragraph in article["paragraphs"]:
            text = paragraph["context"].strip()
            if text:
                yield _item(text=text, group=article["title"])
            else:
                skipped["empty"] += 1


def qasc(path: Path, skipped: Counter) -> Iterator[dict]:
    """QASC as answer generation: a fact and a question as prompt; the fact is the group."""
    for example in _json(path)["examples"]:
        lines = [line.strip() for line in example["input"].splitlines()]
        answer = example["target"][0].strip()
        if len(lines) == 2 and lines[0].startswith("Fact:") and answer:
            prompt = "\n".join([*lines, "Answer:"])
            yield _item(prompt=prompt, response=f" {answer}", group=digest(lines[0]))
        else:
            skipped["malformed"] += 1


PAIR = re.compile(
    r"Sentence 1:(?P<first>.*?)(?:Answer1:(?P<a>.*?))?"
    r"Sentence 2:(?P<second>.*?)(?:Answer2:(?P<b>.*?))?",
    re.DOTALL,
)
# Where the pairs are about people they carry no answers: by definition these, in this order.
PERSONS = ("PersonX", "PersonY")


def winogrande_pairs(path: Path, skipped: Counter) -> Iterator[dict]:
    """WinoGrande as written by its authors: twin sentences, each with one blank; the pair is the
    group. The options stand in the order in which the sentence mentions them.
    """
    for example in _json(path)["examples"]:
        for pair in example["target"]:
            match = PAIR.fullmatch(pair)
            if match is None:
                skipped["malformed"] += 2
                continue
            answers = [
                _bare(match[name]) if match[name] is not None else person
                for name, person in zip("ab", PERSONS, strict=True)
            ]
            group = digest(pair)
            for name, answer in zip(("first", "second"), answers, strict=True):
                sentence = match[name].strip()
                places = {option: _place(option, sentence) for option in answers}
                if sentence.count("_") != 1:
                    skipped["not one blank"] += 1
                elif not any(map(str.isalnum, sentence.partition("_")[2])):
                    # Nothing follows the blank by which the options could be told apart.
                    skipped["no words after the blank"] += 1
                elif len({option.lower() for option in answers}) < 2:
                    skipped["equal options"] += 1
                elif None in places.values():
                    skipped["option not in sentence"] += 1
                else:
                    options = sorted(answers, key=places.__getitem__)
                    yield _item(
                        sentence=sentence,
                        options=options,
                        answer=options.index(answer),
                        group=group,
                    )


def social_iqa(path: Path, skipped: Counter) -> Iterator[dict]:
    """Social IQa: questions with their choices; the question is the group."""
    for example in _json(path)["examples"]:
        question = example["input"].strip()
        choices = [choice.strip() for choice in example["target_scores"]]
        scores = list(example["target_scores"].values())
        if scores.count(1) == 1 and len(choices) > 1:
            yield _item(
                question=question, choices=choices, answer=scores.index(1), group=digest(question)
            )
        else:
            skipped["not one answer"] += 1


def science(path: Path, skipped: Counter) -> Iterator[dict]:
    """Science questions with options ``(A) ... (B) ...`` inside the text, a letter as answer; the
    question is the group.

    The last option is as the file has it: where it does not end in a full stop, the file's question
    mark has taken the place of its last character.
    """
    for example in _json(path)["examples"]:
        question, *rest = re.split(r"\(([A-E])\)", example["input"])
        letters, choices = rest[::2], [_bare(choice) for choice in rest[1::2]]
        # Some questions end in a letter without an option.
        if choices and not choices[-1]:
            letters, choices = letters[:-1], choices[:-1]
        answer = _bare(example["target"][0])
        if len(choices) < 2 or letters != list("ABCDE"[: len(letters)]) or not all(choices):
            skipped["options not readable"] += 1
        elif answer not in letters:
            skipped["answer is not an option"] += 1
        else:
            question = question.strip().removeprefix("Question:").strip()
            yield _item(
                question=question,
                choices=choices,
                answer=letters.index(answer),
                group=digest(question),
            )


def jsonl(path: Path, skipped: Counter) -> Iterator[dict]:
    """Your own data: one uniform item a line, taken as it is; an ``id`` is added if missing."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                item = json.loads(line)
                content(item)
            except (json.JSONDecodeError, DataError) as error:
                raise DataError(f"{path}, line {number}: {error}") from error
            yield {"id": identifier(item), **item}


READERS: dict[str, Reader] = {
    reader.__name__: reader
    for reader in (squad, qasc, winogrande_pairs, social_iqa, science, jsonl)
}


def _json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise DataError(f"{path}: not JSON: {error}") from error


def _item(group: str, **fields) -> dict:
    return {"id": identifier(fields), "group": group, **fields}


def _bare(text: str) -> str:
    """Without the full stop or question mark that ends an answer."""
    return text.strip().rstrip(".?").strip()


def _place(option: str, sentence: str) -> int | None:
    """Where ``sentence`` mentions ``option`` as whole words."""
    match = re.search(rf"(?<!\w){re.escape(option)}(?!\w)", sentence, re.IGNORECASE)
    return match.start() if match else None
