"""Methods that repair a pruned model by training it, with what they share and their registry."""

from typing import TYPE_CHECKING

from pydantic import ValidationError

from baselines.problems import misfit
from baselines.registry import Registry

if TYPE_CHECKING:
    from baselines.pruning.pattern import Pattern
    from baselines.repair.base import Repair

__all__ = ["REPAIRS", "build_repair"]

REPAIRS = Registry(
    "repair",
    {
        "none": "baselines.repair.none:NoRepair",
        "full": "baselines.repair.full:Full",
        "lora": "baselines.repair.lora:Lora",
        "lora-dense": "baselines.repair.lora:LoraDense",
        "spp": "baselines.repair.spp:Spp",
        "seft": "baselines.repair.seft:Seft",
        "masked-lora": "baselines.repair.masked_lora:MaskedLora",
        "spiel": "baselines.repair.spiel:Spiel",
        "spiel-static-mask": "baselines.repair.spiel:SpielStaticMask",
        "static": "baselines.repair.static:Static",
        "random-grow": "baselines.repair.random_grow:RandomGrow",
        "full-dense": "baselines.repair.full_dense:FullDense",
        "shira": "baselines.repair.shira:Shira",
        "reconstruct": "baselines.repair.reconstruct:Reconstruct",
    },
)


def build_repair(
    name: str, *, of: str | None = None, pattern: "Pattern | None" = None, **options
) -> "Repair":
    """The repair ``name`` with these options; what is not given keeps the method's default.

    ``of`` is the registered repair that ``name`` is a variant of; None where ``name`` itself is
    registered. ``pattern`` is what the base was pruned to; without one its zeros are taken as
    unstructured.

    Raises:
        KeyError: the repair is not registered.
        ValueError: an option is unknown or its value is not allowed (one line that names it).
    """
    repair = REPAIRS[of or name]
    try:
        return repair(pattern=pattern, **options)
    except ValidationError as error:
        raise misfit(f"repair {name!r}", error, repair.Options) from None
