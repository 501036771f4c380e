"""The leaderboard's page in Chromium: it loads from disk, sorts, filters and opens its drawer."""

import re
import sys
from dataclasses import replace

import pandas as pd
import pytest
import yaml
from conftest import FAILED
from made_up import made_up_grid
from made_up_results import made_up_results
from playwright.sync_api import expect

from bench.cells import Cell
from bench.report import build_page
from bench.tools.report import main as report_main

SIZES = (20, 2000)


@pytest.fixture(params=SIZES)
def page(request, watch, pages):
    return watch().load(pages[request.param]).page


def shown(page, part: str) -> list[str]:
    """The bases (``place``) or the repairs (``what``) of the rows on show."""
    return [text.strip() for text in page.locator(f"#board tbody .{part}").all_inner_texts()]


def column(page, title: str) -> list[str]:
    """What the rows on show have in a column, without the interval."""
    return page.evaluate(
        """(title) => {
            const heads = [...document.querySelectorAll("#board thead th")];
            const at = heads.findIndex((head) => head.textContent.trim() === title);
            return [...document.querySelectorAll("#board tbody tr")].map((row) => {
                const cell = row.children[at].cloneNode(true);
                cell.querySelectorAll("small").forEach((small) => small.remove());
                return cell.textContent.trim();
            });
        }""",
        title,
    )


def choose(page, name: str, value: str, table: str = "board") -> None:
    page.select_option(f'[data-table="{table}"] select[name={name}]', value)


def head(page, title: str):
    return page.locator("#board thead th").filter(has_text=re.compile(rf"^\W*{title}\W*$"))


@pytest.mark.parametrize("rows", SIZES)
def test_it_loads_sorts_filters_and_opens_its_drawer(watch, pages, rows):
    page = watch().load(pages[rows]).page
    head(page, "average").click()
    page.wait_for_selector("#board th.dt-ordering-asc")
    choose(page, "repair", "seft")
    expect(page.locator("#board tbody .open", has_not_text="seft")).to_have_count(0)
    page.locator("#board tbody .open").first.click()
    page.wait_for_selector("#drawer[open] pre")


@pytest.mark.parametrize("rows", SIZES)
def test_every_row_is_there(watch, pages, rows):
    page = watch().load(pages[rows]).page
    said = re.search(r"of ([\d,]+)", page.inner_text(".dt-info"))[1]
    assert int(said.replace(",", "")) == {20: 1 + 3 * 6, 2000: 6 * (1 + 3 * 6 * 21)}[rows]


def test_nothing_is_asked_of_any_address(watch, pages):
    watched = watch().load(pages[20])
    watched.page.locator("#comparisons").scroll_into_view_if_needed()
    watched.page.wait_for_selector("#pairs tbody tr")
    network = [url for url in watched.requests if not url.startswith(("data:", "blob:"))]
    assert network == [pages[20].as_uri()]


def test_a_heading_sorts_both_ways_and_what_is_missing_is_worst(page):
    head(page, "average").click()
    page.wait_for_selector("#board th.dt-ordering-asc")
    ascending = column(page, "average")
    numbers = [float(text) for text in ascending if text]
    assert numbers == sorted(numbers)
    assert ascending[0] == ""
    head(page, "average").click()
    page.wait_for_selector("#board th.dt-ordering-desc")
    numbers = [float(text) for text in column(page, "average") if text]
    assert numbers == sorted(numbers, reverse=True)


def test_bits_per_byte_come_first_and_those_of_a_task_are_in_the_drawer(page):
    heads = page.locator("#board thead th").all_inner_texts()
    places = [
        next(n for n, text in enumerate(heads) if name in text)
        for name in ("repair", "answers bpb", "wiki ppl", "average", "recovery", "repair MiB")
    ]
    assert places == sorted(places)
    assert not any("answer bpb" in text for text in heads)
    for direction in ("asc", "desc"):
        head(page, "answers bpb").click()
        page.wait_for_selector(f"#board th.dt-ordering-{direction}")
    # The failed cell has none, which is the worst: the most.
    assert column(page, "answers bpb")[0] == ""
    page.click("#board tbody .open >> nth=0")
    expect(page.locator("#drawer .content")).to_contain_text("science_answer_bpb")


