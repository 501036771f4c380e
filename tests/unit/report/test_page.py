"""What the page is made of."""

import base64
import gzip
import json
import re
from dataclasses import replace

import pandas as pd
import pytest
from made_up import made_up_record, made_up_samples
from made_up_results import made_up_results

from baselines.pruning import PRUNERS
from baselines.repair import REPAIRS
from bench.cells import Cell
from bench.records.measures import COSTS, Cost
from bench.report import Sources, build_page
from bench.report.board import RECOVERY, SCORE, board, cells, pairs
from bench.report.methods import cards, definition
from bench.report.page import _facts, model_origin, packed
from bench.report.summary import base_name, heads, summary
from bench.statistics.comparisons import less
from bench.tables.answer import answers
from bench.tables.table1 import table1

FAILED = Cell("tiny", "wanda", "s60", "spp", 1)
REPAIRED = ("none", "full", "lora", "lora-dense", "spp", "seft", "seft-random")


@pytest.fixture(scope="module")
def sources(tmp_path_factory) -> Sources:
    return made_up_results(
        tmp_path_factory.mktemp("page") / "results",
        repairs=REPAIRED,
        failed=[FAILED],
        drawn=["s60"],
    )


@pytest.fixture(scope="module")
def page(sources) -> str:
    return build_page(sources)


def row_of(sources, pruner, repair):
    rows = board(sources)["rows"]
    return next(row for row in rows if (row["pruner"], row["repair"]) == (pruner, repair))


def answers_of(sources, task):
    results = sources.results
    return answers(results.scores, results.comparisons, results.costs, task)


def card_of(sources, name):
    return next(card for card in cards(sources) if card["name"] == name)


def test_the_board_has_the_tables_rows_in_their_order(sources):
    table, rows = sources.results.costs, board(sources)["rows"]
    for key in ("pruner", "repair", "seeds"):
        assert [row[key] for row in rows] == list(table[key])


def test_a_row_holds_scores_with_interval_and_recovery(sources):
    shown = board(sources)
    names = [score["name"] for score in shown["scores"]]
    assert names[:3] == ["answers_bpb", "wiki_perplexity", "average"]
    row = row_of(sources, "wanda", "seft")
    scores = sources.results.scores.set_index(["pruner", "repair", "task"])
    for task in ("average", "science_answer_bpb"):
        expected = scores.loc[("wanda", "seft", task), ["mean", "ci_low", "ci_high", "tie_group"]]
        found = dict(zip(SCORE, row["scores"][names.index(task)], strict=True))
        for key, value in expected.items():
            assert found[key] == pytest.approx(value, rel=1e-5)
    expected = scores.loc[("wanda", "seft", "answers_bpb"), list(RECOVERY)]
    assert row["recovery"] == pytest.approx(list(expected), rel=1e-5)


def test_columns_are_those_of_the_measures(sources, monkeypatch):
    """A cost is one entry in one place: the page and the table have it."""
    shown = board(sources)
    headings = [cost["heading"] for cost in shown["costs"]]
    assert headings == ["trainable", "repair + merge s", "repair MiB"]
    groups = {score["name"]: score["group"] for score in shown["scores"]}
    assert groups["answers_bpb"] == "chief"
    assert groups["science"] == "task"
    assert groups["science_answer_bpb"] == "detail"
    cost = Cost("steps", lambda record: 48, in_table1=True, on_page=True)
    monkeypatch.setitem(COSTS, "steps", cost)
    records = list(sources.records.values())
    table = table1(records, sources.results.scores)
    assert table["steps"].eq(48).all()
    changed = replace(sources, results=replace(sources.results, costs=table))
    assert board(changed)["costs"][-1]["heading"] == "steps"
    assert row_of(changed, "wanda", "seft")["steps"] == 48


