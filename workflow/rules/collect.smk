RECORDS = [
    *(record_path(dense_cell(model)) for model in CONFIG.grid.models),
    *(record_path(cell) for cell in CONFIG.cells()),
]
SAMPLES = [f"{os.path.dirname(path)}/samples.jsonl.gz" for path in RECORDS]

PAPER_TABLES = ["table2", "table3", "table4", "ablations"]
TABLE_CODE = [
    "bench/stages/collect.py",
    "bench/tables/rendering.py",
    "bench/records/rows.py",
    "bench/tables/table1.py",
]
STATISTICS_CODE = [
    "bench/stages/collect.py",
    "bench/records/rows.py",
    "bench/config/variants.py",
    *sources("bench/statistics", "*.py"),
]


rule cells:
    input:
        records=RECORDS,
        code=code(*TABLE_CODE),
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


rule statistics:
    input:
        records=RECORDS,
        samples=SAMPLES,
        code=code(*STATISTICS_CODE),
    output:
        scores="results/scores.csv",
        comparisons="results/comparisons.csv",
    log:
        "results/logs/statistics.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Compare the repairs item by item"
    script:
        "../scripts/scores.py"


rule table1:
    input:
        records=RECORDS,
        cells="results/cells.csv",
        scores="results/scores.csv",
        code=code(*TABLE_CODE),
    output:
        csv=report("results/table1.csv", caption="../report/table1.rst", category="Tables"),
        markdown="results/table1.md",
        latex="results/table1.tex",
    log:
        "results/logs/table1.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Make {output.csv}"
    script:
        "../scripts/table1.py"


rule tables:
    input:
        records=RECORDS,
        scores="results/scores.csv",
        comparisons="results/comparisons.csv",
        code=code(*TABLE_CODE, "bench/tables/paper.py", "bench/config/variants.py"),
    output:
        csv=expand("results/{table}.csv", table=PAPER_TABLES),
        markdown=expand("results/{table}.md", table=PAPER_TABLES),
        latex=expand("results/{table}.tex", table=PAPER_TABLES),
    log:
        "results/logs/tables.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Make the other tables"
    script:
        "../scripts/tables.py"


rule claims:
    input:
        claims=code("config/claims.yaml"),
        records=RECORDS,
        samples=SAMPLES,
        code=code(*STATISTICS_CODE, *sources("bench/claims", "*.py")),
    output:
        claims="results/claims.csv",
        detail="results/claims_detail.csv",
    log:
        "results/logs/claims.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Judge the claims"
    script:
        "../scripts/claims.py"


rule reproduction:
    input:
        references=code(*sources("config/references", "*.csv")),
        records=RECORDS,
        code=code(
            "bench/stages/collect.py", "bench/tables/reproduction.py", "bench/records/rows.py"
        ),
    output:
        "results/reproduction.csv",
    log:
        "results/logs/reproduction.log",
    localrule: True
    conda:
        "../../environment.yml"
    message:
        "Put the published numbers beside the measured ones"
    script:
        "../scripts/reproduction.py"


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
