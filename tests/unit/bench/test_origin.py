"""What made it: what was changed, exchanged or asked otherwise is one line, and never joined."""

import hashlib
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from cells_on_disk import CONFIG, DATA, Workspace
from origins import MODEL, as_fetched

from bench.cells import Cell
from bench.data.prepare import DataSpec, prepare
from bench.files import read_json, write_json
from bench.jobs.outcome import Attempt, run_stage
from bench.origin import MARKERS, SEEN, OriginError, describe, identity, mark, verify
from bench.sources import PathSource, fetch, fetch_model
from bench.stages.evaluate import evaluate_cell
from bench.stages.prune import prune_base
from bench.stages.repair import train_repair
from bench.tools.check import local_problems

LINES = "".join(json.dumps({"id": str(i), "text": f"Text {i}."}) + "\n" for i in range(8))


def fetched(folder: Path) -> Path:
    folder.mkdir()
    (folder / "data.jsonl").write_text(LINES)
    as_fetched(folder)
    return folder


def linked(folder: Path) -> Path:
    user = folder.parent / "user"
    user.mkdir()
    (user / "data.jsonl").write_text(LINES)
    fetch(PathSource(source="path", path=user), folder)
    return folder


def data_set(folder: Path) -> Path:
    source = fetched(folder.parent / "source")
    spec = {"source": "x", "files": ["data.jsonl"], "reader": "jsonl", "licence": "CC0-1.0"}
    prepare("x", DataSpec(**spec, splits={"test": 1.0}), source, folder)
    return folder


def stage(folder: Path) -> Path:
    def work(temporary: Path) -> dict:
        (temporary / "base.safetensors").write_text(LINES)
        return {}

    run_stage("prune", folder, Attempt(), work, made_from={})
    return folder


def tokens(folder: Path) -> Path:
    folder.mkdir()
    (folder / "train.safetensors").write_text(LINES)
    mark(folder / "train.safetensors", {})
    return folder / "train.safetensors"


MADE = [fetched, linked, data_set, stage, tokens]


@pytest.fixture(params=MADE, ids=lambda make: make.__name__)
def made(request, tmp_path) -> Path:
    return request.param(tmp_path / "made")


def file_of(made: Path) -> Path:
    """The one file that it holds; of a link, the file behind it."""
    (name,) = describe(made)
    return (made / name if made.is_dir() else made).resolve()


def flip(path: Path) -> None:
    """Change one byte in place, not the time."""
    times = path.stat()
    content = bytearray(path.read_bytes())
    content[5] ^= 1
    with path.open("r+b") as file:
        file.write(content)
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def refusal(made: Path, **keywords) -> str:
    with pytest.raises(OriginError) as error:
        verify(made, **keywords)
    (line,) = str(error.value).splitlines()
    assert line.startswith(f"{made}: ")
    assert line.endswith("and run again")
    return line


def test_its_identity_is_that_of_its_content_by_name(made):
    file = file_of(made)
    (name,) = describe(made)
    digests = {name: hashlib.sha256(file.read_bytes()).hexdigest()}
    text = json.dumps(digests, sort_keys=True, separators=(",", ":"))
    assert identity(made) == hashlib.sha256(text.encode()).hexdigest()
    assert describe(made)[name]["bytes"] == len(file.read_bytes())


def test_a_copy_is_as_good(made, tmp_path):
    copy = tmp_path / "elsewhere"
    if made.is_dir():
        shutil.copytree(made, copy, copy_function=shutil.copy)
        verify(copy)
    else:
        shutil.copytree(made.parent, copy, copy_function=shutil.copy)
        copy = copy / made.name
        verify(copy)
    assert identity(copy) == identity(made)
    flip(file_of(copy))
    refusal(copy, whole=True)


def test_only_what_looks_changed_is_read_again(made, monkeypatch):
    os.utime(file_of(made))
    read = []
    digest = hashlib.file_digest
    monkeypatch.setattr(
        hashlib, "file_digest", lambda file, name: read.append(file.name) or digest(file, name)
    )
    verify(made)
    verify(made)
    assert len(read) == 1
    verify(made, whole=True)
    assert len(read) == 2


DAMAGED = ["", "[]", "3", '{"%s": 3}', '{"%s": {"bytes": 1}}', '{"%s": {"sha256": 7}}']


@pytest.mark.parametrize("text", DAMAGED)
def test_damage_of_what_was_seen_means_to_read_again(made, text):
    verify(made)
    seen = (made if made.is_dir() else made.parent) / SEEN
    found = seen.read_text()
    (name,) = describe(made)
    seen.write_text(text.replace("%s", name))
    verify(made)
    assert seen.read_text() == found


