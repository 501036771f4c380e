"""Several processes of one machine that do one job together, each on a device of its own.

Outside such a job, a process is the first and only one.
"""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import TemporaryDirectory
from typing import TypeVar
from uuid import uuid4

import torch
from torch import distributed

Value = TypeVar("Value")

# Exit status of a process that has left a checkpoint since it was asked to end.
ENDED = 128 + signal.SIGTERM

# From SIGTERM to SIGKILL: the time that an optimizer step and a checkpoint have.
GRACE_SECONDS = 170

ASKED_TO_END = "asked to end: run again, the job goes on from its last checkpoint"

# Errors of a process that its launcher raises as what they are.
KNOWN_ERRORS = {e.__name__: e for e in (FloatingPointError, OSError, torch.OutOfMemoryError)}


def count() -> int:
    """How many processes do the job."""
    return distributed.get_world_size() if distributed.is_initialized() else 1


def rank() -> int:
    """The number of this process, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def everyone(value: Value) -> list[Value]:
    """What all processes call this with, in their order; each waits for all."""
    values = [value] * count()
    if distributed.is_initialized():
        distributed.all_gather_object(values, value)
    return values


@contextmanager
def joined(device: torch.device) -> Iterator[None]:
    """Inside, this process, which :func:`launch` started, is one of those that do the job."""
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group(None if device.type == "cuda" else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


def launch(processes: int, module: str, *arguments: str) -> None:
    """Run ``python -m module arguments`` in several processes, which see each other.

    SIGTERM is passed on to them; what the first of them writes to standard error goes to this
    process's.

    Args:
        processes: how many.
        module: whose ``main`` is decorated with ``torch.distributed.elastic``'s ``record``.
        *arguments: of its command line.

    Raises:
        RuntimeError: one of them failed; an error of ``KNOWN_ERRORS`` is raised as such.
        SystemExit: they were asked to end.
    """
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    previous = signal.getsignal(signal.SIGTERM)
    try:
        with TemporaryDirectory() as logs:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=processes,
                run_id=uuid4().hex,
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="localhost",
                max_restarts=0,
                shutdown_timeout=GRACE_SECONDS,
                signals_to_handle="SIGTERM",
                logs_specs=DefaultLogsSpecs(logs, tee=Std.ERR, local_ranks_filter={0}),
                log_line_prefix_template="process ${rank}: ",
            )
            elastic_launch(config, sys.executable)("-m", module, *arguments)
    except SignalException:
        sys.exit(ASKED_TO_END)
    except ChildFailedError as error:
        for failure in error.failures.values():
            # The first one has written its own to standard error.
            if failure.local_rank > 0 and not isinstance(failure.message, str):
                print(failure.message["extraInfo"]["py_callstack"], file=sys.stderr)
        raise _first_cause(error.failures) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _first_cause(failures: dict) -> BaseException:
    """The error of a process that failed by itself, not since another one did."""
    errors = []
    for number, failure in sorted(failures.items()):
        if isinstance(failure.message, str):  # it left no error
            if failure.exitcode == ENDED:
                return SystemExit(ASKED_TO_END)
            errors.append(RuntimeError(f"process {number}: {failure.message}"))
        else:
            kind, _, message = failure.message["message"].partition(": ")
            if kind in KNOWN_ERRORS:
                return KNOWN_ERRORS[kind](message)
            errors.append(RuntimeError(f"process {number}: {kind}: {message}"))
    return errors[0]
