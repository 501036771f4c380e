"""What a job asks of the machine, as functions of the size of its model.

The figures are upper estimates, to be asked of a scheduler: a job that still needs more is ended
by it, and asks for more at its next attempt.
"""

import json
import struct
from functools import cache
from math import ceil, prod
from pathlib import Path

from bench.config import Config

# Interpreter, libraries, text, and the CUDA context where there is a GPU.
BASE_MIB = 2000

# Bytes of the host's memory a parameter. Loading takes 4 (float32), and computing on a CPU as many
# again; masked full fine-tuning of a base that is half zeros takes 16 on a CPU, and on a GPU the
# host holds its checkpoints.
HOST_BYTES = {
    "fetch": {"cpu": 8, "cuda": 8},
    "prune": {"cpu": 8, "cuda": 4},
    "repair": {"cpu": 16, "cuda": 8},
    "evaluate": {"cpu": 8, "cuda": 4},
}

# Minutes to start and load, and minutes for a thousand million parameters.
BASE_MINUTES = 30
MINUTES = {
    "prune": {"cpu": 120, "cuda": 15},
    "evaluate": {"cpu": 600, "cuda": 30},
}

# Floating-point operations a second that a training gets at least: of a CPU core or two, of a GPU.
TRAINING_SPEED = {"cpu": 5e10, "cuda": 3e13}


def parameters(config: Config, model: str, models: Path = Path("resources/models")) -> int:
    """Parameters of a model: as configured, else as fetched; 0 while neither is known.

    Args:
        config: the configuration.
        model: name of the model.
        models: folder of the fetched models.
    """
    if config.models[model].parameters is not None:
        return config.models[model].parameters
    folder = models / model
    return count_parameters(folder) if folder.is_dir() else 0


@cache
def count_parameters(folder: Path) -> int:
    """Numbers in the ``.safetensors`` files of a folder, by their headers alone."""
    count = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
        count += sum(prod(v["shape"]) for k, v in header.items() if k != "__metadata__")
    return count


def memory_mib(stage: str, parameters: int, device: str) -> int:
    """Memory of the host that a job of ``stage`` needs; ``device`` is cpu or cuda."""
    return BASE_MIB + ceil(HOST_BYTES[stage][device] * parameters / 2**20)


def minutes(stage: str, config: Config, parameters: int, device: str) -> int:
    """Time that a job of ``stage`` needs; ``device`` is cpu or cuda."""
    if stage == "repair":
        tokens = config.training.blocks * config.training.length
        return BASE_MINUTES + ceil(6 * parameters * tokens / TRAINING_SPEED[device] / 60)
    return BASE_MINUTES + ceil(MINUTES[stage][device] * parameters / 1e9)
