"""A linear layer that holds the weights of it that train and a bit mask, and no weight tensor."""

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from seft.storage import Bitmask, mask_of, positions_of, unpacker


class PackedLinear(nn.Linear):
    """A linear layer of which the weights that are not zero train, under a bit mask.

    The weight is unpacked, rounded to the precision that is computed in, each time it is used.

    Args:
        linear: The layer to take the place of; of its weight the mask is kept.
        values: The k weights that are not zero, row by row: float32 of shape (k,). None: a copy
            of the layer's.
    """

    def __init__(self, linear: nn.Linear, values: nn.Parameter | None = None):
        # Not that of nn.Linear, which makes a weight.
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        mask = Bitmask(linear.weight.detach())
        self.values = nn.Parameter(mask.values.float()) if values is None else values
        self.register_buffer("bits", mask.bits, persistent=False)
        self.register_buffer("offsets", mask.offsets, persistent=False)
        self.register_parameter("bias", linear.bias)
        self.train(linear.training)

    @property
    def weight(self) -> Tensor:
        """The weight, made anew, in float32."""
        return self.unpack(self.values)

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        return _PackedLinear.apply(x, self.values, self)

    def unpack(self, values: Tensor) -> Tensor:
        """The weight, of shape (m, n), in the dtype of the values."""
        unpack = unpacker(values.device.type)
        return unpack(self.bits, values, self.offsets, self.in_features)

    def pick(self, weight: Tensor) -> Tensor:
        """What lies under the mask, in the order of the values."""
        positions = positions_of(mask_of(self.bits, self.in_features).flatten())
        return weight.flatten().index_select(0, positions)


class _PackedLinear(torch.autograd.Function):
    """y = x weight^T + bias; the weight is unpacked, and in the backward again: none is kept."""

    @staticmethod
    def forward(ctx, x: Tensor, values: Tensor, layer: PackedLinear) -> Tensor:
        ctx.layer = layer
        ctx.save_for_backward(x, values)
        bias = None if layer.bias is None else layer.bias.to(x.dtype)
        return F.linear(x, layer.unpack(values.to(x.dtype)), bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: Tensor):
        x, values = ctx.saved_tensors
        to_x = None
        if ctx.needs_input_grad[0]:  # not of what comes before all that trains
            to_x = gradient @ ctx.layer.unpack(values.to(gradient.dtype))
        to_weight = gradient.flatten(0, -2).T @ x.flatten(0, -2)
        return to_x, ctx.layer.pick(to_weight).to(values.dtype), None
