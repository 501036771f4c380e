"""Equal where it claims to be: budget, batches, trials."""

import pandas as pd
import pytest
import torch
from layers import load_layers, read_layers

from baselines.pruning import prunable_layers, prune
from baselines.repair import REPAIRS, build_repair
from bench.config.training import Training
from bench.data.tokens import IGNORED, Blocks
from bench.files import UnreadableError
from bench.models.loading import load_model
from bench.training.train import train
from bench.training.tuning import COLUMNS, SWEEPS, read_sweep, sweep_markdown, tuning_table

SETTINGS = Training(mixture=[{"data": "x"}], length=16, batch_size=2, steps=4)
TRAININGS = [name for name, repair in REPAIRS.items() if repair.training == name]


def blocks(seed: int = 1) -> Blocks:
    ids = torch.randint(
        0, 300, (SETTINGS.blocks, 16), generator=torch.Generator().manual_seed(seed)
    )
    labels = ids.clone()
    labels[::2, :5] = IGNORED
    return Blocks(ids, labels)


def options(name: str) -> dict:
    """Defaults, but for what four steps allow."""
    wanted = {"evolve_every": 2, "accumulate_steps": 1}
    return {key: wanted[key] for key in wanted if key in REPAIRS[name].Options.model_fields}


def matched_rank(repair) -> int | None:
    """Rank of the LoRA whose number of parameters a repair claims to have: B A scaled by alpha,
    or a budget that is matched to it. None: it claims no such thing.
    """
    if hasattr(repair.options, "alpha"):
        return repair.options.rank
    return getattr(repair.options, "match_rank", None)


@pytest.fixture(scope="module")
def training(dense):
    """Trains a repair of the tiny model, pruned; returns its report and its claims."""

    def run(name: str, seed: int = 0, data: Blocks | None = None):
        model = load_model(dense, torch.device("cpu"), torch.float32)
        prune(model, "magnitude", sparsity=0.5)
        shapes = [layer.weight.shape for layer in prunable_layers(model).values()]
        repair = build_repair(name, **options(name))
        model = repair.wrap(model, seed=seed)
        trainable = repair.trainable_parameters(model)
        unpruned = load_model(dense, torch.device("cpu"), torch.float32)
        report = train(
            model,
            repair,
            data or blocks(),
            SETTINGS,
            seed=seed,
            dtype=torch.float32,
            dense=unpruned if repair.needs_dense else None,
        )
        rank = matched_rank(repair)
        claimed = None if rank is None else rank * sum(m + n for m, n in shapes)
        return report, trainable, claimed

    return run


@pytest.fixture(scope="module")
def reports(training):
    return {name: training(name) for name in TRAININGS}


def test_every_repair_sees_the_same_tokens_in_the_same_order(reports):
    seen = {
        (report.steps, report.tokens, report.loss_tokens, report.batch_order)
        for report, _, _ in reports.values()
    }
    assert len(seen) == 1
    steps, tokens, loss_tokens, order = seen.pop()
    assert (steps, tokens) == (4, 4 * 2 * 16)
    # The first token of a block is never predicted.
    assert loss_tokens == 4 * 2 * 15 - 4 * 4
    assert len(order) == 64


def test_another_seed_or_other_blocks_are_another_order(training, reports):
    order = reports["lora"][0].batch_order
    assert training("lora", seed=1)[0].batch_order != order
    assert training("lora", data=blocks(seed=2))[0].batch_order != order


def test_budgets_that_claim_to_be_loras_are(reports):
    claims = {name: claimed for name, (_, _, claimed) in reports.items() if claimed is not None}
    assert {"lora", "seft"} <= set(claims)
    for name, claimed in claims.items():
        assert reports[name][1] == claimed == claims["lora"], name


def test_the_shipped_grids_claim_the_same_rank():
    config = read_layers()
    repairs = {name: build_repair(name, **values) for name, values in config["repair"].items()}
    assert {matched_rank(repair) for repair in repairs.values()} - {None} == {8}


@pytest.fixture(params=sorted(SWEEPS.glob("*.csv")), ids=lambda path: path.stem)
def sweep(request):
    return pd.read_csv(request.param)


def test_a_recorded_sweep_gave_every_repair_the_same_trials_and_chose_the_best(sweep, request):
    assert list(sweep.columns) == COLUMNS
    assert set(sweep["model"]) == {request.node.callspec.params["sweep"].stem}
    assert set(sweep["repair"]) <= set(TRAININGS)
    assert sweep.groupby(["budget", "repair"]).size().nunique() == 1
    for _, trials in sweep.groupby(["budget", "repair"]):
        assert trials["learning_rate"].is_unique
        (chosen,) = trials.index[trials["chosen"]]
        assert chosen == trials["validation_loss"].idxmin()
    again = tuning_table(sweep.drop(columns="chosen").to_dict("records"))
    assert set(again["learning_rate"][again["chosen"]]) == set(
        sweep["learning_rate"][sweep["chosen"]]
    )


