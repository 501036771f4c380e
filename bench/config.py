"""The typed configuration: the one definition of every key, its type, and what is allowed."""

import re
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    create_model,
    model_validator,
)

from baselines.pruning import PRUNERS
from baselines.pruning.pattern import Pattern
from baselines.pruning.pruner import Pruner
from baselines.repair import REPAIRS
from bench.cells import Cell
from bench.data import DataSpec, OverlapRule
from bench.evaluation.tasks import PERPLEXITY, TASKS_FOLDER, TaskSpec
from bench.models.shape import Shape, pattern_problems
from bench.records.rows import place_of
from bench.sources import Source
from bench.variants import training_of


class ConfigError(ValueError):
    """A configuration that cannot be run; the message is one line a problem."""


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _unique(values: list) -> list:
    repeated = {str(value) for value in values if values.count(value) > 1}
    if repeated:
        raise ValueError(f"each entry once; repeated: {', '.join(sorted(repeated))}")
    return values


def _pattern(value: Any) -> str:
    """``s60`` and ``2of4`` as they are; a number is a sparsity: 0.6 is ``s60``."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        if not 0 < value < 1:
            raise ValueError("a sparsity lies above 0 and below 1")
        value = f"s{value * 100:g}"
    return str(Pattern.parse(value))


PatternName = Annotated[str, BeforeValidator(_pattern)]
Names = Annotated[list[str], Field(min_length=1), AfterValidator(_unique)]


class Grid(Strict):
    """The cells to run: every combination of these."""

    models: Names = Field(description="Names of entries of `models`.")
    pruners: Names = Field(description=f"Pruning methods: {', '.join(PRUNERS)}.")
    patterns: Annotated[list[PatternName], Field(min_length=1), AfterValidator(_unique)] = Field(
        description="`s60` is 60 % of a layer's weights, `2of4` is 2 of each 4 inputs, pruned."
    )
    repairs: Names = Field(
        description=f"Repair methods: {', '.join(REPAIRS)}; and names of entries of `variants`."
    )
    seeds: Annotated[list[NonNegativeInt], Field(min_length=1), AfterValidator(_unique)] = Field(
        description="Each seed moves the order of the data and the initialisation."
    )


class ModelSpec(Strict):
    """A model: where it comes from, and what is expected of it."""

    source: Source = Field(description="Where the model comes from.")
    band: dict[str, tuple[float, float]] = Field(
        default={},
        description=(
            "Lowest and highest score expected of the dense model, a task (accuracies in percent). "
            "Outside it the run stops before anything is pruned."
        ),
    )
    context_length: PositiveInt | None = Field(
        default=None,
        description="Tokens that the model takes, where a task is measured with more: a perplexity "
        "is then left out of its cells, and other tasks are measured with fewer.",
    )
    shape: Shape | None = Field(
        default=None,
        description=(
            "Shape of a decoder of LLaMA's kind, so that N:M is checked, and memory and time are "
            "estimated, before it is fetched. Null: as its `config.json` says, once it is there."
        ),
    )


class Calibration(Strict):
    """The text on which pruners collect statistics."""

    data: str = Field(description="Name of an entry of `data`.")
    split: str = Field(default="train", description="Which of its splits.")
    samples: PositiveInt = Field(description="Number of sequences.")
    length: PositiveInt = Field(description="Tokens a sequence.")
    seed: NonNegativeInt = Field(default=0, description="Seed of the choice of sequences.")
    sampling: Literal["joined", "documents"] = Field(
        default="joined",
        description="`joined`: all texts one after another, cut into sequences, of which some "
        "are drawn. `documents`: windows at random places of documents that are longer, as "
        "SparseGPT and Wanda publish it.",
    )


class Part(Strict):
    """One part of the repair text."""

    data: str = Field(description="Name of an entry of `data`.")
    weight: PositiveFloat = Field(default=1.0, description="Share of the tokens, relative.")


class Training(Strict):
    """What every repair has in common: data, budget and schedule."""

    mixture: Annotated[list[Part], Field(min_length=1)] = Field(
        description="What the repair text is mixed of."
    )
    split: str = Field(default="train", description="The split that is trained on.")
    validation_split: str = Field(
        default="validation",
        description="The split on which learning rates are chosen, of those sets of the mixture "
        "that have it.",
    )
    overlap: OverlapRule = Field(
        default="stop",
        description="What happens where an item of the training, validation or calibration text "
        "holds an evaluation item, or training text a validation item. `stop`: the run does. "
        "`drop`: the item that is trained on is left out. All pairs are in "
        "`resources/overlaps.jsonl`.",
    )
    validation_blocks: PositiveInt = Field(default=16, description="Blocks to validate on.")
    prompt_loss: bool = Field(
        default=False, description="Whether the tokens of a prompt count in the loss."
    )
    length: PositiveInt = Field(description="Tokens a block; documents are packed into blocks.")
    batch_size: PositiveInt = Field(description="Blocks a forward pass.")
    gradient_accumulation: PositiveInt = Field(
        default=1, description="Forward passes an optimizer step."
    )
    steps: PositiveInt = Field(description="Optimizer steps.")
    warmup: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.03, description="Fraction of the steps in which the learning rate rises."
    )
    final_rate: Annotated[float, Field(ge=0, le=1)] = Field(
        default=0.1, description="Fraction of the learning rate at which the cosine ends."
    )
    clip: NonNegativeFloat = Field(default=1.0, description="Largest gradient norm (0: no limit).")

    @property
    def blocks(self) -> int:
        """Blocks that one training sees, each once."""
        return self.steps * self.batch_size * self.gradient_accumulation


class Tuning(Strict):
    """The sweep that chooses each repair's learning rate (`make tune`)."""

    model: str = Field(description="Model of the sweep.")
    pruner: str = Field(description="Pruner of the sweep's base.")
    pattern: PatternName = Field(description="Pattern of the sweep's base.")
    learning_rates: dict[str, Annotated[list[PositiveFloat], Field(min_length=1)]] = Field(
        description="Learning rates to try; the same number for each trained repair."
    )