def test_filters_narrow_the_rows_and_the_search_does_too(page):
    choose(page, "pruner", "wanda")
    choose(page, "repair", "spp")
    assert all("wanda" in place for place in shown(page, "place"))
    assert set(shown(page, "what")) == {"spp"}
    choose(page, "repair", "")
    page.fill('#board_wrapper input[type="search"]', "lora-dense")
    expect(page.locator("#board tbody .open", has_not_text="lora-dense")).to_have_count(0)
    assert set(shown(page, "what")) == {"lora-dense"}


def test_a_failed_cell_is_found_by_its_status_and_says_why(page):
    choose(page, "status", "failed")
    assert column(page, "status") == ["failed: repair: FloatingPointError: loss is nan at step 3"]


def test_a_base_that_failed_without_a_repair_says_why(watch, tmp_path):
    base = Cell("tiny", "wanda", "s60", "none", 0)
    path = tmp_path / "index.html"
    path.write_text(build_page(made_up_results(tmp_path / "results", failed=[base])))
    page = watch().load(path).page
    choose(page, "status", "failed")
    assert column(page, "status") == ["failed: repair: FloatingPointError: loss is nan at step 3"]


def test_lost_sparsity_is_marked(page):
    choose(page, "repair", "lora-dense")
    assert all("⚠" in text for text in column(page, "sparsity"))
    choose(page, "repair", "lora")
    assert not any("⚠" in text for text in column(page, "sparsity"))


def test_the_drawer_shows_provenance_and_configuration(page):
    choose(page, "repair", "seft")
    page.locator("#board tbody tr").first.click()
    page.wait_for_selector("#drawer[open] pre")
    text = page.inner_text("#drawer")
    for expected in (
        "seft",
        "learning_rate",
        '"cpu": "made up"',
        "0" * 40,
        "record.json",
        "SHA-256",
    ):
        assert expected in text
    page.keyboard.press("Escape")
    expect(page.locator("#drawer[open]")).to_have_count(0)