def test_bold_is_only_where_it_tells_rows_apart(sources):
    best = SCORE.index("best")
    for number, score in enumerate(board(sources)["scores"]):
        for pruner in ("magnitude", "wanda", "sparsegpt"):
            found = {
                row["repair"]: row["scores"][number]
                for row in board(sources)["rows"]
                if row["pruner"] == pruner
            }
            groups = {row[SCORE.index("tie_group")] for row in found.values()} - {None}
            bold = {name for name, row in found.items() if row[best]}
            first = {name for name, row in found.items() if row[SCORE.index("tie_group")] == 1}
            assert bold == (first if len(groups) > 1 else set()), score["name"]


def test_comparisons_are_by_the_heading_of_their_score_the_chief_one_first(sources):
    shown = pairs(sources)
    assert shown[0]["score"] == "answers bpb"
    assert {row["score"] for row in shown} >= {"wiki ppl", "average", "science"}
    assert {row["verdict"] for row in shown} <= {"significant", "inconclusive", "no verdict"}
    tasks = sources.results.comparisons["task"]
    assert len(shown) == (~tasks.str.endswith("_answer_bpb")).sum()


def test_a_failed_cell_says_why_and_the_others_still_count(sources):
    row = row_of(sources, "wanda", "spp")
    assert row["status"] == "failed (1 of 2 seeds)"
    assert row["reason"] == "repair: FloatingPointError: loss is nan at step 3"
    assert row["scores"][0][0] is not None
    errors = [cell["error"] for cell in cells(sources)["cells"] if cell["status"] == "failed"]
    assert [error["class"] for error in errors] == ["FloatingPointError"]


def test_lost_sparsity_is_marked_and_kept_sparsity_is_not(sources):
    assert row_of(sources, "wanda", "lora-dense")["drifted"]
    assert not row_of(sources, "wanda", "lora")["drifted"]


def test_a_cell_of_the_drawer_has_its_whole_configuration_and_provenance(sources):
    shown = cells(sources)
    for number, (path, record) in enumerate(sources.records.items()):
        cell = shown["cells"][number]
        config = {name: shown["pool"][at] for name, at in cell["config"].items()}
        assert config == record["config"]["resolved"]
        assert shown["pool"][cell["provenance"]] == record["provenance"]
        assert cell["path"] == path
    row = row_of(sources, "wanda", "full")
    assert [shown["cells"][number]["seed"] for number in row["cells"]] == [0, 1]


def test_cards_name_definition_paper_options_and_where_the_rate_is_from(sources):
    card = card_of(sources, "lora")
    assert len(card["definition"]) == 2
    assert card["link"] == "https://arxiv.org/abs/2106.09685"
    rate = next(option for option in card["options"] if option["name"] == "learning_rate")
    assert rate == {"name": "learning_rate", "values": "0.001", "meaning": "Peak learning rate."}
    assert card["rates"] == [
        "tiny: 0.001, from the configuration; no sweep of lora on this model with 12,288 tokens is "
        "recorded"
    ]
    assert card_of(sources, "seft")["rates"] == [
        "tiny: 0.001, the lowest validation loss (3.500, pruned model 4.800) of 0.0003, 0.001, "
        "0.003 in the sweep of seft on wanda s60"
    ]
    assert card_of(sources, "none")["rates"] == []


def test_a_rate_is_of_a_sweep_with_as_many_tokens_of_ones_own(sources):
    def rates(**changed) -> list[str]:
        (record,) = (
            record
            for record in sources.records.values()
            if record["cell"] | {"pruner": "wanda", "repair": "seft", "seed": 0} == record["cell"]
        )
        records = {"": record | {"cell": record["cell"] | changed}}
        card, *_ = cards(replace(sources, records=records))[1:]
        return card["rates"]

    (at_default,) = rates()
    assert at_default.startswith("tiny: 0.001, the lowest validation loss (3.500")
    # A name is no budget: the record's tokens are those of the sweep.
    assert rates(budget="mine") == [at_default.replace("tiny", "tiny at mine")]
    swept = sources.tuning.assign(tokens=4 * 12288)
    card = card_of(replace(sources, tuning=swept), "seft")
    assert card["rates"] == [
        "tiny: 0.001, from the configuration; no sweep of seft on this model with 12,288 tokens is "
        "recorded"
    ]
    looks = sources.results.looks | {"group/seft": sources.results.looks["seft"]}
    sources = replace(sources, results=replace(sources.results, looks=looks))
    assert rates(repair="group/seft") == ["tiny: 0.001, from the submission's configuration"]


