"""The claims file: its types and its errors."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt, TypeAdapter, model_validator

from baselines.problems import MisfitError, Problem, validated
from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.config.grid import PatternName
from bench.documents import read_document
from bench.evaluation.tasks import ANSWER_BPB, PERPLEXITY
from bench.paths import ROOT
from bench.records.measures import ACCURACY, COSTS, KINDS, NEGLIGIBLE_RATIO
from bench.records.profiles import PROFILED
from bench.typed import Strict

Axis = Literal["model", "pruner", "pattern", "against", "task"]
AXES: tuple[str, ...] = Axis.__args__
SCORES = {
    "average": ACCURACY,
    "tasks": ACCURACY,
    "answers": KINDS[ANSWER_BPB],
    "perplexity": KINDS[PERPLEXITY],
}
OBSERVED = ("sparsity_drift", "diverged")
RATIOS = (*COSTS, *PROFILED)
Names = Annotated[list[str], Field(min_length=1)]
Repair = Literal[*REPAIRS]
Pruners = Annotated[list[Literal[*PRUNERS]], Field(min_length=1)]
Patterns = Annotated[list[PatternName], Field(min_length=1)]


class Cells(Strict):
    """Which cells a claim is about; what is not given is all that was measured."""

    repair: Repair = Field(description="The repair that the claim is about.")
    model: Names | None = Field(default=None, description="Models.")
    pruner: Pruners | None = Field(default=None, description="Pruners.")
    pattern: Patterns | None = Field(default=None, description="Patterns.")


class Claim(Strict):
    """One claim."""

    claim: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")] = Field(description="A short name.")
    title: str = Field(description="A heading.")
    statement: str = Field(description="What is claimed, in a sentence.")
    cells: Cells = Field(description="The cells that are compared.")
    against: list[Repair] = Field(
        default=[], description="The repairs of the same base that they are compared with."
    )
    metric: Literal[*SCORES, *RATIOS, *OBSERVED] = Field(description="What is compared.")
    direction: Literal["above", "below"] = Field(
        description="The side of the threshold on which the claim is true."
    )
    threshold: float = Field(
        description="A difference in points, bits or nats, a ratio of costs, or a value."
    )
    negligible: NonNegativeFloat | None = Field(
        default=None,
        description="Up to this far from the threshold a difference is not worth naming; null: 0.5 "
        "points of accuracy, 0.01 bits a byte, 0.02 nats a token, 5 % of a cost.",
    )
    apart: list[Axis] = Field(
        default=[*AXES], description="What is compared apart; over the rest it is averaged."
    )
    seeds: PositiveInt = Field(
        default=2,
        description="Fewest seeds of a comparison: with fewer there is no verdict, since one seed "
        "does not tell a method from its luck.",
    )
    budgets: PositiveInt = Field(
        default=1, description="Fewest budgets that must have been run for it to be tested."
    )
    at_least: dict[Axis, PositiveInt] = Field(
        default={}, description="How many of these must have been tested for the claim to hold."
    )

    @property
    def margin(self) -> float:
        """The largest difference from the threshold that is not worth naming."""
        if self.negligible is not None:
            return self.negligible
        score = SCORES.get(self.metric)
        return score.negligible if score else NEGLIGIBLE_RATIO * self.threshold

    @property
    def unit(self) -> str:
        """Of an estimate; a drift of sparsity and a share of seeds have none."""
        score = SCORES.get(self.metric)
        return score.unit if score else "times" if self.metric in RATIOS else ""

    @property
    def counted(self) -> str:
        """What more of would settle it, beside items."""
        return "repetitions" if self.metric in PROFILED else "seeds a cell"

    @model_validator(mode="after")
    def _metric_fits(self):
        observed = self.metric in OBSERVED
        if observed == bool(self.against):
            allowed = "none" if observed else "at least one repair"
            raise ValueError(f"against = {self.against}: allowed with {self.metric}: {allowed}")
        if self.cells.repair in self.against:
            raise ValueError(f"against = {self.against}: allowed: other repairs than its own")
        if self.metric in RATIOS and self.threshold <= 0:
            raise ValueError(f"threshold = {self.threshold:g}: allowed for a ratio: above 0")
        if self.metric in RATIOS and self.margin >= self.threshold:
            allowed = f"below its threshold, {self.threshold:g}"
            raise ValueError(f"negligible = {self.margin:g}: allowed for a ratio: {allowed}")
        named = [key for key in AXES[:3] if getattr(self.cells, key) is not None]
        if self.metric in PROFILED and named:
            raise ValueError(f"cells.{named[0]}: allowed with {self.metric}: none")
        return self


CLAIMS_FILE = ROOT / "config" / "claims.yaml"
CLAIMS = TypeAdapter(Annotated[list[Claim], Field(min_length=1)])


def load_claims(path: str | Path) -> list[Claim]:
    """The claims of a YAML file.

    Raises:
        ValueError: it cannot be read, or with one line for each problem: key, value, what is
            allowed.
    """
    values = read_document(path)
    try:
        claims = validated(CLAIMS, values)
    except MisfitError as error:
        lines = [line for p in error.problems for line in _of_claim(p, values).splitlines()]
        raise ValueError("\n".join(f"{path}: {line}" for line in lines)) from None
    names = [claim.claim for claim in claims]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"{path}: claim = {', '.join(repeated)}: allowed: each name once")
    return claims


def _of_claim(problem: Problem, values) -> str:
    """A problem as ``claim <name>: key = value: what is allowed``."""
    if not problem.keys:
        return f"{problem} of claims"
    number, *keys = problem.keys
    entry = values[number]
    name = entry.get("claim", number + 1) if isinstance(entry, dict) else number + 1
    return f"claim {name}: {Problem(tuple(keys), problem.said, problem.value)}"
