"""One file that stands for many, as an input of a job: source files, or files of the user's own.

Snakemake looks up, compares and prints each input of each job. Named one by one, source files are
two thirds of the inputs of a large grid, and a third of the time that it takes to plan.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from bench.files import whole, write_json
from bench.origin import read_seen, seen_files, sha256

# What decides no number, or is a parameter of the jobs that it decides: files and folders of which
# a change makes nothing anew.
DECIDES_NOTHING = (
    "baselines/problems.py",
    "baselines/registry.py",
    "baselines/pruning/__init__.py",
    "baselines/repair/__init__.py",
    "bench/cells.py",
    "bench/config",
    "bench/files.py",
    "bench/jobs/job.py",
    "bench/jobs/provenance.py",
    "bench/documents.py",
    "bench/origin.py",
    "bench/paths.py",
    "bench/typed.py",
    "bench/records/record.py",
    "bench/stages/inputs.py",
    "bench/training/costs.py",
)


def list_code(listing: str | Path, files: Iterable[str | Path], root: Path) -> None:
    """Write the digests of source files to ``listing``, unless it holds them already.

    So its time is that of the last change of what they hold. The format is that of ``sha256sum``.

    Args:
        listing: file to write.
        files: below ``root``; whole paths or relative to it.
        root: folder of the project.
    """
    listing = Path(listing)
    paths = sorted({root / file for file in files})
    text = "".join(f"{sha256(path)}  {path.relative_to(root)}\n" for path in paths)
    if not listing.exists() or listing.read_text(encoding="utf-8") != text:
        with whole(listing) as temporary:
            temporary.write_text(text, encoding="utf-8")


def list_local(listing: str | Path, files: Iterable[Path]) -> None:
    """Write size, time and SHA-256 of large files to ``listing``; its time is that of the last
    change of what they hold.

    A file is read only where its size or its time is not as listed.

    Args:
        listing: JSON file to write.
        files: that are there, wherever.
    """
    listing = Path(listing)
    before = read_seen(listing)
    after = seen_files({str(path): path for path in sorted(files)}, before)
    if after == before:
        return
    unchanged = _digests(after) == _digests(before)
    times = listing.stat() if unchanged else None
    write_json(listing, after)
    if times is not None:
        os.utime(listing, ns=(times.st_atime_ns, times.st_mtime_ns))


def _digests(entries: dict[str, dict]) -> dict[str, str]:
    return {name: entry["sha256"] for name, entry in entries.items()}
