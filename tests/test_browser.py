"""The published book in a browser, opened from files as a reader opens it: Debian's Chromium, driven by playwright."""

import json
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from lnlab.paths import BOOK

sync = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")
CHROMIUM = shutil.which("chromium")
MAIN = ("intro", "d1", "d5", "claims", "sensitivity", "methods", "explore", "watch", "related", "runs/a3c-gru-ln")
NAMES = ["button-name", "color-contrast", "document-title", "html-has-lang", "image-alt", "label", "link-name",
         "select-name", "svg-img-alt"]  # fmt: skip

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def html(published: Path) -> Path:
    return published / "_build" / "html"


@pytest.fixture(scope="module")
def chromium() -> Iterator["sync.Browser"]:
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class Tab:
    """A page of the browser, and all that it should not do: errors in its console, requests to other machines."""

    def __init__(self, chromium: "sync.Browser", html: Path, **options: object) -> None:
        self.html, self.errors, self.outside = html, list[str](), list[str]()
        self.context = chromium.new_context(accept_downloads=True, **options)
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", lambda said: said.type == "error" and self.errors.append(f"{self.at}: {said.text}"))
        self.page.on("pageerror", lambda error: self.errors.append(f"{self.at}: {error}"))
        self.page.on("request", lambda request: self._asked(request.url))

    def _asked(self, url: str) -> None:
        if not url.startswith(("file:", "data:", "blob:")):
            self.outside.append(f"{self.at}: {url}")

    @property
    def at(self) -> str:
        return Path(self.page.url.partition("#")[0].partition("?")[0]).name

    def open(self, name: str, rest: str = "") -> "sync.Page":
        self.page.goto((self.html / f"{name}.html").as_uri() + rest)
        return self.page


@pytest.fixture
def tab(chromium: "sync.Browser", html: Path) -> Iterator[Tab]:
    tab = Tab(chromium, html, viewport={"width": 1280, "height": 800})
    yield tab
    tab.context.close()
    assert not tab.errors
    assert not tab.outside


@pytest.fixture
def phone(chromium: "sync.Browser", html: Path) -> Iterator[Tab]:
    tab = Tab(chromium, html, viewport={"width": 390, "height": 844})
    yield tab
    tab.context.close()


def names(html: Path) -> list[str]:
    return [path.relative_to(html).with_suffix("").as_posix() for path in pages_of(html)]


def pages_of(html: Path) -> list[Path]:
    """All pages; the theme's templates among the static files are none, and the index only leads to the first."""
    return sorted(path for path in html.rglob("*.html") if "_static" not in path.parts and path.name != "index.html")


