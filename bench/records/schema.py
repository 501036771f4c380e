"""The types of ``record.json``: what every reader may rely on, wherever a record comes from."""

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

from bench.cells import DENSE, NO_BUDGET, UNREPAIRED
from bench.typed import Commit, Name, Seed, Sha256

Fraction = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[list[Fraction], Field(min_length=2, max_length=2)]


class Part(BaseModel):
    """A part of a record; what later versions add is let through."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, strict=True)


class CellPart(Part):
    model_config = ConfigDict(extra="forbid")

    model: Name
    pruner: Name
    pattern: Name
    repair: Name
    seed: Seed
    budget: Name = Field(default=None, description="Not there before there were budgets.")

    @model_validator(mode="after")
    def _budget_fits(self):
        trained = self.repair != UNREPAIRED
        if self.budget is not None and trained == (self.budget == NO_BUDGET):
            allowed = f"another name than {NO_BUDGET}" if trained else NO_BUDGET
            raise ValueError(f"budget = {self.budget!r}: allowed with {self.repair}: {allowed}")
        return self

    @model_validator(mode="after")
    def _is_one_that_there_is(self):
        if DENSE in (self.pruner, self.pattern):
            allowed = {"pruner": DENSE, "pattern": DENSE, "repair": UNREPAIRED, "seed": 0}
        else:
            allowed = {"seed": 0} if self.repair == UNREPAIRED else {}
        for key, value in allowed.items():
            if getattr(self, key) != value:
                found = f"{key} = {getattr(self, key)!r}"
                raise ValueError(f"{found}: allowed with {self.pruner}, {self.repair}: {value}")
        return self


class ErrorPart(Part):
    """Why a cell failed."""

    kind: str = Field(alias="class")
    message: str
    stage: str
    attempt: PositiveInt
    log: str | None = None


class TaskPart(Part):
    metric: str
    limit: PositiveInt | None
    few_shot: NonNegativeInt = 0


class EvaluationPart(Part):
    tasks: dict[Name, TaskPart]


class TrainingPart(Part):
    """The budget."""

    steps: PositiveInt
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt = 1
    length: PositiveInt


class SourcePart(Part):
    """Where the model comes from; its kind decides which of the keys there are."""

    source: str
    members: list[str] | None = None
    repository: str | None = None
    path: str | None = None


class RepairPart(Part):
    learning_rate: PositiveFloat
    of: str | None = None


class ResolvedPart(Part):
    model: SourcePart
    evaluation: EvaluationPart
    pruning: dict[str, Any] | None = None
    training: TrainingPart | None = None
    repair: RepairPart | None = None
    learning_rate_from: dict[str, PositiveFloat] | None = None


class ConfigPart(Part):
    hash: Sha256
    resolved: ResolvedPart


class SparsityPart(Part):
    requested: Fraction
    achieved: Fraction | None
    layers: dict[str, Fraction] | None
    evolution: dict[str, Range] | None = None


class Costs(Part):
    seconds: NonNegativeFloat
    waited_seconds: NonNegativeFloat | None = None
    peak_rss_bytes: NonNegativeInt | None
    peak_device_bytes: NonNegativeInt | None
    disk_bytes: NonNegativeInt | None = None


class Accelerator(Part):
    name: str


class ComputedOn(Part):
    cpu: str
    accelerator: Accelerator | None
    dtype: str | None
    threads: PositiveInt


class RepairCosts(Costs):
    trainable_parameters: PositiveInt
    tokens: PositiveInt
    steps: PositiveInt
    batch_order: str | None = None
    tokens_per_second: NonNegativeFloat | None = None
    seconds_evolving: NonNegativeFloat | None = None
    processes: PositiveInt = 1
    micro_batch: PositiveInt | None = None
    computed_on: ComputedOn | None = None


class Stages(Part):
    prune: Costs | None
    repair: RepairCosts | None
    merge: Costs | None
    evaluate: Costs | None


class Metric(Part):
    task: Name
    metric: str
    value: float | None
    stderr: NonNegativeFloat | None = None
    version: float | str | None
    n: PositiveInt
    few_shot: NonNegativeInt
    limit: PositiveInt | None
    scoring: Literal["packed", "single"] = "packed"
    tasks: PositiveInt = Field(default=1, description="Of a group: of how many it is the mean.")


class Git(Part):
    commit: Commit
    dirty: bool


class Manifests(Part):
    model: Sha256
    data: Sha256 | None = Field(
        default=None, description="Of all sets together: in records that do not name theirs."
    )
    tasks: dict[str, Sha256] = {}
    sets: dict[str, Sha256] = {}

    @model_validator(mode="after")
    def _say_which_data(self):
        if self.data is None and "sets" not in self.model_fields_set:
            raise ValueError("missing: sets")
        return self


class Provenance(ComputedOn):
    git: Git | None
    packages: dict[str, str]
    python: str
    platform: str
    manifests: Manifests


class Inputs(Part):
    """Paths of what a cell was made from, and the identities of what lay there."""

    identities: dict[str, Sha256 | None] = {}


class Record(Part):
    """One cell."""

    schema_version: Literal[1]
    cell: CellPart
    status: Literal["ok", "failed"]
    error: ErrorPart | None
    config: ConfigPart
    sparsity: SparsityPart
    stages: Stages
    metrics: list[Metric]
    samples: str | None
    inputs: Inputs | None = None
    provenance: Provenance

    @model_validator(mode="before")
    @classmethod
    def _is_finite(cls, values):
        """What has no type here is shown all the same, and JSON has no other numbers."""
        for key, value in _numbers(values):
            if not math.isfinite(value):
                raise ValueError(f"{key} = {value}: allowed: a finite number")
        return values

    @model_validator(mode="after")
    def _agrees(self):
        if (self.status == "ok") != (self.error is None):
            raise ValueError(
                f"status = {self.status!r}: allowed: 'failed' with an error, 'ok' without"
            )
        if self.status == "failed" and self.metrics:
            raise ValueError("metrics: allowed: none of a cell that failed")
        known = {"stages.evaluate": self.stages.evaluate, "sparsity.layers": self.sparsity.layers}
        for name, value in known.items():
            if self.status == "ok" and value is None:
                raise ValueError(f"{name}: missing; allowed: that of a cell that is ok")
        if self.cell.repair != UNREPAIRED and not (
            self.config.resolved.training and self.config.resolved.repair
        ):
            raise ValueError("config.resolved: allowed: training and repair, as something trained")
        scores = [(entry.task, entry.metric) for entry in self.metrics]
        for score in scores:
            if scores.count(score) > 1:
                raise ValueError(f"metrics: {', '.join(score)}: allowed: once")
        return self


def _numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """The floats inside nested lists and dictionaries, each with its dotted key."""
    if isinstance(value, float):
        yield key, value
    elif isinstance(value, dict | list):
        for name, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _numbers(part, f"{key}.{name}" if key else str(name))


class Logged(Part):
    step: NonNegativeInt
    loss: float
    learning_rate: float


class Evolution(Part):
    step: list[NonNegativeInt]
    layer: list[NonNegativeInt]
    reactivated: list[Fraction | None]
    overlap: list[Fraction]


class Change(Part):
    change: NonNegativeFloat | None
    entered: Fraction
    left: Fraction


class History(Part):
    """How a cell's training went (:mod:`bench.records.history`)."""

    cell: CellPart
    training: list[Logged]
    evolution: Evolution
    layers: dict[str, Change]


RECORD = TypeAdapter(Record)
HISTORIES = Annotated[list[History], Field(min_length=1, max_length=1)]