def test_everything_can_be_done_from_the_keyboard(watch, pages):
    page = watch().load(pages[20]).page
    page.locator('[data-table="board"] select[name=repair]').focus()
    page.keyboard.type("seft")
    assert set(shown(page, "what")) == {"seft"}
    page.locator("#board thead th [role=button], #board thead th[tabindex]").nth(5).focus()
    page.keyboard.press("Enter")
    expect(page.locator("#board th.dt-ordering-asc")).to_have_count(1)
    page.locator("#board tbody .open").first.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("#drawer[open] pre")
    expect(page.locator("#drawer .close")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#drawer[open]")).to_have_count(0)


def test_figures_follow_the_model_and_the_pattern(watch, pages):
    page = watch().load(pages[2000]).page
    figures = page.locator("[data-figure]:visible")
    page.select_option("#figures select[name=model]", "tiny")
    page.select_option("#figures select[name=pattern]", "s60")
    expect(figures).to_have_count(7)
    image = page.locator('[data-figure="recovery"] img')
    image.scroll_into_view_if_needed()
    page.wait_for_function("document.querySelector('[data-figure=recovery] img').naturalWidth > 0")
    assert image.get_attribute("alt").startswith("recovery, tiny, 60 %: ")
    # Of the other patterns nothing is drawn here but what is drawn of all together.
    page.select_option("#figures select[name=pattern]", "2of4")
    expect(figures).to_have_count(1)
    page.select_option("#figures select[name=model]", "model-1")
    expect(figures).to_have_count(0)


def comparisons(page) -> list[str]:
    page.locator("#comparisons").scroll_into_view_if_needed()
    page.wait_for_selector("#pairs tbody .what")
    return page.locator("#pairs tbody tr").all_inner_texts()


def test_comparisons_open_on_what_is_significant_and_can_be_filtered(watch, two_seeds):
    page = watch().load(two_seeds).page
    pairs = comparisons(page)
    assert page.input_value('[data-table="pairs"] select[name=score]') == "answers bpb"
    # Bits a byte differ by less than the made-up intervals are wide.
    assert page.inner_text("#found").startswith("Of 30 comparisons none is significant: ")
    assert len(pairs) == 30
    page.select_option('[data-table="pairs"] select[name=score]', "average")
    choose(page, "verdict", "significant", "pairs")
    found = "Of 30 comparisons 21 significant, 9 inconclusive."
    expect(page.locator("#found")).to_have_text(found)
    pairs = comparisons(page)
    assert len(pairs) == 21
    assert all("significant" in pair for pair in pairs)


def test_comparisons_with_a_reference_are_turned_to_it(watch, two_seeds):
    page = watch().load(two_seeds).page
    comparisons(page)
    choose(page, "reference", "lora", "pairs")
    expect(page.locator("#found")).to_contain_text("Of 12 comparisons")
    names = page.locator("#pairs tbody .what").all_inner_texts()
    assert len(names) == 12
    assert all(re.fullmatch(r"\S+ \W lora", name.strip()) for name in names)


def test_one_seed_has_no_verdict_anywhere(watch, pages):
    page = watch().load(pages[20]).page
    assert all("one seed: no verdict" in pair for pair in comparisons(page))
    # One of the cells failed.
    found = "Of 40 comparisons none is significant: 40 no verdict."
    assert page.inner_text("#found") == found
    answers = page.locator(".panel:visible .answers li").all_inner_texts()
    assert len(answers) == 3
    assert all("one seed: no verdict" in answer for answer in answers)
    assert page.locator(".matrix td.better, .matrix td.worse").count() == 0


@pytest.mark.parametrize(("width", "height"), [(1400, 900), (420, 850)])
def test_the_first_screen_has_the_answer_and_the_matrix(watch, pages, width, height):
    page = watch(viewport={"width": width, "height": height}).load(pages[20]).page
    for selector in (".answers li >> nth=0", ".matrix tbody tr >> nth=4"):
        box = page.locator(selector).bounding_box()
        assert box["y"] + box["height"] <= height
    page.locator("#board").scroll_into_view_if_needed()
    # The repair stays in sight, whatever is scrolled to; on a phone, scores are there at once.
    view = page.locator("#board_wrapper .dt-layout-table").bounding_box()
    score = head(page, "answers bpb").bounding_box()
    assert score["x"] + score["width"] <= view["x"] + view["width"]
    if width == 1400:
        cost = head(page, "repair MiB").bounding_box()
        assert cost["x"] + cost["width"] <= view["x"] + view["width"] + 1
    page.evaluate("document.querySelector('#board_wrapper .dt-layout-table').scrollLeft = 500")
    name = page.locator("#board tbody td.name").first.bounding_box()
    assert name["x"] == pytest.approx(view["x"], abs=1)


def test_the_answer_is_there_in_every_score(watch, pages):
    page = watch().load(pages[20]).page
    expect(page.locator(".panel:visible")).to_have_count(1)
    labels = page.locator(".tabs > label").all_inner_texts()
    assert labels == ["answers (bits a byte)", "wiki perplexity", "average accuracy (%)"]
    page.locator(".tabs > label").nth(1).click()
    expect(page.locator(".panel:visible .answers li").first).to_contain_text("perplexity")


def test_columns_can_be_hidden(page):
    before = page.locator("#board thead th").count()
    page.uncheck("[name=cost]")
    assert page.locator("#board thead th").count() == before - 3
    page.check("[name=task]")
    assert page.locator("#board thead th").count() == before - 3 + 3
    page.uncheck("[name=intervals]")
    assert page.locator("#board small:visible").count() == 0


def contrast(page, selector: str) -> float:
    """WCAG contrast of an element's text with the page."""
    return page.evaluate(
        """(selector) => {
            const light = (colour) => {
                const channels = colour.match(/[\\d.]+/g).slice(0, 3).map((c) => c / 255);
                const [r, g, b] = channels.map((c) =>
                    c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const text = light(getComputedStyle(document.querySelector(selector)).color);
            const paper = light(getComputedStyle(document.body).backgroundColor);
            return (Math.max(text, paper) + 0.05) / (Math.min(text, paper) + 0.05);
        }""",
        selector,
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_light_and_dark(watch, pages, scheme):
    page = watch(color_scheme=scheme).load(pages[20]).page
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
    for selector in ("h1", ".caption", "#board td", "#board small", ".supported", ".refuted", "a"):
        assert contrast(page, selector) >= 4.5, selector


@pytest.mark.parametrize("width", [360, 420, 1400])
def test_the_page_is_no_wider_than_the_screen(watch, pages, width):
    page = watch(viewport={"width": width, "height": 800}).load(pages[20]).page
    page.locator("#comparisons").scroll_into_view_if_needed()
    page.wait_for_selector("#pairs tbody tr")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.locator("#board tbody .open").first.click()
    page.wait_for_selector("#drawer[open] pre")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_prints_every_row(watch, pages, tmp_path):
    page = watch().load(pages[2000]).page
    rows = page.locator("#board tbody tr")
    assert rows.count() == 50
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert rows.count() == 6 * (1 + 3 * 6 * 21)
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert rows.count() == 50


MEASURED = ("tiny", "wanda", "default", "lora")
SCRIPT = "<img src=x onerror=\"document.title = 'run'\"><script>document.title = 'run'</script>"


def spoiled(value):
    """A record with a script in every text that says nothing of where it belongs."""
    if isinstance(value, dict):
        return {key: spoiled(part) for key, part in value.items()}
    if isinstance(value, list):
        return [spoiled(part) for part in value]
    return SCRIPT if isinstance(value, str) else value


def test_what_a_record_says_is_text(watch, tmp_path):
    sources = made_up_results(tmp_path / "results", pruners=["wanda"], seeds=(0,), failed=[FAILED])
    for record in sources.records.values():
        for part in ("error", "stages", "samples", "provenance"):
            record[part] = spoiled(record[part])
        if record["error"] is not None:
            record["error"]["attempt"] = SCRIPT
        for metric in record["metrics"]:
            metric["version"] = SCRIPT
    for table in (sources.results.comparisons, sources.claims):
        texts = table.columns.intersection(["test", "title", "statement", "detail", "to_settle"])
        table[texts] = SCRIPT
    page_file = tmp_path / "index.html"
    page_file.write_text(build_page(sources), encoding="utf-8")
    page = watch().load(page_file).page
    for repair in ("spp", "lora"):
        page.get_by_role("button", name=repair, exact=True).first.click()
        page.wait_for_selector("#drawer[open] pre")
        assert SCRIPT in page.locator("#drawer").inner_text()
        page.locator("#drawer .close").click()
    page.locator("#comparisons").scroll_into_view_if_needed()
    page.wait_for_selector("#pairs tbody tr")
    assert page.title() == "Sparse repair leaderboard"
    assert page.locator("img[src=x], main script").count() == 0


def test_published_numbers_that_are_measured_here_are_rows_to_choose(watch, tmp_path):
    sources = made_up_results(tmp_path / "results", pruners=["wanda"], seeds=(0,))
    here = dict(zip(("model_here", "pruner", "budget", "repair"), MEASURED, strict=True))
    numbers = [("wiki_perplexity", 12.5, "A paper"), ("average", 61.25, "Its README")]
    reproduction = pd.DataFrame(sources.reproduction.head(2), dtype=object)
    for row, (score, value, source) in zip(reproduction.index, numbers, strict=True):
        known = {**here, "score": score, "published": value, "source": source, "pattern": "s60"}
        reproduction.loc[row, list(known)] = list(known.values())
    sources = replace(sources, reproduction=reproduction)
    page_file = tmp_path / "index.html"
    page_file.write_text(build_page(sources), encoding="utf-8")
    page = watch().load(page_file).page
    rows = page.locator("#board tbody tr").count()
    choose(page, "origin", "published")
    assert shown(page, "what") == ["lora"]
    assert column(page, "wiki ppl") == ["12.50"]
    assert column(page, "average") == ["61.3"]
    assert column(page, "origin") == ["published"]
    expect(page.locator("#board tbody tr")).to_contain_text("A paper; Its README")
    page.get_by_role("button", name="lora", exact=True).click()
    page.wait_for_selector("#drawer[open] table")
    page.locator("#drawer .close").click()
    choose(page, "origin", "here")
    expect(page.locator("#board tbody tr")).to_have_count(rows - 1)


def test_a_submission_has_an_origin_to_choose_and_a_place_that_says_whose_it_is(
    watch, tmp_path, monkeypatch
):
    grid = {"models": ["tiny"], "pruners": ["wanda"], "patterns": ["s60"]}
    made_up_grid(tmp_path / "results", repairs=["none", "lora", "seft"], **grid)
    folder = tmp_path / "submissions/acme"
    made_up_grid(folder / "results", repairs=["none", "static"], **grid)
    about = {
        "authors": SCRIPT,
        "licence": "CC-BY-4.0",
        "code": {"repository": SCRIPT, "commit": "a" * 40},
    }
    (folder / "submission.yaml").write_text(yaml.safe_dump(about))
    arguments = ["results", "index.html", "--submissions", "submissions"]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["report", *arguments])
    report_main()
    page = watch().load(tmp_path / "index.html").page
    assert shown(page, "what") == ["dense", "none", "lora", "seft", "acme/static"]
    choose(page, "origin", "acme")
    assert shown(page, "what") == ["acme/static"]
    assert column(page, "origin") == ["acme"]
    section = page.locator("#submissions")
    expect(section).to_contain_text("self-reported")
    expect(section).to_contain_text(SCRIPT)
    assert page.title() == "Sparse repair leaderboard"
    page.get_by_role("button", name="acme/static").click()
    page.wait_for_selector("#drawer[open] pre")


def test_budgets_can_be_chosen_where_there_are_several(watch, pages, tmp_path):
    one = watch().load(pages[20]).page
    expect(one.locator(".filters select[name=budget]:visible")).to_have_count(0)
    expect(one.locator("#figures select[name=budget]")).to_be_hidden()
    grid = {"pruners": ["wanda"], "seeds": (0,), "budgets": ("default", "x4"), "drawn": ["s60"]}
    path = tmp_path / "page.html"
    path.write_text(build_page(made_up_results(tmp_path / "results", **grid)), encoding="utf-8")
    page = watch().load(path).page
    assert set(shown(page, "place")) == {"", "default", "x4"}
    choose(page, "budget", "x4")
    # The unrepaired base is there at each budget.
    assert shown(page, "what") == ["dense", "none", "full", "lora", "lora-dense", "spp", "seft"]
    page.locator("#comparisons").scroll_into_view_if_needed()
    page.wait_for_selector("#pairs tbody tr")
    choose(page, "budget", "x4", table="pairs")
    choose(page, "repair", "none", table="pairs")
    expect(page.locator("#pairs tbody tr")).to_have_count(5)
    image = page.locator("[data-figure=training] img")
    expect(page.locator("[data-figure=budget] img")).to_be_visible()
    before = image.get_attribute("src")
    page.select_option("#figures select[name=budget]", label="x4")
    expect(image).not_to_have_attribute("src", before)
