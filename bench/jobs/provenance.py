"""Where a number comes from: code, packages, machine, settings."""

import os
import platform
import re
import subprocess
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "lm-eval",
    "accelerate",
    "tokenizers",
    "datasets",
    "numpy",
    "pandas",
    "snakemake",
)
# Folders of the checkout of which files that are not tracked decide results, too.
CODE = ("baselines", "bench", "config/tasks", "seft", "workflow")
JOB_ID_VARIABLES = ("SLURM_JOB_ID", "LSB_JOBID", "PBS_JOBID", "JOB_ID")


def provenance(device, dtype) -> dict:
    """The ``provenance`` entry of a record, but for the manifests' hashes.

    Args:
        device: that was computed on; None if none could be had.
        dtype: that was computed in; None without a device.
    """
    return {
        "git": git_state(Path(__file__).parent),
        "packages": {name: _version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "platform": platform.platform(),
        **computed_on(device, dtype),
        "cluster_job": cluster_job(),
    }


def computed_on(device, dtype) -> dict:
    """What costs depend on; arguments as those of :func:`provenance`."""
    import torch

    return {
        "cpu": cpu_name(),
        "accelerator": accelerator(device),
        "dtype": dtype and str(dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),
    }


def cluster_job() -> str | None:
    """The scheduler's number of the job that this process belongs to."""
    return next((os.environ[v] for v in JOB_ID_VARIABLES if v in os.environ), None)


def git_state(folder: Path) -> dict | None:
    """Commit of the working tree, and whether what decides results has changes: tracked files,
    and untracked ones beside the code; null outside a checkout.
    """

    def git(*arguments: str) -> str:
        command = ["git", *arguments]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
        return run.stdout.strip()

    try:
        root = git("rev-parse", "--show-toplevel")
        changed = git("-C", root, "status", "--porcelain", "--untracked-files=no")
        added = git("-C", root, "ls-files", "--others", "--exclude-standard", "--", *CODE)
        return {"commit": git("rev-parse", "HEAD"), "dirty": bool(changed or added)}
    except (OSError, subprocess.CalledProcessError):
        return None


def cpu_name() -> str:
    with suppress(OSError):
        told = Path("/proc/cpuinfo").read_text()
        if found := re.search(r"^model name\s*:(.*)", told, re.MULTILINE):
            return found[1].strip()
    return platform.processor() or platform.machine()


def accelerator(device) -> dict | None:
    if device is None or device.type != "cuda":
        return None
    import torch

    properties = torch.cuda.get_device_properties(device)
    return {
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "runtime": torch.version.cuda or torch.version.hip,
        "driver": _driver(),
    }


def _driver() -> str | None:
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
