"""What every script of the workflow does first and last."""

import gc
import signal
import sys
import traceback
from pathlib import Path
from typing import TextIO

from bench.data.forms import DataError
from bench.files import UnreadableError
from bench.jobs.outcome import Attempt
from bench.sources import SourceError

# What a script imports after this module is no garbage; to look for some takes a sixth of the time
# that its imports take.
gc.disable()


class Told:
    """Standard error of a job: a text stream that writes to the terminal and to the rule's log.

    Progress bars of jobs side by side are told apart by the job's name before each. Where nobody
    sees them redrawn, each state of a bar is a line.

    Args:
        name: of the job.
        terminal: standard error.
        log: file of the rule's log.
    """

    def __init__(self, name: str, terminal: TextIO, log: TextIO):
        self.name = name
        self.terminal = terminal
        self.log = log
        self._drew = False

    def write(self, text: str) -> int:
        # So begins each state of a bar, and so ends the last one.
        bar = text.strip() if text.startswith("\r") else None
        ended, self._drew = self._drew and text == "\n", text.startswith("\r")
        for stream in (self.terminal, self.log):
            if stream.isatty():
                stream.write(text if not bar else f"\r{self.name}: {text[1:]}")
            elif bar:
                stream.write(f"{self.name}: {bar}\n")
            elif bar is None and not ended:
                stream.write(text)
        return len(text)

    def flush(self) -> None:
        self.terminal.flush()
        self.log.flush()

    def __getattr__(self, name: str):
        return getattr(self.terminal, name)


class Job:
    """One job of the workflow: its log, its threads, and how its errors are told.

    What goes to standard error is kept in the rule's log as well. An error that is about the
    user's input, or a damaged file, ends the job with its one line; any other keeps its traceback.

    Args:
        snakemake: the object that Snakemake gives to a script.
    """

    def __init__(self, snakemake):
        self.snakemake = snakemake
        self.attempt = Attempt(
            snakemake.resources.get("attempt", 1),
            snakemake.resources.get("attempts", 1),
            snakemake.log[0],
        )

    def __enter__(self) -> "Job":
        gc.freeze()
        gc.enable()
        self._terminal = sys.stderr
        self._log = Path(self.snakemake.log[0]).open("w", buffering=1, encoding="utf-8")
        name = " ".join(filter(None, [self.snakemake.rule, *map(str, self.snakemake.wildcards)]))
        sys.stderr = Told(name, self._terminal, self._log)
        # Jobs that compute have imported torch by now; the others need not.
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(self.snakemake.threads)
        self._interrupt = signal.signal(signal.SIGINT, self._note_interrupt)
        return self

    def _note_interrupt(self, *arguments) -> None:
        self.attempt.interrupted = True
        signal.default_int_handler(*arguments)

    def __exit__(self, kind, error, trace) -> None:
        try:
            if isinstance(error, SourceError | DataError | UnreadableError):
                print(error, file=sys.stderr)
                sys.exit(1)
            if isinstance(error, SystemExit):
                # The interpreter prints it, when the log is closed.
                print(error, file=self._log)
            elif error is not None:
                traceback.print_exception(error, file=self._log)
        finally:
            signal.signal(signal.SIGINT, self._interrupt)
            sys.stderr = self._terminal
            self._log.close()

    def optional(self, name: str) -> str | None:
        """An input that a job may do without."""
        return self.snakemake.input.get(name) or None
