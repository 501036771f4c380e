"""What the sections of a configuration must agree on.

Each check takes a whole configuration, the keys of which are right by themselves, and gives a line
``key = value: what is allowed`` for each problem. Those of ``NAMES`` come first: the others look up
what is named.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from itertools import product

from pydantic import TypeAdapter

from baselines.problems import MisfitError, Problem, shown, validated
from baselines.pruning import PRUNERS
from baselines.pruning.pattern import Pattern
from baselines.repair import REPAIRS
from bench.cells import DEFAULT_BUDGET, NO_BUDGET
from bench.config.repair import TRAININGS
from bench.config.variants import training_of
from bench.config.whole import Config
from bench.evaluation.tasks import defined_metrics, local_tasks, own_tasks
from bench.files import UnreadableError
from bench.models.shape import pattern_problems
from bench.origin import MANIFEST
from bench.typed import LONGEST

Check = Callable[[Config], Iterator[str]]
SHORT = re.compile(rf"[a-z0-9][a-z0-9-]{{,{LONGEST - 1}}}")


def _unknown(key: str, name: str, allowed: Iterable[str]) -> Iterator[str]:
    """The problem of a name that is not among those allowed."""
    if name not in allowed:
        yield f"{key} = {shown(name)}: unknown; allowed: {', '.join(allowed)}"


def _unknown_split(config: Config, key: str, data: str, split: str) -> Iterator[str]:
    yield from _unknown(f"{key}.data", data, config.data)
    if data in config.data:
        yield from _unknown(f"{key}.split", split, config.data[data].splits)


def _without_options(config: Config, training: str | None) -> Iterator[str]:
    if training is not None and config.options(training) is None:
        yield (
            f"repair.{training}: missing; allowed: its options, such as learning_rate, when "
            "grid.repairs, variants, budgets or tuning.learning_rates needs it"
        )


def grid_is_of_known_names(config: Config) -> Iterator[str]:
    for key, allowed in (
        ("models", config.models),
        ("pruners", PRUNERS),
        ("repairs", [*REPAIRS, *config.variants]),
        ("budgets", [DEFAULT_BUDGET, *config.budgets]),
    ):
        for name in getattr(config.grid, key):
            yield from _unknown(f"grid.{key}", name, allowed)


def repairs_of_the_grid_have_options(config: Config) -> Iterator[str]:
    for name in config.grid.repairs:
        if name in REPAIRS:
            yield from _without_options(config, training_of(name))


def variants_are_of_repairs_that_train(config: Config) -> Iterator[str]:
    for name, variant in config.variants.items():
        # Beside the folders of a base's trainings lies its own.
        said = "a name that no repair has, and not `base`"
        yield from _misnamed("variants", name, (*REPAIRS, "base"), said)
        yield from _unknown(f"variants.{name}.of", variant.of, TRAININGS)
        if variant.of in TRAININGS:
            yield from _without_options(config, variant.of)
            yield from _option_problems(config, ("variants", name), name, DEFAULT_BUDGET)


def budgets_are_of_repairs_that_train(config: Config) -> Iterator[str]:
    trained = [*TRAININGS, *config.variants]
    for name, budget in config.budgets.items():
        said = f"a name other than `{DEFAULT_BUDGET}` and `{NO_BUDGET}`"
        yield from _misnamed("budgets", name, (DEFAULT_BUDGET, NO_BUDGET), said)
        for repair in budget.repair:
            key = ("budgets", name, "repair")
            yield from _unknown(".".join(key), repair, trained)
            if repair in trained and config.method(repair) in TRAININGS:
                yield from _without_options(config, config.method(repair))
                yield from _option_problems(config, (*key, repair), repair, name)


def _misnamed(key: str, name: str, taken: Iterable[str], said: str) -> Iterator[str]:
    """The problem of a name in paths that is taken, or has other signs than these."""
    if name in taken or not SHORT.fullmatch(name):
        signs = f"of at most {LONGEST} lower-case letters, digits and hyphens"
        yield f"{key} = {shown(name)}: allowed: {said}, {signs}"


def _option_problems(
    config: Config, key: tuple[str, ...], repair: str, budget: str
) -> Iterator[str]:
    """The problems of a repair's options at a budget, as those of the key that changes them."""
    options = config.options(config.method(repair))
    if options is None:
        return
    try:
        values = options.model_dump() | config.changes(repair, budget)
        validated(TypeAdapter(type(options)), values)
    except MisfitError as error:
        for problem in error.problems:
            keys = (*key, *problem.keys)
            yield from str(Problem(keys, problem.said, problem.value)).splitlines()


