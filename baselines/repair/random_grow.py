"""SEFT with random growth: a control of its choice of where to grow.

Everything is as in `seft`, but an evolution grows entries at random positions (of the matrix, or of
the mask) instead of those with the largest gradient. The first positions are chosen as `init` says.
"""

from baselines.repair.seft import Seft, SeftOptions


class RandomGrowOptions(SeftOptions):
    fixed = {"growth": "random"}


class RandomGrow(Seft):
    """SEFT that grows at random, on every target layer."""

    Options = RandomGrowOptions
    paper = None
    training = "random-grow"
    variant_of = "seft"
