"""The environment that the workflow gives to its scripts."""

import os
import sys
from pathlib import Path

# A training step on a CPU frees and asks again for the same tensors. The C library by default hands
# their pages back to the kernel each time, which clears them anew: a quarter of a step. So those
# below 1 MiB stay. Larger ones in the same heap would leave it in pieces: of deltas at fixed
# positions the peak was 1,223 MiB, with this limit it is 498, as fast; less takes more time.
ALLOCATOR = {
    "MALLOC_TRIM_THRESHOLD_": "4000000000",
    "MALLOC_MMAP_THRESHOLD_": "1048576",
    "MALLOC_TOP_PAD_": "67108864",
    "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
}


def set_environment(root: Path) -> None:
    """Let scripts, which are processes of their own, import the project at ``root``.

    Progress bars are redrawn where someone sees them, and are a few lines where they are logged.
    """
    inherited = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(root), inherited]))
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("TQDM_MININTERVAL", "0.5" if sys.stderr.isatty() else "15")
