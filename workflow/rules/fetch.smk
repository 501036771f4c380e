rule fetch_source:
    input:
        files=lambda w: local_files("sources", w.source),
        # Of the other sources files are what the configuration names, whatever the code.
        code=lambda w: (
            code("fetch_source") if CONFIG.sources[w.source].source == "synthetic" else []
        ),
    output:
        directory("resources/sources/{source}"),
    log:
        "results/logs/fetch/source-{source}.log",
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        downloads=1,
        mem_mb=1000,
    params:
        source=lambda w: CONFIG.sources[w.source].model_dump(mode="json"),
    message:
        "Fetch source {wildcards.source}"
    script:
        "../scripts/fetch_source.py"


rule fetch_model:
    input:
        files=lambda w: local_files("models", w.model),
        code=code("fetch_model"),
    output:
        directory("resources/models/{model}"),
    log:
        "results/logs/fetch/model-{model}.log",
    localrule: True
    conda:
        "../../environment.yml"
    threads: CONFIG.runtime.threads
    resources:
        downloads=1,
        mem_mb=resource(memory_mib, "fetch_model"),
    params:
        source=lambda w: CONFIG.models[w.model].source.model_dump(mode="json"),
    message:
        "Fetch model {wildcards.model}"
    script:
        "../scripts/fetch_model.py"


rule fetch_task:
    output:
        directory("resources/tasks/{task}"),
    log:
        "results/logs/fetch/task-{task}.log",
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        downloads=1,
        mem_mb=2000,
    params:
        revision=lambda w: CONFIG.evaluation.tasks[w.task].revision,
    message:
        "Fetch the data of lm-eval's task {wildcards.task}"
    script:
        "../scripts/fetch_task.py"


rule prepare_data:
    input:
        source=lambda w: f"resources/sources/{CONFIG.data[w.data].source}",
        code=code("prepare_data"),
    output:
        directory("resources/data/{data}"),
    log:
        "results/logs/fetch/data-{data}.log",
    localrule: True
    conda:
        "../../environment.yml"
    resources:
        mem_mb=1000,
    params:
        spec=lambda w: CONFIG.data[w.data].model_dump(mode="json"),
        source=lambda w: CONFIG.sources[CONFIG.data[w.data].source].model_dump(mode="json"),
    message:
        "Read and split {wildcards.data}"
    script:
        "../scripts/prepare_data.py"


checkpoint check_data:
    input:
        data=used_data(),
        code=code("check_data"),
    output:
        DATA_CHECKED,
    log:
        "results/logs/fetch/check-data.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        parts=data_parts(),
        overlap=CONFIG.training.overlap,
        pairs="resources/overlaps.jsonl",
    message:
        "Check that nothing that is evaluated on is trained on"
    script:
        "../scripts/check_data.py"


rule tokenize_calibration:
    input:
        model="resources/models/{model}",
        data=data_folder(CONFIG.calibration.data),
        checked=data_checked,
        compared=compared_data,
        code=code("tokenize_calibration"),
    output:
        "resources/tokens/{model}/calibration.safetensors",
    log:
        "results/logs/{model}/tokenize-calibration.log",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=lambda w: {
            "model": CONFIG.models[w.model].source.model_dump(mode="json"),
            "calibration": CONFIG.calibration.model_dump(mode="json"),
            "data": data_config(CONFIG, [CONFIG.calibration.data]),
        },
        checked=DATA_CHECKED if DROPS else None,
        parts=data_parts() if DROPS else None,
    message:
        "Tokenize the calibration text for {wildcards.model}"
    script:
        "../scripts/tokenize_calibration.py"


rule tokenize_repair:
    input:
        model="resources/models/{model}",
        data=[data_folder(part.data) for part in CONFIG.training.mixture],
        checked=data_checked,
        compared=compared_data,
        code=code("tokenize_repair"),
    output:
        "resources/tokens/{model}/{use}{budget}.safetensors",
    log:
        "results/logs/{model}/tokenize-{use}{budget}.log",
    wildcard_constraints:
        use="train|validation",
    localrule: True
    conda:
        "../../environment.yml"
    params:
        config=lambda w: {
            "model": CONFIG.models[w.model].source.model_dump(mode="json"),
            "packing": packing(CONFIG, w.use, budget_of(w.budget)),
            "data": data_config(CONFIG, packing(CONFIG, w.use, budget_of(w.budget))["mixture"]),
        },
        checked=DATA_CHECKED if DROPS else None,
        parts=data_parts() if DROPS else None,
    message:
        "Pack the {wildcards.use}{wildcards.budget} blocks for {wildcards.model}"
    script:
        "../scripts/tokenize_repair.py"