def test_the_default_learning_rates_are_those_of_its_sweep():
    config = load_layers()
    (model,) = config.grid.models
    sweep = pd.read_csv(SWEEPS / f"{model}.csv")
    assert set(zip(sweep["model"], sweep["pruner"], sweep["pattern"], strict=True)) == {
        (config.tuning.model, config.tuning.pruner, config.tuning.pattern)
    }
    for (budget, repair), trials in sweep.groupby(["budget", "repair"]):
        assert list(trials["learning_rate"]) == config.tuning.learning_rates[repair], repair
        (chosen,) = trials.loc[trials["chosen"], "learning_rate"]
        assert config.repair_options(repair, budget)["learning_rate"] == chosen, repair


def trial(repair, rate, loss, budget="default", tokens=256):
    return {
        "model": "m",
        "pruner": "wanda",
        "pattern": "s60",
        "budget": budget,
        "tokens": tokens,
        "repair": repair,
        "learning_rate": rate,
        "base_validation_loss": 5.0,
        "validation_loss": loss,
    }


TRIALS = [
    trial("seft", 1e-3, 3.0),
    trial("seft", 1e-2, None),
    trial("lora", 1.2e-3, 4.0),
    trial("lora", 1e-4, 3.5),
    trial("a-variant", 1e-4, 3.4),
]
LONGER = [trial("lora", 1e-4, 3.2, "x16", 4096), trial("lora", 1.2e-3, 3.3, "x16", 4096)]


def test_a_sweep_marks_the_lowest_loss_of_each_repair_at_each_budget():
    table = tuning_table(LONGER + TRIALS)
    assert list(table.columns) == COLUMNS
    columns = ("budget", "repair", "learning_rate", "chosen")
    assert list(zip(*(table[name] for name in columns), strict=True)) == [
        ("default", "lora", 1e-4, True),
        ("default", "lora", 1.2e-3, False),
        ("default", "seft", 1e-3, True),
        ("default", "seft", 1e-2, False),
        ("default", "a-variant", 1e-4, True),
        ("x16", "lora", 1e-4, True),
        ("x16", "lora", 1.2e-3, False),
    ]


def test_nothing_is_chosen_of_trials_that_all_diverged():
    table = tuning_table([trial("lora", rate, None) for rate in (0.1, 1.0)] + TRIALS[:1])
    assert list(table["chosen"]) == [False, False, True]


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda table: table.drop(columns=["budget", "tokens"]), "no budget, tokens; allowed: "),
        (lambda table: table.assign(chosen="yes"), "chosen is not True or False in all; allowed: "),
        (lambda table: table.iloc[:, :0], "no table in CSV: No columns to parse"),
    ],
)
def test_what_is_no_sweep_is_one_line(tmp_path, edit, said):
    path = tmp_path / "m.csv"
    edit(tuning_table(TRIALS)).to_csv(path, index=False)
    with pytest.raises(UnreadableError, match=rf"m\.csv: {said}"):
        read_sweep(path)


def test_names_of_a_sweep_stay_as_they_are(tmp_path):
    names = {"model": "001", "pattern": "050", "budget": "NA"}
    tuning_table([one | names for one in TRIALS]).to_csv(tmp_path / "m.csv", index=False)
    table = read_sweep(tmp_path / "m.csv")
    for column, name in names.items():
        assert set(table[column]) == {name}
    assert table["validation_loss"].isna().sum() == 1
    assert "`001`, `wanda`, `050`" in sweep_markdown(tmp_path / "m.csv")


def test_a_sweep_to_read(tmp_path):
    tuning_table(TRIALS + LONGER).to_csv(tmp_path / "m.csv", index=False)
    lines = sweep_markdown(tmp_path / "m.csv").splitlines()
    assert "`m`, `wanda`, `s60`, with a validation loss of 5.000" in lines[0]
    assert "| `lora` | **1e-4 → 3.500**, 1.2e-3 → 4.000 | 1e-4 |" in lines
    assert "| `seft` | **1e-3 → 3.000**, 1e-2 → diverged | 1e-3 |" in lines
    assert "| `full` | not swept |  |" in lines
    assert any("trials of 256 tokens (`default`)" in line for line in lines)
    assert any("trials of 4,096 tokens (`x16`)" in line for line in lines)
    assert "| `lora` | **1e-4 → 3.200**, 1.2e-3 → 3.300 | 1e-4 |" in lines
