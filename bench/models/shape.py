"""The shape of a model: what its memory, its time and its files follow from."""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path

from pydantic import Field, PositiveInt, ValidationError, model_validator

from baselines.pruning.pattern import Pattern
from bench.sources.checkpoint import read_settings
from bench.typed import Strict

# What a `config.json` calls the keys of a shape.
NAMES = {
    "blocks": ("num_hidden_layers",),
    "hidden": ("hidden_size",),
    "intermediate": ("intermediate_size", "ffn_dim"),
    "heads": ("num_attention_heads",),
    "key_value_heads": ("num_key_value_heads", "num_attention_heads"),
    "vocabulary": ("vocab_size",),
    "tied": ("tie_word_embeddings",),
    "head_dim": ("head_dim",),
}
# And the most tokens that a sequence may have.
POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len")


class Shape(Strict):
    """The shape of a decoder of LLaMA's kind: RMSNorm, grouped-query attention, and an MLP of gate,
    up and down, all without biases.
    """

    blocks: PositiveInt = Field(description="Decoder blocks.")
    hidden: PositiveInt = Field(description="Width of the hidden states.")
    intermediate: PositiveInt = Field(description="Width inside the MLP.")
    heads: PositiveInt = Field(description="Attention heads.")
    key_value_heads: PositiveInt = Field(description="Heads of keys and values; divides `heads`.")
    vocabulary: PositiveInt = Field(description="Tokens of the vocabulary.")
    tied: bool = Field(default=False, description="Whether input and output embedding are one.")
    head_dim: PositiveInt = Field(
        default_factory=lambda known: known["hidden"] // known["heads"],
        description="Width of a head: `hidden / heads`, if not given.",
    )

    @model_validator(mode="after")
    def _heads_divide(self):
        if self.heads % self.key_value_heads:
            raise ValueError(
                f"key_value_heads = {self.key_value_heads}: allowed: a divisor of heads = "
                f"{self.heads}"
            )
        if "head_dim" not in self.model_fields_set and self.hidden % self.heads:
            raise ValueError(
                f"heads = {self.heads}: allowed: a divisor of hidden = {self.hidden}, or head_dim"
            )
        return self

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """Outputs and inputs of the linear layers of a block, by name."""
        queries, keys = self.heads * self.head_dim, self.key_value_heads * self.head_dim
        return {
            "q": (queries, self.hidden),
            "k": (keys, self.hidden),
            "v": (keys, self.hidden),
            "o": (self.hidden, queries),
            "gate": (self.intermediate, self.hidden),
            "up": (self.intermediate, self.hidden),
            "down": (self.hidden, self.intermediate),
        }

    @property
    def groups(self) -> list[tuple[int, int]]:
        """Outputs, together, and inputs of the layers of a block that see the same input."""
        layers = self.layers
        return [
            (sum(layers[name][0] for name in names), layers[names[0]][1])
            for names in (("q", "k", "v"), ("o",), ("gate", "up"), ("down",))
        ]

    @property
    def widths(self) -> list[int]:
        """The distinct numbers of inputs of the linear layers, ascending."""
        return sorted({inputs for _, inputs in self.layers.values()})

    @property
    def prunable(self) -> int:
        """Weights of the linear layers in all blocks."""
        return self.blocks * sum(outputs * inputs for outputs, inputs in self.layers.values())

    @property
    def parameters(self) -> int:
        """All numbers of the model."""
        embeddings = (1 if self.tied else 2) * self.vocabulary * self.hidden
        norms = (2 * self.blocks + 1) * self.hidden
        return self.prunable + embeddings + norms


def read_shape(folder: Path) -> Shape | None:
    """The shape that the ``config.json`` of a ``transformers`` folder states.

    Of another kind of decoder it is the nearest of LLaMA's kind (OPT's MLP has two matrices, not
    three). None if there is no such file, or it does not name the numbers as LLaMA's or OPT's does.
    """
    return _stated_shape(folder) if (folder / "config.json").is_file() else None


@cache
def _stated_shape(folder: Path) -> Shape | None:
    stated = read_settings(folder)
    values = {}
    for key, names in NAMES.items():
        found = next((stated[name] for name in names if stated.get(name) is not None), None)
        if key == "tied" and found is None:
            found = _tied_by_default(stated.get("model_type"))
        if found is not None:
            values[key] = found
    try:
        return Shape(**values)
    except ValidationError:
        return None


def _tied_by_default(family: str | None) -> bool | None:
    """Whether models of a family have one embedding where their ``config.json`` leaves it open;
    None where ``transformers`` does not know the family, or says as little.
    """
    # The import takes seconds, and most files say it.
    from transformers import CONFIG_MAPPING

    if family not in CONFIG_MAPPING:
        return None
    return getattr(CONFIG_MAPPING[family], "tie_word_embeddings", None)


def length_problems(model: str, folder: Path, lengths: Mapping[str, int]) -> Iterator[str]:
    """One line for each length that is more than the ``config.json`` of a model states.

    A model of learned positions has no more of them; one of rotary positions goes on without a
    word, past all that it was trained on.

    Args:
        model: name of the model.
        folder: where it lies.
        lengths: tokens of a sequence, by the key of the configuration.
    """
    stated = read_settings(folder)
    limit = next((stated[name] for name in POSITIONS if stated.get(name) is not None), None)
    for key, length in lengths.items():
        if isinstance(limit, int) and length > limit:
            setting = f", or models.{model}.context_length" if key.startswith("eval") else ""
            yield (
                f"{key} = {length}: model {model!r} takes at most {limit} tokens; "
                f"allowed: up to {limit}{setting}"
            )


def pattern_problems(model: str, shape: Shape, patterns: Iterable[str]) -> Iterator[str]:
    """One line for each pattern that the layers of a model cannot take."""
    for pattern in patterns:
        group = Pattern.parse(pattern).m
        wrong = [width for width in shape.widths if group and width % group]
        if wrong:
            yield (
                f"grid.patterns = {pattern!r}: model {model!r} has layers "
                f"{' and '.join(map(str, wrong))} inputs wide; "
                "allowed: N of M where M divides every width"
            )
