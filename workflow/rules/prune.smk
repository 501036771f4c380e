PRUNING_CODE = [
    "bench/stages/prune.py",
    "bench/models/bases.py",
    "bench/models/loading.py",
    "bench/sources/checkpoint.py",
]


rule prune:
    input:
        model="resources/models/{model}",
        dense=ancient(checked_path(CHECKPOINTS, "{model}")),
        calibration=calibration_tokens,
        code=lambda w: method_code("prune", w.pruner, PRUNERS.sources, *PRUNING_CODE),
    output:
        directory(BASE),
    log:
        "results/logs/{model}/{pruner}-{pattern}/prune.log",
    benchmark:
        "results/benchmarks/{model}/{pruner}-{pattern}/prune.tsv"
    priority: 2
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime.threads
    resources:
        accelerator=ACCELERATOR,
        attempt=attempt,
        attempts=ATTEMPTS,
        mem_mb=memory("prune"),
        runtime=duration("prune"),
    params:
        options=lambda w: CONFIG.pruner_options(w.pruner),
        runtime=RUNTIME,
    message:
        "Prune {wildcards.model} with {wildcards.pruner} to {wildcards.pattern}"
    script:
        "../scripts/prune.py"
