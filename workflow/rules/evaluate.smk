TASK_DATA = sorted(
    {
        task_folder(name) if task.data is None else data_folder(task.data)
        for name, task in CONFIG.evaluation.tasks.items()
    }
)


EVALUATION_CODE = [
    "bench/stages/evaluate.py",
    "bench/models/bases.py",
    "bench/records/history.py",
    "bench/models/loading.py",
    "bench/sources/checkpoint.py",
    "bench/models/merging.py",
    *sources("bench/evaluation", "*.py"),
    *(
        path.relative_to(ROOT)
        for path in TASKS_FOLDER.iterdir()
        if path.suffix != ".yaml" or path.stem in CONFIG.evaluation.tasks
    ),
]


# What is evaluated is deliberately no parameter here: this is done once a model. Snakemake does not
# look at the jobs downstream of one that it runs for changes of their own, and all are downstream.
rule check_dense:
    input:
        model="resources/models/{model}",
        data=ancient(TASK_DATA),
        checked=ancient("resources/data/manifest.json"),
    output:
        record=checked_path(CHECKPOINTS, "{model}"),
        samples=f"{CHECKPOINTS}/{{model}}/dense/samples.jsonl.gz",
    log:
        "results/logs/{model}/dense/check.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime.threads
    resources:
        accelerator=ACCELERATOR,
        mem_mb=memory("evaluate"),
        runtime=duration("evaluate"),
    message:
        "Check that {wildcards.model} scores as expected before it is pruned"
    script:
        "../scripts/check_dense.py"


rule evaluate_dense:
    input:
        model="resources/models/{model}",
        data=TASK_DATA,
        checked=ancient("resources/data/manifest.json"),
        scored=rules.check_dense.output.record,
        scored_samples=rules.check_dense.output.samples,
        code=code("bench/stages/dense.py", *EVALUATION_CODE),
    output:
        record="results/cells/{model}/dense/record.json",
        samples="results/cells/{model}/dense/samples.jsonl.gz",
    log:
        "results/logs/{model}/dense/evaluate.log",
    benchmark:
        "results/benchmarks/{model}/dense/evaluate.tsv"
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime.threads
    resources:
        accelerator=ACCELERATOR,
        mem_mb=memory("evaluate"),
        runtime=duration("evaluate"),
    params:
        config=lambda w: resolved_config(CONFIG, dense_cell(w.model)),
    message:
        "Evaluate {wildcards.model}, dense"
    script:
        "../scripts/evaluate_dense.py"


rule evaluate:
    input:
        model="resources/models/{model}",
        base=BASE,
        trained=trained_folder,
        calibration=calibration_tokens,
        data=TASK_DATA,
        checked=ancient("resources/data/manifest.json"),
        code=repair_code("evaluate", *EVALUATION_CODE),
    output:
        record="results/cells/{model}/{pruner}-{pattern}/{repair}/seed{seed}/record.json",
        samples="results/cells/{model}/{pruner}-{pattern}/{repair}/seed{seed}/samples.jsonl.gz",
        history="results/cells/{model}/{pruner}-{pattern}/{repair}/seed{seed}/history.json.gz",
    log:
        "results/logs/{model}/{pruner}-{pattern}/{repair}-seed{seed}/evaluate.log",
    benchmark:
        "results/benchmarks/{model}/{pruner}-{pattern}/{repair}-seed{seed}/evaluate.tsv"
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime.threads
    resources:
        accelerator=ACCELERATOR,
        attempt=attempt,
        attempts=ATTEMPTS,
        mem_mb=memory("evaluate"),
        runtime=duration("evaluate"),
    params:
        config=lambda w: resolved_config(CONFIG, Cell(**w)),
    message:
        "Evaluate {wildcards.model} ({wildcards.pruner} {wildcards.pattern}), "
        "{wildcards.repair}, seed {wildcards.seed}"
    script:
        "../scripts/evaluate.py"
