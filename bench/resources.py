"""What a job asks of the machine, as functions of the size of its model.

The figures are upper estimates, to be asked of a scheduler: a job that still needs more is ended
by it, and asks for more at its next attempt.
"""

from math import ceil

from bench.config import Config
from bench.shape import shape_of

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


def parameters(config: Config, model: str) -> int:
    """Parameters of a model: 0 while its shape is not known."""
    shape = shape_of(config, model)
    return 0 if shape is None else shape.parameters


def memory_mib(stage: str, parameters: int, device: str) -> int:
    """Memory of the host that a job of ``stage`` needs; ``device`` is cpu or cuda."""
    return BASE_MIB + ceil(HOST_BYTES[stage][device] * parameters / 2**20)


def minutes(stage: str, config: Config, parameters: int, device: str) -> int:
    """Time that a job of ``stage`` needs; ``device`` is cpu or cuda."""
    if stage == "repair":
        tokens = config.training.blocks * config.training.length
        return BASE_MINUTES + ceil(6 * parameters * tokens / TRAINING_SPEED[device] / 60)
    return BASE_MINUTES + ceil(MINUTES[stage][device] * parameters / 1e9)
