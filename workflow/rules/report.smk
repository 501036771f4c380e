HISTORIES = [history_path(cell) for cell in CONFIG.cells()]
# Each figure, by its path, with what Snakemake's own report says beside it.
FIGURES = {
    f"results/figures/{path}": labels
    for model in CONFIG.grid.models
    for path, labels in figure_places(
        model, CONFIG.grid.patterns, CONFIG.trained_budgets() or [DEFAULT_BUDGET]
    ).items()
}


rule report:
    input:
        records=RECORDS,
        histories=HISTORIES,
        tables=[f"results/{name}" for name in TABLES],
        tuning=[os.path.relpath(path) for path in recorded_sweeps()],
        code=code(
            "report",
            *files_in("bench/figures", "*.py"),
            *files_in("bench/report/templates", "*"),
            *files_in("workflow/report", "*.rst"),
            *(PRUNERS.file(name) for name in PRUNERS),
            *(REPAIRS.file(name) for name in REPAIRS),
        ),
    output:
        "reports/index.html",
        [f"{path}.{kind}" for path in FIGURES for kind in FORMATS if kind != "svg"],
        [
            report(
                f"{path}.svg",
                caption=f"../report/{labels['figure']}.rst",
                category="Figures",
                labels=labels,
            )
            for path, labels in FIGURES.items()
        ],
    log:
        "results/logs/report.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Draw the figures, and build {output[0]}"
    script:
        "../scripts/report.py"


rule figures:
    input:
        [f"{path}.svg" for path in FIGURES],