def _wanted(tasks: dict[str, TaskSpec | None]) -> dict[str, TaskSpec]:
    wanted = {name: task for name, task in tasks.items() if task is not None}
    if not wanted:
        raise ValueError("allowed: at least one task")
    return wanted


class Evaluation(Strict):
    """What is measured, on which items."""

    tasks: Annotated[dict[str, TaskSpec | None], AfterValidator(_wanted)] = Field(
        description="Tasks, by the name of their YAML file in `config/tasks`, or by that of "
        "lm-eval. Null leaves out one that a configuration underneath has."
    )
    batch_tokens: PositiveInt = Field(
        default=256,
        description="Tokens that one forward pass of the evaluation takes: a GPU wants thousands.",
    )


class Runtime(Strict):
    """How jobs use the machine."""

    threads: PositiveInt = Field(default=1, description="CPU threads a process.")
    processes: PositiveInt = Field(
        default=1,
        description=(
            "Processes, each with a GPU of its own where jobs take GPUs, that share the training "
            f"of {' and '.join(f'`{name}`' for name, cls in REPAIRS.items() if cls.shards)}; the "
            "other repairs train in one."
        ),
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="`auto`: a GPU where there is one."
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="`auto`: bfloat16 where the device computes in it."
    )
    retries: NonNegativeInt = Field(
        default=0, description="How often a failing job runs again before its cell is a failed row."
    )
    checkpoint_minutes: NonNegativeInt = Field(
        default=15,
        description="From one checkpoint of a training to the next; 0: one after each step.",
    )


def _field(name: str) -> str:
    return name.replace("-", "_")


