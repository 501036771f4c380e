"""Two processes that share a training, on a CPU: they end where one process does."""

import signal
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import two_processes
from safetensors.torch import load_file

from baselines.pruning import prunable_layers
from baselines.repair import build_repair
from bench.files import read_json
from bench.training.processes import ENDED, _first_cause, launch


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """Folder of what two processes have trained."""
    folder = tmp_path_factory.mktemp("shared")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(two_processes.__file__).parent), prepend=":")
        patch.setenv("OMP_NUM_THREADS", "1")
        launch(2, "two_processes", str(folder))
    return folder


@pytest.fixture(scope="module")
def reports(shared):
    return read_json(shared / "reports.json")


def trained(folder):
    return load_file(folder / "repair.safetensors")


# Sums are in another order: that is all that may differ.
CLOSE = {"atol": 1e-5, "rtol": 1e-4}


@pytest.mark.parametrize(
    ("run", "options"),
    [
        ("full", {}),
        ("full-dense", {"method": "full-dense"}),
        ("distill", {"objective": "distill"}),
    ],
)
def test_the_result_is_that_of_one_process(run, options, shared, reports, tmp_path):
    alone = two_processes.run(tmp_path, **options)
    torch.testing.assert_close(trained(shared / run), trained(tmp_path), **CLOSE)
    report = reports[run]
    for name in ("steps", "tokens", "loss_tokens", "batch_order"):
        assert report[name] == getattr(alone, name)
    assert [entry["learning_rate"] for entry in report["log"]] == [
        entry["learning_rate"] for entry in alone.log
    ]
    losses = [[entry["loss"] for entry in log] for log in (report["log"], alone.log)]
    # A divergence is a small difference of logarithms, rounded as they are.
    assert losses[0] == pytest.approx(losses[1], rel=1e-4, abs=1e-7)


def test_the_batch_is_shared_out(shared, reports):
    keys = ("processes", "micro_batch", "gradient_accumulation")
    assert [reports["full"][key] for key in keys] == [2, 2, 2]
    assert [reports["micro"][key] for key in keys] == [2, 1, 4]
    torch.testing.assert_close(trained(shared / "micro"), trained(shared / "full"), **CLOSE)
    assert reports["micro"]["batch_order"] == reports["full"]["batch_order"]


@pytest.mark.parametrize(("run", "dtype"), [("full", torch.float32), ("bfloat16", torch.bfloat16)])
def test_zeros_stay_zero_and_all_else_trains(run, dtype, shared):
    base, model = prunable_layers(two_processes.base(dtype)), two_processes.base(dtype)
    repair = build_repair("full")
    merged = prunable_layers(repair.merge(repair.load(model, shared / run), lambda _: None))
    assert all(torch.equal(merged[name].weight == 0, base[name].weight == 0) for name in base)
    for name, layer in base.items():
        moved = (merged[name].weight != layer.weight)[layer.weight != 0]
        assert moved.float().mean() > 0.9


def test_bfloat16_is_close_to_one_process(shared, tmp_path):
    two_processes.run(tmp_path, dtype=torch.bfloat16)
    alone, both = (
        torch.cat(list(trained(folder).values())) for folder in (tmp_path, shared / "bfloat16")
    )
    assert both.dtype == torch.bfloat16
    # Each of six steps moves a weight by 0.01 at most.
    assert (both - alone).float().abs().mean() < 0.002


def test_when_one_is_asked_to_end_both_stop_and_go_on_later(shared, reports):
    assert reports["interrupted"]["resumed"] == [3]
    assert reports["interrupted"]["batch_order"] == reports["full"]["batch_order"]
    expected = trained(shared / "full")
    assert all(
        torch.equal(values, expected[name])
        for name, values in trained(shared / "interrupted").items()
    )
    assert [path.name for path in (shared / "interrupted/checkpoints").glob("c*")] == [
        "checkpoint-3"
    ]


def failure(exitcode: int, message: str | None = None) -> SimpleNamespace:
    if message is None:
        return SimpleNamespace(exitcode=exitcode, message="no traceback")
    return SimpleNamespace(exitcode=exitcode, message={"message": message})


@pytest.mark.parametrize(
    ("failures", "kind", "message"),
    [
        ([failure(1, "ConnectionError: gone"), failure(1, "OutOfMemoryError: CUDA out of memory")],
         torch.OutOfMemoryError, "CUDA out of memory"),
        ([failure(1, "FloatingPointError: loss is nan")], FloatingPointError, "loss is nan"),
        ([failure(1, "KeyError: 'x'")], RuntimeError, "process 0: KeyError: 'x'"),
        ([failure(-signal.SIGKILL)], RuntimeError, "process 0: no traceback"),
        ([failure(ENDED), failure(-signal.SIGKILL)], SystemExit, "asked to end"),
    ],
)  # fmt: skip
def test_a_failure_is_that_of_the_process_that_failed_first(failures, kind, message):
    error = _first_cause(dict(enumerate(failures)))
    assert type(error) is kind
    assert message in str(error)
