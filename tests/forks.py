"""Runs of Snakemake, and the jobs of these, as forks of a process that has imported the libraries.

To import them takes more than half of the time of a dry run, and nine tenths of a job's on a tiny
model. Nothing of the project is imported beforehand: what a run imports is that of its folder.
"""

import multiprocessing
import os
import runpy
import sys
import threading
from collections.abc import Sequence
from functools import cache
from multiprocessing.connection import Client, Connection, Listener, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "accelerate",
        "datasets",
        "lm_eval.tasks",
        "pandas",
        "peft",
        "scipy.stats",
        "smart_open",
        "snakemake.cli",
        "snakemake.report.html_reporter",
        "torch",
        "transformers.trainer",
    ]
)
# Held while a fork's status is read. A start reads that of all that have ended, and where two
# threads read the same one, which can be read once, that of the other is 255.
_READING = threading.Lock()


def start_python(*arguments) -> BaseProcess:
    """A fork that has begun to run what ``run_python`` is given."""
    fork = FORKS.Process(target=run_python, args=arguments)
    with _READING:
        fork.start()
    return fork


def exit_status(fork: BaseProcess) -> int:
    """That of a fork that has ended, which ``wait`` on its sentinel tells."""
    with _READING:
        fork.join()
        return fork.exitcode


def run_python(
    arguments: Sequence[str],
    folder: Path,
    environment: dict[str, str],
    output: Path,
    error: Path,
    python: str | None = None,
) -> None:
    """What ``python`` does with ``-m``, a module and its arguments, or with a script.

    Args:
        arguments: of the interpreter.
        folder: to run in.
        environment: of the run, in place of this process's own.
        output: file that standard output is appended to.
        error: the same of standard error.
        python: what the run takes for its interpreter; by default that is this one.
    """
    is_module = arguments[0] == "-m"
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    first = folder if is_module else Path(arguments[0]).parent
    found = [str(first), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    # Where the tests look for modules does not count.
    installed = (sys.prefix, sys.base_prefix)
    sys.path[:] = [*found, *(path for path in sys.path if path.startswith(installed))]
    for path, number in ((output, 1), (error, 2)):
        with path.open("a") as file:
            os.dup2(file.fileno(), number)
    sys.executable = python or sys.executable
    sys.argv = list(arguments[is_module:])
    if is_module:
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(sys.argv[0], run_name="__main__")


@cache
def forking_python() -> str:
    """An interpreter that hands modules and scripts over to a fork of this process's."""
    # Read where the libraries are imported, which is before there is a run.
    os.environ["HF_HUB_OFFLINE"] = "1"
    listener = Listener(family="AF_UNIX")
    threading.Thread(target=_serve, args=(listener,), daemon=True).start()
    # In a folder that goes when this process ends.
    python = Path(listener.address).with_name("python")
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -IS {__file__} {listener.address} "$@"\n')
    python.chmod(0o755)
    return str(python)


def _serve(listener: Listener) -> None:
    while True:
        threading.Thread(target=_answer, args=(listener.accept(),), daemon=True).start()


def _answer(asker: Connection) -> None:
    """Run what a process asks for, as long as that process lives."""
    with asker:
        arguments, folder, environment, process = asker.recv()
        streams = [Path(f"/proc/{process}/fd/{number}") for number in (1, 2)]
        # A script starts no run of the workflow; what it starts is to be a process of its own.
        python = forking_python() if arguments[0] == "-m" else None
        fork = start_python(arguments, folder, environment, *streams, python)
        if asker in wait([asker, fork.sentinel]):
            fork.kill()
        else:
            asker.send(exit_status(fork))


def _ask(address: str, arguments: Sequence[str]) -> None:
    if arguments[0] != "-m" and not arguments[0].endswith(".py"):
        os.execv(sys.executable, [sys.executable, *arguments])
    with Client(address) as server:
        server.send((arguments, Path.cwd(), dict(os.environ), os.getpid()))
        sys.exit(server.recv())


if __name__ == "__main__":
    _ask(sys.argv[1], sys.argv[2:])
