"""Tables made of records: pure functions."""

# Tables to read are there as Markdown and LaTeX, too.
TO_READ = ("table1", "table2", "table3", "table4", "ablations")
DATA = ("cells", "scores", "comparisons", "claims", "claims_detail", "reproduction")
TABLES = [f"{name}.csv" for name in (*TO_READ, *DATA)]
TABLES += [f"{name}.{kind}" for name in TO_READ for kind in ("md", "tex")]