def _options_model(kind: str, options: Mapping[str, type[BaseModel]]) -> type[BaseModel]:
    """A model with one optional field a method, so that its options are checked and documented."""
    fields = {
        _field(name): (
            model | None,
            Field(default=None, alias=name, description=f"Options of `{name}`."),
        )
        for name, model in options.items()
    }
    return create_model(kind, __base__=Strict, **fields)


def pruner_options(name: str) -> type[BaseModel]:
    """Options of a pruner: the keyword parameters of its constructor."""
    fields = {
        parameter.name: (parameter.annotation, parameter.default)
        for parameter in signature(PRUNERS[name]).parameters.values()
    }
    return create_model(PRUNERS[name].__name__, __base__=Strict, **fields)


# The repairs that train; others merge what one of these has trained, or nothing.
TRAININGS = {name: cls for name, cls in REPAIRS.items() if cls.training == name}

PruningOptions = _options_model("PruningOptions", {name: pruner_options(name) for name in PRUNERS})
RepairOptions = _options_model(
    "RepairOptions", {name: cls.Options for name, cls in TRAININGS.items()}
)
VARIANT_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")


class Variant(BaseModel):
    """A repair with other options; beside `of`, those options, laid over the repair's own."""

    # What that repair's options allow is checked by the configuration.
    model_config = ConfigDict(extra="allow", frozen=True)

    of: str = Field(description="The repair, one that trains and has an entry in `repair`.")