@pytest.mark.parametrize("digest", [7, None])
def test_a_marker_whose_digests_are_none_is_damaged(made, digest):
    marker = read_marker(made)
    for entry in marker["files"].values():
        entry["sha256"] = digest
    path = made.with_suffix(".json")
    if made.is_dir():
        path = next(made / n for n in MARKERS if (made / n).exists())
    write_json(path, marker)
    assert "is damaged" in refusal(made)


def test_a_flipped_byte_of_the_same_time_is_found_when_all_is_read(made):
    flip(file_of(made))
    verify(made)
    file, expected = file_of(made), read_marker(made)["files"]
    line = refusal(made, whole=True)
    (entry,) = expected.values()
    assert entry["sha256"][:12] in line
    assert hashlib.sha256(file.read_bytes()).hexdigest()[:12] in line


def read_marker(made: Path) -> dict:
    names = ("stage.json", "manifest.json")
    markers = [made / name for name in names] if made.is_dir() else [made.with_suffix(".json")]
    return next(read_json(marker) for marker in markers if marker.exists())


def reordered(path: Path) -> None:
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(reversed(lines)))


def cut(path: Path) -> None:
    path.write_text(path.read_text()[:-1])


@pytest.mark.parametrize("change", [reordered, cut])
def test_a_changed_file_is_named(made, change):
    change(file_of(made))
    assert "has changed since it was written (its SHA-256 is " in refusal(made)


def test_a_missing_file_is_named(made):
    file_of(made).unlink()
    assert f"{next(iter(read_marker(made)['files']))} is missing" in refusal(made)


def test_a_file_that_came_in_is_named(made):
    if made.is_dir():
        (made / "model.safetensors.index.json").write_text("{}")
        line = refusal(made)
        assert "model.safetensors.index.json was not there when it was written" in line


def test_what_an_earlier_version_made_is_made_again(made):
    marker = made.with_suffix(".json")
    if made.is_dir():
        marker = next(made / n for n in ("stage.json", "manifest.json") if (made / n).exists())
    for content in ({"error": None, "costs": {}}, {"source": "x", "files": ["data.jsonl"]}):
        write_json(marker, content)
        assert "made by an earlier version" in refusal(made)
    marker.unlink()
    assert f"has no {'manifest' if made.is_dir() else 'train'}.json" in refusal(made)


def test_what_is_read_without_being_written_to_is_read_each_time(made, monkeypatch):
    (made if made.is_dir() else made.parent).joinpath(SEEN).unlink()

    def refuse(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr("bench.origin.write_json", refuse)
    verify(made)
    file = file_of(made)
    file.write_text("x" + file.read_text()[1:])
    refusal(made)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"training": {"steps": 384, "length": 8}}, "training.steps = 48, asked: 384"),
        ({"training": {"steps": 48}}, "training.length = 8, asked: nothing"),
        ({"model": "b" * 64}, "model = aaaaaaaaaaaa, asked: bbbbbbbbbbbb"),
        ({"seed": 0}, "seed = nothing, asked: 0"),
    ],
)
def test_the_first_key_that_differs_is_named(tmp_path, asked, said):
    path = tmp_path / "train.safetensors"
    path.write_text("x")
    mark(path, {"model": "a" * 64, "training": {"steps": 48, "length": 8}, "rates": [1, 2]})
    verify(path, {"training": {"length": 8, "steps": 48}, "rates": (1, 2)})
    assert refusal(path, asked=asked) == f"{path}: made with {said}; remove it and run again"


# A whole chain.

CELL = Cell("tiny", "wanda", "s60", "full", 0)
BASES, TRAININGS = "results/checkpoints/tiny/{}-s60/base", "results/checkpoints/tiny/wanda-s60/full"
WANDA = BASES.format("wanda")


@pytest.fixture(scope="module")
def chain(tmp_path_factory, dense) -> Path:
    """A working folder in which all is made that the evaluation of a cell reads."""
    folder = tmp_path_factory.mktemp("chain")
    with pytest.MonkeyPatch.context() as patch:
        workspace = Workspace(folder, dense, patch)
        workspace.cell("full")
        workspace.base("magnitude")
        shutil.rmtree("results/cells")
    return folder


