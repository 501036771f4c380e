"""The decoder blocks of a causal language model, and which of their layers are pruned and trained.

A matrix here is a parameter of which at least two dimensions are larger than one: norms, biases and
linear layers with one output are vectors. The targets of pruning and training are the matrices of
``nn.Linear`` layers, gates aside (see `gates`). Matrices of anything else are out of reach: experts
that a model keeps in one parameter of three dimensions, as those of transformers 5 do, GPT-2's
``Conv1D``, Mamba's convolutions.
"""

from torch import nn


def decoder_blocks(model: nn.Module) -> dict[str, nn.Module]:
    """The decoder blocks of a causal language model, by name, in order.

    They are the one outermost ``nn.ModuleList`` that holds matrices and has as many entries as the
    model's configuration, if it has one, says (``num_hidden_layers``).

    Raises:
        ValueError: there is no such list, or more than one.
    """
    depth = None
    if hasattr(getattr(model, "config", None), "get_text_config"):
        depth = getattr(model.config.get_text_config(), "num_hidden_layers", None)
    outermost: dict[str, nn.ModuleList] = {}
    for name, module in model.named_modules():
        inside = any(name.startswith(f"{outer}.") for outer in outermost)
        if isinstance(module, nn.ModuleList) and not inside and _holds_matrices(module):
            outermost[name] = module
    found = [name for name, blocks in outermost.items() if depth in (None, len(blocks))]
    kind = type(model).__name__
    if not found:
        size = "" if depth is None else f" of {depth} entries (config.num_hidden_layers)"
        raise ValueError(f"{kind} has no list of decoder blocks: no nn.ModuleList{size}")
    if len(found) > 1:
        raise ValueError(f"{kind} has several lists of decoder blocks: {', '.join(found)}")
    (prefix,) = found
    return {f"{prefix}.{index}": block for index, block in enumerate(outermost[prefix])}


def target_layers(block: nn.Module, prefix: str) -> dict[str, nn.Linear]:
    """The layers of a decoder block that are pruned and trained, by name.

    Args:
        block: the block.
        prefix: its own name.

    Raises:
        ValueError: a layer has an adapter, whose matrices would be taken for the block's own.
    """
    for name, module in block.named_modules(prefix=prefix):
        _check_unadapted(name, module)
    aside = gates(block)
    return {
        name: module
        for name, module in block.named_modules(prefix=prefix)
        if isinstance(module, nn.Linear)
        and min(module.out_features, module.in_features) > 1
        and aside.isdisjoint(module.parameters())
    }


def unreached(block: nn.Module, prefix: str) -> dict[str, nn.Module]:
    """The modules that hold matrices of a decoder block which are no target's, by the matrix' name.

    Gates are not among them.

    Args:
        block: the block.
        prefix: its own name.
    """
    aside = gates(block)
    return {
        f"{name}.{own}": module
        for name, module in block.named_modules(prefix=prefix)
        for own, parameter in module.named_parameters(recurse=False)
        if is_matrix(parameter)
        and parameter not in aside
        and not (isinstance(module, nn.Linear) and own == "weight")
    }


def check_unshared(model: nn.Module) -> None:
    """See that each target of a model is one layer's alone.

    Raises:
        ValueError: two names in the decoder blocks stand for one matrix: it would be pruned, or
            trained, as if it were two.
    """
    blocks = decoder_blocks(model)
    targets = {
        parameter
        for prefix, block in blocks.items()
        for layer in target_layers(block, prefix).values()
        for parameter in layer.parameters()
    }
    names: dict[nn.Parameter, str] = {}
    for prefix, block in blocks.items():
        for name, parameter in block.named_parameters(prefix=prefix, remove_duplicate=False):
            if is_matrix(parameter) and parameter in targets:
                if other := names.get(parameter):
                    kind = type(model).__name__
                    raise ValueError(f"{kind} has one matrix for both {other} and {name}")
                names[parameter] = name


def check_plain(model: nn.Module) -> None:
    """See that each linear layer of a model is a weight and a bias in floating point, no more.

    Raises:
        ValueError: one is packed, quantised, or not merged (one line that names it).
    """
    for name, module in model.named_modules():
        _check_unadapted(name, module)
        if not isinstance(module, nn.Linear):
            continue
        own = module._parameters
        if own.keys() != {"weight", "bias"} or not own["weight"].is_floating_point():
            raise ValueError(
                f"{name} ({type(module).__name__}) is no plain layer: merge, unpack or dequantise "
                "the model first"
            )


def _check_unadapted(name: str, module: nn.Module) -> None:
    # So PEFT names the layer that an adapter of any kind is put around.
    if hasattr(module, "base_layer"):
        raise ValueError(f"{name} ({type(module).__name__}) has an adapter: merge the model first")


def gates(block: nn.Module) -> set[nn.Parameter]:
    """The weights of the routers of a decoder block's mixtures of experts.

    Names do not tell them: Mixtral's router is called ``gate``, gpt-oss's ``router``, and LLaMA's
    ``gate_proj`` is none. What does, in the models of transformers 5 as in those with a list of
    experts: a mixture is a module with E experts in one child, a list or a module whose parameters
    have E as the first of three dimensions; beside the experts it has another child, or a parameter
    of its own, with a single matrix, and that has E rows.
    """
    found = set()
    for mixture in block.modules():
        numbers = {_experts(child) for child in mixture.children()} - {None}
        parts = [list(child.parameters()) for child in mixture.children()]
        parts += [[parameter] for parameter in mixture.parameters(recurse=False)]
        for part in parts:
            matrices = [parameter for parameter in part if is_matrix(parameter)]
            if len(matrices) == 1 and matrices[0].ndim == 2 and len(matrices[0]) in numbers:
                found.add(matrices[0])
    return found


def is_matrix(parameter: nn.Parameter) -> bool:
    """Whether at least two dimensions of a parameter are larger than one."""
    return sum(size > 1 for size in parameter.shape) > 1


def _experts(module: nn.Module) -> int | None:
    """How many experts a module would be; None if it is none of the forms that experts have."""
    if isinstance(module, (nn.ModuleList, nn.ModuleDict)):
        return len(module)
    fused = [p for p in module.parameters(recurse=False) if p.ndim == 3 and min(p.shape) > 1]
    return len(fused[0]) if fused else None


def _holds_matrices(module: nn.Module) -> bool:
    # The weight of a packed layer is no parameter.
    return any(isinstance(child, nn.Linear) for child in module.modules()) or any(
        map(is_matrix, module.parameters())
    )
