"""The data stage on a synthetic source: every reader, the manifest, and its errors."""

import json
from pathlib import Path

import pytest
from datasets import Dataset
from origins import as_fetched
from pydantic import ValidationError

from bench.data.disjoint import Parts, check, read_seen
from bench.data.forms import DataError
from bench.data.items import read_items
from bench.data.overlaps import find_overlaps
from bench.data.prepare import DataSpec, prepare
from bench.data.readers import bigbench
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


def checked(folders: list[Path]) -> dict:
    """What the check says of sets of which `train` is trained on, and so on."""

    def parts(split: str) -> list[str]:
        return [f"{f.name}/{split}" for f in folders if (f / f"{split}.jsonl").is_file()]

    used = Parts(training=parts("train"), validation=parts("validation"), evaluation=parts("test"))
    parent = folders[0].parent
    return check(folders, parent / "manifest.json", used, parent / "pairs.jsonl")


def own(
    tmp_path,
    name: str,
    items: list[dict],
    part: str = "test",
    splits: dict | None = None,
    **changes,
) -> Path:
    """The folder of a set of one's own, all in one split where none are given."""
    source = tmp_path / "own"
    source.mkdir(exist_ok=True)
    (source / f"{name}.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    as_fetched(source)
    where = {"source": "own", "files": [f"{name}.jsonl"], "splits": splits or {part: 1.0}}
    mine = spec("jsonl", **where, **changes)
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
    manifest = checked([tmp_path / name for name in names])
    assert json.loads((tmp_path / "manifest.json").read_text()) == manifest
    assert list(manifest["sets"]) == names
    assert manifest["sets"]["wiki"]["made_from"]["spec"]["article_characters"] == 500
    train = {name: read_items(tmp_path / name / "train.jsonl") for name in SYNTHETIC}
    assert find_overlaps(train, {"again": train["qasc"]})


def test_preparing_again_gives_the_same_files(folder, tmp_path):
    pairs = spec("winogrande_pairs")
    first = prepare("pairs", pairs, folder, tmp_path / "first")
    again = prepare("pairs", pairs, folder, tmp_path / "again")
    assert first == again


def test_texts_of_articles(folder, tmp_path):
    wiki = spec("squad", splits={"test": 1.0}, article_characters=500)
    manifest = prepare("wiki", wiki, folder, tmp_path / "wiki")
    items = read_items(tmp_path / "wiki" / "test.jsonl")
    assert manifest["items"]["test"] == len(items) == 24
    assert all(list(item) == ["id", "text"] for item in items)
    assert all(250 < len(item["text"]) <= 500 for item in items)
    assert len({item["id"] for item in items}) == 24


def test_articles_have_all_of_their_paragraphs(tmp_path):
    texts = {
        "a": ["First of A.", "A note on names.", "Last of A."],
        "b": ["First of B.", "A note on names.", "And again:", "A note on names."],
        "copy": ["First of A.", "A note on names.", "Last of A."],
    }
    paragraphs = [
        {"id": f"{article}-{number}", "group": article, "text": text}
        for article, several in texts.items()
        for number, text in enumerate(several)
    ]
    folder = own(tmp_path, "x", paragraphs, article_characters=500)
    found = {item["text"] for item in read_items(folder / "test.jsonl")}
    assert found == {"\n\n".join(several) for several in texts.values()}
    assert json.loads((folder / "manifest.json").read_text())["skipped"] == {"repeated": 1}


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
    folder = own(tmp_path, "x", [{"text": "One  a."}, {"text": "One\na. "}, {"text": "one a"}])
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["skipped"] == {"repeated": 1}
    assert manifest["items"]["test"] == 2


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"id": 1}, {"id": "x"}, "'id' = 'x': text; allowed: a number, as before it"),
        ({"group": "a"}, {"group": 2}, "'group' = 2: a number; allowed: text, as before it"),
        ({"meta": 1}, {"meta": "x"}, "'meta' = 'x': text; allowed: a number"),
        ({"meta": [1]}, {"meta": ["x"]}, "'meta' = ['x']: text; allowed: a number"),
        ({"meta": {"a": [1]}}, {"meta": {"a": 1}}, "a number; allowed: a list"),
        ({"meta": True}, {"meta": 1}, "'meta' = 1: a number; allowed: true or false"),
        ({}, {"meta": 10**30}, "allowed: numbers up to 2^53"),
        ({}, {"id": 10**400}, "allowed: numbers up to 2^53"),
        ({}, {"meta": float("inf")}, "'meta' = inf: allowed: numbers up to 2^53"),
        ({}, {"meta": float("nan")}, "'meta' = nan: allowed: numbers up to 2^53"),
        ({}, {"meta": ["\ud83d"]}, "'meta' = ['\\ud83d']: allowed: whole characters"),
        ({}, {"prompt": "x", "response": "y"}, "prompt, response: allowed: text, as before it"),
    ],
)
@pytest.mark.parametrize("files", [1, 2])
def test_items_that_make_no_table(tmp_path, first, second, message, files):
    items = [{"text": "One."} | first, ({} if "prompt" in second else {"text": "Two."}) | second]
    lines = [json.dumps(item) for item in items]
    source = tmp_path / "own"
    source.mkdir()
    (source / "a.jsonl").write_text("\n".join(lines[: 3 - files]))
    (source / "b.jsonl").write_text(lines[1])
    as_fetched(source)
    names = ["a.jsonl", "b.jsonl"][:files]
    with pytest.raises(DataError) as error:
        prepare("x", spec("jsonl", files=names), source, tmp_path / "x")
    assert f"{names[-1]}, line {3 - files}: " in str(error.value)
    assert message in str(error.value)


