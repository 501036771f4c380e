"""What a model scores: tasks of lm-eval over local items, each shared prefix computed once.

Importing this package costs no import of torch or lm-eval: the configuration reads `TaskSpec`.
"""

from bench.evaluation.run import Evaluation, evaluate
from bench.evaluation.tasks import TASKS_FOLDER, TaskSpec

__all__ = ["TASKS_FOLDER", "Evaluation", "TaskSpec", "evaluate"]
