# Before evaluations, which are shorter: at the end of a run no core waits for a long job.
rule repair:
    input:
        model="resources/models/{model}",
        base=BASE,
        blocks="resources/tokens/{model}/train{budget}.safetensors",
        checked=dense_checked,
        code=repair_code("repair"),
    output:
        directory(training_folder(CHECKPOINTS, ANY, ANY.repair)),
    log:
        "results/logs/{model}/{pruner}-{pattern}/{repair}{budget}-seed{seed}/repair.log",
    benchmark:
        "results/benchmarks/{model}/{pruner}-{pattern}/{repair}{budget}-seed{seed}/repair.tsv"
    priority: 1
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: lambda w: CONFIG.runtime.threads * processes(w)
    resources:
        accelerator=ACCELERATOR,
        attempt=attempt,
        attempts=ATTEMPTS,
        # Decide nothing: as parameters they would make a change of them rerun everything.
        checkpoint_minutes=CONFIG.runtime.checkpoint_minutes,
        processes=processes,
        mem_mb=resource(memory_mib, "repair"),
        runtime=resource(minutes, "repair"),
    params:
        config=lambda w: repair_config(CONFIG, cell_of(w)),
        made_by=made_by,
    message:
        "Repair {wildcards.model} ({wildcards.pruner} {wildcards.pattern}) "
        "with {wildcards.repair}{wildcards.budget}, seed {wildcards.seed}"
    script:
        "../scripts/repair.py"


rule try_learning_rate:
    input:
        model="resources/models/{model}",
        base=BASE,
        blocks="resources/tokens/{model}/train{budget}.safetensors",
        validation="resources/tokens/{model}/validation.safetensors",
        calibration=calibration_tokens,
        checked=dense_checked,
        code=repair_code("try_learning_rate"),
    output:
        "results/tuning/{model}/{pruner}-{pattern}/{repair}{budget}/lr{rate}.json",
    log:
        "results/logs/{model}/{pruner}-{pattern}/{repair}{budget}-lr{rate}/tune.log",
    retries: RETRIES
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime.threads
    resources:
        accelerator=ACCELERATOR,
        mem_mb=resource(memory_mib, "try_learning_rate"),
        runtime=resource(minutes, "try_learning_rate"),
    params:
        config=lambda w: trial_config(cell_of(w), float(w.rate)),
        made_by=made_by,
    message:
        "Try learning rate {wildcards.rate} for {wildcards.repair}{wildcards.budget}"
    script:
        "../scripts/try_learning_rate.py"
