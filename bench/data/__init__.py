"""From raw files to uniform, disjoint splits: ``<set>/<split>.jsonl``, one item a line.

The items of a set have one of these forms, each with a unique ``id``:

* text: ``text``;
* prompt and response: ``prompt``, ``response``;
* sentence with a blank: ``sentence`` with one ``_``, two ``options``, index ``answer`` of the right
  one, from 0;
* question: ``question``, ``choices``, index ``answer`` of the right one, from 0.

An item may have a ``group`` (the article of a paragraph, the pair of a twin sentence): items of one
group are never divided between splits. It may have fields of its own, each of one type in all items
of the set, for the prompt of a task; they are part of what it says. What is allowed in each field
is in :mod:`bench.data.forms`.
"""
