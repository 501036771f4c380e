"""When layers evolve, and what an evolution changes besides the weights."""

import time
import warnings
from functools import partial

import torch
from torch import Tensor
from torch.optim import Optimizer

from seft.candidates import candidates
from seft.layer import SeftLinear
from seft.model import SeftModel
from seft.optim import reborn
from seft.selection import random_scores
from seft.topology import evolve
from seft.window import Means, Window


class Evolver:
    """Keeps a SEFT model's weights up to date and evolves its topology.

        evolver = Evolver(model, total_steps=1000)
        for step, batch in enumerate(batches, start=1):
            model(**batch).loss.backward()
            optimizer.step()
            evolver.step(optimizer, step)
            optimizer.zero_grad()
        evolver.close()

    `seft.AdamW` gives a grown entry its own step count; with another optimizer the entry's state
    is zeroed and shares the parameter's count.

    Args:
        model: the SEFT model, not wrapped in data parallelism.
        total_steps: T, optimizer steps of the whole training.
        step: optimizer steps taken before (when a training is taken up again).
        micro_batches: G, forward and backward passes that an optimizer step is made of, where it
            is known (the last step of an epoch may have fewer). None: what a window saw in all its
            steps, divided by their number.

    Warns:
        UserWarning: a layer evolves at most once in so few steps.

    Raises:
        ValueError: the training is too short for the first selection, or a parameter trains that is
            not saved with the deltas.
    """

    def __init__(
        self,
        model: SeftModel,
        total_steps: int,
        step: int = 0,
        micro_batches: int | None = None,
    ):
        self.model, self.config, self.total_steps = model, model.seft_config, total_steps
        self.micro_batches, self.taken = micro_batches, step
        self.layers = model.seft_layers
        self._check_trained()
        period = self.config.evolve_every if self.config.stagger else 1
        self.offsets = {
            name: number * period // len(self.layers) for number, name in enumerate(self.layers)
        }
        first = self.config.accumulate_steps
        if self.config.init != "random" and total_steps < first:
            raise ValueError(
                f"total_steps={total_steps} ends before the first positions are chosen, at step "
                f"{first}: lower accumulate_steps"
            )
        # A delta that was trained before has no random positions any more.
        trained = step == 0 and any(bool(layer.delta.any()) for layer in self.layers.values())
        self.replaces = self.config.init == "replaced" and not trained
        self._warn_if_too_short()
        for layer in self.layers.values():
            layer.has_evolver = True
            # One of another training, which the delta was saved in, is none of this one.
            if layer.window and not step - first < layer.window.opened < step:
                layer.window = None
        self._open_windows(step)

    def step(self, optimizer: Optimizer, step: int):
        """Follow one optimizer step.

        Args:
            optimizer: the optimizer that holds the deltas; its state follows them.
            step: optimizer steps taken so far, this one included.

        Raises:
            ValueError: its `ramp` is not that of the configuration, it has no moments to seed, or
                ones that cannot follow the deltas; or `step` is not one more than before.
        """
        self._check_ramp(optimizer)
        if step != self.taken + 1:
            raise ValueError(
                f"step={step} must be {self.taken + 1}, the number of optimizer steps taken so far"
            )
        self.taken = step
        for name, layer in self.layers.items():
            layer.write_back()
            if layer.window is not None and self._next_evolution(name, step - 1) == step:
                self._evolve(name, optimizer, step)
        self._open_windows(step)

    def close(self):
        """End the training: forget open windows."""
        for layer in self.layers.values():
            layer.window, layer.has_evolver = None, False

    def _next_evolution(self, name: str, step: int) -> int:
        """The first step after `step` at which a layer's evolution is due.

        All layers choose their first positions at step A, and begin again if that fails, unless
        they have random ones.
        """
        if self._is_first(self.layers[name], step + 1):
            period, offset = self.config.accumulate_steps, 0
        else:
            period, offset = self.config.evolve_every, self.offsets[name]
        return (max(step - offset, 0) // period + 1) * period + offset

    def _warn_if_too_short(self):
        """Warn where a layer evolves at most once after its first positions are chosen."""
        config, total = self.config, self.total_steps
        evolutions = min(config.evolutions(total, offset) for offset in self.offsets.values())
        if config.drop_fraction > 0 and evolutions <= 1:
            warnings.warn(
                f"total_steps={total} is too short to evolve every layer more than once with "
                f"evolve_every={config.evolve_every}: lower evolve_every",
                stacklevel=3,
            )

    def _check_trained(self):
        deltas = (layer.delta for layer in self.layers.values())
        saved = {*deltas, *self.model._saved_parameters.values()}
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and parameter not in saved:
                raise ValueError(
                    f"{name} trains, but is not saved with the deltas: freeze it, or name its "
                    "module in modules_to_save"
                )

    def _check_ramp(self, optimizer: Optimizer):
        wanted = self.config.ramp
        if any(group.get("ramp", 0) != wanted for group in optimizer.param_groups):
            raise ValueError(
                f"moments={self.config.moments!r} needs an optimizer with ramp={wanted}, such as "
                f"seft.AdamW(..., ramp={wanted})"
            )

    def _is_first(self, layer: SeftLinear, step: int) -> bool:
        """Whether an evolution of a layer after a step would choose all its positions."""
        start = self.replaces and step <= self.config.accumulate_steps
        return start or not len(layer.indices)

    def _rate(self, layer: SeftLinear, step: int) -> float:
        """Which fraction of a layer's positions an evolution after a step chooses anew."""
        if self._is_first(layer, step):
            return 1.0
        return self.config.drop_rate(step, self.total_steps)

    def _entries_to_drop(self, layer: SeftLinear, step: int) -> int:
        return int(len(layer.indices) * self._rate(layer, step))

    def _open_windows(self, step: int):
        """Open the windows that the gradients after `step` belong to, where they are not open."""
        for name, layer in self.layers.items():
            due = self._next_evolution(name, step)
            if step < due - self.config.accumulate_steps:
                continue
            if len(layer.indices) and not self._entries_to_drop(layer, due):
                continue
            layer.window = layer.window or Window(step)
            # Of one that was loaded, too, which may have chosen no candidates yet.
            layer.window.squares = self.config.moments == "seeded"
            if self.config.candidates is not None:
                layer.window.choose = partial(self._candidates, name, due)

    def _candidates(self, name: str, due: int, gradient: Tensor) -> Tensor:
        layer = self.layers[name]
        weight = layer.weight
        return candidates(
            gradient,
            weight,
            layer.topology,
            count=self.config.candidates * len(layer.delta),
            mask=self._mask(layer),
            preference=self._preference(name, weight, due),
        )

    def _age(self, window: Window, means: Means, step: int) -> float:
        """Of an entry that grows after a step: 0, or that of the means it is seeded with."""
        if self.config.moments != "seeded":
            return 0.0
        if self.micro_batches is None:
            return step - window.opened
        return means.micro_batches / self.micro_batches

    def _preference(self, name: str, weight: Tensor, step: int) -> Tensor | None:
        """What growth of a layer prefers after a step, (m * n,); None: a large gradient."""
        if self.config.growth == "gradient" or self._is_first(self.layers[name], step):
            return None
        return random_scores(weight, self.config.seed, name, step)

    def _mask(self, layer: SeftLinear) -> str:
        """How the next evolution of a layer treats the mask."""
        first = not len(layer.indices)
        return "fixed" if first and self.config.init == "inside" else self.config.mask

    @torch.no_grad()
    def _evolve(self, name: str, optimizer: Optimizer, step: int):
        config, layer = self.config, self.layers[name]
        device = layer.delta.device
        start = now(device)
        window, layer.window = layer.window, None
        with layer.open_weight() as weight:
            means = window.means(weight, layer.topology)
            if means is None:
                return
            rate = self._rate(layer, step)
            preference = self._preference(name, weight, step)
            if preference is not None and means.positions is not None:
                preference = preference[means.positions]
            evolution = evolve(
                weight,
                layer.topology,
                layer.delta,
                means.gradient,
                drop=self._entries_to_drop(layer, step),
                mask=self._mask(layer),
                group=config.pattern and config.pattern[1],
                preference=preference,
                positions=means.positions,
            )
            layer.topology = evolution.topology
        move(layer.delta, evolution.origin)
        age = self._age(window, means, step)
        move_state(optimizer, layer.delta, evolution.origin, age)
        if config.moments == "seeded":
            seed_state(optimizer, layer, evolution.origin, means, age)
        self.model.evolution_log.append(
            {
                "step": step,
                "layer": name,
                "rate": rate,
                "dropped": evolution.dropped,
                "grown": evolution.grown,
                "reactivated": evolution.reactivated,
                "removed": evolution.removed,
                "restored": evolution.restored,
                "overlap": layer.overlap,
                "sparsity": layer.sparsity,
                "seconds": now(device) - start,
            }
        )


def now(device: torch.device) -> float:
    """Seconds of a clock, when the device has done all that it was given.

    So an evolution, which reads what the device has computed, is not charged with the backward pass
    and the optimizer step that are in its queue.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def move(values: Tensor, origin: Tensor):
    """Give each new slot the value of the slot it came from, 0 where it came from none (-1)."""
    values.copy_(torch.where(origin < 0, 0, values[origin.clamp(min=0)]))


def move_state(optimizer: Optimizer, delta: Tensor, origin: Tensor, age: float = 0.0):
    """Let the optimizer's state of `delta` follow its entries.

    Grown entries start from zero, with `seft.AdamW` at an age of their own.

    Raises:
        ValueError: it is of codes, as that of 8-bit optimizers is: of blocks that share a scale.
    """
    state = optimizer.state.get(delta, {})
    if "generation" in state:
        state |= reborn(state, origin, age)
    for name, values in state.items():
        if name not in ("ages", "generation") and getattr(values, "shape", None) == delta.shape:
            if not values.is_floating_point():
                raise ValueError(
                    f"{type(optimizer).__name__} keeps {name} as {values.dtype} codes, which "
                    "cannot follow entries that move: take one with moments in floating point, "
                    "such as seft.AdamW"
                )
            move(values, origin)


def seed_state(optimizer: Optimizer, layer: SeftLinear, origin: Tensor, means: Means, age: float):
    """Start grown entries from the window's means, as young as the window (SpIEL's public code).

    A moment of age a that started from zero falls short of its mean by the factor 1 - beta^a, and
    so do the seeds: Adam's bias correction gives the window's plain means back, and the next steps
    outweigh them as they do any young moments.

    Args:
        optimizer: `seft.AdamW`; or one whose entries share a count of steps, which then is the age.
        layer: the layer that has evolved.
        origin: of each entry the slot it came from, -1 where it has grown, (k,).
        means: what the window has seen.
        age: a = s / G, the optimizer steps that its s micro-batches make up.

    Raises:
        ValueError: the optimizer has no such moments.
    """
    state = optimizer.state.get(layer.delta, {})
    if not {"exp_avg", "exp_avg_sq"} <= set(state):
        raise ValueError(
            f'moments="seeded" needs an optimizer with exp_avg and exp_avg_sq, not '
            f"{type(optimizer).__name__}"
        )
    if "step" in state:
        age = float(state["step"])
    grown = origin < 0
    places = means.places(layer.indices[grown])
    (group,) = (g for g in optimizer.param_groups if any(p is layer.delta for p in g["params"]))
    seeds = zip(
        ("exp_avg", "exp_avg_sq"), (means.gradient, means.square), group["betas"], strict=True
    )
    for name, mean, beta in seeds:
        state[name][grown] = mean[places] * (1 - beta**age)
