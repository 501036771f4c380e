"""The types of ``record.json``: what every reader may rely on, wherever a record comes from."""

from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

from bench.cells import NO_BUDGET, UNREPAIRED
from bench.typed import Name, Seed

Fraction = Annotated[float, Field(ge=0, le=1)]
Range = Annotated[list[Fraction], Field(min_length=2, max_length=2)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


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


class ErrorPart(Part):
    """Why a cell failed; its ``class`` is not looked at."""

    message: str
    stage: str
    attempt: PositiveInt


class TaskPart(Part):
    metric: str
    limit: PositiveInt | None


class EvaluationPart(Part):
    tasks: dict[Name, TaskPart]


class TrainingPart(Part):
    """The budget."""

    steps: PositiveInt
    batch_size: PositiveInt
    gradient_accumulation: PositiveInt = 1
    length: PositiveInt


class ResolvedPart(Part):
    evaluation: EvaluationPart
    training: TrainingPart | None = None
    repair: dict | None = None


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
    peak_rss_bytes: NonNegativeInt | None
    peak_device_bytes: NonNegativeInt | None


class RepairCosts(Costs):
    trainable_parameters: PositiveInt
    tokens: PositiveInt
    steps: PositiveInt


class Stages(Part):
    prune: Costs | None
    repair: RepairCosts | None
    merge: Costs | None
    evaluate: Costs | None


class Metric(Part):
    task: Name
    metric: str
    value: float | None
    n: PositiveInt
    few_shot: NonNegativeInt
    limit: PositiveInt | None
    scoring: Literal["packed", "single"] = "packed"


class Git(Part):
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    dirty: bool


class Manifests(Part):
    model: Sha256
    data: Sha256
    tasks: dict[str, Sha256] = {}
    sets: dict[str, Sha256] = {}


class Provenance(Part):
    git: Git | None
    packages: dict[str, str]
    python: str
    platform: str
    cpu: str
    accelerator: dict | None
    dtype: str | None
    threads: PositiveInt
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


RECORD = TypeAdapter(Record)