def test_what_was_computed_is_said_of_trainings_too():
    cells = [Cell("tiny", "wanda", "s60", name, seed) for name, seed in (("none", 0), ("seft", 3))]
    records = [made_up_record(cell, made_up_samples(cell, 4, 2)) for cell in cells]
    records[1]["stages"]["repair"]["computed_on"] = {
        **{"cpu": "other", "accelerator": {"name": "NVIDIA H200"}},
        **{"dtype": "float16", "threads": 8},
    }
    facts = _facts(records)
    # Nothing was trained with seed 0.
    assert facts["seeds"] == [3]
    assert facts["machines"] == ["NVIDIA H200", "made up"]
    assert facts["dtypes"] == ["bfloat16", "float16"]


def test_the_card_of_a_variant_says_of_what_and_what_it_changes(sources):
    card, seft = card_of(sources, "seft-random"), card_of(sources, "seft")
    assert card["definition"] == [
        "A variant of seft (init: random instead of gradient, stagger: false instead of true).",
        seft["definition"][0],
    ]
    assert (card["paper"], card["rates"]) == (seft["paper"], seft["rates"])
    values = {option["name"]: option["values"] for option in card["options"]}
    assert (values["init"], values["stagger"]) == ("random", "false")


def test_papers_are_those_of_the_methods_and_controls_have_none():
    papers = {name: method.paper for name, method in REPAIRS.items()}
    assert {name: paper and paper[-10:] for name, paper in papers.items()} == {
        **dict.fromkeys(("none", "full", "full-dense", "static", "random-grow")),
        **dict.fromkeys(("lora", "lora-dense"), "2106.09685"),
        "spp": "2405.16057",
        "seft": "2505.24037",
        "masked-lora": "2410.03750",
        **dict.fromkeys(("spiel", "spiel-static-mask"), "2401.16405"),
        "shira": "2406.13175",
        "reconstruct": "2402.12419",
    }


@pytest.mark.parametrize("method", [*PRUNERS.values(), *REPAIRS.values()])
def test_every_registered_method_can_say_in_two_lines_what_it_is(method):
    lines = definition(method)
    assert 1 <= len(lines) <= 2
    for line in lines:
        assert 15 < len(line) < 400
        assert "`" not in line
    assert method.paper is None or re.search(r"\d{4}", method.paper)


def test_every_option_of_a_method_says_what_it_is():
    models = [*PRUNERS.values(), *(method.Options for method in REPAIRS.values())]
    for options in models:
        for name, field in options.model_fields.items():
            assert field.description, (options, name)


def test_the_page_holds_everything_and_names_no_other_address(page):
    for script in re.findall(r"<(?:script|link|img)[^>]*>", page):
        assert not re.search(r'(src|href)="(?!data:,")', script), script
    for part in ("board", "cells", "comparisons", "figures"):
        text = re.search(rf'id="payload-{part}">([^<]*)<', page)[1]
        assert json.loads(gzip.decompress(base64.b64decode(text)))
    assert "12 items" in page
    assert "2 of 5 published numbers are measured here" in page
    assert "1 supported, 1 refuted, 1 inconclusive, 1 no verdict, 1 not tested" in page
    # One seed has no interval, and says so.
    assert "one seed: no verdict" in page


