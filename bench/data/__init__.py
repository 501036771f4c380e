"""From raw files to uniform, disjoint splits: ``<set>/<split>.jsonl``, one item a line.

The items of a set have one of these forms, each with a unique ``id``:

* text: ``text``;
* prompt and response: ``prompt``, ``response``;
* sentence with a blank: ``sentence`` with one ``_``, two ``options``, index ``answer`` of the right
  one;
* question: ``question``, ``choices``, index ``answer`` of the right one.

An item may have a ``group`` (the article of a paragraph, the pair of a twin sentence): items of one
group are never divided between splits.
"""

from bench.data.items import DataError, read_items
from bench.data.prepare import DataSpec, check, prepare
from bench.data.readers import READERS

__all__ = ["READERS", "DataError", "DataSpec", "check", "prepare", "read_items"]
