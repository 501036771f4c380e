"""AdamW for parameters whose entries were not all born together."""

import torch
from torch import Tensor
from torch.optim import Optimizer

WIDTHS = (torch.uint8, torch.int16, torch.int32)


class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019) with a step count that may differ between entries.

    `torch.optim.AdamW` counts steps per parameter; an entry of a delta that has just grown would
    be bias-corrected as if it were as old as the parameter, and its first updates be several
    times too large. Here entries that were born together are a generation: the state has the `ages`
    of the generations, in steps, and the `generation` of each entry, in a byte while that will do;
    one for all until an `Evolver` regrows entries.

    Args:
        params, lr, betas, eps, weight_decay: as in `torch.optim.AdamW`.
        ramp: steps over which an entry's first moment is let in: whenever it has been updated, it
            is multiplied by min(age / ramp, 1). 0: it is not.
    """

    def __init__(
        self,
        params,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        ramp: int = 0,
    ):
        defaults = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        super().__init__(params, defaults | {"ramp": ramp})

    @torch.no_grad()
    def step(self, closure=None):
        """One step; `closure`, if given, re-evaluates and returns the loss."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["ages"] = torch.zeros(1, device=parameter.device)
                    state["generation"] = torch.zeros_like(state["ages"][0], dtype=torch.uint8)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                ages, generation = state["ages"], state["generation"].long()
                mean, square = state["exp_avg"], state["exp_avg_sq"]
                ages += 1
                mean.lerp_(gradient, 1 - beta1)
                if group["ramp"]:
                    mean.mul_((ages / group["ramp"]).clamp_(max=1)[generation])
                square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                scale = (square / (1 - beta2**ages)[generation]).sqrt_().add_(group["eps"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.addcdiv_(mean / (1 - beta1**ages)[generation], scale, value=-group["lr"])
        return loss

    def load_state_dict(self, state_dict):
        """Ages and generations stay what they are: torch gives all states their parameter's dtype,
        and bfloat16 counts no further than 256.
        """
        super().load_state_dict(state_dict)
        numbers = (n for group in state_dict["param_groups"] for n in group["params"])
        parameters = (p for group in self.param_groups for p in group["params"])
        for number, parameter in zip(numbers, parameters, strict=True):
            for name in {"ages", "generation"} & state_dict["state"].get(number, {}).keys():
                values = state_dict["state"][number][name]
                self.state[parameter][name] = values.to(parameter.device, copy=True)


def reborn(state: dict[str, Tensor], origin: Tensor, age: float) -> dict[str, Tensor]:
    """The ages and the generations of the entries of a parameter after some were born anew.

    Args:
        state: of the parameter, before.
        origin: of each entry the slot it came from, -1 where it is new, (k,).
        age: of the new ones.
    """
    before = state["generation"].long().expand(len(origin))
    ages = torch.cat([state["ages"], state["ages"].new_tensor([age])])
    generation = torch.where(origin < 0, len(ages) - 1, before[origin.clamp(min=0)])
    alive = torch.bincount(generation, minlength=len(ages)) > 0
    ages, generation = ages[alive], (alive.cumsum(0) - 1)[generation]
    width = next(t for t in WIDTHS if torch.iinfo(t).max >= len(ages) - 1)
    return {"ages": ages, "generation": generation.to(width)}