def tuning_is_of_known_names(config: Config) -> Iterator[str]:
    if config.tuning is None:
        return
    yield from _unknown("tuning.model", config.tuning.model, config.models)
    yield from _unknown("tuning.pruner", config.tuning.pruner, PRUNERS)
    for name in config.tuning.budgets:
        yield from _unknown("tuning.budgets", name, [DEFAULT_BUDGET, *config.budgets])
    for name in config.tuning.learning_rates:
        yield from _unknown("tuning.learning_rates", name, [*TRAININGS, *config.variants])
        yield from _without_options(config, name if name in TRAININGS else None)


def names_differ_in_more_than_case(config: Config) -> Iterator[str]:
    for key, names in (
        ("models", config.models),
        ("sources", config.sources),
        ("data", config.data),
        ("evaluation.tasks", config.evaluation.tasks),
    ):
        first: dict[str, str] = {}
        for name in names:
            other = first.setdefault(name.lower(), name)
            if other != name:
                yield (
                    f"{key} = {shown(name)}: allowed: a name that is not {other!r} in other case, "
                    "which some disks take for the same"
                )


def data_have_known_sources(config: Config) -> Iterator[str]:
    for name, spec in config.data.items():
        yield from _unknown(f"data.{name}.source", spec.source, config.sources)
        if name == MANIFEST:
            yield f"data = {name!r}: allowed: another name; that of a file beside the data sets"


def text_is_of_known_splits(config: Config) -> Iterator[str]:
    training = config.training
    yield from _unknown_split(
        config, "calibration", config.calibration.data, config.calibration.split
    )
    for part in training.mixture:
        yield from _unknown_split(config, "training.mixture", part.data, training.split)
    sets = (config.data[part.data] for part in training.mixture if part.data in config.data)
    if not any(training.validation_split in spec.splits for spec in sets):
        yield (
            f"training.validation_split = {shown(training.validation_split)}: no set of the "
            "mixture has it; allowed: a split of at least one"
        )


def tasks_have_items(config: Config) -> Iterator[str]:
    local = local_tasks()
    for name, task in config.evaluation.tasks.items():
        key = f"evaluation.tasks.{name}"
        if "data" not in task.model_fields_set and name in local:
            yield (
                f"{key}.data: missing; allowed: where its items are, or null for lm-eval's own "
                "task of this name"
            )
        if task.data is not None:
            yield from _unknown("evaluation.tasks", name, local)
            if name in local:
                yield from _unknown_split(config, key, task.data, task.split)


def definitions_of_tasks_can_be_read(config: Config) -> Iterator[str]:
    local = local_tasks()
    for name, task in config.evaluation.tasks.items():
        if task.data is not None and name in local:
            try:
                defined_metrics(name)
            except UnreadableError as error:
                yield f"evaluation.tasks.{name}: {error}"


def bands_are_of_known_tasks(config: Config) -> Iterator[str]:
    known = dict.fromkeys([*config.evaluation.tasks, *local_tasks()])
    for name, model in config.models.items():
        for task in model.band:
            # What is not run is not looked at.
            if task not in known and task not in own_tasks():
                yield from _unknown(f"models.{name}.band", task, known)


def tasks_have_their_metrics(config: Config) -> Iterator[str]:
    for name, task in config.evaluation.tasks.items():
        metrics = defined_metrics(name) if task.data is not None else None
        if metrics is not None and task.metric not in metrics:
            yield (
                f"evaluation.tasks.{name}.metric = {shown(task.metric)}: allowed: "
                f"{', '.join(metrics) or 'none: it has none that tables can show'}"
            )


def training_is_validated_on_other_text(config: Config) -> Iterator[str]:
    training = config.training
    if training.validation_split == training.split:
        yield (
            f"training.validation_split = {training.split!r}: also trained on; allowed: another "
            "split than training.split"
        )


def tasks_are_measured_on_other_text(config: Config) -> Iterator[str]:
    splits = (config.training.split, config.training.validation_split)
    used = {(part.data, split) for part in config.training.mixture for split in splits}
    used |= {(config.calibration.data, config.calibration.split)}
    for name, task in config.evaluation.tasks.items():
        if (task.data, task.split) in used:
            yield (
                f"evaluation.tasks.{name}.split = {task.split!r}: also trained or calibrated on; "
                "allowed: a split that training, validation and calibration do not use"
            )


