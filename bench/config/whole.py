"""A whole configuration."""

from collections.abc import Iterator

from pydantic import BaseModel, Field

from baselines.pruning import PRUNERS
from baselines.pruning.pruner import Pruner
from baselines.repair import REPAIRS, build_repair
from baselines.repair.base import Repair
from bench.cells import Cell
from bench.config.checkpoints import Checkpoints
from bench.config.evaluation import Evaluation
from bench.config.grid import Grid
from bench.config.methods import options_of
from bench.config.models import ModelSpec
from bench.config.pruning import Calibration, PruningOptions
from bench.config.repair import RepairOptions, Variant
from bench.config.runtime import Runtime
from bench.config.training import Training
from bench.config.tuning import Tuning
from bench.config.variants import place_of, training_of
from bench.data import DataSpec
from bench.evaluation.tasks import PERPLEXITY
from bench.sources import Source
from bench.typed import Name, Strict


class Config(Strict):
    """A whole configuration."""

    grid: Grid = Field(description="The cells to run.")
    models: dict[Name, ModelSpec] = Field(
        description="Models, by name: a letter or digit, then also `.`, `_` and `-`."
    )
    sources: dict[Name, Source] = Field(description="Where data comes from, by name, as above.")
    data: dict[Name, DataSpec] = Field(description="Data sets, by name, as above.")
    calibration: Calibration = Field(description="Text for the pruners' statistics.")
    pruning: PruningOptions = Field(
        default_factory=PruningOptions, description="Options of the pruners."
    )
    training: Training = Field(description="What all repairs have in common.")
    repair: RepairOptions = Field(description="Options of the repairs.")
    variants: dict[str, Variant] = Field(
        default={}, description="Repairs with other options, by names for `grid.repairs`."
    )
    tuning: Tuning | None = Field(default=None, description="The learning-rate sweep.")
    evaluation: Evaluation = Field(description="What is measured.")
    runtime: Runtime = Field(default=Runtime(), description="How jobs use the machine.")
    checkpoints: Checkpoints = Field(
        default="results/checkpoints",
        description="Folder for weights between stages; `~` is the home folder.",
    )
    retry_failed: bool = Field(
        default=False,
        description="Run cells again that failed, or whose files are damaged.",
    )

    def method(self, repair: str) -> str:
        """The registered repair that a repair of the grid is, or is a variant of."""
        return self.variants[repair].of if repair in self.variants else repair

    def options(self, training: str) -> BaseModel | None:
        """The options of a training; None where the configuration has none."""
        return options_of(self.repair, training)

    def repair_options(self, repair: str) -> dict | None:
        """What `build_repair` makes a repair of; None where the configuration has none of it.

        Raises:
            ValidationError: options of a variant are not allowed.
        """
        method = self.method(repair)
        options = self.options(training_of(method))
        if options is None:
            return None
        if repair == method:
            return options.model_dump()
        changed = type(options)(**options.model_dump() | self.variants[repair].model_extra)
        return {"of": method, **changed.model_dump()}

    def built(self, repair: str) -> Repair:
        """A repair that trains, with its options, for a base of any pattern."""
        return build_repair(repair, **self.repair_options(repair))

    def processes(self, repair: str) -> int:
        """How many processes a training of ``repair`` is shared by."""
        return self.runtime.processes if REPAIRS[self.method(repair)].shards else 1

    def pruner_options(self, pruner: str) -> dict:
        options = options_of(self.pruning, pruner)
        return {} if options is None else options.model_dump()

    def pruner(self, name: str) -> Pruner:
        """The pruner with its options.

        Raises:
            ValueError: an option's value is not allowed.
        """
        return PRUNERS[name](**self.pruner_options(name))

    def evaluation_of(self, model: str) -> Evaluation:
        """What is measured of a model, with no more context than it takes."""
        limit = self.models[model].context_length
        tasks = dict(self.evaluation.tasks)
        for name, task in self.evaluation.tasks.items():
            if limit is not None and (task.context_length or 0) > limit:
                if task.metric == PERPLEXITY:
                    del tasks[name]
                else:
                    tasks[name] = task.model_copy(update={"context_length": limit})
        return self.evaluation.model_copy(update={"tasks": tasks})

    def cells(self) -> Iterator[Cell]:
        """Every sparse cell of the grid; the unrepaired base has seed 0 only."""
        for model in self.grid.models:
            for pruner in self.grid.pruners:
                for pattern in self.grid.patterns:
                    for repair in sorted(self.grid.repairs, key=place_of):
                        seeds = [0] if training_of(repair) is None else self.grid.seeds
                        for seed in seeds:
                            yield Cell(model, pruner, pattern, repair, seed)