class Config(Strict):
    """A whole configuration."""

    grid: Grid = Field(description="The cells to run.")
    models: dict[str, ModelSpec] = Field(description="Models, by name.")
    sources: dict[str, Source] = Field(description="Where data comes from, by name.")
    data: dict[str, DataSpec] = Field(description="Data sets, by name.")
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
    checkpoints: str = Field(
        default="results/checkpoints", description="Folder for weights between stages."
    )
    retry_failed: bool = Field(
        default=False,
        description="Forget failed cells (in a dry run, too), so that they run again.",
    )

    @model_validator(mode="after")
    def _names_are_known(self):
        problems = []

        def known(key: str, name: str, allowed) -> bool:
            if name not in allowed:
                problems.append(f"{key} = {name!r}: unknown; allowed: {', '.join(allowed)}")
            return name in allowed

        def split(key: str, data: str, split: str) -> None:
            if known(f"{key}.data", data, self.data):
                known(f"{key}.split", split, self.data[data].splits)

        def has_options(training: str) -> None:
            if self._options(training) is None:
                problems.append(
                    f"repair.{training}: missing; allowed: its options, such as learning_rate, "
                    "when grid.repairs, variants or tuning.learning_rates needs it"
                )

        for name in self.grid.models:
            known("grid.models", name, self.models)
        for name in self.grid.pruners:
            known("grid.pruners", name, PRUNERS)
        for name in self.grid.repairs:
            if known("grid.repairs", name, [*REPAIRS, *self.variants]) and name in REPAIRS:
                training = training_of(name)
                if training is not None:
                    has_options(training)
        for name, variant in self.variants.items():
            if name in REPAIRS or not VARIANT_NAME.fullmatch(name):
                problems.append(
                    f"variants = {name!r}: allowed: a name that no repair has, of lower-case "
                    "letters, digits and hyphens"
                )
            if known(f"variants.{name}.of", variant.of, TRAININGS):
                has_options(variant.of)
                problems.extend(self._option_problems(name, variant))
        if self.tuning is not None:
            known("tuning.model", self.tuning.model, self.models)
            known("tuning.pruner", self.tuning.pruner, PRUNERS)
            for name in self.tuning.learning_rates:
                if known("tuning.learning_rates", name, TRAININGS):
                    has_options(name)
        for name, spec in self.data.items():
            known(f"data.{name}.source", spec.source, self.sources)
        split("calibration", self.calibration.data, self.calibration.split)
        for part in self.training.mixture:
            split("training.mixture", part.data, self.training.split)
        if not any(
            self.training.validation_split in self.data[part.data].splits
            for part in self.training.mixture
            if part.data in self.data
        ):
            problems.append(
                f"training.validation_split = {self.training.validation_split!r}: no set of the "
                "mixture has it; allowed: a split of at least one"
            )
        local = sorted(path.stem for path in TASKS_FOLDER.glob("*.yaml"))
        for name, task in self.evaluation.tasks.items():
            if "data" not in task.model_fields_set and name in local:
                problems.append(
                    f"evaluation.tasks.{name}.data: missing; allowed: where its items are, or null "
                    "for lm-eval's own task of this name"
                )
            if task.data is not None and known("evaluation.tasks", name, local):
                split(f"evaluation.tasks.{name}", task.data, task.split)
        for name in self.grid.models:
            for task in self.models[name].band if name in self.models else ():
                known(f"models.{name}.band", task, self.evaluation.tasks)
        if problems:
            raise ValueError("\n".join(dict.fromkeys(problems)))
        return self

    @model_validator(mode="after")
    def _can_be_run(self):
        problems = []
        if self.training.validation_split == self.training.split:
            problems.append(
                f"training.validation_split = {self.training.split!r}: also trained on; "
                "allowed: another split than training.split"
            )
        used = {(part.data, self.training.split) for part in self.training.mixture}
        used |= {(part.data, self.training.validation_split) for part in self.training.mixture}
        used |= {(self.calibration.data, self.calibration.split)}
        for name, task in self.evaluation.tasks.items():
            if (task.data, task.split) in used:
                problems.append(
                    f"evaluation.tasks.{name}.split = {task.split!r}: also trained or calibrated "
                    "on; allowed: a split that training, validation and calibration do not use"
                )
        if self.training.batch_size % self.runtime.processes:
            problems.append(
                f"runtime.processes = {self.runtime.processes}: allowed: a divisor of "
                f"training.batch_size, which is {self.training.batch_size}"
            )
        text = self.data[self.calibration.data].characters
        tokens = self.calibration.samples * self.calibration.length
        # A token of text is at least one character: more tokens than characters cannot be.
        if text is not None and tokens > text:
            problems.append(
                f"calibration.samples = {self.calibration.samples}: with length "
                f"{self.calibration.length} that is {tokens} tokens; allowed: at most the "
                f"{text} characters of {self.calibration.data!r}"
            )
        bases = [(pruner, p) for pruner in self.grid.pruners for p in self.grid.patterns]
        if self.tuning is not None:
            bases.append((self.tuning.pruner, self.tuning.pattern))
        for pruner, pattern in bases:
            try:
                self.pruner(pruner).check_pattern(Pattern.parse(pattern))
            except ValueError as error:
                problems.append(f"pruning.{pruner}: {error}")
        for model in self.grid.models:
            if not self.evaluation_of(model).tasks:
                problems.append(
                    f"models.{model}.context_length = {self.models[model].context_length}: every "
                    "task is measured with more; allowed: at least one with as many"
                )
            shape = self.models[model].shape
            if shape is not None:
                problems += pattern_problems(model, shape, self.grid.patterns)
        if self.tuning is not None:
            rates = self.tuning.learning_rates
            if len({len(values) for values in rates.values()}) > 1:
                counts = {name: len(values) for name, values in rates.items()}
                problems.append(
                    f"tuning.learning_rates = {counts}: allowed: the same number for each repair"
                )
        if problems:
            raise ValueError("\n".join(dict.fromkeys(problems)))
        return self

    def _option_problems(self, name: str, variant: Variant) -> Iterator[str]:
        """What is wrong with the options of a variant, a line each."""
        key = f"repair.{variant.of}"
        try:
            self.repair_options(name)
        except ValidationError as error:
            for problem in error.errors():
                given = problem | {"loc": (*key.split("."), *problem["loc"])}
                if not problem["loc"]:
                    given["input"] = variant.model_extra
                for line in _explain(given):
                    yield line.replace(key, f"variants.{name}", 1)

    def method(self, repair: str) -> str:
        """The registered repair that a repair of the grid is, or is a variant of."""
        return self.variants[repair].of if repair in self.variants else repair

    def _options(self, training: str) -> BaseModel | None:
        return getattr(self.repair, _field(training), None)

    def repair_options(self, repair: str) -> dict | None:
        """What `build_repair` makes a repair of; None where the configuration has none of it.

        Raises:
            ValidationError: options of a variant are not allowed.
        """
        method = self.method(repair)
        options = self._options(training_of(method))
        if options is None:
            return None
        if repair == method:
            return options.model_dump()
        changed = type(options)(**options.model_dump() | self.variants[repair].model_extra)
        return {"of": method, **changed.model_dump()}

    def processes(self, repair: str) -> int:
        """How many processes a training of ``repair`` is shared by."""
        return self.runtime.processes if REPAIRS[self.method(repair)].shards else 1

    def pruner_options(self, pruner: str) -> dict:
        options = getattr(self.pruning, _field(pruner))
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