# -- every page -------------------------------------------------------------------------------------------------------
def test_no_page_scrolls_sideways_on_a_phone_complains_or_asks_another_machine(phone: Tab) -> None:
    wide = []
    runs = [name for name in names(phone.html) if name.startswith("runs/")]  # all by one template: every thirtieth
    for name in set(names(phone.html)) - set(runs) | set(runs[::30]):
        page = phone.open(name)
        # A page that is wider than its screen: by its own scroll bar, whoever clips it.
        if (over := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            wide.append(f"{name}: {over} px")
    assert not wide
    assert not phone.errors
    assert not phone.outside


class Links(HTMLParser):
    """What a page links to and loads, and the places on it to which a link may lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.loads, self.ids = set[str](), set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids |= {name for name in (found.get("id"), found.get("name")) if name}
        self.links |= {found[each] or "" for each in ("href", "src") if each in found and tag != "use"}
        if "stylesheet" in (found.get("rel") or "") or tag in ("script", "img"):
            self.loads.add(found.get("href") or found.get("src") or "")


def test_every_link_within_the_book_leads_somewhere(html: Path) -> None:
    pages = {path: Links(path.read_text(encoding="utf-8")) for path in pages_of(html)}
    dead = []
    for path, page in pages.items():
        for link in page.links:
            if link.startswith(("http:", "https:", "mailto:", "data:", "javascript:")):
                continue
            name, _, anchor = link.partition("#")
            target = (path.parent / unquote(name.partition("?")[0])).resolve() if name else path
            there = pages[target].ids if target in pages else None
            if not target.is_file() or (anchor and there is not None and unquote(anchor) not in there):
                dead.append(f"{path.relative_to(html)}: {link}")
    assert not dead
    assert len(pages) > 90


def test_no_page_weighs_more_than_three_megabytes(html: Path) -> None:
    for path in pages_of(html):
        loaded = {path} | {
            path.parent / unquote(link.partition("?")[0]) for link in Links(path.read_text("utf-8")).loads
        }
        weight = sum(each.stat().st_size for each in {each.resolve() for each in loaded} if each.is_file())
        assert weight < 3e6, path.name


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_and_contrast(chromium: "sync.Browser", html: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab, found = Tab(chromium, html, viewport={"width": 1280, "height": 800}, color_scheme=scheme), []
    for name in MAIN if scheme == "light" else MAIN[:4]:
        page = tab.open(name)
        page.wait_for_timeout(300)
        for rule in Axe().run(page, options={"runOnly": NAMES}).response["violations"]:
            found += [f"{name}: {rule['id']}: {node['html'][:120]}" for node in rule["nodes"]]
    tab.context.close()
    assert not found


# -- tables on a phone ------------------------------------------------------------------------------------------------
def test_a_wide_table_scrolls_in_its_own_box_says_so_and_never_breaks_a_number(phone: Tab) -> None:
    page = phone.open("d1")
    page.wait_for_selector(".scrolls")
    boxes = page.locator(".scrolls")
    assert boxes.count() > 2
    assert all(boxes.nth(n).evaluate("box => box.scrollWidth > box.clientWidth + 1") for n in range(boxes.count()))
    assert "→" in boxes.first.evaluate("box => getComputedStyle(box, '::before').content")
    broken = page.evaluate("""() => [...document.querySelectorAll("table span.whole")]
        .filter((each) => each.getClientRects().length > 1).map((each) => each.textContent)""")
    assert not broken
    assert page.locator("table span.whole", has_text="[").count() > 10


# -- search -----------------------------------------------------------------------------------------------------------
def test_search_finds_shows_excerpts_and_puts_pages_of_runs_last(tab: Tab) -> None:
    page = tab.open("search", "?q=LayerNorm")
    page.wait_for_selector("#search-results li p.context")
    page.wait_for_function("document.querySelector('#search-results .search-summary').textContent.includes('found')")
    rows = page.evaluate("""() => [...document.querySelectorAll("#search-results ul.search > li")]
        .map((row) => [row.querySelector("a").getAttribute("href"), row.querySelector(".context")?.textContent])""")
    runs = [("runs/" in link) for link, _ in rows]
    assert True in runs
    assert runs == sorted(runs)
    told = [text for link, text in rows if "runs/" not in link]
    assert all(told)
    assert sum("layernorm" in text.lower() for text in told) > len(told) / 2


def test_one_switch_shows_all_code(tab: Tab) -> None:
    page = tab.open("d1")
    code = page.locator(".cell details.hide pre").first
    assert not code.is_visible()
    page.get_by_role("button", name="Code").click()
    assert code.is_visible()


# -- figures ----------------------------------------------------------------------------------------------------------
def test_a_figure_is_offered_as_svg_png_and_csv(tab: Tab) -> None:
    page = tab.open("d1")
    caption = page.locator("figure:has(img[src$='.svg']) figcaption").first
    for name, begins in {"SVG": "<svg", "CSV": "outcome,"}.items():
        link = caption.locator("a", has_text=name)
        assert (tab.html / link.get_attribute("href")).read_text(encoding="utf-8").startswith(begins)
    with page.expect_download() as waiting:
        caption.get_by_role("link", name="PNG", exact=True).click()
    assert waiting.value.suggested_filename.endswith(".png")
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")


# -- what readers can move --------------------------------------------------------------------------------------------
def shown(page: "sync.Page") -> dict[str, tuple[str, str]]:
    """Run → mean and difference, as the explorer's table prints them."""
    rows = page.locator(".explorer tbody tr").evaluate_all("""(rows) => rows.map((row) =>
        [row.dataset.run, row.cells[4].textContent.trim(), row.cells[6].textContent.trim()])""")
    return {run: (mean, difference) for run, mean, difference in rows}


def test_the_explorer_shows_python_s_numbers_and_keeps_its_state_in_the_address(tab: Tab) -> None:
    from lnlab.book import Data, contrasts, estimates, minus, values, words

    page = tab.open("explore")
    page.wait_for_selector(".chart .mark-symbol path")
    assert len(shown(page)) == 8  # the main study
    for name, value in {
        "metric": "test return, greedy, cloud never refilled",
        "scenario": "Extra",
        "study": "rates",
    }.items():
        page.locator(f".explorer select[name={name}]").select_option(value)
    page.locator(".explorer select[name=agent]").select_option("A3C GRU")
    found = shown(page)
    names = [f"rates/a3c-gru-{norm}-lr{rate}" for norm in ("ln", "none") for rate in ("1e-3", "3e-3", "3e-4")]
    assert sorted(found) == sorted(names)
    scores = values(Data.at(), ["test.greedy.extra"], names)
    for row in estimates(scores).itertuples():
        assert found[row.run][0] == words.estimate(row)
    differences = contrasts(scores, {name: minus(name, name.replace("-ln-", "-none-")) for name in names[:3]})
    for row in differences.itertuples():
        assert found[row.effect][1] == words.estimate(row)
    assert [found[name][1] for name in names[3:]] == [""] * 3
    page.wait_for_function(
        f"document.querySelectorAll('.chart .mark-symbol path').length >= {scores.scores.map(len).sum()}"
    )
    with page.expect_download() as waiting:
        page.get_by_role("button", name="CSV").click()
    assert len(Path(waiting.value.path()).read_text(encoding="utf-8").splitlines()) == 1 + len(names) + 3
    state = page.url.partition("#")[2]
    tab.open("methods")
    again = tab.open("explore", f"#{state}")
    again.wait_for_selector(".chart .mark-symbol path")
    assert shown(again) == found
    again.locator(".explorer tbody a").first.click()
    assert "/runs/rates-a3c-gru" in again.url


def test_an_episode_plays_steps_and_is_scrubbed_by_keyboard_and_ends_with_its_return(tab: Tab) -> None:
    recorded = json.loads((BOOK / "replay.json").read_text(encoding="utf-8"))
    page = tab.open("watch")
    box = page.locator(".replay[data-kind=offloading]")
    slider, output = box.locator("input"), box.locator("output")
    slider.focus()
    page.keyboard.press("Home")
    box.get_by_role("button", name="One step on").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    assert output.text_content() == "2 of 100"
    for place in range(4):
        box.locator("select").select_option(str(place))
        slider.focus()
        page.keyboard.press("End")
        told = [float(text) for text in box.locator(".earned").all_text_contents()]
        assert told == pytest.approx([run["episodes"][place]["return"] for run in recorded["runs"].values()], abs=0.051)
    box.get_by_role("button", name="Play").click()  # from the beginning again
    page.wait_for_function("document.querySelector('.replay output').textContent.startsWith('2 of')")
    box.get_by_role("button", name="Pause").click()
    drive = page.locator(".replay[data-kind=driving]")
    drive.locator("input").focus()
    page.keyboard.press("End")
    assert "the end" in drive.locator("section p").last.text_content()


def test_without_scripts_a_figure_stands_for_what_moves(chromium: "sync.Browser", html: Path) -> None:
    tab = Tab(chromium, html, java_script_enabled=False)
    for name in ("watch", "explore"):
        page = tab.open(name)
        assert page.locator("figure img[alt]").first.is_visible()
        assert not page.locator(".replay, .explorer").first.is_visible()
    tab.context.close()