class Run:
    """An evaluation to be refused: a copy of the chain, and what is asked."""

    def __init__(self, workspace: Workspace):
        self.workspace = workspace
        self.job = workspace.evaluation(CELL)

    def ask(self, **changes) -> None:
        resolved = {name: CONFIG[name] | change for name, change in changes.items()}
        self.change(config={"hash": "", "resolved": self.job.resolved | resolved})

    def change(self, **changes) -> None:
        self.job = replace(self.job, **changes)


@pytest.fixture
def run(chain, tmp_path, dense, monkeypatch) -> Run:
    (tmp_path / "jobs").mkdir()
    workspace = Workspace(tmp_path / "jobs", dense, monkeypatch)
    shutil.copytree(chain, tmp_path / "copy", copy_function=shutil.copy)
    monkeypatch.chdir(tmp_path / "copy")
    return Run(workspace)


def test_a_copy_of_a_whole_folder_is_evaluated(run):
    evaluate_cell(run.job, Attempt())
    record = read_json(run.job.record)
    assert record["status"] == "ok"
    identities = record["inputs"]["identities"]
    assert identities == {
        "model": identity(run.job.model),
        "base": identity(WANDA),
        "trained": identity(f"{TRAININGS}/seed0"),
        "calibration": identity("resources/calibration.safetensors"),
        "blocks": identity("resources/train.safetensors"),
    }
    assert record["provenance"]["manifests"]["sets"] == {"x": identity("resources/data/x")}


def test_what_is_checked_is_read_whole(run):
    evaluate_cell(run.job, Attempt())
    records = {"one": read_json(run.job.record)}
    assert list(local_problems(Path(), records)) == []
    flip(Path(WANDA, "base.safetensors"))
    (line,) = local_problems(Path(), records)
    assert line.startswith(f"{WANDA}: base.safetensors has changed since it was written")
    write_json(f"{WANDA}/stage.json", read_json(f"{WANDA}/stage.json") | {"files": describe(WANDA)})
    (line,) = local_problems(Path(), records)
    assert line == f"one: inputs.base: {WANDA} has changed since; run the cell again"
    # Of a stranger's record, what is not in the folder of the run is not looked at.
    records["one"]["inputs"] |= {"base": str(Path(WANDA).absolute()), "model": "../copy/resources"}
    assert list(local_problems(Path(), records)) == []


def other_steps(run):
    run.ask(training={"steps": 384})
    return f"{TRAININGS}/seed0: made with training.steps = 4, asked: 384; remove it and run again"


def other_options(run):
    resolved = run.job.resolved
    run.change(config={"resolved": resolved | {"repair": resolved["repair"] | {"rank": 8}}})
    return f"{TRAININGS}/seed0: made with repair.rank = nothing, asked: 8; remove it and run again"


def another_seed(run):
    run.change(cell=replace(CELL, seed=1))
    return f"{TRAININGS}/seed0: made with seed = 0, asked: 1; remove it and run again"


def other_pruning(run):
    run.ask(pruning={"allocation": "owl"})
    return f'{WANDA}: made with pruning.allocation = nothing, asked: "owl"; remove it and run again'


def another_pattern(run):
    run.change(cell=replace(CELL, pattern="s50"))
    return f'{WANDA}: made with pattern = "s60", asked: "s50"; remove it and run again'


def another_dtype(run):
    run.ask(runtime={"dtype": "float32"})
    return f'{WANDA}: made with runtime.dtype = "bfloat16", asked: "float32"; remove it and run'


def other_calibration(run):
    run.ask(calibration={"samples": 16})
    return "resources/calibration.safetensors: made with calibration.samples = 8, asked: 16; remove"


def another_base(run):
    shutil.rmtree(WANDA)
    shutil.copytree(BASES.format("magnitude"), WANDA)
    return f'{WANDA}: made with pruner = "magnitude", asked: "wanda"; remove it and run again'


def another_mask(run):
    """Made again, of the same configuration, with another result."""
    path = Path(WANDA, "base.safetensors")
    before = identity(WANDA)
    flip(path)
    marker = read_json(f"{WANDA}/stage.json")
    write_json(f"{WANDA}/stage.json", marker | {"files": describe(WANDA)})
    found, asked = before[:12], identity(WANDA)[:12]
    return f"{TRAININGS}/seed0: made with base = {found}, asked: {asked}; remove it and run again"


def changed_mask(run):
    reordered_bytes(Path(WANDA, "base.safetensors"))
    return f"{WANDA}: base.safetensors has changed since it was written"


def another_training(run):
    reordered_bytes(next(Path(f"{TRAININGS}/seed0").glob("*.safetensors")))
    return f"{TRAININGS}/seed0: repair.safetensors has changed since it was written"


