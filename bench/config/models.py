"""The models."""

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field

from bench.models.shape import Shape, read_shape
from bench.origin import source_of
from bench.sources import HubSource, PartsSource, PathSource, PypiSource, Source
from bench.typed import Length, Strict

MODELS = Path("resources/models")


def _upwards(band: tuple[float, float]) -> tuple[float, float]:
    if band[0] > band[1]:
        raise ValueError("allowed: the lowest score, then the highest")
    return band


Band = Annotated[tuple[float, float], AfterValidator(_upwards)]


class ModelSpec(Strict):
    """A model: where it comes from, and what is expected of it."""

    source: Source = Field(description="Where the model comes from.")
    band: dict[str, Band] = Field(
        default={},
        description="Lowest and highest score expected of the dense model, a task (accuracies in "
        "percent). Where the 95 % interval of a score, over the items that are run, does not "
        "touch it, the run stops before anything is pruned. What is not run is not looked at.",
    )
    context_length: Length | None = Field(
        default=None,
        description="Tokens that the model takes, where a task is measured with more: a perplexity "
        "is then left out of its cells, and other tasks are measured with fewer.",
    )
    shape: Shape | None = Field(
        default=None,
        description="Shape of a decoder of LLaMA's kind, so that N:M is checked, and memory and "
        "time are estimated, before it is fetched. Null: as its `config.json` says, once it is "
        "there.",
    )

    @property
    def is_gguf(self) -> bool:
        """Whether what comes is a GGUF file, to be converted, by the names of what is asked for."""
        match self.source:
            case PypiSource(members=names) | HubSource(files=names):
                asked = names
            case PartsSource(file=name) | PathSource(place=Path(name=name)):
                asked = [name]
            case _:
                asked = []
        return any(name.endswith(".gguf") for name in asked)

    def folder(self, name: str) -> Path | None:
        """Where the ``config.json`` of the model of this name lies; None until it is there. What
        was fetched from another source is another model, in whose place it will be.
        """
        # What a GGUF file says is known once it is converted.
        if isinstance(self.source, PathSource) and not self.is_gguf:
            folder = self.source.place
        else:
            folder = MODELS / name
            if source_of(folder) not in (None, self.source.model_dump(mode="json")):
                return None
        return folder if (folder / "config.json").is_file() else None


def shape_of(spec: ModelSpec, model: str) -> Shape | None:
    """Shape of a model: as configured, else as its ``config.json`` says; None until it is there."""
    if spec.shape is not None:
        return spec.shape
    folder = spec.folder(model)
    return None if folder is None else read_shape(folder)
