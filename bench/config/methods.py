"""Options by method: what a registry names is what a configuration may set."""

from collections.abc import Mapping

from pydantic import BaseModel, Field, create_model

from bench.typed import Strict


def options_model(
    kind: str, options: Mapping[str, type[BaseModel]], remarks: Mapping[str, str] | None = None
) -> type[BaseModel]:
    """A model with one optional field a method, so that its options are checked and documented.

    What the schema says of a method is said here and nowhere else, so that to add one changes no
    other part of what is generated from it.

    Args:
        kind: the model's name.
        options: the options of each method.
        remarks: what else is to be known of some.
    """
    remarks = remarks or {}
    fields = {
        name: (
            model | None,
            Field(default=None, description=f"Options of `{name}`.{remarks.get(name, '')}"),
        )
        for name, model in options.items()
    }
    return create_model(kind, __base__=Strict, **fields)


def options_of(options: BaseModel, method: str) -> BaseModel | None:
    """The options of a method; None where the configuration has none."""
    return getattr(options, method, None)
