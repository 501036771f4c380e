"""One measurement of a repair's training: its seconds and its memory, in a process of its own.

``python -m bench.tools.measured_training`` reads the settings from standard input and prints the
result, both JSON. A plain loop of forward, backward, clipping, optimizer step and the repair's
callbacks stands in the place of the Trainer, so that each part can be told from the others. The
batch is the same at each step; a repair's own loop is handed it as a text of as many batches as
steps are timed.
"""

import gc
import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from transformers import (
    AutoModelForCausalLM,
    LlamaConfig,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from baselines.pruning.driver import prune
from baselines.pruning.layers import sparsity_report
from baselines.repair import build_repair
from baselines.repair.base import Repair
from baselines.repair.own_loop import OwnLoop
from bench.config.training import Training
from bench.jobs.measure import StageClock, page_in
from bench.jobs.provenance import computed_on
from bench.models.bases import BASE_FILE, dense_model, load_base
from bench.models.loading import load_model, pick_device, pick_dtype, short_attention
from bench.records.measures import computer
from bench.training.loss import (
    counted_logits,
    dense_logits,
    distillation_loss,
    next_token_loss,
)
from seft.evolver import now
from seft.storage import Bitmask

SHAPES = {"llama2-7b": {"max_position_embeddings": 4096}}
"""Models of random weights, as keys of a ``LlamaConfig``, which is LLaMA-7B's by default."""

TOTAL_STEPS = 10_000
"""Of the training that is measured at its start, where an evolution drops the most entries."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is measured.

    Attributes:
        method: name of the repair.
        options: its options.
        model: folder of a base of the workflow's, or of a model, which is pruned by magnitude
            where it is dense. None: ``shape``.
        shape: of a model of random weights, as keys of a ``LlamaConfig``.
        sparsity: fraction that is pruned of a dense model.
        length, batch: tokens a sequence, sequences a batch.
        warmup, steps: optimizer steps before the timing, and timed.
        checkpointing: whether activations are recomputed in the backward.
        device, dtype: as in the configuration's ``runtime``.
        threads: on a CPU.
        seed: of initialisation, tokens and dropout.
    """

    method: str
    options: dict
    model: str | None = None
    shape: dict | None = None
    sparsity: float = 0.6
    length: int
    batch: int
    warmup: int = 1
    steps: int = 1
    checkpointing: bool = False
    device: str
    dtype: str
    threads: int
    seed: int = 0

    @property
    def is_base(self) -> bool:
        """Whether the model is a base of the workflow's."""
        return self.model is not None and (Path(self.model) / BASE_FILE).exists()


@dataclass(frozen=True)
class Step:
    """One optimizer step.

    Attributes:
        seconds: all that it took but evolving.
        gathering: fraction of the layers that gathered their dense gradient.
    """

    seconds: float
    gathering: float


class SavedForBackward(saved_tensors_hooks):
    """Counts the bytes that autograd saves, but for what the model holds anyway."""

    def __init__(self, model: nn.Module):
        self.model = storages([*model.parameters(), *model.buffers()])
        self.saved: dict[int, int] = {}
        super().__init__(self._note, lambda tensor: tensor)

    def _note(self, tensor: Tensor) -> Tensor:
        self.saved |= storages([tensor])
        return tensor

    @property
    def bytes(self) -> int:
        return sum(size for key, size in self.saved.items() if key not in self.model)


def storages(tensors: list[Tensor]) -> dict[int, int]:
    """Bytes of each memory block that tensors lie in, by its address."""
    blocks = (tensor.untyped_storage() for tensor in tensors)
    return {block.data_ptr(): block.nbytes() for block in blocks}


def held(tensors: list[Tensor]) -> int:
    """Bytes that tensors hold, each block once."""
    return sum(storages(tensors).values())


def load_dense(settings: Settings, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The model before it is pruned; a random one is made on the device and never on the host."""
    if settings.model is not None:
        folder = dense_model(settings.model) if settings.is_base else settings.model
        return load_model(folder, device, dtype)
    torch.manual_seed(settings.seed)
    with device:
        config = LlamaConfig(**settings.shape)
        return AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)


def load(settings: Settings, device: torch.device, dtype: torch.dtype) -> nn.Module:
    """The pruned base."""
    if settings.is_base:
        dense = dense_model(settings.model)
        model = load_base(settings.model, dense=dense, device=device, dtype=dtype)
    else:
        model = load_dense(settings, device, dtype)
    if sparsity_report(model).sparsity < settings.sparsity / 2:
        prune(model, "magnitude", sparsity=settings.sparsity)
    return model


class Loop:
    """Trains a wrapped model on one batch, step after step."""

    def __init__(
        self,
        settings: Settings,
        repair: Repair,
        model: nn.Module,
        dense: nn.Module | None,
        dtype: torch.dtype,
    ):
        self.repair, self.model, self.dense = repair, model, dense
        self.device = next(model.parameters()).device
        self.dtype = dtype
        self.optimizer = repair.optimizer(model)
        self.state, self.callbacks = TrainerState(max_steps=TOTAL_STEPS), repair.callbacks()
        # What callbacks read of the Trainer's; nothing is written there.
        self.arguments = TrainingArguments(
            "unused", report_to="none", use_cpu=self.device.type == "cpu"
        )
        generator = torch.Generator().manual_seed(settings.seed)
        vocabulary = model.get_input_embeddings().num_embeddings
        shape = (settings.batch, settings.length)
        self.tokens = torch.randint(vocabulary, shape, generator=generator).to(self.device)
        self._call("on_train_begin")

    def autocast(self) -> AbstractContextManager:
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def loss(self, *_) -> Tensor:
        """Mean loss over the batch, by the repair's objective, under autocast as the Trainer's.

        What a repair's own loop gives it are the model and the batch that there are.
        """
        loss, tokens = next_token_loss, self.tokens
        with self.autocast():
            if self.repair.objective == "distill":
                inputs = {"input_ids": tokens, "labels": tokens}
                loss = partial(distillation_loss, dense=dense_logits(self.dense, inputs))
            with counted_logits(self.model, tokens):
                outputs = self.model(input_ids=tokens, use_cache=False)
        return loss(outputs, tokens)

    def step(self, watch: AbstractContextManager | None = None) -> Step:
        """One optimizer step; ``watch`` is entered for the forward pass."""
        gathering = self.repair.gathering(self.model)
        before = self.repair.seconds_evolving(self.model)
        start = now(self.device)
        with watch or nullcontext():
            loss = self.loss()
        loss.backward()
        self._update()
        # So that an evolution is not charged with what the device has yet to do.
        now(self.device)
        self._call("on_step_end")
        seconds = now(self.device) - start
        evolving = self.repair.seconds_evolving(self.model) - before
        return Step(seconds - evolving, gathering)

    def train(self, watch: AbstractContextManager, steps: int) -> list[Step]:
        """All steps of a repair's own loop, each as long as a step of all its rounds takes.

        ``watch`` is entered for the first of them, its backward included.
        """
        batch = [{"input_ids": self.tokens, "labels": self.tokens}]
        self.batches, self._watch = [batch] * steps, watch
        start = now(self.device)
        self.repair.train(self.model, self)
        return [Step((now(self.device) - start) / steps, 0.0)] * steps

    def steps(self, optimizer: torch.optim.Optimizer) -> Iterator[int]:
        self.optimizer = optimizer
        for number in range(len(self.batches)):
            with self._watch:
                yield number
            self._watch = nullcontext()
            self._update()

    def note(self, loss: Tensor) -> None:
        """What a loop takes down is not looked at."""

    def _update(self) -> None:
        parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        nn.utils.clip_grad_norm_(parameters, Training.model_fields["clip"].default)
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.state.global_step += 1

    def _call(self, event: str) -> None:
        for callback in self.callbacks:
            call = getattr(callback, event)
            given = {"model": self.model, "optimizer": self.optimizer}
            call(self.arguments, self.state, TrainerControl(), **given)


def measure(settings: Settings) -> dict:
    """Seconds and bytes of a training.

    Returns:
        - ``device`` with its threads and the dtype; ``trainable_parameters``; ``tokens`` of a step
        - ``step_seconds``: median of the timed steps, without evolving
        - ``evolving_seconds``: of one evolution of every layer
        - ``evolving_share``: of that, and of what the dense gradients that it needs add to the
          steps they are gathered in, in the time of the steps from one evolution to the next.
          (Where layers take turns, gathering is in every step, its time in ``step_seconds``.)
        - in bytes, ``_bytes`` after each name: ``weights`` of the frozen base; ``trainable_state``,
          the parameters that train and what says where they are; ``optimizer``; ``activations``,
          what the forward pass saves for the backward; ``dense``, the dense model where it is
          beside on the device; ``peak`` above the loaded base; ``temporary``, what these and
          ``trainable_state`` leave of it: gradients, windows, streams, what is made anew in the
          backward.
    """
    torch.set_num_threads(settings.threads)
    device = pick_device(settings.device)
    dtype = pick_dtype(settings.dtype, device)
    model = load(settings, device, dtype)
    short_attention(model, settings.length, device)
    own = list(model.buffers())
    repair = build_repair(settings.method, **settings.options)
    model = repair.wrap(model, seed=settings.seed).train()
    if settings.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    dense, beside = None, 0
    if repair.needs_dense:
        dense = load_dense(settings, device, dtype)
        dense = dense if repair.objective == "distill" else dense.cpu()
        short_attention(dense, settings.length, device)
        page_in(dense)
        beside = held([p for p in dense.parameters() if p.device.type == device.type])
    loop = Loop(settings, repair, model, dense, dtype)
    with torch.no_grad():
        loop.loss()  # What libraries set up at first use is not the method's.

    _, state_at_start = persistent(model, own)
    saved, clock = SavedForBackward(model), StageClock(device)
    gc.collect()
    torch.cuda.empty_cache()
    with clock.computing():
        if isinstance(repair, OwnLoop):
            warmup, timed = [], loop.train(saved, settings.steps)
        else:
            warmup = [loop.step(saved), *(loop.step() for _ in range(1, settings.warmup))]
            timed = [loop.step() for _ in range(settings.steps)]
    on_device = device.type == "cuda"
    peak = clock.peak_device_bytes if on_device else clock.peak_rss_bytes
    peak += state_at_start + beside

    weights, state = persistent(model, own)
    moments = [t for s in loop.optimizer.state.values() for t in s.values() if torch.is_tensor(t)]
    optimizer = held(moments)
    step_seconds = median(step.seconds for step in timed)
    return {
        "device": computer(computed_on(device, dtype)),
        "trainable_parameters": repair.trainable_parameters(model),
        "tokens": loop.tokens.numel(),
        "step_seconds": step_seconds,
        **evolution(repair, model, warmup[1:], step_seconds),
        "weights_bytes": weights,
        "trainable_state_bytes": state,
        "optimizer_bytes": optimizer,
        "activations_bytes": saved.bytes,
        "dense_bytes": beside,
        "temporary_bytes": peak - state - optimizer - saved.bytes - beside,
        "peak_bytes": peak,
    }


def persistent(model: nn.Module, own: list[Tensor]) -> tuple[int, int]:
    """Bytes of a wrapped model's frozen weights, and of all else that it holds.

    Args:
        model: the wrapped model.
        own: buffers that the base had.
    """
    packed = [b for m in model.modules() if isinstance(m, Bitmask) for b in m.buffers()]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    weights = held([*own, *packed, *frozen])
    return weights, held([*model.parameters(), *model.buffers()]) - weights


def evolution(repair: Repair, model: nn.Module, warmup: list[Step], step_seconds: float) -> dict:
    """What evolving costs: see :func:`measure`."""
    log, schedule = repair.evolution_log(model), repair.evolution_schedule
    if not log:
        return {"evolving_seconds": 0.0, "evolving_share": 0.0}
    layers = {entry["layer"] for entry in log}
    once = repair.seconds_evolving(model) / len(log) * len(layers)
    gathering = [step.seconds for step in warmup if step.gathering == 1]
    extra = 0.0
    if gathering and not schedule.in_turn:
        extra = max(0.0, median(gathering) - step_seconds)
    share = (once + schedule.window * extra) / (schedule.every * step_seconds)
    return {"evolving_seconds": once, "evolving_share": share}


def main() -> None:
    json.dump(measure(Settings(**json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
