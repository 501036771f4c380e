"""The grid of the paper, with each of its recipes, and what is laid over it for one GPU."""

import re

import pytest
from layers import CONFIG, load_layers, read_layers

from baselines.repair import REPAIRS
from bench.cells import Cell, dense_cell
from bench.config.loading import ConfigError, load
from bench.planning.limits import Limits, misfits
from bench.planning.plan import make_plan
from bench.planning.speeds import device_of
from bench.records.record import resolved_config
from bench.sources import HubSource
from bench.tables.reproduction import read_references, reference_files

H100 = device_of("cuda", "H100")
RECIPES = sorted(path.name for path in (CONFIG / "recipes").glob("*.yaml"))
FILES = [
    CONFIG / "paper.yaml",
    CONFIG / "one-gpu.yaml",
    *(CONFIG / "recipes" / name for name in RECIPES),
]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def config():
    return load_layers("paper.yaml")


def test_the_grid(config):
    assert set(config.grid.repairs) == set(REPAIRS) - {"reconstruct"}
    # Three pruners, six patterns; `none` once, twelve repairs in three seeds.
    assert len(list(config.cells())) == len(config.grid.models) * 18 * 37
    assert (config.calibration.samples, config.calibration.length) == (128, 2048)
    for model in config.grid.models:
        assert isinstance(config.models[model].source, HubSource)


@pytest.mark.parametrize("recipe", RECIPES)
def test_each_recipe_is_a_layer(config, recipe):
    layered = load_layers("paper.yaml", f"recipes/{recipe}")
    assert layered.training.mixture != config.training.mixture
    assert not layered.training.prompt_loss
    for part in layered.training.mixture:
        source = layered.sources[layered.data[part.data].source]
        assert isinstance(source, HubSource)
        assert set(layered.data[part.data].files) <= set(source.files)
    for method in ("seft", "spiel", "spiel-static-mask", "random-grow"):
        assert config.repair_options(method)["evolve_every"] == 60
        assert layered.repair_options(method)["evolve_every"] == 10
    # All else is the same: bases are shared, and scores can be compared.
    assert layered.grid == config.grid
    assert layered.calibration == config.calibration
    assert layered.evaluation == config.evaluation


def test_what_cannot_be_checked_is_marked():
    for path in FILES:
        lines = [line for line in path.read_text().splitlines() if re.search(r"\brevision:", line)]
        assert lines
        assert all("# not checked" in line for line in lines)


def test_published_numbers_have_a_task_in_their_setting(config):
    published = [
        row for row in read_references(reference_files()) if row.model.lower() in config.grid.models
    ]
    assert {row.model for row in published} == {"LLaMA-7B", "LLaMA-2-7B", "LLaMA-2-13B"}
    for row in published:
        tasks = config.evaluation_of(row.model.lower()).tasks.values()
        settings = {(task.data, task.context_length, task.metric, task.limit) for task in tasks}
        assert (row.data_set, row.context, row.metric, None) in settings
        if row.method == "dense":
            band = config.models[row.model.lower()].band
            low, high = band[f"{row.data_set}_{row.context}"]
            assert low < row.value < high


def test_a_model_of_less_context_is_measured_with_less(config):
    def tasks(cell: Cell) -> dict:
        return resolved_config(config, cell)["resolved"]["evaluation"]["tasks"]

    llama, other = (tasks(dense_cell(name)) for name in ("llama-7b", "llama-2-7b"))
    assert set(other) - set(llama) == {"wikitext2_4096"}
    assert (llama["mmlu"]["context_length"], other["mmlu"]["context_length"]) == (2048, 4096)
    assert llama["boolq"] == other["boolq"]
    values = read_layers("paper.yaml")
    values["evaluation"]["tasks"] = {
        "wikitext2_4096": values["evaluation"]["tasks"]["wikitext2_4096"]
    }
    values["models"] = {name: model | {"band": {}} for name, model in values["models"].items()}
    with pytest.raises(
        ConfigError, match=r"models\.llama-7b\.context_length = 2048: every task is"
    ):
        load(values)


def test_sets_without_validation_are_only_trained_on():
    values = read_layers("paper.yaml", "recipes/commonsense.yaml")
    assert "validation" not in values["data"]["hellaswag-train"]["splits"]
    values["training"]["mixture"] = [{"data": "hellaswag-train"}, {"data": "openbookqa-train"}]
    with pytest.raises(ConfigError, match="validation_split = 'validation': no set of the mixture"):
        load(values)


def misfits_of(config, gpu_memory_mib: int) -> list[str]:
    jobs = make_plan(config, H100).jobs
    return list(misfits(config, jobs, H100, Limits(gpu_memory_mib=gpu_memory_mib)))


ZERO_SHOT = {
    "boolq",
    "rte",
    "hellaswag",
    "winogrande",
    "arc_easy",
    "arc_challenge",
    "openbookqa",
}


def test_models_of_a_few_billions_fit_one_gpu():
    config = load_layers("paper.yaml", "one-gpu.yaml")
    assert config.evaluation.tasks.keys() == ZERO_SHOT | {"wikitext2_2048"}
    assert misfits_of(config, 24_000) == []
    for name in config.grid.models:
        # In billions, as their names say; the head is not counted in all of them.
        billions = float(re.search(r"(\d\.?\d*)b$", name)[1])
        assert 0.9 < config.models[name].shape.parameters / 1e9 / billions < 1.5


@pytest.mark.parametrize(
    ("layers", "gpu_memory_mib", "fits"),
    [
        ([], 81_000, True),
        ([], 24_000, True),
        ([], 20_000, False),
        (["layers/24gb.yaml"], 20_000, True),
        (["layers/24gb.yaml", "layers/published.yaml"], 20_000, True),
    ],
)
def test_the_core_of_the_paper_fits_one_gpu(layers, gpu_memory_mib, fits):
    config = load_layers("paper.yaml", "llama-2-7b.yaml", *layers)
    assert (misfits_of(config, gpu_memory_mib) == []) == fits


def test_the_published_budget_is_a_layer():
    config = load_layers("paper.yaml", "llama-2-7b.yaml", "layers/published.yaml")
    assert config.tokens["default"] < 5e6
    assert config.tokens["published"] == load_layers("paper.yaml").training.tokens
    periods = [config.repair_options("seft", name)["evolve_every"] for name in config.grid.budgets]
    assert periods == [20, 62]


def test_full_fine_tuning_fits_where_it_is_said_to():
    values = read_layers("paper.yaml", "llama-2-7b.yaml")
    values["grid"]["repairs"] = ["full"]
    assert misfits_of(load(values), 81_000) == []
    assert misfits_of(load(values), 48_000) != []
