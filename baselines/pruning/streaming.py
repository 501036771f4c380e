"""Modules on the device that computes, only while it computes with them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def resident(modules: Iterable[nn.Module], device: torch.device | None) -> Iterator[None]:
    """Let the modules' own weights and buffers be on a device for a while.

    Afterwards they are where they were, in the very memory they were in, with the values that they
    have got on the device.

    Args:
        modules: Without their children, unless these are among them.
        device: None leaves all where it is.
    """
    homes = {
        tensor: tensor.data
        for module in modules
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
        if device is not None and tensor.device != device
    }
    try:
        for tensor, home in homes.items():
            tensor.data = home.to(device)
        yield
    finally:
        for tensor, home in homes.items():
            tensor.data = home.copy_(tensor.data)
