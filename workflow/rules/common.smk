import gc
import os
import re
import sys
from dataclasses import asdict
from functools import cache

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from baselines.imports import imported
from bench.cells import (
    DEFAULT_BUDGET,
    NO_BUDGET,
    UNREPAIRED,
    Cell,
    base_folder,
    budget_of,
    cell_of,
    dense_cell,
    history_path,
    record_path,
    suffix,
    training_folder,
)
from bench.config.loading import load_or_exit
from bench.config.models import shape_of
from bench.config.variants import training_of
from bench.documents import read_or_exit
from bench.evaluation.tasks import definition_files
from bench.figures import FORMATS
from bench.figures import places as figure_places
from bench.jobs.environment import set_environment
from bench.jobs.listings import DECIDES_NOTHING, list_code, list_local
from bench.jobs.scheduling import run_again, schedule_one_look
from bench.models.loading import takes_gpu
from bench.planning.needs import Job, memory_mib, minutes
from bench.planning.plan import make_plan
from bench.planning.preflight import exit_on, find_problems
from bench.planning.retry import to_retry
from bench.planning.speeds import device_of
from bench.records.band import is_checked
from bench.records.profiles import PROFILE
from bench.records.record import (
    data_config,
    data_of,
    packing,
    prune_config,
    repair_config,
    resolved_config,
)
from bench.sources import PathSource
from bench.tables import TABLES
from bench.training.tuning import recorded_sweeps

read_or_exit(workflow.configfiles)
CONFIG = load_or_exit(config)
exit_on(find_problems(CONFIG))

CHECKPOINTS = CONFIG.checkpoints
# The cell of the wildcards: paths of cells with it are those of rules.
ANY = Cell("{model}", "{pruner}", "{pattern}", "{repair}{budget}", "{seed}")
BASE = base_folder(CHECKPOINTS, ANY)
DATA_CHECKED = "resources/data/manifest.json"
DROPS = CONFIG.training.overlap == "drop"
DENSE_CHECKED = "resources/checked/{model}.json"
# Jobs that compute take the GPU where there is one; the profile lets one have it at a time.
ACCELERATOR = int(takes_gpu(CONFIG.runtime.device))
DEVICE = device_of("cuda" if ACCELERATOR else "cpu", dtype=CONFIG.runtime.dtype)
ATTEMPTS = CONFIG.runtime.retries + 1
# On a cluster, the Snakemake inside a job would try again with the memory that was too little.
RETRIES = CONFIG.runtime.retries if workflow.is_main_process else 0

set_environment(ROOT)
schedule_one_look()

# What Snakemake makes of a large grid is no garbage; to look for some takes a quarter of its time.
gc.set_threshold(100_000)

# Forced, not removed: this run may still be refused, because another one holds the lock. Jobs read
# this file too, while failures of this run may already be there.
if CONFIG.retry_failed and workflow.is_main_process:
    run_again(to_retry(CONFIG))

if workflow.output_settings.dryrun and workflow.is_main_process:
    print(make_plan(CONFIG, DEVICE), file=sys.stderr)


wildcard_constraints:
    model="|".join(map(re.escape, CONFIG.models)),
    source="|".join(map(re.escape, CONFIG.sources)),
    data="|".join(map(re.escape, CONFIG.data)),
    task="|".join(map(re.escape, CONFIG.evaluation.tasks)),
    pruner="|".join(PRUNERS),
    pattern="[^/-]+",
    repair="|".join([*REPAIRS, *CONFIG.variants]),
    budget=f"({'|'.join(map(suffix, CONFIG.tokens))})",
    seed=r"\d+",


@cache
def code(script, *files, method=None):
    """What stands for the source files that decide a script's result, as an input of its jobs.

    Jobs do not write it, so that all of a run see the code as it was when the run began.

    Args:
        script: its name in workflow/scripts.
        *files: that decide it, too, and are not imported.
        method: source file of the pruner or the repair whose jobs they are.
    """
    listing = f"resources/code/{script}{f'-{method.stem}' if method else ''}.sha256"
    if workflow.is_main_process:
        begin = [ROOT / file for file in (f"workflow/scripts/{script}.py", *files)]
        begin += [method] if method else []
        list_code(listing, imported(begin, DECIDES_NOTHING), ROOT)
    return listing


def repair_code(script, *files):
    """The same for the method that the repair of the wildcards is, or is a variant of."""
    return lambda w: code(script, *files, method=REPAIRS.file(CONFIG.method(w.repair)))


def base_code(w):
    """The same for the pruner of the wildcards."""
    return code("prune", method=PRUNERS.file(w.pruner))


def made_by(w):
    """What stands for the source files that decide the folders that a job reads, by what they are:
    no inputs, since a change of them makes the folders anew.
    """
    made = {"base": base_code(w)}
    if training_of(w.repair) is not None:
        training = REPAIRS.file(training_of(CONFIG.method(w.repair)))
        made["trained"] = code("repair", method=training)
    return made


def files_in(folder, pattern):
    """Files of a folder of the project."""
    return sorted(path.relative_to(ROOT) for path in (ROOT / folder).glob(pattern))


