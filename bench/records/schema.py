"""The types of ``record.json``, for records that were not written here."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt

Fraction = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Part(BaseModel):
    """A part of a record; what later versions add is let through."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)


class CellPart(Part):
    model_config = ConfigDict(extra="forbid")

    model: str
    pruner: str
    pattern: str
    repair: str
    seed: NonNegativeInt


class ErrorPart(Part):
    """Why a cell failed; its ``class`` is not looked at."""

    message: str
    stage: str
    attempt: PositiveInt


class TaskPart(Part):
    metric: str
    limit: PositiveInt | None


class EvaluationPart(Part):
    tasks: dict[str, TaskPart]


class ResolvedPart(Part):
    evaluation: EvaluationPart
    repair: dict | None = None


class ConfigPart(Part):
    hash: Sha256
    resolved: ResolvedPart


class SparsityPart(Part):
    requested: Fraction
    achieved: Fraction | None
    layers: dict[str, Fraction] | None
    evolution: dict[str, tuple[Fraction, Fraction]] | None = None


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
    task: str
    metric: str
    value: float | None
    n: PositiveInt
    few_shot: NonNegativeInt
    limit: PositiveInt | None


class Git(Part):
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]
    dirty: Literal[False]


class Manifests(Part):
    model: Sha256
    data: Sha256
    tasks: dict[str, Sha256] = {}
    sets: dict[str, Sha256] = {}


class Provenance(Part):
    git: Git
    packages: dict[str, str]
    python: str
    platform: str
    cpu: str
    dtype: str
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