@pytest.mark.parametrize(
    ("average", "expected"),
    [
        (61.25, {"A paper; Its README": [12.5, 61.25]}),
        (None, {"A paper": [12.5, None], "Its README": [13.0, None]}),
    ],
)
def test_sources_that_publish_other_numbers_have_rows_of_their_own(sources, average, expected):
    here = {"model_here": "tiny", "pruner": "wanda", "budget": "default", "repair": "lora"}
    second = ("wiki_perplexity", 13.0) if average is None else ("average", average)
    numbers = [("A paper", "wiki_perplexity", 12.5), ("Its README", *second)]
    known = [
        {**here, "pattern": "s60", "source": source, "score": score, "published": value}
        for source, score, value in numbers
    ]
    reproduction = pd.DataFrame(known, columns=sources.reproduction.columns, dtype=object)
    rows = board(replace(sources, reproduction=reproduction))
    names = [score["name"] for score in rows["scores"]]
    found = {
        row["state"]: [
            row["scores"][names.index(name)][0] for name in ("wiki_perplexity", "average")
        ]
        for row in rows["rows"]
        if row["status"] == "published"
    }
    assert found == expected


def test_equal_sources_give_equal_pages(sources, page):
    assert build_page(sources) == page


def test_a_page_of_nothing_but_records_is_built(sources):
    nothing = {name: getattr(sources.results, name)[:0] for name in ("scores", "comparisons")}
    empty = pd.DataFrame()
    bare = Sources(
        sources.records, replace(sources.results, **nothing), empty, empty, empty, {}, []
    )
    page = build_page(bare)
    assert "No claim has been tested" in page
    assert "No published number" in page


def test_a_figure_with_nothing_to_show_is_left_out(tmp_path):
    untrained = {"pruners": ["wanda"], "repairs": ["none"], "drawn": ["s60"]}
    sources = made_up_results(tmp_path / "results", **untrained)
    assert (tmp_path / "results/figures/tiny/s60/moved.svg").exists()
    assert sources.figures == {}


def test_text_of_records_is_escaped(tmp_path):
    sources = made_up_results(tmp_path / "results", failed=[FAILED])
    claims = sources.claims.assign(title="<script>alert(1)</script>")
    page = build_page(Sources(**{**vars(sources), "claims": claims}))
    assert "<script>alert" not in page


def test_missing_is_null_in_what_is_packed():
    with pytest.raises(ValueError, match="JSON"):
        packed({"value": float("nan")})


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ({"source": "pypi", "members": ["a/b.Q4_1.gguf"]}, "a/b.Q4_1.gguf, de-quantised"),
        ({"source": "hub", "repository": "owner/name"}, "owner/name"),
        ({"source": "path", "path": "models/own"}, "models/own"),
        ({"source": "synthetic", "seed": 0}, "synthetic"),
    ],
)
def test_the_page_says_what_a_model_was_made_of(source, origin):
    assert model_origin(source) == origin


def test_the_page_names_the_origin_of_each_model(page, sources):
    source = next(iter(sources.records.values()))["config"]["resolved"]["model"]
    assert f"<dt>models</dt><dd>tiny from {model_origin(source)}</dd>" in page


def test_the_page_opens_with_an_answer_for_each_base(sources, page):
    shown = summary(sources, "answers_bpb")
    assert [base for base, _ in shown["answers"]] == [
        "magnitude 60 %",
        "wanda 60 %",
        "sparsegpt 60 %",
    ]
    for _, sentence in shown["answers"]:
        assert sentence in page
    assert page.index('id="answer"') < page.index('id="claims"') < page.index('id="leaderboard"')


def test_the_matrix_has_every_ranked_repair_against_the_reference(sources):
    shown = summary(sources, "wiki_perplexity")
    comparisons = sources.results.comparisons
    rows = {row["repair"]: row for row in shown["rows"]}
    assert list(rows) == ["none", "full", "lora", "spp", "seft", "seft-random"]
    assert shown["heads"] == [[("magnitude", 1), ("wanda", 1), ("sparsegpt", 1)]]
    for name in ("full", "seft"):
        verdicts = [
            row["verdict"]
            for row in less(comparisons, "lora").to_dict("records")
            if row["repair"] == name and row["task"] == "wiki_perplexity"
        ]
        assert [cell["verdict"] for cell in rows[name]["cells"]] == verdicts
        wins, ties, losses = rows[name]["counts"]
        assert (wins, losses) == (verdicts.count("better"), verdicts.count("worse"))
        assert wins + ties + losses == 3
    lora = rows["lora"]
    assert lora["is_reference"]
    assert all(cell["verdict"] == "" and cell["text"] for cell in lora["cells"])


