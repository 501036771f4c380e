"""Readers: one function a raw format, from a file to uniform items.

A reader takes the file and a counter, to which it adds the reason of each item that it skips.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.data.readers import bigbench, hub
from bench.data.readers.shared import jsonl

Reader = Callable[[Path, Counter], Iterator[dict]]

READERS: dict[str, Reader] = {
    reader.__name__: reader for reader in (*bigbench.READERS, *hub.READERS, jsonl)
}
