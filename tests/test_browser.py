"""The published book in a browser, opened from files as a reader opens it: Debian's Chromium, driven by playwright."""

import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

sync = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install -e '.[test]'")
CHROMIUM = shutil.which("chromium")
MAIN = ("intro", "d1", "d5", "claims", "sensitivity", "methods", "related", "runs/a3c-gru-ln")
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
    """All pages; the theme's templates among the static files are none."""
    return sorted(path for path in html.rglob("*.html") if "_static" not in path.parts)


# -- every page -------------------------------------------------------------------------------------------------------
def test_no_page_scrolls_sideways_on_a_phone_complains_or_asks_another_machine(phone: Tab) -> None:
    wide = []
    for name in names(phone.html):
        page = phone.open(name)
        # A page that is wider than its screen: by its own scroll bar, whoever clips it.
        if (over := page.evaluate("document.documentElement.scrollWidth - innerWidth")) > 0:
            wide.append(f"{name}: {over} px")
    assert not wide
    assert not phone.errors
    assert not phone.outside


class Links(HTMLParser):
    """What a page links to, and the places on it to which a link may lead."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links, self.ids = set[str](), set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.ids |= {name for name in (found.get("id"), found.get("name")) if name}
        self.links |= {found[each] or "" for each in ("href", "src") if each in found and tag != "use"}


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
    assert len(pages) > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_and_contrast(chromium: "sync.Browser", html: Path, scheme: str) -> None:
    from axe_playwright_python.sync_playwright import Axe

    tab, found = Tab(chromium, html, viewport={"width": 1280, "height": 800}, color_scheme=scheme), []
    for name in MAIN:
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
    for name, begins in {"SVG": "<?xml", "CSV": "outcome,"}.items():
        link = caption.locator("a", has_text=name)
        assert (tab.html / link.get_attribute("href")).read_text(encoding="utf-8").startswith(begins)
    with page.expect_download() as waiting:
        caption.get_by_role("link", name="PNG", exact=True).click()
    assert waiting.value.suggested_filename.endswith(".png")
    assert Path(waiting.value.path()).read_bytes().startswith(b"\x89PNG")
