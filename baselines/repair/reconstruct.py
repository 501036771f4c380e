"""Local reconstruction: each decoder block learns to give what the dense model's block gives.

Block by block, the weights that are not zero train so that the block's output on the stream of the
blocks that were repaired before it comes near the dense block's output on the dense stream, by the
mean squared error over the mean square of these outputs. Nothing is propagated back through more
than a block.

Where the sources leave or differ in a choice, it is this:

- the window is a whole block (A Free Lunch: any window with a non-linear part is as good, single
  matrices are worse), of which the linear layers' matrices train and norms do not, as in every
  repair here (EBFT and A Free Lunch train them too);
- the target is of the dense stream, so that the error of earlier blocks is made good (A Free Lunch
  has this as an option; EBFT's code takes the dense block's output on the repaired stream);
- all tokens count, those of prompts too, since later tokens read their states (both);
- the mean square is over the whole text, so that the split of a batch decides nothing (both have
  the plain error; under AdamW a constant factor changes what clipping does, and little else);
- the block computes as in evaluation, without dropout;
- each block sees each token once, with the schedule that every repair has (EBFT: ten times).

While a block trains, its gradients, moments and activations are held, and on the device its dense
counterpart. Beside the base stay the trained values, in float32 under a bit mask in the place of
the weights. The dense model and both streams, at the input of one block for the whole text, lie in
the host's memory: tokens times hidden size, twice.
"""

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from copy import copy

import torch
from pydantic import Field, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional as F

from baselines.pruning.calibration import Batch, record
from baselines.pruning.layers import prunable_layers
from baselines.pruning.streaming import resident
from baselines.repair.base import OptimizerOptions
from baselines.repair.own_loop import OwnLoop, Run
from baselines.repair.packed import PackedLinear
from seft.blocks import decoder_blocks
from seft.storage import plain


class ReconstructOptions(OptimizerOptions):
    learning_rate: PositiveFloat = Field(2e-4, description="Peak learning rate, of each block.")


class Reconstruct(OwnLoop):
    """The non-zero weights of one decoder block after another train against the dense block."""

    Options = ReconstructOptions
    paper = "Guo et al. 2024, arXiv 2402.12419"
    training = "reconstruct"
    needs_dense = True
    by_block = True
    products = 5  # The dense block gives a target, and the repaired one an input for the next.
    saved_bytes = None

    def wrap(self, model: nn.Module, *, seed: int) -> nn.Module:
        model.requires_grad_(False)
        for name, linear in prunable_layers(model).items():
            model.set_submodule(name, PackedLinear(linear))
        return model

    def rounds(self, model: nn.Module) -> int:
        return len(decoder_blocks(model))

    def train(self, model: nn.Module, run: Run) -> None:
        model.eval()
        # Its blocks are handed the masks that the wrapped model makes, which differ by it.
        run.dense.set_attn_implementation(model.config._attn_implementation)
        blocks, dense_blocks = (list(decoder_blocks(m).values()) for m in (model, run.dense))
        inputs, targets = start(model, run, blocks, dense_blocks)
        for block, dense in zip(blocks, dense_blocks, strict=True):
            with resident(dense.modules(), model.device):
                advance(targets, dense, model.device, run)
            scale = mean_square(targets)
            for step in run.steps(self.optimizer(block)):
                for given, wanted in zip(inputs[step], targets[step], strict=True):
                    with run.autocast():
                        output = outputs(given, block, model.device)
                    error = F.mse_loss(output.float(), wanted.hidden.to(model.device).float())
                    loss = error / scale / len(inputs[step])
                    loss.backward()
                    run.note(loss)
            advance(inputs, block, model.device, run)

    def merge(self, model: nn.Module, reprune: Callable[[nn.Module], None]) -> nn.Module:
        for name, layer in prunable_layers(model).items():
            model.set_submodule(name, plain(layer).to(model.dtype))
        return model


Stream = list[list[Batch]]
"""The text at the input of a block: of each optimizer step its micro-batches."""


@torch.no_grad()
def start(
    model: nn.Module, run: Run, blocks: list[nn.Module], dense_blocks: list[nn.Module]
) -> tuple[Stream, Stream]:
    """The stream of the wrapped and of the dense model at the first block, where they are one."""
    with run.autocast():
        inputs = [[record(model, blocks, part["input_ids"]) for part in b] for b in run.batches]
    for part in (part for batch in inputs for part in batch):
        part.hidden = part.hidden.cpu()
    targets = [
        [Batch(p.hidden, dict(zip(dense_blocks, apart(p.arguments), strict=True))) for p in batch]
        for batch in inputs
    ]
    return inputs, targets


def apart(arguments: Mapping[nn.Module, tuple[tuple, dict]]) -> Iterator[tuple[tuple, dict]]:
    """The arguments of each block, with mappings of their own: blocks leave something there for
    later ones (Gemma 4's keys and values), which is not to get from one stream into the other.
    """
    own = {}
    for args, kwargs in arguments.values():
        yield (
            args,
            {
                name: own.setdefault(id(value), copy(value))
                if isinstance(value, MutableMapping)
                else value
                for name, value in kwargs.items()
            },
        )


def outputs(part: Batch, block: nn.Module, device: torch.device) -> Tensor:
    """What a block gives for a micro-batch at its input."""
    return Batch(part.hidden.to(device), part.arguments).run(block)


@torch.no_grad()
def advance(stream: Stream, block: nn.Module, device: torch.device, run: Run) -> None:
    """Let a block's output take the place of its input."""
    with run.autocast():
        for part in (part for batch in stream for part in batch):
            part.hidden = outputs(part, block, device).cpu()


def mean_square(stream: Stream) -> Tensor:
    """Of the whole text."""
    return torch.stack([p.hidden.float().square().mean() for b in stream for p in b]).mean()
