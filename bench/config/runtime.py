"""How jobs use the machine."""

from typing import Literal

from pydantic import Field, NonNegativeInt, PositiveInt

from bench.typed import Strict


class Runtime(Strict):
    """How jobs use the machine."""

    threads: PositiveInt = Field(default=1, description="CPU threads a process.")
    processes: PositiveInt = Field(
        default=1,
        description="Processes, each with a GPU of its own where jobs take GPUs, that share the "
        "training of the repairs that can share it (`repair` says which); the others train in one.",
    )
    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="`auto`: a GPU where there is one."
    )
    dtype: Literal["auto", "bfloat16", "float32"] = Field(
        default="auto", description="`auto`: bfloat16 where the device computes in it."
    )
    retries: NonNegativeInt = Field(
        default=0, description="How often a failing job runs again before its cell is a failed row."
    )
    checkpoint_minutes: NonNegativeInt = Field(
        default=15,
        description="From one checkpoint of a training to the next; 0: one after each step.",
    )
