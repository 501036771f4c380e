RECORDS = [
    *(record_path(dense_cell(model)) for model in CONFIG.grid.models),
    *(record_path(cell) for cell in CONFIG.cells()),
]
SAMPLES = [f"{os.path.dirname(path)}/samples.jsonl.gz" for path in RECORDS]


rule collect:
    input:
        records=RECORDS,
        samples=SAMPLES,
        checked=[DATA_CHECKED, *expand(DENSE_CHECKED, model=CONFIG.grid.models)],
        # Made by hand, if at all.
        profile=[path for path in [f"results/{PROFILE}"] if os.path.exists(path)],
        code=code("collect", "config/claims.yaml", *files_in("config/references", "*.csv")),
    output:
        report("results/table1.csv", caption="../report/table1.rst", category="Tables"),
        [f"results/{name}" for name in TABLES if name != "table1.csv"],
    log:
        "results/logs/collect.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Make results/table1.csv and the other tables"
    script:
        "../scripts/collect.py"


rule tuning:
    input:
        trials=lambda w: list(tuning_trials()),
        code=code("tuning"),
    output:
        "results/tuning.csv",
    log:
        "results/logs/tuning.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        asked=lambda w: list(tuning_trials().values()),
    message:
        "Collect {output}"
    script:
        "../scripts/tuning.py"


onsuccess:
    # A table that was not asked for may be of another grid, or of an earlier version.
    if any("results/table1.csv" in job.output for job in workflow.dag.jobs):
        from bench.files import read_table
        from bench.tables.answer import in_words

        scores, comparisons, costs = (
            read_table(f"results/{name}.csv") for name in ("scores", "comparisons", "table1")
        )
        print(f"\n{Path('results/table1.md').read_text()}")
        print(*in_words(scores, comparisons, costs), sep="\n")
        print("\nresults/table1.csv (make report builds the leaderboard, reports/index.html)")