def other_weights(run):
    """The model at the path was trained further, and linked again."""
    model, before = Path(run.job.model), identity(run.job.model)
    flip(model / "model.safetensors")
    as_fetched(model)
    found, asked = before[:12], identity(model)[:12]
    return f"resources/calibration.safetensors: made with model = {found}, asked: {asked}; remove"


def changed_weights(run):
    reordered_bytes(Path(run.job.model, "model.safetensors"))
    return f"{run.job.model}: model.safetensors has changed since it was written"


def another_source(run):
    run.ask(model={"seed": 7})
    return f"{run.job.model}: made with source.seed = {MODEL['seed']}, asked: 7; remove it and run"


def another_limit(run):
    run.change(data={"x": DATA["x"] | {"spec": {"source": "mine", "limit": 3}}})
    return "resources/data/x: made with spec.limit = nothing, asked: 3; remove it and run again"


def changed_text(run):
    Path("resources/data/x/train.jsonl").write_text('{"id": "a", "text": "None of it."}\n')
    return "resources/data/x: train.jsonl has changed since it was written"


def other_text(run):
    """Prepared again, from a source that has changed."""
    before = identity("resources/data/x")
    changed_text(run)
    mark("resources/data/x", DATA["x"])
    found, asked = before[:12], identity("resources/data/x")[:12]
    return f"resources/calibration.safetensors: made with data.x = {found}, asked: {asked}; remove"


def changed_tokens(run):
    reordered_bytes(Path("resources/calibration.safetensors"))
    return "resources/calibration.safetensors: calibration.safetensors has changed since"


def unchecked_text(run):
    write_json(run.job.checked, {"sets": {"x": {"files": {}}}})
    return "resources/data/manifest.json: of another x than is used; remove it and run again"


def other_code(run):
    Path("repair-full.sha256").write_text("edited")
    run.change(code={"trained": "repair-full.sha256"})
    return f"{TRAININGS}/seed0: made with code = nothing, asked: "


def reordered_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes()[::-1])


@pytest.mark.parametrize(
    "tamper",
    [
        other_steps,
        other_options,
        another_seed,
        other_pruning,
        another_pattern,
        another_dtype,
        other_calibration,
        another_base,
        another_mask,
        changed_mask,
        another_training,
        other_weights,
        changed_weights,
        another_source,
        another_limit,
        changed_text,
        other_text,
        changed_tokens,
        unchecked_text,
        other_code,
    ],
    ids=lambda tamper: tamper.__name__,
)
def test_what_does_not_belong_together_is_not_evaluated(run, tamper):
    said = tamper(run)
    with pytest.raises(OriginError) as error:
        evaluate_cell(run.job, Attempt())
    (line,) = str(error.value).splitlines()
    assert line.startswith(said)
    assert not Path(run.job.record).exists()


def test_what_does_not_belong_together_is_not_trained(run):
    job = run.workspace.training(CELL)
    packing = CONFIG["packing"]["train"] | {"blocks": 16}
    changed = replace(job, output="new", config=job.config | {"packing": {"train": packing}})
    with pytest.raises(OriginError, match=r"made with packing\.blocks = 8, asked: 16"):
        train_repair(changed, Attempt())
    another_mask(run)
    reordered_bytes(Path(WANDA, "base.safetensors"))
    with pytest.raises(OriginError, match=r"base\.safetensors has changed"):
        train_repair(replace(job, output="new"), Attempt())
    assert not Path("new").exists()


def test_what_does_not_belong_together_is_not_pruned(run):
    tokens = run.job.calibration
    inputs = {"model": run.job.model, "calibration": tokens, "code": None, "output": "new"}
    config = CONFIG | {"calibration": CONFIG["calibration"] | {"length": 32}}
    with pytest.raises(OriginError, match=r"made with calibration\.length = 16, asked: 32"):
        prune_base(CELL, config, **inputs, attempt=Attempt())
    changed_weights(run)
    with pytest.raises(OriginError, match=r"model\.safetensors has changed"):
        prune_base(CELL, CONFIG, **inputs, attempt=Attempt())
    assert not Path("new").exists()


def test_a_model_of_ones_own_that_is_trained_further_is_refused(dense, tmp_path):
    shutil.copytree(dense, tmp_path / "mine")
    source = PathSource(source="path", path=tmp_path / "mine")
    fetch_model(source, tmp_path / "fetched")
    verify(tmp_path / "fetched", {"source": source.model_dump(mode="json")})
    reordered_bytes(tmp_path / "mine/model.safetensors")
    assert "model.safetensors has changed" in refusal(tmp_path / "fetched")