def test_fields_of_their_own_reach_the_evaluation(tmp_path):
    """Whatever is taken makes a table, as the evaluation needs it."""
    items = [
        {"text": "One.", "id": 5, "meta": 1, "more": {"a": [1, 2.5]}, "note": None},
        {"text": "Two.", "id": 6, "meta": 2**53, "more": {"b": "x", "a": []}, "note": "n"},
        {"text": "Three.", "id": 7, "meta": None},
    ]
    found = read_items(own(tmp_path, "x", items) / "test.jsonl")
    table = Dataset.from_list(found)
    assert sorted(table["id"]) == ["5", "6", "7"]
    assert {item["id"]: item["meta"] for item in found} == {"5": 1, "6": 2**53, "7": None}


def test_two_items_with_one_id(tmp_path):
    items = [{"id": 7, "text": "One."}, {"id": 7, "text": "Two."}]
    with pytest.raises(DataError, match=r"data\.x: 2 items have the id '7'"):
        own(tmp_path, "x", items)
    assert not (tmp_path / "data" / "x").exists()


TEXT = "It rained. The cup fell from the table."


def leaking(tmp_path) -> list[Path]:
    """A set that is trained on, of which one text holds a text of a set that is tested."""
    others = [{"id": "fine", "text": "Nothing of this is anywhere else."}]
    leak = {"id": "leak", "text": "the cup fell from the table"}
    return [
        own(tmp_path, "one", [{"id": "bad", "text": TEXT}, *others], "train"),
        own(tmp_path, "two", [leak], "test"),
    ]


@pytest.mark.parametrize("use", ["training", "validation", "calibration"])
def test_leaks_between_sets_stop_the_run(tmp_path, use):
    folders = leaking(tmp_path)
    parts = Parts(**{use: ["one/train"]}, evaluation=["two/test"])
    with pytest.raises(DataError, match=r"^1 evaluation items .*: two/test/leak; .*pairs\.jsonl"):
        check(folders, tmp_path / "manifest.json", parts, tmp_path / "pairs.jsonl")
    assert not (tmp_path / "manifest.json").exists()
    assert read_items(tmp_path / "pairs.jsonl") == [
        {
            "seen": "one/train",
            "seen_id": "bad",
            "seen_text": TEXT,
            "tested": "two/test",
            "tested_id": "leak",
            "tested_text": "the cup fell from the table",
        }
    ]


def test_learning_rates_are_not_chosen_on_what_is_trained_on(tmp_path):
    parts = Parts(training=["one/train"], validation=["two/test"])
    with pytest.raises(DataError, match="two/test/leak"):
        check(leaking(tmp_path), tmp_path / "manifest.json", parts, tmp_path / "pairs.jsonl")


def test_what_is_trained_on_can_be_left_out(tmp_path):
    folders, manifest = leaking(tmp_path), tmp_path / "manifest.json"
    parts = Parts(training=["one/train"], calibration=["one/train"], evaluation=["two/test"])
    found = check(folders, manifest, parts, tmp_path / "pairs.jsonl", overlap="drop")
    assert found == json.loads(manifest.read_text())
    assert found["overlaps"] == {"pairs": 1, "dropped": {"one/train": ["bad"]}}
    assert len(read_items(tmp_path / "pairs.jsonl")) == 1
    assert [item["id"] for item in read_seen(folders[0], "train", manifest)] == ["fine"]
    assert len(read_seen(folders[0], "train", None)) == 2


def test_not_all_can_be_left_out(tmp_path):
    folders = leaking(tmp_path)
    (folders[0] / "train.jsonl").write_text(json.dumps({"id": "bad", "text": TEXT}) + "\n")
    mark(folders[0], {})
    parts = Parts(training=["one/train"], evaluation=["two/test"])
    with pytest.raises(DataError, match=r"^one/train: all 1 items occur in what is measured on"):
        check(folders, tmp_path / "manifest.json", parts, tmp_path / "pairs.jsonl", overlap="drop")


def test_the_pairs_of_an_earlier_check_go(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("{}")
    parts = Parts(training=["one/train", "two/test"])
    manifest = check(leaking(tmp_path), tmp_path / "manifest.json", parts, tmp_path / "pairs.jsonl")
    assert list(manifest["sets"]) == ["one", "two"]
    assert manifest["overlaps"] == {"pairs": 0, "dropped": {}}
    assert not (tmp_path / "pairs.jsonl").exists()


def test_leaks_inside_a_set_are_found(tmp_path):
    mine = own(tmp_path, "x", [{"text": TEXT}], "train")
    (mine / "test.jsonl").write_text('{"id": "leak", "text": "The cup fell from the table."}\n')
    mark(mine, {})
    with pytest.raises(DataError, match="x/test/leak"):
        checked([mine])


def test_items_with_the_same_words_are_in_one_split(tmp_path):
    cases = (str.lower, str.upper, str.title, "{}!".format)
    items = [
        {"prompt": case(f"How does one say number {i}"), "response": f"{case.__name__}"}
        for i in range(40)
        for case in cases
    ]
    folder = own(tmp_path, "x", items, splits={"train": 0.5, "test": 0.5})
    parts = [read_items(folder / f"{part}.jsonl") for part in ("train", "test")]
    assert sum(map(len, parts)) == 160
    words = [{item["prompt"].lower().strip("!") for item in part} for part in parts]
    assert [len(part) for part in words] == [len(part) // 4 for part in parts]
    assert not words[0] & words[1]
    checked([folder])


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
