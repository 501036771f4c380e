"""A sparse delta at fixed random positions inside the base's mask: a control of SEFT's evolution.

As many deltas as SEFT has, drawn once from the seed among the non-zero weights of each layer: the
positions that `seft` starts from.
"""

from baselines.repair.seft import DeltaOptions, Seft


class StaticOptions(DeltaOptions):
    fixed = {"init": "random", "drop_fraction": 0}


class Static(Seft):
    """SEFT without evolution, on every target layer."""

    Options = StaticOptions
    paper = None
    training = "static"
    variant_of = "seft"
