"""The data stage on a synthetic source: every reader, the manifest, and its errors."""

import json
from pathlib import Path

import pytest
from origins import as_fetched
from pydantic import ValidationError

from bench.data import DataError, DataSpec, check, prepare, read_items
from bench.data.readers import bigbench
from bench.data.splits import check_disjoint
from bench.origin import identity, mark, sha256
from bench.sources import SyntheticSource, fetch

PARTS = {"train": 0.6, "validation": 0.15, "test": 0.25}
SYNTHETIC = [reader.__name__ for reader in bigbench.READERS]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sources") / "made-up"
    fetch(SyntheticSource(source="synthetic"), folder)
    return folder


def spec(name: str, **changes) -> DataSpec:
    fields = {
        "source": "made-up",
        "files": [f"{name}.json"],
        "reader": name,
        "splits": PARTS,
        "licence": "CC0-1.0",
    }
    return DataSpec(**fields | changes)


def own(tmp_path, name: str, items: list[dict], part: str = "test") -> Path:
    """The folder of a set of one's own, all in one split."""
    source = tmp_path / "own"
    source.mkdir(exist_ok=True)
    (source / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    as_fetched(source)
    mine = spec("jsonl", source="own", files=[f"{name}.jsonl"], splits={part: 1.0})
    prepare(name, mine, source, tmp_path / "data" / name)
    return tmp_path / "data" / name


@pytest.mark.parametrize("reader", SYNTHETIC)
def test_every_reader_gives_disjoint_splits(folder, tmp_path, reader):
    manifest = prepare("set", spec(reader), folder, tmp_path / "set")
    assert json.loads((tmp_path / "set" / "manifest.json").read_text()) == manifest
    assert manifest["made_from"] == {
        "spec": spec(reader).model_dump(mode="json"),
        "source": json.loads((folder / "manifest.json").read_text())["source"],
        "fetched": identity(folder),
        "seed": 0,
    }
    assert manifest["skipped"] == {}
    assert list(manifest["items"]) == list(PARTS)
    assert set(manifest["files"]) == {f"{part}.jsonl" for part in PARTS}
    seen, count = set(), 0
    for part, number in manifest["items"].items():
        path = tmp_path / "set" / f"{part}.jsonl"
        items = read_items(path)
        assert number == len(items)
        found = {"bytes": path.stat().st_size, "sha256": sha256(path)}
        assert manifest["files"][path.name] == found
        groups = {item["group"] for item in items}
        assert groups
        assert not groups & seen
        seen |= groups
        count += len(items)
    source = SyntheticSource(source="synthetic")
    sizes = {"squad": source.articles * 8, "winogrande_pairs": source.items * 2}
    assert count == sizes.get(reader, source.items)


def test_the_sets_together_are_checked(folder, tmp_path):
    for reader in SYNTHETIC:
        prepare(reader, spec(reader), folder, tmp_path / reader)
    wiki = spec("squad", files=["wiki.json"], splits={"test": 1.0}, article_characters=500)
    prepare("wiki", wiki, folder, tmp_path / "wiki")
    names = [*SYNTHETIC, "wiki"]
    manifest = check([tmp_path / name for name in names], tmp_path / "manifest.json")
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert list(manifest["sets"]) == names
    assert manifest["sets"]["wiki"]["made_from"]["spec"]["article_characters"] == 500
    train = {name: read_items(tmp_path / name / "train.jsonl") for name in SYNTHETIC}
    with pytest.raises(DataError):
        check_disjoint(train, {"again": train["qasc"]})


def test_preparing_again_gives_the_same_files(folder, tmp_path):
    pairs = spec("winogrande_pairs")
    first = prepare("pairs", pairs, folder, tmp_path / "first")
    again = prepare("pairs", pairs, folder, tmp_path / "again")
    other = prepare("pairs", pairs, folder, tmp_path / "other", seed=1)
    assert first == again
    assert first["files"] != other["files"]


def test_texts_of_articles(folder, tmp_path):
    wiki = spec("squad", splits={"test": 1.0}, article_characters=500)
    manifest = prepare("wiki", wiki, folder, tmp_path / "wiki")
    items = read_items(tmp_path / "wiki" / "test.jsonl")
    assert manifest["items"]["test"] == len(items) == 24
    assert all(list(item) == ["id", "text"] for item in items)
    assert all(250 < len(item["text"]) <= 500 for item in items)
    assert len({item["id"] for item in items}) == 24


def test_only_texts_have_articles(folder, tmp_path):
    with pytest.raises(DataError, match=r"data\.x\.article_characters: reader 'qasc' gives no"):
        prepare("x", spec("qasc", article_characters=500), folder, tmp_path / "x")


def test_number_of_characters_is_checked(folder, tmp_path):
    raw = json.loads((folder / "squad.json").read_text())
    exact = sum(len(p["context"]) for a in raw["data"] for p in a["paragraphs"])
    prepare("x", spec("squad", characters=exact), folder, tmp_path / "x")
    with pytest.raises(DataError, match=f"data.x.characters = {exact + 1}: the text has {exact}"):
        prepare("x", spec("squad", characters=exact + 1), folder, tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_only_the_first_items(folder, tmp_path):
    everything = prepare("x", spec("squad", splits={"test": 1.0}), folder, tmp_path / "all")
    assert everything["items"]["test"] == 192
    files = {"files": ["squad.json", "wiki.json"], "splits": {"test": 1.0}}
    some = prepare("x", spec("squad", limit=200, **files), folder, tmp_path / "some")
    assert some["items"]["test"] == 200
    ids = {item["id"] for item in read_items(tmp_path / "some" / "test.jsonl")}
    assert ids > {item["id"] for item in read_items(tmp_path / "all" / "test.jsonl")}
    with pytest.raises(DataError, match=r"data\.x\.limit = 999: the files have 384 items"):
        prepare("x", spec("squad", limit=999, **files), folder, tmp_path / "no")


def test_repeated_items_are_counted_and_dropped(tmp_path):
    folder = own(tmp_path, "x", [{"text": "One."}, {"text": "one"}, {"text": "Two."}])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["skipped"] == {"repeated": 1}
    assert manifest["items"]["test"] == 2


def test_two_items_with_one_id(tmp_path):
    items = [{"id": "a", "text": "One."}, {"id": "a", "text": "Two."}]
    with pytest.raises(DataError, match=r"data\.x: 2 items have the id 'a'"):
        own(tmp_path, "x", items)
    assert not (tmp_path / "data" / "x").exists()


@pytest.mark.parametrize(
    ("seen", "tested"), [("train", "test"), ("train", "validation"), ("validation", "test")]
)
def test_leaks_between_sets_are_refused(tmp_path, seen, tested):
    text = "It rained. The cup fell from the table."
    folders = [
        own(tmp_path, "clean", [{"text": "Nothing of this is anywhere else."}], "train"),
        own(tmp_path, "one", [{"text": text}], seen),
        own(tmp_path, "two", [{"id": "leak", "text": "the cup fell from the table"}], tested),
    ]
    with pytest.raises(DataError, match=rf"^1 evaluation items .*: two/{tested}/leak$"):
        check(folders, tmp_path / "manifest.json")
    assert not (tmp_path / "manifest.json").exists()


def test_leaks_inside_a_set_are_refused(tmp_path):
    mine = own(tmp_path, "x", [{"text": "It rained. The cup fell from the table."}], "train")
    (mine / "test.jsonl").write_text('{"id": "leak", "text": "The cup fell from the table."}\n')
    mark(mine, {})
    with pytest.raises(DataError, match=r"x/test/leak$"):
        check([mine], tmp_path / "manifest.json")


def test_training_text_may_hold_other_training_text(tmp_path):
    folders = [
        own(tmp_path, "one", [{"text": "It rained. The cup fell from the table."}], "train"),
        own(tmp_path, "two", [{"text": "The cup fell from the table."}], "train"),
    ]
    assert list(check(folders, tmp_path / "manifest.json")["sets"]) == ["one", "two"]


def test_missing_file(folder, tmp_path):
    with pytest.raises(DataError, match=r"data\.x: source 'made-up' has no file 'none\.json'"):
        prepare("x", spec("squad", files=["none.json"]), folder, tmp_path / "x")


def test_wrong_reader(folder, tmp_path):
    with pytest.raises(DataError, match=r"data\.x: qasc\.json is not in the format 'squad'"):
        prepare("x", spec("squad", files=["qasc.json"]), folder, tmp_path / "x")


def test_empty_split(folder, tmp_path):
    lopsided = spec("squad", splits={"train": 0.999999, "test": 0.000001})
    with pytest.raises(DataError, match=r"data\.x\.splits: 'test' gets none of 192 items"):
        prepare("x", lopsided, folder, tmp_path / "x")


def test_no_items_at_all(tmp_path):
    with pytest.raises(DataError, match=r"data\.x: no items"):
        own(tmp_path, "x", [])


@pytest.mark.parametrize(
    "change",
    [
        {"reader": "parquet"},
        {"splits": {"train": 0.5, "test": 0.4}},
        {"splits": {"train": 1.0, "test": 0.0}},
        {"splits": {"training": 1.0}},
        {"splits": {}},
        {"files": []},
        {"files": ["../secret"]},
        {"characters": 0},
        {"surprise": 1},
    ],
)
def test_the_configuration_is_checked(change):
    with pytest.raises(ValidationError):
        spec("squad", **change)


def test_unknown_reader_names_the_known_ones():
    with pytest.raises(ValidationError, match="squad, qasc, winogrande_pairs"):
        spec("parquet")
