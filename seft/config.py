"""What can be configured, and the schedule of the drop rate."""

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path
from types import NoneType
from typing import Literal, get_args, get_origin

from seft.storage import STORAGES

CONFIG_NAME = "seft_config.json"
# Of the public code for sparse pre-training by SEFT's first author (github.com/QiaoXiao7282/SMET).
RAMP = 100


@dataclass
class SeftConfig:
    """Options of sparsity evolution fine-tuning.

    The method's controls and its parent are configurations of it: static indices are
    ``init="random", drop_fraction=0``; random growth is ``growth="random"``; SpIEL (Ansell et al.
    2024) is ``init="replaced", mask="free", schedule="linear", stop_fraction=1, moments="seeded"``,
    and SpIEL kept inside the mask the same with ``mask="fixed"``.

    Attributes:
        density: Active entries of a layer, as a fraction of its m * n entries. Give exactly one
            of `density` and `match_rank`.
        match_rank: Rank r of the LoRA whose parameter count is matched: k = r * (m + n).
        target_modules: Which `nn.Linear` layers of the decoder blocks are trained: name suffixes,
            or one regular expression that matches the whole name. None: all of them. Never
            targets: layers outside the decoder blocks (embeddings, `lm_head`), routers of a mixture
            of experts, and layers with one output.
        exclude_modules: Layers taken out of the targets, in the same notation.
        layers_to_transform: Indices of the decoder blocks to train. None: all.
        modules_to_save: Name suffixes of further modules that are trained whole (in the model's
            dtype) and saved with the deltas.
        evolve_every: R, the optimizer steps from one evolution of a layer to the next.
        accumulate_steps: A, the optimizer steps over which the dense gradient is averaged before an
            evolution, at most R. Where the gradient chooses the first positions, it is that of the
            first A steps, which train nothing unless there are random ones before.
        drop_fraction: p0, the fraction of a layer's active entries that an evolution drops at the
            start of training.
        schedule: How that fraction falls to 0: on half a cosine, or on a line.
        stop_fraction: Fraction of training after which nothing is dropped any more.
        init: The first positions: "random", any inside the mask, from the first step on;
            "gradient", those of the whole layer with the largest accumulated gradient; "inside",
            those inside the mask, so that later evolutions alone move it; "replaced", random ones
            until step A chooses all of them anew by the accumulated gradient.
        growth: What growth prefers: a large accumulated gradient, or nothing (random).
        moments: Optimizer moments and age of a grown entry: "reset", both zero; "ramp", the same,
            and the first moment is let in over 100 steps (the optimizer is
            ``seft.AdamW(..., ramp=config.ramp)``); "seeded", as in SpIEL, the window's means,
            biased as moments of the window's age are, and that age (not for float16 with loss
            scaling; see `seft.evolver.seed_state`).
        mask: "evolve", growth anywhere, then the least sensitive weights are removed so that the
            layer stays as sparse as it was; "fixed", growth inside the base's mask alone; "free",
            growth anywhere and nothing is removed (the layer loses sparsity).
        pattern: (N, M), with mask "evolve": N of every M consecutive inputs are pruned and growth
            and adaptation keep it so. With the other masks no pattern is needed: "fixed", the
            paper's choice for such bases, keeps any. None: unstructured.
        stagger: Layers evolve in turn, spread over the R steps, not all at once: about A / R of
            their windows are open at any time. Where the gradient chooses the first positions, all
            layers choose at step A, and their windows until then are the most that SEFT ever takes.
        candidates: c, the windows keep the gradient of about c * k candidates to grow and, where
            the mask adapts, as many to remove as lie outside it of these, chosen from the first
            micro-batch of a window whose gradient is not zero (as SpIEL's public code does, with
            c = 1), at 6 bytes each: so how a batch is split into micro-batches is a part of the
            result, as it is not with None and moments that are not seeded. None, and by
            default with a pattern, which takes no limit: of all m * n entries.
        storage: How the weights of the targets are held: "dense"; or "bitmask", their mask and the
            values under it, unpacked one layer at a time (see `seft.storage`). The results are the
            same, bit for bit.
        seed: Seed of everything random.
    """

    density: float | None = None
    match_rank: int | None = None
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    modules_to_save: list[str] | None = None
    evolve_every: int = 60
    accumulate_steps: int = 5
    drop_fraction: float = 0.2
    schedule: Literal["cosine", "linear"] = "cosine"
    stop_fraction: float = 0.8
    init: Literal["random", "gradient", "inside", "replaced"] = "random"
    growth: Literal["gradient", "random"] = "gradient"
    moments: Literal["reset", "seeded", "ramp"] = "reset"
    mask: Literal["evolve", "fixed", "free"] = "evolve"
    pattern: tuple[int, int] | None = None
    stagger: bool = True
    candidates: int | None = 3
    storage: Literal[STORAGES] = "dense"
    seed: int = 0

    def __post_init__(self):
        if (self.density is None) == (self.match_rank is None):
            raise ValueError(
                "give exactly one of density and match_rank, "
                f"not density={self.density} and match_rank={self.match_rank}"
            )
        number, whole = (int, float), int
        self._check("density", number, lambda d: 0 < d <= 1, "in (0, 1]")
        self._check("match_rank", whole, lambda r: r >= 1, "a whole number from 1")
        self._check("evolve_every", whole, lambda r: r >= 1, "a whole number from 1")
        self._check(
            "accumulate_steps",
            whole,
            lambda a: 1 <= a <= self.evolve_every,
            f"a whole number from 1 to evolve_every={self.evolve_every}",
        )
        self._check("drop_fraction", number, lambda p: 0 <= p <= 1, "in [0, 1]")
        self._check("stop_fraction", number, lambda s: 0 < s <= 1, "in (0, 1]")
        self._check("stagger", bool, lambda s: True, "true or false")
        self._check("candidates", whole, lambda c: c >= 3, "a whole number from 3")
        listed, names = (list, tuple), "a list of names"
        self._check(
            "layers_to_transform", (int, *listed), _whole, "whole numbers in a list, or one"
        )
        self._check("modules_to_save", listed, _names, names)
        for name in ("target_modules", "exclude_modules"):
            self._check(name, (str, *listed), _names, f"{names}, or a regular expression")
        self._check("pattern", listed, _n_of_m, "(N, M) with 0 < N < M")
        if self.pattern is not None:
            self.pattern = tuple(self.pattern)
            self._check(
                "mask", str, lambda mask: mask == "evolve", '"evolve" where pattern is given'
            )
            # A group's place may need entries of it that are no candidates.
            if self.candidates not in (None, SeftConfig.candidates):
                raise ValueError("candidates cannot be limited where pattern is given")
            self.candidates = None
        self._check("seed", whole, lambda s: True, "a whole number")
        for field in fields(self):
            if get_origin(field.type) is Literal:
                allowed = get_args(field.type)
                self._check(field.name, str, allowed.__contains__, f"one of {', '.join(allowed)}")

    def _check(self, name: str, kind: type | tuple[type, ...], valid, allowed: str):
        value = getattr(self, name)
        optional = NoneType in get_args(type(self).__dataclass_fields__[name].type)
        # Python takes True for 1.
        fits = isinstance(value, kind) and isinstance(value, bool) == (kind is bool)
        if not ((value is None and optional) or (fits and valid(value))):
            raise ValueError(f"{name}={value!r} must be {allowed}")

    @property
    def ramp(self) -> int:
        """The `ramp` that the optimizer has to have."""
        return RAMP if self.moments == "ramp" else 0

    def drop_rate(self, step: int, total_steps: int) -> float:
        """Fraction p_t of a layer's active entries dropped after optimizer step `step`."""
        progress = min(1.0, step / (self.stop_fraction * total_steps))
        if self.schedule == "linear":
            return self.drop_fraction * (1 - progress)
        return self.drop_fraction * (1 + math.cos(math.pi * progress)) / 2

    def evolutions(self, total_steps: int, offset: int = 0) -> int:
        """How often a layer evolves in a training, after its first positions are chosen.

        Args:
            total_steps: Optimizer steps of the training.
            offset: Steps by which it evolves later than the first of layers that take turns.
        """
        chosen = 0 if self.init == "random" else self.accumulate_steps
        due = range(offset + self.evolve_every, total_steps + 1, self.evolve_every)
        return sum(step > chosen and self.drop_rate(step, total_steps) > 0 for step in due)

    def active_entries(self, out_features: int, in_features: int) -> int:
        """k, the number of active entries of a layer of shape (out_features, in_features)."""
        if self.match_rank is not None:
            return self.match_rank * (out_features + in_features)
        # The decimal as it is written: 0.29 of 100 are 29, in floating point a little less.
        return max(1, int(Fraction(str(self.density)) * out_features * in_features))

    def window_bytes(self, out_features: int, in_features: int) -> int:
        """Bytes, about, of a window of a layer: its sums, and with candidates their positions."""
        entries, sums = out_features * in_features, 8 if self.moments == "seeded" else 4
        if self.candidates is None:
            return sums * entries
        kinds = 2 if self.mask == "evolve" else 1
        k = self.active_entries(out_features, in_features)
        return (sums + 2) * min(entries, (1 + kinds * self.candidates) * k)

    def save_pretrained(self, save_directory: str | Path):
        """Write `seft_config.json` into a folder."""
        write_atomically(
            Path(save_directory) / CONFIG_NAME,
            lambda path: path.write_text(json.dumps(asdict(self), indent=2) + "\n"),
        )

    @classmethod
    def from_pretrained(cls, directory: str | Path) -> "SeftConfig":
        """Read `seft_config.json` from a folder.

        Raises:
            ValueError: no such file, or not a valid configuration.
        """
        path = Path(directory) / CONFIG_NAME
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, TypeError, json.JSONDecodeError) as error:
            raise ValueError(f"{path} is not a SEFT configuration: {error}") from error


def _whole(value: int | list) -> bool:
    return all(type(number) is int for number in ([value] if isinstance(value, int) else value))


def _n_of_m(value: list) -> bool:
    return len(value) == 2 and _whole(value) and 0 < value[0] < value[1]


def _names(value: list | str) -> bool:
    if not isinstance(value, str):
        return all(isinstance(name, str) for name in value)
    try:
        return bool(re.compile(value))
    except re.error:
        return False


def write_atomically(path: Path, write: Callable[[Path], None]):
    """Let `write` fill a temporary file, then give it its name: a reader never sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    write(partial)
    partial.replace(path)
