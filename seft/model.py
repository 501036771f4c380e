"""Turning a model into a SEFT model and back, saving and loading."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.modules.module import _IncompatibleKeys
from torch.nn.parallel import DistributedDataParallel

from seft.blocks import check_unshared, decoder_blocks, target_layers
from seft.config import SeftConfig, write_atomically
from seft.layer import BitmaskSeftLinear, SeftLinear, seft_linear
from seft.selection import random_scores
from seft.storage import BitmaskLinear, plain
from seft.window import Window

# The Trainer takes up a training from a file of this name.
WEIGHTS_NAME = "model.safetensors"
LOG_NAME = "evolution.jsonl"

LAYER_STATE = ("indices", "delta", "removed")


class SeftModel(nn.Module):
    """What SEFT adds to a model's own class; made by `get_seft_model`, never directly.

    The model stays an instance of its own class too, so everything that takes the model
    (`Trainer`, `generate`, evaluation harnesses) takes the SEFT model. Its `state_dict` is the
    difference from the base alone.

    Attributes:
        seft_config: the `SeftConfig`.
        evolution_log: one dict for each evolution of each layer, in order.
    """

    seft_config: SeftConfig
    evolution_log: list[dict]

    def __reduce__(self):
        # Its class is made by `get_seft_model`, and is nowhere under its name.
        return empty_seft_model, type(self).__bases__[1:], self.__dict__

    @property
    def seft_layers(self) -> dict[str, SeftLinear]:
        """The trained layers by name."""
        return {
            name: module for name, module in self.named_modules() if isinstance(module, SeftLinear)
        }

    @property
    def seconds_evolving(self) -> float:
        """Wall-clock seconds spent in evolutions."""
        return sum(entry["seconds"] for entry in self.evolution_log)

    def get_nb_trainable_parameters(self) -> tuple[int, int]:
        """Number of trainable parameters, and of all."""
        trainable = sum(p.numel() for p in self.parameters() if p.requires_grad)
        return trainable, sum(p.numel() for p in self.parameters())

    def print_trainable_parameters(self):
        """Print the number of trainable parameters."""
        trainable, total = self.get_nb_trainable_parameters()
        print(
            f"trainable params: {trainable:,d} || all params: {total:,d} || "
            f"trainable%: {100 * trainable / total:.4f}"
        )

    @property
    def _saved_parameters(self) -> dict[str, nn.Parameter]:
        """The parameters of `modules_to_save`; one of several names where they are tied."""
        wanted = self.seft_config.modules_to_save or []
        names = {
            parameter: f"{name}.{part}"
            for name, module in self.named_modules()
            if matches(name, wanted)
            for part, parameter in module.named_parameters()
        }
        return {name: parameter for parameter, name in names.items()}

    def state_dict(self, *, destination=None, prefix="", keep_vars=False) -> dict[str, Tensor]:
        """What tells this model from its base.

        For each trained layer its `indices` and `removed` (flat positions), its `delta`, the
        base's `fingerprint`, and while its gradient is gathered the `window`'s sums; of
        `modules_to_save` the parameters.
        """
        state = dict(self._saved_parameters)
        for name, layer in self.seft_layers.items():
            state[f"{name}.fingerprint"] = torch.tensor(layer.fingerprint)
            for part in LAYER_STATE:
                state[f"{name}.{part}"] = getattr(layer, part)
            for part, values in (layer.window.state_dict() if layer.window else {}).items():
                state[f"{name}.window.{part}"] = values
        destination = {} if destination is None else destination
        for name, values in state.items():
            destination[f"{prefix}{name}"] = values if keep_vars else values.detach()
        return destination

    @torch.no_grad()
    def load_state_dict(self, state_dict, strict: bool = True, assign: bool = False):
        """Take up what `state_dict` gave.

        Raises:
            ValueError: it belongs to another base or configuration; the model is unchanged.
        """
        layers, parameters = self.seft_layers, self._saved_parameters
        windows = {name: values for name, values in state_dict.items() if ".window." in name}
        expected = {f"{name}.{part}" for name in layers for part in ("fingerprint", *LAYER_STATE)}
        if different := sorted((expected | set(parameters)) ^ (set(state_dict) - set(windows))):
            raise ValueError(
                f"the saved delta and the model differ in {len(different)} tensors, the first is "
                f"{different[0]}"
            )
        for name, layer in layers.items():
            saved = tuple(state_dict[f"{name}.fingerprint"].tolist())
            # What version 0.1.0 saved has no sum by position.
            if saved not in (layer.fingerprint, layer.fingerprint[:4]):
                raise ValueError(
                    f"the delta was saved for another base: rows, columns, non-zeros and sums of "
                    f"bits of {name} were {saved}, not {layer.fingerprint}"
                )
        shapes = {f"{name}.delta": layer.delta for name, layer in layers.items()} | parameters
        for name, parameter in shapes.items():
            if state_dict[name].shape != parameter.shape:
                raise ValueError(
                    f"{name} was saved with shape {tuple(state_dict[name].shape)}, not "
                    f"{tuple(parameter.shape)}"
                )
        for name, layer in layers.items():
            layer.load(*(state_dict[f"{name}.{part}"] for part in LAYER_STATE))
            prefix = f"{name}.window."
            window = {
                key.removeprefix(prefix): values.to(layer.delta.device)
                for key, values in windows.items()
                if key.startswith(prefix)
            }
            layer.window = Window.from_state_dict(window) if window else None
        for name, parameter in parameters.items():
            parameter.copy_(state_dict[name])
        return _IncompatibleKeys([], [])

    def save_pretrained(self, save_directory: str | Path, is_main_process: bool = True, **_):
        """Write the difference from the base into a folder.

        Files: `model.safetensors` (see `state_dict`), `evolution.jsonl` (the log) and
        `seft_config.json`.

        Args:
            save_directory: the folder; made if there is none.
            is_main_process: whether this process is the one that writes.
        """
        if not is_main_process:
            return
        folder = Path(save_directory)
        tensors = {name: values.cpu().contiguous() for name, values in self.state_dict().items()}
        write_atomically(
            folder / WEIGHTS_NAME, lambda path: save_file(tensors, path, metadata={"format": "pt"})
        )
        log = "".join(json.dumps(entry) + "\n" for entry in self.evolution_log)
        write_atomically(folder / LOG_NAME, lambda path: path.write_text(log))
        self.seft_config.save_pretrained(folder)

    @classmethod
    def from_pretrained(
        cls, model: nn.Module, path: str | Path, is_trainable: bool = False
    ) -> "SeftModel":
        """Put what `save_pretrained` wrote onto its base.

        Args:
            model: the base the delta was trained on; changed in place.
            path: the folder.
            is_trainable: whether the deltas are to train on.

        Raises:
            ValueError: a file is missing or damaged, or the delta belongs to another base (whose
                weights are then as they were).
        """
        folder = Path(path)
        config = SeftConfig.from_pretrained(folder)
        try:
            tensors = load_file(folder / WEIGHTS_NAME)
            log = [json.loads(line) for line in (folder / LOG_NAME).read_text().splitlines()]
        except (OSError, SafetensorError, json.JSONDecodeError) as error:
            raise ValueError(f"{folder} holds no complete SEFT delta: {error}") from error
        if not is_trainable:
            tensors = {name: t for name, t in tensors.items() if ".window." not in name}
        # Positions are what was saved: no first ones are to be chosen, which takes longest.
        model = get_seft_model(model, replace(config, init="gradient"))
        model.seft_config = config
        try:
            model.load_state_dict(tensors)
        except ValueError:
            model.merge_and_unload()
            raise
        model.evolution_log = log
        return model if is_trainable else model.requires_grad_(False)

    @property
    def peft_config(self) -> dict[str, SeftConfig]:
        """The configuration where PEFT has it: under the name of the one adapter."""
        return {"default": self.seft_config}

    def get_base_model(self) -> "SeftModel":
        """The model that carries the deltas, as in PEFT: this one, since nothing is wrapped."""
        return self

    @contextmanager
    def disable_adapter(self) -> Iterator[None]:
        """The base computes inside this context, as in PEFT, one layer's copy of it at a time.

        Raises:
            ValueError: there are `modules_to_save`, whose base values are not kept.
        """
        self._check_base_is_kept()
        layers = self.seft_layers.values()
        before = [layer.disabled for layer in layers]
        try:
            for layer in layers:
                layer.disabled = True
            yield
        finally:
            for layer, disabled in zip(layers, before, strict=True):
                layer.disabled = disabled

    def unload(self) -> nn.Module:
        """The base again, bit for bit and of its own class, without the deltas; in place.

        Raises:
            ValueError: there are `modules_to_save`, whose base values are not kept.
        """
        self._check_base_is_kept()
        for layer in self.seft_layers.values():
            layer.restore_base()
        return self.merge_and_unload()

    def _check_base_is_kept(self):
        if names := self.seft_config.modules_to_save:
            raise ValueError(
                f"modules_to_save={names} trained in place, their base values are not kept: load "
                "the base anew"
            )

    def merge_and_unload(self) -> nn.Module:
        """The model of its own class again, with the effective weights; in place.

        Each layer has as many structural entries as the base (but for `mask="free"`), and is
        exactly zero elsewhere. Parameters stay frozen as they are.
        """
        for name, layer in self.seft_layers.items():
            self.set_submodule(name, plain(layer))
        del self.seft_config, self.evolution_log, self._ddp_params_and_buffers_to_ignore
        self.__class__ = type(self).__bases__[1]
        return self


def seft_class(own: type[nn.Module]) -> type[SeftModel]:
    """The class of the SEFT model of a model of a class.

    Still of the model's own class, and of its name: libraries look at both.
    """
    return type(own.__name__, (SeftModel, own), {"__module__": own.__module__})


def empty_seft_model(own: type[nn.Module]) -> SeftModel:
    """What pickle fills."""
    kind = seft_class(own)
    return kind.__new__(kind)


def get_seft_model(model: nn.Module, config: SeftConfig) -> SeftModel:
    """Make a pruned model a SEFT model: deltas of its target layers train, all else is frozen.

    Args:
        model: a model with a list of decoder blocks; changed in place.
        config: the options.

    Raises:
        ValueError: the model is one already, the targets match no layer, two layers share their
            weight, or a layer is quantised or has fewer non-zero weights than active entries.
    """
    if isinstance(model, SeftModel):
        raise ValueError("the model is a SEFT model already")
    layers = {}
    for name, linear in chosen_layers(model, config).items():
        if not linear.weight.is_floating_point():
            raise ValueError(f"{name} has {linear.weight.dtype} weights, which cannot train")
        k = config.active_entries(linear.out_features, linear.in_features)
        layers[name] = layer = seft_linear(linear, k)
        if k > layer.budget:
            raise ValueError(
                f"{name} has {layer.budget} non-zero weights, fewer than its {k} active entries: "
                "lower density or match_rank"
            )
        if config.pattern is not None:
            check_groups(name, linear.weight, *config.pattern)
    for name in config.modules_to_save or []:
        if not any(matches(module, [name]) for module, _ in model.named_modules()):
            raise ValueError(f"modules_to_save={name!r} names no module of the model")
        if clash := next((layer for layer in layers if f".{name}." in f".{layer}."), None):
            raise ValueError(f"modules_to_save={name!r} holds the target layer {clash}")
    model.requires_grad_(False)
    buffers = []
    for name in list(layers):
        # Nothing else holds a layer when it is packed: one at a time is there dense and packed.
        layer = layers.pop(name)
        if config.storage == "bitmask" and not isinstance(layer, BitmaskSeftLinear):
            layer = seft_linear(BitmaskLinear(layer), len(layer.delta))
        if config.init in ("random", "replaced"):
            layer.choose(random_scores(layer.weight, config.seed, name, step=0))
        model.set_submodule(name, layer)
        buffers += [f"{name}.{part}" for part, _ in layer.named_buffers()]
    # All ranks decide alike, so there is nothing to broadcast.
    DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(model, buffers)
    model.__class__ = seft_class(type(model))
    model.seft_config, model.evolution_log = config, []
    for parameter in model._saved_parameters.values():
        parameter.requires_grad_(True)
    return model


def chosen_layers(model: nn.Module, config: SeftConfig) -> dict[str, nn.Linear]:
    """The layers a configuration trains, by name.

    Raises:
        ValueError: there is none, an option names what is not there, or two layers of the decoder
            blocks share their weight.
    """
    check_unshared(model)
    blocks = decoder_blocks(model)
    chosen = config.layers_to_transform
    chosen = [chosen] if isinstance(chosen, int) else chosen
    if missing := set(chosen or []) - set(range(len(blocks))):
        raise ValueError(
            f"layers_to_transform={config.layers_to_transform!r}: there is no decoder block "
            f"{min(missing)}; allowed: 0 to {len(blocks) - 1}"
        )
    layers = [target_layers(block, prefix) for prefix, block in blocks.items()]
    for option in ("target_modules", "exclude_modules"):
        wanted = getattr(config, option)
        for suffix in [] if wanted is None or isinstance(wanted, str) else wanted:
            if not any(matches(name, [suffix]) for block in layers for name in block):
                raise ValueError(
                    f"no nn.Linear in the {len(blocks)} decoder blocks matches {suffix!r} of "
                    f"{option}={wanted!r}"
                )
    targets = {
        name: layer
        for number, block in enumerate(layers)
        if chosen is None or number in chosen
        for name, layer in block.items()
        if config.target_modules is None or matches(name, config.target_modules)
        if config.exclude_modules is None or not matches(name, config.exclude_modules)
    }
    if not targets:
        raise ValueError(
            f"no nn.Linear in the {len(blocks)} decoder blocks matches "
            f"target_modules={config.target_modules!r}, "
            f"exclude_modules={config.exclude_modules!r}, "
            f"layers_to_transform={config.layers_to_transform!r}"
        )
    return targets


def check_groups(name: str, weight: Tensor, n: int, m: int):
    """See that N of every M consecutive inputs of a layer are pruned.

    Raises:
        ValueError: they are not.
    """
    if weight.shape[1] % m:
        raise ValueError(
            f"{name} has {weight.shape[1]} inputs, no multiple of {m} (pattern {n}of{m})"
        )
    pruned = (weight == 0).view(-1, m).sum(dim=1)
    if (pruned < n).any():
        raise ValueError(f"{name} has groups of {m} inputs with fewer than {n} pruned")


def matches(name: str, wanted: list[str] | str) -> bool:
    """Whether a module's name ends in one of several suffixes, or matches a regular expression."""
    if isinstance(wanted, str):
        return re.fullmatch(wanted, name) is not None
    return any(name == suffix or name.endswith(f".{suffix}") for suffix in wanted)
