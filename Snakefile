from snakemake.utils import min_version

min_version("9.27")


configfile: f"{workflow.basedir}/config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/prune.smk"
include: "workflow/rules/repair.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/collect.smk"


rule all:
    default_target: True
    input:
        "results/table1.csv",
