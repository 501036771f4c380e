"""Is a difference real? Intervals, paired tests, tie groups.

**What varies.** A score depends on the seed (order of the data, initialisation) and on the items
that it was measured on. Both are samples of what might have been. Every seed of every repair is
scored on the same items: the two are crossed.

**Standard errors and interval.** Items are resampled with replacement and every model is scored
again on them (perplexity is exp of the resampled losses' sum over the resampled tokens'): the
spread of the mean over seeds is ``se_items``. The deviation of the seeds' scores is ``se_seeds``.
Resampling both at once gives the distribution of whose percentiles the 95 % interval is made. With
three seeds or ten documents percentiles alone are too narrow: their distance from the estimate is
stretched, as in Hesterberg (2015), to what Student's t gives for ``sqrt(se_seeds² + se_items²)``;
the tails of the two sources' t are weighted by their variances (Cochran and Cox 1950). Of a mean
over tasks the items' degrees of freedom are those of Welch (1947) and Satterthwaite (1946). The
interaction of seed and item is in both errors, so that the interval is wide rather than narrow.
One seed says nothing of other seeds: its interval is that of the items alone. One item gives no
interval, nor do items of other seeds than the mean's. An accuracy of 0 or 100 % in every seed shows
no spread, and its interval is a point.

**Paired comparisons.** Both repairs of a pair are taken on the items and seeds that both have; the
unrepaired base is the same model for every seed. One seed and a task of right and wrong answers:
McNemar's exact test. One seed and anything else: a permutation test that swaps the two repairs
item by item. These two speak of the trained models at hand. Several seeds: the same permutation
test on means over seeds, and the t test of the difference with the standard error above; the
p-value is the larger one, so that a difference must hold over items and over seeds. Perplexities
are compared by their loss: a difference and its interval are in nats a token.

**Several comparisons.** Holm's correction, within one model, pruner, pattern, budget and task, over
all pairs of methods. Variants of a method, which try its options, take nothing from that: each with
its method is corrected for those pairs, and all other pairs with a variant for each other; so are
all pairs with a repair that a submission brings.
``significant`` is a corrected p-value below 0.05.

**Verdicts.** ``equal``: the whole 95 % interval of the difference lies within what is not worth
naming, either way (:mod:`bench.records.measures`): two one-sided tests (Schuirmann 1987), each at
2.5 %, not corrected for their number. Else ``better`` or ``worse`` where the difference is
significant, and ``inconclusive`` where it is not. Of one seed there is ``no verdict``.

**Tie groups.** The first is the best repair and all that it is not better than, significantly and
not equal in the sense above; the next is the best of the rest and all of these that that one is not
better than, and so on. The best is that with the best mean among those that no other one is better
than in a comparison: where seeds are missing, means may be of others. Rows that are not as sparse
as was asked (``lora-dense``) are in no group, nor are those that have no items in common with the
others, or one seed where others have several.

**Bits per byte of the right answer** are numbers of an item, as a document's loss is: permutation
and t tests, and means over items and over tasks as of accuracies. Fewer are better.

**Recovery.** The unrepaired base is 0 and the dense model 1; for perplexity on a log scale. It is
missing where the dense model is not the better of the two. Its interval is Fieller's (1954), of a
ratio of two differences on the same items; it is missing where the dense model is not significantly
better than the base, since the ratio is then compatible with anything.

The same records give the same numbers: all resampling is seeded.
"""
