RECORDS = [
    *(record_path(dense_cell(model)) for model in CONFIG.grid.models),
    *(record_path(cell) for cell in CONFIG.cells()),
]


rule cells:
    input:
        records=RECORDS,
        code=code("bench/tables.py"),
    output:
        "results/cells.csv",
    log:
        "results/logs/cells.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Collect {output}"
    script:
        "../scripts/cells.py"


rule table1:
    input:
        records=RECORDS,
        cells="results/cells.csv",
        code=code("bench/tables.py"),
    output:
        csv=report("results/table1.csv", caption="../report/table1.rst", category="Tables"),
        markdown="results/table1.md",
    log:
        "results/logs/table1.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Make {output.csv}"
    script:
        "../scripts/table1.py"


rule tuning:
    input:
        trials=tuning_trials,
    output:
        "results/tuning.csv",
    log:
        "results/logs/tuning.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Collect {output}"
    script:
        "../scripts/tuning.py"


onsuccess:
    table = Path("results/table1.md")
    if table.exists():
        print(f"\n{table.read_text()}\nresults/table1.csv")
