"""Pruners: set a given fraction of the weights of a causal language model to zero, in one shot.

    report = prune(model, "wanda", sparsity=0.6, calibration=input_ids)
    report = prune(model, "sparsegpt", pattern="2of4", calibration=input_ids)

Names are imported when first used, so that reading a configuration costs no import of torch.
"""

from importlib import import_module

from baselines.registry import Registry

PRUNERS = Registry(
    "pruner",
    {
        "magnitude": "baselines.pruning.magnitude:Magnitude",
        "wanda": "baselines.pruning.wanda:Wanda",
        "sparsegpt": "baselines.pruning.sparsegpt:SparseGPT",
    },
)

_MODULES = {
    "Pattern": "pattern",
    "PruneReport": "layers",
    "prunable_layers": "layers",
    "prune": "driver",
    "sparsity_report": "layers",
    "zero_fractions": "layers",
}

__all__ = ["PRUNERS", *_MODULES]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
