"""Pages in a real Chromium, the one that the machine has."""

import shutil

import pytest
from made_up_results import made_up_results
from playwright.sync_api import Browser, Page, sync_playwright

from bench.cells import Cell
from bench.report import build_page

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
FAILED = Cell("tiny", "wanda", "s60", "spp", 0)
# 19 rows; and 6 models with 378 sparse rows and a dense one each.
GRIDS = {
    20: {"seeds": (0,), "failed": [FAILED], "drawn": ["s60"]},
    2000: {
        "models": ("tiny", *(f"model-{n}" for n in range(1, 6))),
        "patterns": (*(f"s{n}" for n in range(20, 90, 4)), "s85", "2of4", "4of8"),
        "seeds": (0,),
        "failed": [FAILED],
        "drawn": ["s60"],
    },
}


@pytest.fixture(scope="session")
def browser():
    if CHROMIUM is None:
        pytest.skip("tests/browser was not run: this machine has no Chromium")
    with sync_playwright() as playwright:
        # A container's root has no user namespaces for the sandbox.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(browser, tmp_path_factory):
    """Paths of the pages of the two grids, by their size."""
    folder = tmp_path_factory.mktemp("pages")
    for rows, grid in GRIDS.items():
        page = build_page(made_up_results(folder / str(rows) / "results", **grid))
        (folder / f"{rows}.html").write_text(page, encoding="utf-8")
    return {rows: folder / f"{rows}.html" for rows in GRIDS}


@pytest.fixture(scope="session")
def two_seeds(browser, tmp_path_factory):
    """Path of the page of a grid with two seeds."""
    folder = tmp_path_factory.mktemp("two")
    (folder / "index.html").write_text(
        build_page(made_up_results(folder / "results")), encoding="utf-8"
    )
    return folder / "index.html"


class Watched:
    """A page that keeps what it asked for and what it complained of."""

    def __init__(self, page: Page):
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                self.complaints.append(message.text)
                if message.type in ("error", "warning")
                else None
            ),
        )

    def load(self, path) -> "Watched":
        self.page.goto(path.as_uri())
        self.page.wait_for_selector("#board tbody tr")
        return self


@pytest.fixture
def watch(browser: Browser):
    """Opens pages; none may ask for anything but itself, or complain."""
    opened: list[Watched] = []

    def open_page(**options) -> Watched:
        context = browser.new_context(offline=True, **options)
        opened.append(Watched(context.new_page()))
        return opened[-1]

    yield open_page
    for watched in opened:
        watched.page.context.close()
        assert watched.complaints == []
        elsewhere = [
            url for url in watched.requests if not url.startswith(("file://", "data:", "blob:"))
        ]
        assert elsewhere == []