@cache
def local_files(kind, name):
    """What stands for the user's own files that a model or a source is; none for another kind."""
    source = CONFIG.models[name].source if kind == "models" else CONFIG.sources[name]
    if not isinstance(source, PathSource):
        return []
    listing = f"resources/local/{kind}-{name}.json"
    if workflow.is_main_process:
        list_local(listing, source.wanted_files())
    return listing


# Two checks stand before all that is trained: of the data, and of the dense model's scores.
# Snakemake does not look at the jobs downstream of one that it runs for changes of their own, so
# nothing is downstream of them. They are checkpoints, which other jobs wait for, and then do not
# depend on: as inputs of a job they give none. A check that is made again, since a task was added,
# say, goes on beside the trainings; what they gave is not evaluated or tabled until it is over.
def data_checked(w):
    """Wait until it is checked once that nothing that is evaluated on is trained on; where that
    decides what is left out, until it is checked as it is now.
    """
    if DROPS or not os.path.exists(DATA_CHECKED):
        checkpoints.check_data.get()
    return []


def band(model):
    """Lowest and highest score expected of a dense model, a task."""
    return CONFIG.models[model].model_dump(mode="json")["band"]


def dense_checked(w):
    """Wait until the scores of this dense model are checked with this band; for the data, too."""
    file, folder = DENSE_CHECKED.format(model=w.model), f"resources/models/{w.model}"
    if not is_checked(file, folder, band(w.model)):
        checkpoints.check_dense.get(model=w.model)
    return data_checked(w)


def all_checked(w):
    """Wait for the check of the data as it is now, where something was trained on it."""
    if training_of(w.repair) is not None:
        checkpoints.check_data.get()
    return dense_checked(w)


def trained_folder(w):
    """Where the training lies whose result the cell's repair merges; none for `none`."""
    training = training_of(w.repair)
    if training is None:
        return []
    return training_folder(CHECKPOINTS, cell_of(w), training)


def training_tokens(w):
    budgets = map(suffix, CONFIG.trained_budgets())
    return [f"resources/tokens/{w.model}/train{budget}.safetensors" for budget in budgets]


def calibration_tokens(w):
    if not CONFIG.pruner(w.pruner).reads_calibration:
        return []
    return f"resources/tokens/{w.model}/calibration.safetensors"


def attempt(wildcards, attempt):
    return attempt


def job_of(rule, wildcards):
    """What decides how much a job needs."""
    of_base = (wildcards.get(key) for key in ("pruner", "pattern"))
    repair = wildcards.get("repair")
    training = repair and training_of(repair)
    budget = cell_of(wildcards).budget if training else NO_BUDGET
    return Job(rule, wildcards.model, *of_base, training, budget)


@cache
def asked(estimate, job, shape):
    """An estimate of a job, which is another one once the shape of its model is known."""
    return estimate(CONFIG, job, DEVICE)


def resource(estimate, rule):
    """A resource of a rule: what is estimated of a job (`memory_mib`, `minutes`), times the number
    of the attempt.
    """

    def value(wildcards, attempt):
        job = job_of(rule, wildcards)
        return attempt * asked(estimate, job, shape_of(CONFIG.models[job.model], job.model))

    return value


def processes(wildcards):
    return CONFIG.processes(wildcards.repair)


def data_folder(name):
    return f"resources/data/{name}"


def mixture_parts(split):
    """Parts of the mixture's data sets: `set/split` of those that have the split."""
    names = [part.data for part in CONFIG.training.mixture]
    return [f"{name}/{split}" for name in names if split in CONFIG.data[name].splits]


def data_parts():
    """What is read of the data, and for what (`bench.data.disjoint.Parts`)."""
    tasks = CONFIG.evaluation.tasks.values()
    return {
        "training": mixture_parts(CONFIG.training.split),
        "validation": mixture_parts(CONFIG.training.validation_split),
        "calibration": [f"{CONFIG.calibration.data}/{CONFIG.calibration.split}"],
        "evaluation": sorted({f"{t.data}/{t.split}" for t in tasks if t.data is not None}),
    }


def used_data():
    """Data sets that the grid reads."""
    names = {part.partition("/")[0] for parts in data_parts().values() for part in parts}
    return [data_folder(name) for name in sorted(names)]


def compared_data(w):
    """Data sets that decide what is left out of what is trained on; none where the run stops."""
    return used_data() if DROPS else []


def trial_config(cell, rate):
    """What decides a trial of the sweep: its training, with the learning rate to try."""
    config = repair_config(CONFIG, cell)
    return config | {"repair": config["repair"] | {"learning_rate": rate}}


@cache
def tuning_trials():
    """The sweep's trials, by their files: what is asked of each (`bench.stages.tuning`)."""
    tuning = CONFIG.tuning
    if tuning is None:
        sys.exit("config: tuning: missing; make tune needs it")
    trials = {}
    for budget in CONFIG.swept_budgets():
        for repair, rates in tuning.learning_rates.items():
            cell = Cell(tuning.model, tuning.pruner, tuning.pattern, repair, 0, budget)
            of = {"cell": asdict(cell), "code": repair_code("try_learning_rate")(cell)}
            folder = f"results/tuning/{cell.model}/{cell.base}/{repair}{suffix(budget)}"
            for rate in rates:
                trials[f"{folder}/lr{rate:g}.json"] = {**of, "config": trial_config(cell, rate)}
    return trials
