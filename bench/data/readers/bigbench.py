"""The raw formats of BIG-bench's task files."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from bench.data.forms import says_something
from bench.data.items import digest
from bench.data.readers.shared import load_json, make_item


def squad(path: Path, skipped: Counter) -> Iterator[dict]:
    """SQuAD: paragraphs, the article's title as group."""
    for article in load_json(path)["data"]:
        for paragraph in article["paragraphs"]:
            text = paragraph["context"].strip()
            if text:
                yield make_item(text=text, group=article["title"])
            else:
                skipped["empty"] += 1


def qasc(path: Path, skipped: Counter) -> Iterator[dict]:
    """QASC as answer generation: a fact and a question as prompt; the fact is the group."""
    for example in load_json(path)["examples"]:
        lines = [line.strip() for line in example["input"].splitlines()]
        answer = example["target"][0].strip()
        if len(lines) == 2 and lines[0].startswith("Fact:") and answer:
            prompt = "\n".join([*lines, "Answer:"])
            yield make_item(prompt=prompt, response=f" {answer}", group=digest(lines[0]))
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
    for example in load_json(path)["examples"]:
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
                elif not says_something(sentence.partition("_")[2]):
                    # Nothing follows the blank by which the options could be told apart.
                    skipped["no words after the blank"] += 1
                elif len({option.lower() for option in answers}) < 2:
                    skipped["equal options"] += 1
                elif None in places.values():
                    skipped["option not in sentence"] += 1
                else:
                    options = sorted(answers, key=places.__getitem__)
                    yield make_item(
                        sentence=sentence,
                        options=options,
                        answer=options.index(answer),
                        group=group,
                    )


def social_iqa(path: Path, skipped: Counter) -> Iterator[dict]:
    """Social IQa: questions with their choices; the question is the group."""
    for example in load_json(path)["examples"]:
        question = example["input"].strip()
        choices = [choice.strip() for choice in example["target_scores"]]
        scores = list(example["target_scores"].values())
        if scores.count(1) == 1 and len(choices) > 1:
            yield make_item(
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
    for example in load_json(path)["examples"]:
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
            yield make_item(
                question=question,
                choices=choices,
                answer=letters.index(answer),
                group=digest(question),
            )


READERS = (squad, qasc, winogrande_pairs, social_iqa, science)


def _bare(text: str) -> str:
    """Without the full stop or question mark that ends an answer."""
    return text.strip().rstrip(".?").strip()


def _place(option: str, sentence: str) -> int | None:
    """Where ``sentence`` mentions ``option`` as whole words."""
    match = re.search(rf"(?<!\w){re.escape(option)}(?!\w)", sentence, re.IGNORECASE)
    return match.start() if match else None
