"""What each repair's training costs, side by side: ``python -m bench profile`` (``make profile``).

Every repair trains for a few steps on the same model and the same batch, each time in a process of
its own, the repairs in turn (so that a drift of the machine hits all alike). The table holds
medians over the repetitions and, as `_spread`, largest minus smallest:

- `step_seconds` of an optimizer step without evolving, and `tokens_per_second`; where a repair's
  own loop goes over the text in several rounds, of a step of each;
- `peak_mib`, peak memory above the loaded base, which is `trainable_state_mib` (the parameters that
  train and where they are), `optimizer_mib`, `activations_mib` (what the forward pass saves for the
  backward), `dense_mib` (the dense model, where it is beside) and `temporary_mib` (the rest:
  gradients, the windows of dense gradients, what is made and thrown away); `weights_mib` is the
  frozen base itself;
- `evolving_seconds` of one evolution of every layer, and `evolving_percent`: of it, and of the time
  that gathering dense gradients for it adds to A steps, in the time of the R steps between two;
- `step_ratio` and `peak_ratio` to `lora` of the same length, storage and checkpointing.

`--csv` keeps every measurement, a row each; as `results/profile.csv` it is what a claim of
`config/claims.yaml` about `profiled` costs is judged on. `--figure` draws memory and time against
the length.

Bytes that are held are counted exactly. The peak is the allocator's on a GPU; on a CPU, where torch
keeps no such count, it is the process's resident memory. The warm-up of what evolves lasts
A + R steps, in which each layer evolves; first positions that the gradient chooses take longer than
later evolutions, and count as one.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import product
from pathlib import Path

import pandas as pd
import yaml
from tqdm import tqdm

from baselines.repair import REPAIRS, build_repair
from bench.figures.draw import write_profile
from bench.figures.style import METADATA
from bench.files import write_csv
from bench.jobs.environment import ALLOCATOR
from bench.models.bases import BASE_FILE, dense_model
from bench.paths import ROOT
from bench.records.measures import MIB
from bench.records.profiles import COLUMNS, CONDITION, KEYS, MEASURED, PARTS, WEIGHTS
from bench.tools.arguments import Parser, positive
from bench.tools.measured_training import SHAPES, Settings
from seft.storage import STORAGES

BASE = Path("results/checkpoints/smollm2-135m/wanda-s60/base")
REFERENCE = "lora"
# Arguments that are settings of every measurement.
SETTINGS = ("sparsity", "batch", "steps", "device", "dtype", "threads")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = parser_of_arguments()
    given = parser.parse_args(arguments)
    try:
        if not given.shape:
            check_base(given.model)
        jobs = {
            (spec, length, storage, checkpointing): settings_of(
                given, spec, length, storage, checkpointing
            )
            for checkpointing, storage, length, spec in product(
                given.checkpointing, given.storage, given.length, given.methods
            )
            if storage == "dense" or "storage" in REPAIRS[parse(spec)[0]].Options.model_fields
        }
    except (KeyError, ValueError) as error:
        parser.error(error.args[0])
    if not jobs:
        parser.error(f"none of {', '.join(given.methods)} can hold its base as a bitmask")
    rows, failed = measure_all(jobs, given.repeat)
    if rows:
        name = given.shape or str(given.model)
        measured = pd.DataFrame(rows).assign(model=name, batch=given.batch)
        if given.csv:
            write_csv(given.csv, measured[COLUMNS])
        if given.figure:
            write_profile(measured, given.figure)
        result = table(measured)
        print(f"{name}, batches of {given.batch} sequences")
        print(result.to_string(index=False, formatters=formats(result.columns)))
    if failed:
        parser.exit(1, "".join(f"{line}\n" for line in failed))


def parser_of_arguments() -> Parser:
    parser = Parser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trained = [name for name, repair in REPAIRS.items() if repair.training == name]
    parser.add_argument(
        "--methods",
        nargs="+",
        default=trained,
        metavar="METHOD[:KEY=VALUE,...]",
        help=f"repairs, with options that differ from the defaults; known: {', '.join(trained)}",
    )
    base = parser.add_mutually_exclusive_group()
    base.add_argument(
        "--model",
        type=Path,
        default=BASE,
        help=f"folder of a pruned base or of a model (default: {BASE})",
    )
    base.add_argument("--shape", choices=SHAPES, help="random weights in the shape of a model")
    parser.add_argument("--sparsity", type=fraction, default=0.6, help="of a base that is dense")
    for name, default, about in (
        ("batch", 2, "sequences a batch"),
        ("steps", 8, "timed steps"),
        ("repeat", 3, "repetitions"),
        ("threads", 1, "on a CPU"),
        ("rank", 8, "rank of LoRA, and of the LoRA whose parameters the others match"),
        ("evolve-every", 60, "R, steps from one evolution to the next"),
        ("accumulate-steps", 5, "A, steps whose gradient an evolution uses, and of warm-up"),
    ):
        parser.add_argument(f"--{name}", type=positive, default=default, help=about)
    parser.add_argument(
        "--length", type=positive, nargs="+", default=[128], help="tokens a sequence"
    )
    parser.add_argument(
        "--storage",
        nargs="+",
        choices=STORAGES,
        default=["dense"],
        help="of the base, in memory; methods that change every weight take dense alone",
    )
    parser.add_argument("--checkpointing", nargs="+", choices=("off", "on"), default=["off"])
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--dtype", choices=("auto", "bfloat16", "float32"), default="auto")
    parser.add_argument("--csv", type=Path, help="file to write every measurement to")
    parser.add_argument(
        "--figure", type=figure_file, help=f"file to draw to: .{', .'.join(METADATA)}"
    )
    return parser


def figure_file(text: str) -> Path:
    if Path(text).suffix.removeprefix(".") not in METADATA:
        raise argparse.ArgumentTypeError(f"{text!r} must end in .{', .'.join(METADATA)}")
    return Path(text)


def fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number above 0 and below 1")
    return value


def parse(spec: str) -> tuple[str, dict]:
    """``seft:stagger=true,candidates=4`` as a name and options.

    Raises:
        ValueError: it has another form.
    """
    name, _, text = spec.partition(":")
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    if wrong := next((key for key, sign, _ in pairs if not sign), None):
        raise ValueError(f"--methods {spec}: {wrong!r} must be KEY=VALUE")
    return name, {key: yaml.safe_load(value) for key, _, value in pairs}


def settings_of(
    given: argparse.Namespace, spec: str, length: int, storage: str, checkpointing: str
) -> Settings:
    """What is measured of a method under some conditions.

    Raises:
        KeyError, ValueError: there is no such method, option or model.
    """
    name, own = parse(spec)
    repair = REPAIRS[name]
    if repair.training is None:
        raise ValueError(f"--methods {spec}: it does not train")
    fields = repair.Options.model_fields
    common = {
        "evolve_every": given.evolve_every,
        "accumulate_steps": given.accumulate_steps,
        "storage": storage,
        repair.rank_option: given.rank,
    }
    options = {key: value for key, value in common.items() if key in fields} | own
    schedule = build_repair(name, **options).evolution_schedule
    warmup = schedule.window + schedule.every if schedule else given.accumulate_steps
    return Settings(
        method=name,
        options=options,
        model=None if given.shape else str(given.model.resolve()),
        shape=SHAPES.get(given.shape),
        length=length,
        warmup=warmup,
        checkpointing=checkpointing == "on",
        **{key: getattr(given, key) for key in SETTINGS},
    )


def check_base(folder: Path) -> None:
    """See that a base with its dense model, or a model, lies in a folder.

    Raises:
        ValueError: there is no model, or not the dense one that it was pruned from.
    """
    if (folder / BASE_FILE).is_file():
        dense = dense_model(folder)
        if not Path(dense).is_dir():
            raise ValueError(
                f"{folder}: of {dense}, which is not there; run this where the base was made "
                "(`make profile DIR=...`)"
            )
    elif not (folder / "config.json").is_file():
        raise ValueError(
            f"{folder}: no model; run `make table1`, or give --model FOLDER or --shape NAME"
        )


def measure_all(jobs: dict[tuple, Settings], repeat: int) -> tuple[list[dict], list[str]]:
    """Measure each job ``repeat`` times, in turn.

    Returns:
        One row a measurement, and one line for each job that failed (which is not tried again).
    """
    rows, failed = [], {}
    with tqdm(total=repeat * len(jobs), unit="run") as bar:
        for repetition in range(repeat):
            for key, settings in jobs.items():
                name = " ".join(map(str, key))
                bar.set_postfix_str(name)
                if key not in failed:
                    try:
                        found = run(settings)
                        condition = dict(zip(KEYS, key, strict=True))
                        rows.append({**condition, "repetition": repetition, **found})
                    except RuntimeError as error:
                        failed[key] = f"{name}: {error}"
                bar.update()
    return rows, list(failed.values())


def run(settings: Settings) -> dict:
    """Measure in a process of its own, in the environment of the workflow's scripts.

    Raises:
        RuntimeError: it failed; the last line it said.
    """
    environment = {**ALLOCATOR, **os.environ, "OMP_NUM_THREADS": str(settings.threads)}
    environment["PYTHONPATH"] = str(ROOT)
    process = subprocess.run(
        # The working folder may be another checkout, whose code is not what is measured.
        [sys.executable, "-P", "-m", "bench.tools.measured_training"],
        input=json.dumps(asdict(settings)),
        capture_output=True,
        text=True,
        env=environment,
    )
    if process.returncode:
        raise RuntimeError(process.stderr.strip().rpartition("\n")[2] or "it was killed")
    return json.loads(process.stdout.rpartition("\n")[2])


def table(measured: pd.DataFrame) -> pd.DataFrame:
    """One row a method and condition, of one row a measurement."""
    grouped = measured[[*KEYS, *MEASURED]].groupby(KEYS, sort=False)
    middle = grouped.median()
    spread = grouped.max() - grouped.min()
    memory = (middle[[WEIGHTS, *PARTS]] / MIB).rename(
        columns=lambda name: name.replace("_bytes", "_mib")
    )
    result = middle[["trainable_parameters", "step_seconds"]].astype({"trainable_parameters": int})
    result = result.assign(
        step_seconds_spread=spread["step_seconds"],
        tokens_per_second=middle["tokens"] / middle["step_seconds"],
        peak_mib=middle["peak_bytes"] / MIB,
        peak_mib_spread=spread["peak_bytes"] / MIB,
        **memory,
        evolving_seconds=middle["evolving_seconds"],
        evolving_percent=100 * middle["evolving_share"],
    ).reset_index()
    reference = result[result["method"] == REFERENCE]
    reference = result[KEYS].merge(reference, on=CONDITION, how="left", suffixes=("", "_reference"))
    result["step_ratio"] = result["step_seconds"] / reference["step_seconds"]
    result["peak_ratio"] = result["peak_mib"] / reference["peak_mib"]
    return result


def formats(columns: Sequence[str]) -> dict[str, Callable[[float], str]]:
    """How the table's numbers are printed: bytes and rates to a tenth, all else to a thousandth."""
    coarse = ("mib", "mib_spread", "per_second")
    floats = [name for name in columns if name not in (*KEYS, "trainable_parameters")]
    return {name: f"{{:.{1 if name.endswith(coarse) else 3}f}}".format for name in floats}
