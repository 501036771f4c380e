FIGURE_CODE = [
    *sources("bench/figures", "*.py"),
    "bench/records/rows.py",
    "bench/config/variants.py",
]
PAGE_CODE = [
    "bench/config/variants.py",
    *sources("bench/report", "*.py"),
    *sources("bench/report/templates", "*"),
    *sources("workflow/report", "*.rst"),
]
SWEEPS = sources("config/tuning", "*.csv")
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
        code=code(*FIGURE_CODE),
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
        code=code(*FIGURE_CODE, "bench/records/history.py"),
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
        tuning=code(*SWEEPS),
        code=lambda w: code(
            *PAGE_CODE,
            *(file for name in PRUNERS for file in PRUNERS.sources(name)),
            *(file for name in REPAIRS for file in REPAIRS.sources(name)),
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
