"""How fast this machine trains, for ``make plan``: ``python -m bench calibrate``.

A few decoder blocks in the shape of a grid's largest model, of random weights, train LoRA: on the
grid's batches, for the operations a second; and on a handful of tokens, for the seconds that a
pass of a block takes at the least. A minute in all.
"""

import argparse
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch

from baselines.repair import REPAIRS
from bench.config.loading import load_or_exit, read_files
from bench.config.models import shape_of
from bench.config.whole import Config
from bench.files import write_json
from bench.models.loading import pick_device, pick_dtype
from bench.models.shape import NAMES, Shape
from bench.planning.speeds import CALIBRATION, Device
from bench.tools.measured_training import Settings, measure
from bench.training.costs import training_work

METHOD, BLOCKS, FEW_TOKENS = "lora", 4, 8
# Steps that are timed, and about how many seconds they may take.
STEPS, SECONDS = 50, 20


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description="Measure for a minute how fast this machine trains, so that the plan knows."
    )
    parser.add_argument("--configfile", type=Path, nargs="*", default=[], help="of the grid")
    try:
        config = load_or_exit(read_files(parser.parse_args(arguments).configfile))
        pick_device(config.runtime.device)
    except (RuntimeError, ValueError) as error:
        parser.exit(1, f"{error}\n")
    shapes = {name: shape_of(config.models[name], name) for name in config.grid.models}
    known = [shape for shape in shapes.values() if shape is not None]
    if not known:
        name = next(iter(shapes))
        parser.exit(1, f"config: models.{name}.shape: not known; allowed: a shape, or its files\n")
    largest = max(known, key=lambda shape: shape.parameters)
    device = calibrated(largest.model_copy(update={"blocks": BLOCKS}), config)
    write_json(CALIBRATION, asdict(device))
    print(f"{device}; {1000 * device.launch:.2g} ms a pass of a block; kept in {CALIBRATION}")


def calibrated(shape: Shape, config: Config) -> Device:
    """What this machine's device, or one of its cores, does with a model of this shape."""
    training, device = config.training, pick_device(config.runtime.device)
    few = seconds_of_a_step(shape, config, batch=1, length=FEW_TOKENS)
    many = seconds_of_a_step(shape, config, training.batch_size, training.length)
    work = training_work(shape, REPAIRS[METHOD], training.batch_size * training.length)
    cores = config.runtime.threads if device.type == "cpu" else 1
    return Device(
        kind=device.type,
        name="core" if device.type == "cpu" else torch.cuda.get_device_name(device),
        source=f"calibrated with {METHOD} and batches of {training.batch_size} x {training.length}",
        speed=work / many / cores,
        # Forward, backward and optimizer.
        launch=few / (3 * shape.blocks),
        dtype=str(pick_dtype(config.runtime.dtype, device)).removeprefix("torch."),
    )


def seconds_of_a_step(shape: Shape, config: Config, batch: int, length: int) -> float:
    """Median seconds of an optimizer step on a model of this shape with random weights."""
    settings = Settings(
        method=METHOD,
        options={},
        shape={names[0]: getattr(shape, key) for key, names in NAMES.items()},
        length=length,
        batch=batch,
        device=config.runtime.device,
        dtype=config.runtime.dtype,
        threads=config.runtime.threads,
    )
    once = measure(settings)["step_seconds"]
    steps = max(1, min(STEPS, int(SECONDS / once)))
    return measure(replace(settings, steps=steps))["step_seconds"]
