"""Magnitude pruning: Han et al. 2015, "Learning both weights and connections"."""

from typing import ClassVar

from baselines.pruning.masks import lowest_by
from baselines.pruning.pruner import Pruner


class Magnitude(Pruner):
    """Remove the weights with the smallest |W|.

    Unstructured: exactly ⌊entries · sparsity⌋ of the whole layer. N:M: the N smallest of every M
    consecutive inputs, in every row. Ties go to the lower index. Weights that stay keep their
    value.
    """

    paper: ClassVar[str] = "Han et al., NeurIPS 2015, arXiv 1506.02626"
    needs_calibration: ClassVar[bool] = False
    keeps_weights: ClassVar[bool] = True

    def prune(self, layers, pattern, statistic):
        for layer in layers.values():
            layer.weight.masked_fill_(lowest_by(pattern, layer.weight.abs()), 0)
