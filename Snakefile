from snakemake.utils import min_version

min_version("9.27")


# Not where the main Snakefile is: this one may be a module of another, or included by one.
ROOT = Path(workflow.current_basedir)


configfile: ROOT / "config/config.yaml"


report: "workflow/report/workflow.rst"


# Taken with `--software-deployment-method apptainer` alone (docs/cluster.md).
container: "sparse-repair-bench.sif"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/repair.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/collect.smk"
include: "workflow/rules/report.smk"


rule all:
    default_target: True
    input:
        "results/table1.csv",
