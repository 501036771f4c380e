import os
import re
import sys

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import Cell, dense_cell, record_path
from bench.config import load_or_exit
from bench.evaluation.tasks import TASKS_FOLDER
from bench.preflight import check_or_exit
from bench.records import failed_outputs, resolved_config

ROOT = Path(workflow.basedir)
CONFIG = load_or_exit(config)
check_or_exit(CONFIG)

CHECKPOINTS = CONFIG.checkpoints
RUNTIME = CONFIG.runtime.model_dump(include={"device", "dtype"})
ATTEMPTS = CONFIG.runtime.retries + 1

# Scripts run in processes of their own, and import the project from where the Snakefile lies.
os.environ["PYTHONPATH"] = os.pathsep.join(
    [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
)
# A progress bar is redrawn where someone sees it, and is a few lines where it is a log.
os.environ.setdefault("TQDM_MININTERVAL", "0.5" if sys.stderr.isatty() else "15")

if CONFIG.retry_failed:
    workflow.dag_settings.forcerun = {
        *workflow.dag_settings.forcerun,
        *failed_outputs(CHECKPOINTS),
    }


wildcard_constraints:
    model="|".join(map(re.escape, CONFIG.models)),
    source="|".join(map(re.escape, CONFIG.sources)),
    data="|".join(map(re.escape, CONFIG.data)),
    pruner="|".join(PRUNERS),
    pattern="[^/-]+",
    repair="|".join(REPAIRS),
    seed=r"\d+",


def code(*files):
    """Source files as inputs, so that a change of them reruns the jobs that they decide."""
    return sorted({os.path.relpath(ROOT / file) for file in files})


def base_folder(w):
    return f"{CHECKPOINTS}/{w.model}/{w.pruner}-{w.pattern}/base"


def trained_folder(w):
    """Where the training lies whose result the cell's repair merges; none for `none`."""
    training = REPAIRS[w.repair].training
    if training is None:
        return []
    return f"{CHECKPOINTS}/{w.model}/{w.pruner}-{w.pattern}/{training}/seed{w.seed}"


def calibration_tokens(w):
    if not PRUNERS[w.pruner].needs_calibration:
        return []
    return f"resources/tokens/{w.model}/calibration.safetensors"


def attempt(wildcards, attempt):
    return attempt


def memory_mib(floor):
    """Memory of a job: more at each attempt."""

    def mem_mb(wildcards, attempt):
        return floor * attempt

    return mem_mb


def data_folder(name):
    return f"resources/data/{name}"


def used_data():
    """Data sets that the grid reads."""
    tasks = CONFIG.evaluation.tasks.values()
    return sorted(
        {CONFIG.calibration.data}
        | {part.data for part in CONFIG.training.mixture}
        | {task.data for task in tasks if task.data is not None}
    )


def packing(use):
    """What decides the blocks that repairs train on, or are validated on."""
    training = CONFIG.training
    return {
        "mixture": {part.data: part.weight for part in training.mixture},
        "split": {"train": training.split, "validation": training.validation_split}[use],
        "blocks": {"train": training.blocks, "validation": training.validation_blocks}[use],
        "length": training.length,
        "prompt_loss": training.prompt_loss,
    }
