rule prune:
    input:
        model="resources/models/{model}",
        calibration=calibration_tokens,
        checked=dense_checked,
        code=base_code,
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
        mem_mb=resource(memory_mib, "prune"),
        runtime=resource(minutes, "prune"),
    params:
        config=lambda w: prune_config(CONFIG, Cell(**w, repair=UNREPAIRED, seed=0)),
    message:
        "Prune {wildcards.model} with {wildcards.pruner} to {wildcards.pattern}"
    script:
        "../scripts/prune.py"
