"""No repair: the pruned model as it is, the baseline of every other repair."""

from collections.abc import Callable

from torch import nn

from baselines.repair.base import Repair, RepairOptions


class NoRepair(Repair):
    """The pruned model, untouched."""

    Options = RepairOptions
    training = None

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        return model.requires_grad_(False)

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        return model