def load(values: Mapping) -> Config:
    """Check ``values``.

    Raises:
        ConfigError: with one line for each problem: key, value, what is allowed.
    """
    try:
        return Config.model_validate(dict(values))
    except ValidationError as error:
        lines = dict.fromkeys(line for e in error.errors() for line in _explain(e))
        raise ConfigError("\n".join(f"config: {line}" for line in lines)) from None


def load_or_exit(values: Mapping) -> Config:
    """:func:`load`, but a problem ends the process: its lines on stderr, exit status 1."""
    try:
        return load(values)
    except ConfigError as error:
        sys.exit(str(error))


def _explain(error: dict) -> list[str]:
    """A pydantic error as lines ``key = value: what is allowed``."""
    tags = {"pypi", "hub", "path", "synthetic"}
    location = [part for part in error["loc"] if part not in tags]
    key = ".".join(str(part) for part in location)
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "default_factory_not_called":
        return []  # The keys that its default follows from have errors of their own.
    if not location:
        return message.splitlines()
    if error["type"] == "missing":
        return [f"{key}: missing; {_allowed(location[:-1])}"]
    if error["type"] == "extra_forbidden":
        return [f"{key} = {error['input']!r}: unknown key; {_allowed(location[:-1])}"]
    return [f"{key} = {error['input']!r}: {message}" for message in message.splitlines()]


def _allowed(location: list) -> str:
    """The keys that the model at ``location`` takes."""
    schema = json_schema()
    node: dict = schema

    def resolve(node: dict) -> dict:
        while "$ref" in node:
            node = schema["$defs"][node["$ref"].rpartition("/")[2]]
        return node

    def keys(node: dict) -> list[str]:
        node = resolve(node)
        branches = [*node.get("anyOf", []), *node.get("oneOf", [])]
        names = [*node.get("properties", {}), *(key for b in branches for key in keys(b))]
        return list(dict.fromkeys(names))

    def step(node: dict, part) -> dict | None:
        node = resolve(node)
        if isinstance(part, int):
            return node.get("items")
        if part in node.get("properties", {}):
            return node["properties"][part]
        if isinstance(node.get("additionalProperties"), dict):
            return node["additionalProperties"]
        for branch in [*node.get("anyOf", []), *node.get("oneOf", [])]:
            found = step(branch, part)
            if found is not None:
                return found
        return None

    for part in location:
        found = step(node, part)
        if found is None:
            break
        node = found
    return f"allowed keys: {', '.join(keys(node))}"


@cache
def json_schema() -> dict:
    """The JSON Schema of a configuration."""
    return Config.model_json_schema()


def project_root() -> Path:
    """The folder that holds the Snakefile."""
    return Path(__file__).resolve().parent.parent
