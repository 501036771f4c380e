"""The repairs' options, and repairs with other options."""

from pydantic import BaseModel, ConfigDict, Field

from baselines.repair import REPAIRS
from bench.config.methods import options_model

# The repairs that train; others merge what one of these has trained, or nothing.
TRAININGS = {name: cls for name, cls in REPAIRS.items() if cls.training == name}

SHARED = " Processes can share its training (`runtime.processes`)."
RepairOptions = options_model(
    "RepairOptions",
    {name: cls.Options for name, cls in TRAININGS.items()},
    {name: SHARED for name, cls in TRAININGS.items() if cls.shards},
)


class Variant(BaseModel):
    """A repair with other options; beside `of`, those options, laid over the repair's own."""

    # What that repair's options allow is checked by the configuration.
    model_config = ConfigDict(extra="allow", frozen=True)

    of: str = Field(description="The repair, one that trains and has an entry in `repair`.")
