"""What an item of data may be: its forms, and what is allowed in each field."""

from collections.abc import Iterator
from typing import Annotated, Any, ClassVar
from unicodedata import normalize

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from baselines.problems import explained, shown

LARGEST = 2**53  # up to here, whole numbers and fractions go into one column


class DataError(ValueError):
    """Data that cannot be used; the message is one line that names it."""


class ItemError(DataError):
    """An item that cannot be used; who reads it knows its file."""


def folded(text: str) -> str:
    """A text without what is no difference: how Unicode composes it, and its white space."""
    return " ".join(normalize("NFC", text).split())


def says_something(text: str) -> bool:
    """Whether there is a letter or a digit in a text."""
    return any(map(str.isalnum, text))


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("allowed: text")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise ValueError("allowed: whole characters, no half of one (a surrogate)") from None
    return value


def _written(text: str) -> str:
    if not text.strip():
        raise ValueError("allowed: text that is not empty")
    return text


def _label(value: Any) -> str | int:
    if isinstance(value, str):
        return _written(_text(value))
    if type(value) is not int:
        raise ValueError("allowed: text or a whole number; or leave it out")
    return value


def _one_blank(sentence: str) -> str:
    if sentence.count("_") != 1:
        raise ValueError("allowed: one blank, which is one _")
    if not says_something(sentence.partition("_")[2]):
        raise ValueError("allowed: words after the blank, by which the options are told apart")
    return sentence


Text = Annotated[str, PlainValidator(_text)]
Written = Annotated[Text, AfterValidator(_written)]
Label = Annotated[str | int, PlainValidator(_label)]


class Item(BaseModel):
    """What every item may have, beside fields of its own."""

    # Strict: an answer in quotes is no number, a text is no list of its letters.
    model_config = ConfigDict(strict=True)

    id: Label = ""
    group: Label = ""


class TextItem(Item):
    text: Written


class PromptItem(Item):
    prompt: Text
    response: Written


class ChoiceItem(Item):
    """An item with several texts, of which one is right."""

    among: ClassVar[str]

    @model_validator(mode="after")
    def _one_is_right(self):
        texts = getattr(self, self.among)
        if not 0 <= self.answer < len(texts):
            raise ValueError(
                f"answer = {self.answer}: allowed: 0 to {len(texts) - 1}, the place of the right "
                f"one in {self.among}, counted from 0; without a right one it is no item"
            )
        if len(set(map(folded, texts))) < len(texts):
            raise ValueError(f"{self.among} = {shown(texts)}: allowed: each text once")
        return self


class SentenceItem(ChoiceItem):
    among = "options"

    sentence: Annotated[Written, AfterValidator(_one_blank)]
    options: Annotated[list[Written], Field(min_length=2, max_length=2)]
    answer: int


class QuestionItem(ChoiceItem):
    among = "choices"

    question: Written
    choices: Annotated[list[Written], Field(min_length=2)]
    answer: int


FORMS = {
    tuple(name for name in model.model_fields if name not in Item.model_fields): TypeAdapter(model)
    for model in (TextItem, PromptItem, SentenceItem, QuestionItem)
}


def form_of(item: dict) -> tuple[str, ...]:
    """The fields that make up the form of ``item``.

    Raises:
        ItemError: when it has none of the forms, or several.
    """
    forms = [form for form in FORMS if all(field in item for field in form)]
    if len(forms) != 1:
        allowed = "; ".join(", ".join(form) for form in FORMS)
        raise ItemError(f"the fields {shown([*item])}; allowed: those of one form: {allowed}")
    return forms[0]


def check_item(item: Any) -> None:
    """Check every field of an item.

    Raises:
        ItemError: one line: a field, its value and what is allowed.
    """
    if not isinstance(item, dict):
        raise ItemError(f"{shown(item)}: allowed: an object, {{...}}")
    form = FORMS[form_of(item)]
    try:
        form.validate_python(item)
    except ValidationError as error:
        raise ItemError(str(next(explained(error, form)))) from None


class Columns:
    """What the items of a set have in common, so that they make a table: one form, and one kind of
    value in each field of their own.
    """

    def __init__(self):
        self._form = None
        self._kinds: dict[str, str] = {}

    def check(self, item: dict) -> None:
        """Check an item, which :func:`check_item` takes, against those before it.

        Raises:
            ItemError: it is of another form, or a field of its own has a value of another kind, or
                one that no table holds.
        """
        form = form_of(item)
        self._form = self._form or form
        if form != self._form:
            raise ItemError(f"{', '.join(form)}: allowed: {', '.join(self._form)}, as before it")
        for field, value in item.items():
            try:
                for place, kind in () if field in form else _kinds(_text(field), value):
                    first = self._kinds.setdefault(place, kind)
                    if kind != first:
                        raise ValueError(f"{kind}; allowed: {first}, as before it")
            except (ValueError, RecursionError) as error:
                raise ItemError(f"{shown(field)} = {shown(value)}: {error}") from None


def _kinds(place: str, value: Any) -> Iterator[tuple[str, str]]:
    """The kind of a value and of each one inside it, by its place; null is of any kind."""
    if isinstance(value, bool):
        yield place, "true or false"
    elif isinstance(value, str):
        _text(value)
        yield place, "text"
    elif isinstance(value, int | float):
        if not abs(value) <= LARGEST:
            raise ValueError("allowed: numbers up to 2^53")
        yield place, "a number"
    elif isinstance(value, list):
        yield place, "a list"
        for part in value:
            yield from _kinds(f"{place}[]", part)
    elif isinstance(value, dict):
        yield place, "an object"
        for key, part in value.items():
            yield from _kinds(f"{place}.{_text(key)}", part)