def without(sources, *repairs: str):
    """The same without rows of these repairs on Wanda's base."""
    left = {}
    for table in ("scores", "costs", "comparisons"):
        rows = getattr(sources.results, table)
        named = rows.filter(like="repair").isin(repairs).any(axis=1)
        left[table] = rows[(rows["pruner"] != "wanda") | ~named]
    return replace(sources, results=replace(sources.results, **left))


def test_a_score_stands_in_no_place_of_a_difference(sources):
    """On a base where the reference was not run, its column has no score but the reference's."""
    task = "wiki_perplexity"
    part = without(sources, "lora")
    for row in summary(part, task)["rows"]:
        cell = row["cells"][1]
        assert cell["verdict"] == ""
        assert cell["text"] == ("" if row["is_reference"] else "\N{EN DASH}")
        assert row["is_reference"] or "not compared with lora" in cell["title"]


def test_a_row_is_marked_where_one_seed_is_not_as_sparse(sources):
    """It has no rank for that seed, however little the mean over all seeds is off."""
    path = next(p for p, r in sources.records.items() if r["cell"]["repair"] == "seft")
    record = sources.records[path]
    sparsity = record["sparsity"] | {"achieved": record["sparsity"]["requested"] - 0.05}
    cells = dict(sources.records) | {path: record | {"sparsity": sparsity}}
    marked = [row for row in board(replace(sources, records=cells))["rows"] if row["drifted"]]
    before = [row for row in board(sources)["rows"] if row["drifted"]]
    assert len(marked) == len(before) + 1


def test_how_often_a_repair_is_best_is_said_of_the_bases_that_it_was_run_on(sources):
    task = "wiki_perplexity"
    whole = {name: (best, ranked) for name, best, ranked in summary(sources, task)["best"]}
    assert {ranked for _, ranked in whole.values()} == {3}
    name = next(iter(whole))
    part = without(sources, name)
    left = {name: ranked for name, _, ranked in summary(part, task)["best"]}
    assert left[name] == 2
    assert {ranked for other, ranked in left.items() if other != name} <= {3}


def test_a_base_with_one_repair_is_none_that_it_is_best_on(sources):
    """There it is better than no repair, which is no comparison of repairs."""
    task = "wiki_perplexity"
    others = set(sources.results.scores["repair"]) - {"none", "seft"}
    found = summary(without(sources, *others), task)
    assert {judged for _, _, judged in found["best"]} == {2}
    assert all(row["best"] <= 2 for row in found["rows"])


def test_bases_of_one_seed_are_no_bases_where_no_repair_stands_out(sources):
    """Of three bases one is judged by one seed: it is said to be without a verdict."""
    task, wanda = "wiki_perplexity", sources.results.comparisons["pruner"] == "wanda"
    whole = summary(sources, task)
    assert whole["unjudged"] == 0
    comparisons = sources.results.comparisons.copy()
    comparisons.loc[wanda, ["seeds", "verdict"]] = 1, "no verdict"
    part = replace(sources, results=replace(sources.results, comparisons=comparisons))
    found = summary(part, task)
    assert found["unjudged"] == 1
    others = [answer for answer in answers_of(part, task) if answer.base[1] != "wanda"]
    assert found["open"] == sum(not answer.best for answer in others)
    assert {judged for _, _, judged in found["best"]} == {2}
    assert "of 3 bases there is no verdict." in build_page(part)


def test_the_heading_of_a_matrix_joins_equal_neighbours():
    bases = [("m", pruner, pattern, "x4") for pruner in ("a", "b") for pattern in ("s50", "2of4")]
    assert heads(bases) == [
        [("a", 2), ("b", 2)],
        [("50 %", 1), ("2:4", 1), ("50 %", 1), ("2:4", 1)],
    ]
    assert heads(bases[:1]) == [[("a", 1)]]
    assert base_name(bases[0], bases) == "a 50 %"
    assert base_name(bases[0], [*bases, ("m", "a", "s50", "x16")]) == "a 50 % x4"
