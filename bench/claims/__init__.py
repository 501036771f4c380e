"""Claims as tests over the grid: what ``config/claims.yaml`` states, and what the records say.

**Budget.** A claim is judged at the budget at which most of what it compares was run, with as many
seeds as it asks for, and of several such at the largest: what a repair is worth shows when it has
been trained. A larger budget of which a part was run is no verdict yet on the rest. The verdicts at
the other budgets are shown beside it.

**Evidence.** A claim is taken apart into comparisons. Its metric says what is compared:

* ``average``, ``tasks``, ``answers``, ``perplexity``: the score of ``repair`` less that of each
  repair in ``against``, paired on items and seeds; points of accuracy, bits a byte of the right
  answer (the mean over tasks), or nats a token. The interval is that of :mod:`bench.statistics`.
* a cost, by its column in ``table1.csv`` (``repair_cost_seconds`` is of training and merge
  together: a merge may prune again): the ratio, the geometric mean over bases and seeds, with the
  t interval of its logarithm. Times of stages that waited for a core for more than 5 % of them
  do not count.
* ``profiled_peak_memory``, ``profiled_step_seconds``: the same ratio under each condition (length,
  storage, checkpointing) of a profile (``results/profile.csv``), over its repetitions. It is of no
  budget.
* ``sparsity_drift``: the largest difference of a layer's sparsity from that layer's in the
  unrepaired base, at every evolution of that layer and after the merge. It is measured, not
  estimated: it has no interval.
* ``diverged``: the share of seeds whose training failed on a loss that is not finite, or whose
  perplexity is above the unrepaired base's or leaves the range of numbers, with the exact interval
  of a binomial share. A seed that was trained and has no perplexity is not counted.

**Verdict of a comparison.** What is up to ``negligible`` from the threshold is not worth naming: by
default 0.5 points of accuracy, 0.01 bits a byte, 0.02 nats a token, 5 % of a cost.

* ``equal``: the whole 95 % interval is no further from the threshold than that (two one-sided
  tests).
* ``supported``: else, it lies on the claimed side of the threshold.
* ``refuted``: the interval, made wider for the number of the claim's comparisons (Bonferroni),
  leaves no gain that is worth naming.
* ``inconclusive``: else; with the number of seeds, or of items where there are more (as many times
  more of each task), at which the interval around the same estimate would support or refute the
  claim, or show equality.
* ``no verdict``: of fewer seeds than the claim asks for. One seed does not tell a method from its
  luck, so no interval is given either.
* ``not tested``: cells are not in this grid, were not run, or failed.

``sparsity_drift`` and ``diverged`` say what was observed in the seeds at hand: they are supported
or refuted.

**Verdict of a claim.** That of its weakest comparison. ``refuted`` when one comparison is, whatever
else is open; ``not tested`` when none was tested, and ``no verdict`` when none had the seeds;
``supported`` when all are (which is why those need no correction for their number), and ``equal``
when all are settled and some are equal: nowhere worse, not everywhere better. Else
``inconclusive``.
"""
