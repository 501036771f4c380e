"""What a stage costs: seconds of start-up, loading, computing, waiting, and peak memory."""

import ctypes
import mmap
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from torch import nn

PROC = Path("/proc/self")
PAGE = mmap.PAGESIZE


class StageClock:
    """Measures one stage of one job.

    ``startup_seconds`` runs from the start of the process (or from where the previous stage of
    the same job ended) to the construction of the clock: interpreter, imports.
    Whatever is neither start-up nor inside :meth:`computing` is loading. ``waited_seconds`` is the
    part of computing in which the process was ready and had no core: others ran beside it. It is
    not known everywhere.
    """

    def __init__(self, device=None, since: float | None = None):
        now = time.time()
        self.device = device
        self.startup_seconds = now - (psutil.Process().create_time() if since is None else since)
        self._constructed = now
        self.seconds = 0.0
        self.waited_seconds: float | None = None
        self.peak_rss_bytes: int | None = None
        self.peak_device_bytes: int | None = None
        self._update: Callable[[], None] = lambda: None
        self._before_interruption = {"seconds": 0.0, "waited_seconds": 0.0}

    @contextmanager
    def computing(self, model: "nn.Module | None" = None) -> Iterator[None]:
        """Time the block, and take its peak memory above what was held when it began.

        Args:
            model: what was loaded for the block, so that all of it counts as held.
        """
        if model is not None:
            page_in(model)
        on_device = self.device is not None and self.device.type == "cuda"
        if on_device:
            import torch

            torch.cuda.reset_peak_memory_stats(self.device)
            device_before = torch.cuda.memory_allocated(self.device)
        rss_before = reset_peak_rss()
        seconds_before, start = self.seconds, time.perf_counter()
        waited_before, waiting = self.waited_seconds or 0.0, waited()

        def update() -> None:
            if on_device:
                torch.cuda.synchronize(self.device)
                peak = torch.cuda.max_memory_allocated(self.device)
                self.peak_device_bytes = max(self.peak_device_bytes or 0, peak - device_before)
            self.seconds = seconds_before + time.perf_counter() - start
            if waiting is not None:
                self.waited_seconds = waited_before + waited() - waiting
            self.peak_rss_bytes = max(self.peak_rss_bytes or 0, peak_rss() - rss_before)

        self._update = update
        try:
            yield
        finally:
            update()
            self._update = lambda: None

    def computed(self) -> dict:
        """What computing has cost so far; inside :meth:`computing`, up to now."""
        self._update()
        before = self._before_interruption
        waited_in_all = (self.waited_seconds, before["waited_seconds"])
        return {
            "seconds": before["seconds"] + self.seconds,
            "waited_seconds": None if None in waited_in_all else sum(waited_in_all),
            "peak_rss_bytes": self.peak_rss_bytes,
            "peak_device_bytes": self.peak_device_bytes,
        }

    def go_on_from(self, computed: dict) -> None:
        """Count what :meth:`computed` said in an earlier job that this one goes on from."""
        self._before_interruption = computed
        self.peak_rss_bytes = computed["peak_rss_bytes"]
        self.peak_device_bytes = computed["peak_device_bytes"]

    def costs(self) -> dict:
        """The stage's entry in ``record.json``; start-up and loading are those of its last job."""
        computed = self.computed()
        return {
            **computed,
            "startup_seconds": self.startup_seconds,
            "loading_seconds": time.time() - self._constructed - self.seconds,
        }


def page_in(model: "nn.Module") -> None:
    """Read something of each page of a model's weights.

    Those that are mapped from a file are not in memory before they are used: what uses them would
    seem to need the memory that they take.
    """
    import torch

    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.device.type == "cpu":
            data = torch.empty(0, dtype=torch.uint8).set_(tensor.untyped_storage())
            data[::PAGE].sum()
            data[-1:].sum()


def waited() -> float | None:
    """Seconds in which the process's main thread was ready and had no core; None if not Linux."""
    with suppress(OSError):
        return int((PROC / "schedstat").read_text().split()[1]) / 1e9
    return None


def reset_peak_rss() -> int:
    """Set the process's peak back to what it holds now; return what it holds now, in bytes.

    Memory that the C library keeps after it was freed is given back first: a stage that takes it
    again would otherwise seem to need less. Where the kernel does not allow to set the peak back
    (not Linux), it stays that of the whole process, and the figure derived from it is an upper
    bound.
    """
    with suppress(AttributeError):  # glibc alone has it
        ctypes.CDLL(None).malloc_trim(0)
    with suppress(OSError):
        (PROC / "clear_refs").write_text("5")
    return psutil.Process().memory_info().rss


def peak_rss() -> int:
    """The process's peak resident memory since :func:`reset_peak_rss`, in bytes."""
    with suppress(OSError):
        if found := re.search(r"^VmHWM:\s*(\d+) kB", (PROC / "status").read_text(), re.MULTILINE):
            return int(found[1]) * 1024
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