def processes_share_a_batch(config: Config) -> Iterator[str]:
    for budget in config.grid.budgets:
        key = "training" if budget == DEFAULT_BUDGET else f"budgets.{budget}"
        batch_size = config.training_at(budget).batch_size
        if batch_size % config.runtime.processes:
            yield (
                f"runtime.processes = {config.runtime.processes}: allowed: a divisor of "
                f"{key}.batch_size, which is {batch_size}"
            )


def _trainings(config: Config) -> Iterator[tuple[str, str, str]]:
    """Repair, budget and pattern of each training of the grid, and of the sweep."""
    grid, tuning = config.grid, config.tuning
    trained = [name for name in grid.repairs if training_of(name) is not None]
    yield from product(trained, grid.budgets, grid.patterns)
    if tuning is not None:
        swept = product(tuning.learning_rates, config.swept_budgets(), [tuning.pattern])
        # Of what the default configuration sweeps, a grid without it has no part.
        yield from (
            (name, budget, pattern)
            for name, budget, pattern in swept
            if name in trained or budget != DEFAULT_BUDGET
        )


def trainings_take_their_patterns_and_evolve(config: Config) -> Iterator[str]:
    for name, budget, pattern in _trainings(config):
        key = f"variants.{name}" if name in config.variants else f"repair.{training_of(name)}"
        at = "" if budget == DEFAULT_BUDGET else f" of budget {budget!r}"
        try:
            repair = config.built(name, budget, pattern)
        except ValueError as error:
            yield f"{key}{at}: {error}"
            continue
        steps = config.training_at(budget).steps
        if repair.evolutions(steps) == 0:
            yield (
                f"{key}.evolve_every = {repair.evolution_schedule.every}: allowed: fewer, or more "
                f"than the {steps} steps{at}, in which not every layer would evolve"
            )


def calibration_is_no_longer_than_its_text(config: Config) -> Iterator[str]:
    text = config.data[config.calibration.data].characters
    samples, length = config.calibration.samples, config.calibration.length
    # A token is at least one byte, and a character, in UTF-8, at most four.
    if text is not None and samples * length > 4 * text:
        yield (
            f"calibration.samples = {samples}: with length {length} that is {samples * length} "
            f"tokens; allowed: at most {4 * text}, the bytes that the {text} characters of "
            f"{config.calibration.data!r} can have"
        )


def pruners_take_their_options_and_patterns(config: Config) -> Iterator[str]:
    bases = [(pruner, p) for pruner in config.grid.pruners for p in config.grid.patterns]
    if config.tuning is not None:
        bases.append((config.tuning.pruner, config.tuning.pattern))
    for pruner, pattern in bases:
        try:
            config.pruner(pruner).check_pattern(Pattern.parse(pattern))
        except ValueError as error:
            yield f"pruning.{pruner}: {error}"


def models_take_a_task_and_the_patterns(config: Config) -> Iterator[str]:
    for name in config.grid.models:
        model = config.models[name]
        if not config.evaluation_of(name).tasks:
            yield (
                f"models.{name}.context_length = {model.context_length}: every task is measured "
                "with more; allowed: at least one with as many"
            )
        if model.shape is not None:
            yield from pattern_problems(name, model.shape, config.grid.patterns)


def each_repair_has_as_many_rates(config: Config) -> Iterator[str]:
    rates = config.tuning.learning_rates if config.tuning is not None else {}
    counts = {name: len(set(values)) for name, values in rates.items()}
    if len(set(counts.values())) > 1:
        yield (
            f"tuning.learning_rates = {counts}: allowed: the same number for each repair, none of "
            "them twice"
        )


NAMES: list[Check] = [
    grid_is_of_known_names,
    repairs_of_the_grid_have_options,
    variants_are_of_repairs_that_train,
    budgets_are_of_repairs_that_train,
    tuning_is_of_known_names,
    names_differ_in_more_than_case,
    data_have_known_sources,
    text_is_of_known_splits,
    tasks_have_items,
    definitions_of_tasks_can_be_read,
    bands_are_of_known_tasks,
]
FITS: list[Check] = [
    tasks_have_their_metrics,
    training_is_validated_on_other_text,
    tasks_are_measured_on_other_text,
    processes_share_a_batch,
    trainings_take_their_patterns_and_evolve,
    calibration_is_no_longer_than_its_text,
    pruners_take_their_options_and_patterns,
    models_take_a_task_and_the_patterns,
    each_repair_has_as_many_rates,
]
