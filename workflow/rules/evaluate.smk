TASK_DATA = sorted(
    {
        f"resources/tasks/{name}" if task.data is None else data_folder(task.data)
        for name, task in CONFIG.evaluation.tasks.items()
    }
)
# What the evaluation reads beside code: the definitions of the tasks.
TASK_FILES = sorted(
    {
        file
        for name, task in CONFIG.evaluation.tasks.items()
        if task.data is not None
        for file in definition_files(name)
    }
)


rule evaluate_dense:
    input:
        model="resources/models/{model}",
        data=TASK_DATA,
        checked=data_checked,
        code=code("evaluate_dense", *TASK_FILES),
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
        mem_mb=resource(memory_mib, "evaluate"),
        runtime=resource(minutes, "evaluate"),
    params:
        config=lambda w: resolved_config(CONFIG, dense_cell(w.model)),
        data=lambda w: data_of(CONFIG, dense_cell(w.model)),
        checked=DATA_CHECKED,
    message:
        "Evaluate {wildcards.model}, dense"
    script:
        "../scripts/evaluate_dense.py"


checkpoint check_dense:
    input:
        record=rules.evaluate_dense.output.record,
        # They are compared with what the model takes: that, too, is known before it is pruned.
        tokens=training_tokens,
        code=code("check_dense"),
    output:
        DENSE_CHECKED,
    log:
        "results/logs/{model}/dense/check.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        band=lambda w: band(w.model),
    message:
        "Check that {wildcards.model} scores as expected before it is pruned"
    script:
        "../scripts/check_dense.py"


rule evaluate:
    input:
        model="resources/models/{model}",
        base=BASE,
        trained=trained_folder,
        calibration=calibration_tokens,
        data=TASK_DATA,
        checked=all_checked,
        code=repair_code("evaluate", *TASK_FILES),
    output:
        record="results/cells/{model}/{pruner}-{pattern}/{repair}{budget}/seed{seed}/record.json",
        samples="results/cells/{model}/{pruner}-{pattern}/{repair}{budget}/seed{seed}/samples.jsonl.gz",
        history="results/cells/{model}/{pruner}-{pattern}/{repair}{budget}/seed{seed}/history.json.gz",
    log:
        "results/logs/{model}/{pruner}-{pattern}/{repair}{budget}-seed{seed}/evaluate.log",
    benchmark:
        "results/benchmarks/{model}/{pruner}-{pattern}/{repair}{budget}-seed{seed}/evaluate.tsv"
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime.threads
    resources:
        accelerator=ACCELERATOR,
        attempt=attempt,
        attempts=ATTEMPTS,
        mem_mb=resource(memory_mib, "evaluate"),
        runtime=resource(minutes, "evaluate"),
    params:
        config=lambda w: resolved_config(CONFIG, cell_of(w)),
        data=lambda w: data_of(CONFIG, cell_of(w)),
        made_by=made_by,
        checked=DATA_CHECKED,
    message:
        "Evaluate {wildcards.model} ({wildcards.pruner} {wildcards.pattern}), "
        "{wildcards.repair}{wildcards.budget}, seed {wildcards.seed}"
    script:
        "../scripts/evaluate.py"
