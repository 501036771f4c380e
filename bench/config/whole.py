"""A whole configuration."""

from collections.abc import Iterator, Mapping
from itertools import product
from math import exp, log
from typing import Any

from pydantic import BaseModel, Field

from baselines.pruning import PRUNERS
from baselines.pruning.pattern import Pattern
from baselines.pruning.pruner import Pruner
from baselines.repair import REPAIRS, build_repair
from baselines.repair.base import Repair
from bench.cells import DEFAULT_BUDGET, NO_BUDGET, Cell
from bench.config.checkpoints import Checkpoints
from bench.config.evaluation import Evaluation
from bench.config.grid import Grid
from bench.config.methods import options_of
from bench.config.models import ModelSpec
from bench.config.pruning import Calibration, PruningOptions
from bench.config.repair import RepairOptions, Variant
from bench.config.runtime import Runtime
from bench.config.training import LENGTHS, Budget, Training
from bench.config.tuning import Tuning
from bench.config.variants import place_of, training_of
from bench.data.prepare import DataSpec
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
    budgets: dict[str, Budget] = Field(
        default={},
        description="Other budgets than that of `training`, by names for `grid.budgets`: "
        "lower-case letters, digits and hyphens.",
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

    def training_at(self, budget: str) -> Training:
        """What all repairs have in common at a budget; that of no budget is `training` itself."""
        if budget not in self.budgets:
            return self.training
        changes = self.budgets[budget].model_dump(include={*LENGTHS}, exclude_none=True)
        return self.training.model_copy(update=changes)

    @property
    def tokens(self) -> dict[str, int]:
        """Tokens of a training at each budget, from the smallest to the largest."""
        tokens = {name: self.training_at(name).tokens for name in (DEFAULT_BUDGET, *self.budgets)}
        return dict(sorted(tokens.items(), key=lambda entry: entry[::-1]))

    def repair_options(self, repair: str, budget: str = DEFAULT_BUDGET) -> dict | None:
        """What `build_repair` makes a repair of; None where the configuration has none of it.

        Raises:
            ValidationError: options of a variant or a budget are not allowed.
        """
        method = self.method(repair)
        usual = self.options(training_of(method))
        if usual is None:
            return None
        values = usual.model_dump() | self.changes(repair, budget)
        rates = self.rates_around(repair, budget)
        if rates:
            values["learning_rate"] = interpolated(rates, self.tokens, budget)
        options = type(usual)(**values).for_steps(self.training_at(budget).steps)
        return {**({} if repair == method else {"of": method}), **options.model_dump()}

    def changes(self, repair: str, budget: str) -> dict[str, Any]:
        """The options of a repair at a budget that are not those of its method's entry.

        A variant changes its method's at this budget, and may have changes of its own there.
        """
        laid = self.budgets[budget].repair if budget in self.budgets else {}
        changed = laid.get(training_of(self.method(repair)), {})
        if repair in self.variants:
            changed = changed | self.variants[repair].model_extra | laid.get(repair, {})
        return changed

    def rates_around(self, repair: str, budget: str) -> dict[str, float]:
        """The learning rates that a repair's is made of where the budget has none, by budget."""
        rates = self._rates(repair)
        if budget in rates or budget not in self.budgets:
            return {}
        return around(rates, self.tokens, budget)

    def _rates(self, repair: str) -> dict[str, float]:
        """The learning rates that are given for a repair, by budget; a variant's own go first."""
        training = training_of(self.method(repair))
        rates = {DEFAULT_BUDGET: self.options(training).learning_rate, **self._laid(training)}
        if repair in self.variants:
            own = self.variants[repair].model_extra
            if "learning_rate" in own:
                rates = {DEFAULT_BUDGET: own["learning_rate"]}
            rates |= self._laid(repair)
        # As written: YAML takes 1e-3 for a text.
        return {name: float(rate) for name, rate in rates.items()}

    def _laid(self, repair: str) -> dict[str, float]:
        """The learning rates that the budgets give for a repair."""
        laid = {name: budget.repair.get(repair, {}) for name, budget in self.budgets.items()}
        return {n: rest["learning_rate"] for n, rest in laid.items() if "learning_rate" in rest}

    def trained_budgets(self) -> list[str]:
        """The budgets of the grid; none where nothing is trained."""
        return self.grid.budgets if any(map(training_of, self.grid.repairs)) else []

    def swept_budgets(self) -> list[str]:
        """The smallest and the largest budget of the sweep; where it has one, that."""
        budgets = [name for name in self.tokens if name in self.tuning.budgets]
        return list(dict.fromkeys([budgets[0], budgets[-1]]))

    def built(self, repair: str, budget: str, pattern: str) -> Repair:
        """A repair that trains, with its options at a budget, for a base of a pattern.

        Raises:
            ValueError: the options cannot go with the pattern (one line).
        """
        options = self.repair_options(repair, budget)
        return build_repair(repair, pattern=Pattern.parse(pattern), **options)

    def processes(self, repair: str) -> int:
        """How many processes a training of ``repair`` is shared by."""
        return self.runtime.processes if REPAIRS[self.method(repair)].shards else 1

    def pruner_options(self, pruner: str) -> dict:
        options = options_of(self.pruning, pruner)
        return {} if options is None else options.model_dump()

    def pruner(self, name: str) -> Pruner:
        """The pruner with its options."""
        return options_of(self.pruning, name) or PRUNERS[name]()

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
        """Every sparse cell of the grid; the unrepaired base has seed 0 and no budget."""
        grid, repairs = self.grid, sorted(self.grid.repairs, key=place_of)
        for *base, repair in product(grid.models, grid.pruners, grid.patterns, repairs):
            trained = training_of(repair) is not None
            runs = product(grid.budgets, grid.seeds) if trained else [(NO_BUDGET, 0)]
            yield from (Cell(*base, repair, seed, budget) for budget, seed in runs)


def around(rates: Mapping[str, float], tokens: Mapping[str, int], budget: str) -> dict[str, float]:
    """The rates of the budgets next to one: below it and above it, or on the one side there is.

    Args:
        rates: by the budgets that have one; at least one.
        tokens: of these, and of ``budget``.
        budget: that has no rate.
    """
    names = sorted(rates, key=tokens.get)
    below = [name for name in names if tokens[name] <= tokens[budget]]
    above = [name for name in names if tokens[name] >= tokens[budget]]
    return {name: rates[name] for name in (*below[-1:], *above[:1])}


def interpolated(rates: Mapping[str, float], tokens: Mapping[str, int], budget: str) -> float:
    """The rate at a budget between two, on the line through them in log rate and log tokens.

    Beyond all that have one it is the nearest one's. It has four digits: the sweep that it comes
    from does not tell more.

    Args:
        rates: what :func:`around` returned.
        tokens: as there.
        budget: as there.
    """
    (first, low), *_, (last, high) = [*rates.items()] * 2
    begin, here, end = (log(tokens[name]) for name in (first, budget, last))
    share = (here - begin) / (end - begin) if end > begin else 0
    return float(f"{exp((1 - share) * log(low) + share * log(high)):.4g}")
