"""A linear layer that holds the weights of it that train and a bit mask, and no weight tensor."""

from torch import Tensor, nn

from seft.storage import BitmaskLinear


class PackedLinear(BitmaskLinear):
    """A linear layer of which the weights that are not zero train, under a bit mask.

    The weight is unpacked, rounded to the precision that is computed in, each time it is used.

    Args:
        linear: The layer to take the place of; of its weight the mask is kept.
        values: The k weights that are not zero, row by row: float32 of shape (k,). None: a copy
            of the layer's.
    """

    def __init__(self, linear: nn.Linear, values: nn.Parameter | None = None):
        super().__init__(linear)
        self.values = nn.Parameter(self.packed.values.float()) if values is None else values
        del self.packed.values
        # The mask is the base's: checkpoints do without it.
        for name, buffer in list(self.packed.named_buffers()):
            self.packed.register_buffer(name, buffer, persistent=False)

    @property
    def weight(self) -> Tensor:
        """The weight, made anew, in float32."""
        return self.packed.unpack(self.values)

    def forward(self, x: Tensor) -> Tensor:
        return self.product(x, self.values)
