"""A training that several processes share: started by one, done by ``main`` in each of them."""

import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.distributed.elastic.multiprocessing.errors import record

from bench.cells import Cell
from bench.files import read_json, write_json
from bench.stages.training_job import TrainingJob, train_once
from bench.training.processes import ENDED, joined, launch, rank


def check_gpus(processes: int, job: TrainingJob) -> None:
    """Raise RuntimeError (one line) if there are fewer GPUs than processes that take one."""
    if job.device.type == "cuda" and torch.cuda.device_count() < processes:
        raise RuntimeError(
            f"runtime.processes = {processes}: {platform.node()} has {torch.cuda.device_count()} "
            "GPUs that torch can use; allowed: at most as many"
        )


def train_in_processes(
    processes: int, job: TrainingJob, folder: str | Path, micro_batch: int
) -> dict:
    """:func:`bench.stages.training_job.train_once`, by several processes of this machine.

    Raises:
        RuntimeError: one of them failed.
    """
    with TemporaryDirectory() as scratch:
        given, costs = Path(scratch) / "job.json", Path(scratch) / "costs.json"
        write_json(
            given,
            {
                "job": asdict(job),
                "folder": str(folder),
                "micro_batch": micro_batch,
                "threads": max(1, torch.get_num_threads() // processes),
                "costs": str(costs),
            },
        )
        launch(processes, __name__, str(given))
        return read_json(costs)


@record
def main() -> None:
    given = read_json(sys.argv[1])
    # Accelerate sets the threads by it.
    os.environ["OMP_NUM_THREADS"] = str(given["threads"])
    torch.set_num_threads(given["threads"])
    job = TrainingJob(**given["job"] | {"cell": Cell(**given["job"]["cell"])})
    try:
        with joined(job.device):
            costs = train_once(job, given["folder"], given["micro_batch"])
            if rank() == 0:
                write_json(given["costs"], costs)
    except SystemExit as end:
        print(end, file=sys.stderr)
        sys.exit(ENDED)


if __name__ == "__main__":
    main()
