SWEEPS = files_in("config/tuning", "*.csv")
FIGURES = [
    *expand("results/figures/{model}/{figure}.svg", model=CONFIG.grid.models, figure=OF_MODEL),
    *expand(
        "results/figures/{model}/{pattern}/{figure}.svg",
        model=CONFIG.grid.models,
        pattern=CONFIG.grid.patterns,
        figure=OF_PATTERN,
    ),
]


rule model_figures:
    input:
        scores="results/scores.csv",
        costs="results/table1.csv",
        code=code("figures", *files_in("bench/figures", "*.py")),
    output:
        **figure_files("results/figures/{model}", OF_MODEL),
    log:
        "results/logs/{model}/figures.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        figures=OF_MODEL,
    message:
        "Draw the figures of {wildcards.model} over its patterns"
    script:
        "../scripts/figures.py"


rule pattern_figures:
    input:
        scores="results/scores.csv",
        costs="results/table1.csv",
        histories=lambda w: [
            history_path(cell)
            for cell in CONFIG.cells()
            if (cell.model, cell.pattern) == (w.model, w.pattern)
        ],
        code=code("figures", *files_in("bench/figures", "*.py")),
    output:
        **figure_files("results/figures/{model}/{pattern}", OF_PATTERN, pattern="{pattern}"),
    log:
        "results/logs/{model}/{pattern}-figures.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        figures=OF_PATTERN,
    message:
        "Draw the figures of {wildcards.model}, {wildcards.pattern}"
    script:
        "../scripts/figures.py"


rule figures:
    input:
        FIGURES,


rule page:
    input:
        records=RECORDS,
        histories=[history_path(cell) for cell in CONFIG.cells()],
        table1="results/table1.csv",
        scores="results/scores.csv",
        comparisons="results/comparisons.csv",
        claims="results/claims.csv",
        reproduction="results/reproduction.csv",
        figures=FIGURES,
        tuning=[os.path.relpath(ROOT / path) for path in SWEEPS],
        code=code(
            "page",
            *files_in("bench/report/templates", "*"),
            *files_in("workflow/report", "*.rst"),
            *(PRUNERS.file(name) for name in PRUNERS),
            *(REPAIRS.file(name) for name in REPAIRS),
        ),
    output:
        "reports/index.html",
    log:
        "results/logs/page.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Build {output}"
    script:
        "../scripts/page.py"
