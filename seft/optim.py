"""AdamW for parameters whose entries were not all born together."""

import torch
from torch.optim import Optimizer


class AdamW(Optimizer):
    """AdamW (Loshchilov and Hutter 2019) with a step count that may differ between entries.

    `torch.optim.AdamW` counts steps per parameter; an entry of a delta that has just grown would
    be bias-corrected as if it were as old as the parameter, and its first updates be several
    times too large. Here the state `steps` broadcasts against the parameter: one number until an
    `Evolver` regrows entries, then one number an entry.

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
                    state["steps"] = torch.zeros((), device=parameter.device)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                steps, mean, square = state["steps"], state["exp_avg"], state["exp_avg_sq"]
                steps += 1
                mean.lerp_(gradient, 1 - beta1)
                if group["ramp"]:
                    mean.mul_((steps / group["ramp"]).clamp_(max=1))
                square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
                scale = (square / (1 - beta2**steps)).sqrt_().add_(group["eps"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                parameter.addcdiv_(mean / (1 - beta1**steps), scale, value=-group["lr"])
        return loss
