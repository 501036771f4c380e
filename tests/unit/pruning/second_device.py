"""A second device to stream to, on a machine that has none."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map
from torch.utils.weak import WeakIdKeyDictionary


class SecondDevice(TorchFunctionMode):
    """Inside, tensors can be on ``cuda``: they are the CPU's, but do not mix with the others.

    As with a real one, ``to`` copies, ``copy_`` goes across, a number of no dimension goes
    anywhere, and what is computed from tensors there is there.

    Args:
        changed: Called whenever a tensor is given other data, which may be on the other device.
    """

    DEVICE = torch.device("cuda")

    def __init__(self, changed: Callable[[], None] = lambda: None):
        super().__init__()
        self.changed = changed
        self._here = WeakIdKeyDictionary()

    def holds(self, tensor: Tensor) -> bool:
        return tensor in self._here

    def _place(self, tensor: Tensor, here: bool) -> Tensor:
        if here:
            self._here[tensor] = True
        else:
            self._here.pop(tensor, None)
        return tensor

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if function == Tensor.device.__get__:
            return self.DEVICE if self.holds(args[0]) else function(*args)
        if function == Tensor.data.__set__:
            function(*args)
            self._place(args[0], self.holds(args[1]))
            self.changed()
            return None
        if function is Tensor.copy_:
            return function(*args, **kwargs)
        leaves = tree_leaves((args, kwargs))
        inputs = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        devices = [leaf for leaf in leaves if isinstance(leaf, torch.device)]
        args, kwargs = tree_map(
            lambda leaf: torch.device("cpu") if isinstance(leaf, torch.device) else leaf,
            (args, kwargs),
        )
        if function is Tensor.to and devices:
            here = devices[0] == self.DEVICE
            output = function(*args, **kwargs)
            if output is args[0] and self.holds(output) != here:
                output = output.clone()
            return self._place(output, here)
        if len({self.holds(value) for value in inputs if value.ndim}) > 1:
            raise RuntimeError(f"{function.__name__}: tensors on two devices")
        output = function(*args, **kwargs)
        if self.DEVICE in devices or any(map(self.holds, inputs)):
            for leaf in tree_leaves(output):
                if isinstance(leaf, Tensor):
                    self._place(leaf, here=True)
        return output


class Residents(SecondDevice):
    """Counts the modules that have weights on the device at the same time.

    Attributes:
        most: The largest count so far.
    """

    def __init__(self, modules: list[nn.Module]):
        super().__init__(self.count)
        self.modules = modules
        self.most = 0

    def count(self) -> None:
        resident = sum(any(map(self.holds, module.parameters())) for module in self.modules)
        self.most = max(self.most, resident)
