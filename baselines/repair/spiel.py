"""SpIEL (Ansell et al. 2024), the parent of SEFT: a sparse delta whose positions evolve.

The first positions are random ones inside the base's mask; they train until the first selection,
after a window, replaces them all. Every `evolve_every` steps the entries of the delta with the
smallest |delta| are dropped and as many grow where the gradient, summed over a window, is largest;
the fraction falls linearly to 0 at the end of training. A grown entry's moments start from the
window's means, at the window's age. On a pruned base entries grow where weights were pruned, and
nothing is removed in exchange: the merged model is less sparse than its base. `SpielStaticMask`
grows inside the base's mask alone.

Both are configurations of the `seft` library. The paper names no learning rate for pruned bases:
the default is SEFT's. The authors' code draws the first positions from the whole matrix, has as
many candidates for growth as deltas, and selects all layers at once: at step A, as here, and then A
steps after each multiple of R, where the selections here are at the multiples of R themselves, or
after them by a layer's turn (`stagger`), each on the gradients of the A steps before.
"""

from baselines.repair.seft import EvolvingOptions, Seft

PARENT = {"init": "replaced", "schedule": "linear", "stop_fraction": 1.0, "moments": "seeded"}


class SpielOptions(EvolvingOptions):
    fixed = {**PARENT, "mask": "free"}


class Spiel(Seft):
    """SpIEL on every target layer: SEFT without its third step, so that sparsity is lost."""

    Options = SpielOptions
    paper = "Ansell et al. 2024, arXiv 2401.16405"
    training = "spiel"
    variant_of = "seft"
    keeps_sparsity = False


class SpielStaticMaskOptions(EvolvingOptions):
    fixed = {**PARENT, "mask": "fixed"}


class SpielStaticMask(Seft):
    """SpIEL whose entries grow inside the base's mask alone."""

    Options = SpielStaticMaskOptions
    paper = Spiel.paper
    training = "spiel-static-mask"
    variant_of = "seft"
