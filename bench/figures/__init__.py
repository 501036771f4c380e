"""Figures: pure functions of the records' tables and histories.

A figure is a module of its name here, with a ``draw`` that returns None where there is nothing to
show, and a caption, ``workflow/report/<name>.rst``.
"""

# Of a model; and of one pattern of a model.
OF_MODEL = ("sparsity",)
OF_PATTERN = ("differences", "recovery", "pareto", "training", "topology", "moved")

FORMATS = ("png", "svg", "pdf")
# Title of the file of a figure that no cell of the grid has anything for.
NOTHING = "nothing to show"
