"""Claims as tests over the grid: what ``config/claims.yaml`` states, and what the records say.

**Budget.** A claim is judged at the largest budget that was run: what a repair is worth shows when
it has been trained. The verdicts at the smaller ones are shown beside it.

**Evidence.** A claim is taken apart into comparisons. Its metric says what is compared:

* ``average``, ``tasks``, ``answers``, ``perplexity``: the score of ``repair`` less that of each
  repair in ``against``, paired on items and seeds; points of accuracy, bits a byte of the right
  answer (the mean over tasks), or nats a token. The interval is that of :mod:`bench.statistics`.
* ``repair_seconds`` (of training and merge together: a merge may prune again),
  ``repair_peak_memory``: the ratio of the costs, the geometric mean over bases
  and seeds, with the t interval of its logarithm.
* ``sparsity_drift``: the largest difference of a layer's sparsity from that layer's in the
  unrepaired base, at every evolution of that layer and after the merge. It is measured, not
  estimated: it has no interval.
* ``diverged``: the share of seeds whose training failed on a loss that is not finite, or whose
  perplexity is above the unrepaired base's, with the exact interval of a binomial share.

**Verdict of a comparison.** ``supported``: the 95 % interval lies on the claimed side of the
threshold. ``refuted``: the interval, made wider for the number of the claim's comparisons
(Bonferroni), leaves no gain that is more than ``negligible``. Else ``inconclusive``, with the
number of seeds or items at which the interval around the same estimate would support the claim, or
where the estimate is against it, the wider one would refute it.
A comparison of fewer seeds than the claim asks for is inconclusive: one seed does not tell a method
from its luck. ``sparsity_drift`` and ``diverged`` say what was observed in the seeds at hand: they
are supported or refuted. ``not tested``: cells are not there, or failed.

**Verdict of a claim.** ``refuted`` when one comparison is; ``supported`` when all are (which is
why those need no correction for their number); ``not tested`` when none was tested; else
``inconclusive``.
"""
