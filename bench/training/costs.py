"""What a training takes, before it runs: from shape, budget and options."""

from dataclasses import dataclass
from math import ceil

from baselines.repair.base import Repair
from bench.config.training import Training
from bench.models.loading import SHORT
from bench.models.shape import Shape

# Tensors in float32 of the widest layer's size that are made and thrown away: its dense gradient,
# a product of it, or the weight unpacked.
TEMPORARY = 3
# On a CPU the C library keeps more than what is asked for: its heap falls into pieces.
HEAP = 1.6
# Of a GPU's memory, for what is estimated.
SHARE = 0.9


def training_work(shape: Shape, repair: type[Repair], tokens: int, *, forwards: int = 0) -> float:
    """Floating-point operations of a training on so many tokens.

    Embeddings, too, take the forward pass, the gradient of the input, and further ``forwards``:
    where that is recomputed in the backward, and where the dense model is beside.
    """
    passes, further = 2 + forwards, repair.products - 2
    return 2 * tokens * (passes * shape.parameters + further * shape.prunable)


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes that one process of a training holds.

    Attributes:
        base: weights of the frozen model, and of a dense one beside it.
        state: what trains in float32 with AdamW's moments, where it is, and windows of gradients.
        gradients: of what trains at a time, at the end of a backward pass.
        block: of each block of a forward pass, what is kept for the backward, and the logits.
        temporary: made and thrown away.
        start: while what trains is made, before processes share it.
    """

    base: int
    state: int
    gradients: int
    block: int
    temporary: int
    start: int

    def peak(self, blocks: int) -> int:
        """At the most, where a forward pass is of so many blocks."""
        # Gradients come as what is kept for the backward goes.
        passing = max(blocks * self.block, self.gradients)
        return max(self.start, self.base + self.state + passing + self.temporary)

    def micro_batch(self, batch: int, available: int | None) -> int:
        """The largest divisor of a batch that fits in so many bytes; 1 if none does."""
        divisors = (n for n in range(batch, 0, -1) if batch % n == 0)
        fits = (n for n in divisors if available is None or self.peak(n) <= SHARE * available)
        return next(fits, 1)


def training_memory(
    repair: Repair,
    shape: Shape,
    settings: Training,
    *,
    element: int,
    device: str,
    processes: int = 1,
) -> TrainingMemory:
    """What each process of a training holds.

    Args:
        repair: with its options, and the pattern of its base.
        shape: of the model.
        settings: budget of the training.
        element: bytes of a weight, and of an activation.
        device: cpu or cuda.
        processes: that share what they hold, but for what they begin with.
    """
    layers = [*shape.layers.values()]
    trained = trained_numbers(repair, shape)
    base = element * shape.parameters
    if getattr(repair.options, "storage", "dense") == "bitmask":
        base -= ceil(shape.prunable * (element * repair.pattern.sparsity - 1 / 8))
    on_cpu = device == "cpu"
    attended = settings.length if on_cpu and settings.length <= SHORT else 0
    dropout = getattr(repair.options, "dropout", 0) > 0
    kept = kept_bytes(shape, element, attended, dropout=dropout)
    between = shape.blocks * kept
    if settings.activation_checkpointing:
        between = shape.blocks * element * shape.hidden + kept
    # Of the logits the gradient is made in the forward pass.
    logits = 2 * element * shape.vocabulary
    temporary = 4 * TEMPORARY * max(outputs * inputs for outputs, inputs in layers)
    beside, training = 0, trained
    if repair.by_block:
        training, between, logits = trained // shape.blocks, kept, 0
        temporary += element * shape.prunable // shape.blocks  # the dense block
    elif repair.needs_dense:
        beside, logits = element * shape.parameters, logits + element * shape.vocabulary
    # What has trained, or will, is there without moments.
    state = repair.held_bytes * training + 4 * (trained - training)
    return TrainingMemory(
        base=base // processes + beside,
        state=state // processes + repair.gathered_bytes(shape.blocks * layers),
        gradients=4 * training // processes,
        block=ceil(settings.length * (between + logits) * (HEAP if on_cpu else 1)),
        temporary=temporary,
        start=0 if processes == 1 else base + (repair.held_bytes - 8) * trained,
    )


def trained_numbers(repair: Repair, shape: Shape) -> int:
    """How many numbers a repair trains, of a base of its pattern."""
    return shape.blocks * sum(
        repair.numbers(outputs, inputs, ceil((1 - repair.pattern.sparsity) * outputs * inputs))
        for outputs, inputs in shape.layers.values()
    )


def kept_bytes(shape: Shape, element: int, attended: int, *, dropout: bool) -> int:
    """What a decoder block keeps of a token for the backward.

    Args:
        shape: of the model.
        element: bytes of an activation.
        attended: tokens for each of which the weight of attention is kept; 0 where it is not.
        dropout: whether each layer has one on its input, for an update of its own.
    """
    hidden, inner = shape.hidden, shape.intermediate
    queries, keys = shape.heads * shape.head_dim, shape.key_value_heads * shape.head_dim
    # Both norms work in float32. Inputs of q, k, v and of gate, up; queries and their answers; keys
    # and values; outputs of gate and up, of the activation, and the product of these.
    kept = 2 * 4 * hidden + element * (2 * hidden + 2 * queries + 2 * keys + 4 * inner)
    # In float32, and in what is computed in.
    kept += 6 * shape.heads * attended
    if dropout:
        # A byte of mask, and the six inputs of hidden width, of which two are kept anyway.
        kept += 6 * hidden + inner + 4 * element * hidden
    return kept
