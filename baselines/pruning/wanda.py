"""Wanda: Sun et al. 2024, "A simple and effective pruning approach for large language models"."""

from typing import ClassVar

from baselines.pruning.calibration import InputNorm
from baselines.pruning.masks import lowest, lowest_by
from baselines.pruning.pruner import Pruner


class Wanda(Pruner):
    """Remove, in each output row, the weights with the lowest |W_ij| · ‖X_j‖₂ (equation 1).

    Unstructured: exactly ⌊inputs · sparsity⌋ of every row. N:M: the N lowest of every M
    consecutive inputs. Ties go to the lower index. Scores are computed in float32; weights that
    stay keep their value.
    """

    paper: ClassVar[str] = "Sun et al., ICLR 2024, arXiv 2306.11695"
    keeps_weights: ClassVar[bool] = True

    def statistic(self, width, device):
        return InputNorm(width, device)

    def prune(self, layers, pattern, statistic):
        for layer in layers.values():
            scores = statistic.scores(layer.weight)
            if pattern.m is None:
                mask = lowest(scores, pattern.count(layer.in_features))
            else:
                mask = lowest_by(pattern, scores)
            layer.weight.masked_fill_(mask, 0)
