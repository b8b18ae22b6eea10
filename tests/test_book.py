"""The book: a report and the published one built for real, parts and contents, and what does not become a page."""

import re
import shutil
from pathlib import Path

import nbformat
import pytest

from lnlab.book import build, generated, needs, pages, runs
from lnlab.claims.documents import documents
from lnlab.claims.studies import Data
from lnlab.config import parse
from lnlab.files import sha256
from lnlab.paths import BOOK, NOTEBOOKS, PUBLISHED, ROOT
from lnlab.runs import Study, load
from tests.by_hand import made

# -- built for real ---------------------------------------------------------------------------------------------------
FETCHED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]*)"|<link\b[^>]*\bhref="([^"]*)"|url\(["\']?([^)"\']+)'
)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["report", "published"])
def test_a_book_is_whole_fetches_nothing_and_describes_its_pictures(which, request) -> None:
    html = request.getfixturevalue(which) / "_build" / "html"
    for name in ("intro", "d1", "claims", "methods", "reproduce", "data-dictionary", "glossary", "changelog"):
        assert (html / f"{name}.html").exists(), name
    texts = {path: path.read_text(encoding="utf-8") for path in html.rglob("*.html")}
    for path, text in texts.items():
        assert all(re.search(r'\balt="[^"]+"', tag) for tag in re.findall(r"<img\b[^>]*>", text)), path
        constants = re.findall(r"<script>\s*const (\w+)", text)  # a second of one name stops the script that holds it
        assert len(constants) == len(set(constants)), path
    texts |= {
        path: path.read_text(encoding="utf-8") for path in [*html.glob("_static/*.css"), *html.glob("_images/*.svg")]
    }
    fetched = {next(filter(None, match.groups())) for text in texts.values() for match in FETCHED.finditer(text)}
    assert not [source for source in fetched if re.match(r"(https?:)?//", source)]
    (script,) = re.findall(r'src="(_static/mathjax/[^"?]*)', texts[html / "methods.html"])
    assert (html / script).exists()
    figures = re.findall(r"<figure\b.*?</figure>", texts[html / "d1.html"], re.S)
    assert figures
    assert all(re.search(r'href="_downloads/[^"]*\.csv"', figure) for figure in figures)


@pytest.mark.slow
def test_the_ledger_of_a_report_leads_to_every_claims_place_and_runs(report: Path) -> None:
    html = report / "_build" / "html"
    ledger, d1 = ((html / f"{name}.html").read_text(encoding="utf-8") for name in ("claims", "d1"))
    anchors = re.findall(r'href="d1\.html#(claim-[^"]*)"', ledger)
    assert len(anchors) == len(documents()["D1"].claims)
    assert all(f'id="{anchor}"' in d1 for anchor in anchors)
    assert "d5.html" not in ledger  # without a run of TD3 there is no page for D5, and no link to it
    runs = set(re.findall(r'href="(runs/[^"]*)"', ledger))
    assert runs
    assert all((html / run).exists() for run in runs)
    for name in ("claims-verdicts.csv", "claims-verdicts.json"):
        (link,) = re.findall(rf'href="([^"]*{name})"', ledger)
        assert "D1.25" in (html / link).read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_report_names_what_it_leaves_out_and_leaves_the_published_book_alone(report: Path) -> None:
    landing = (report / "book" / "intro.md").read_text(encoding="utf-8")
    assert "d2, d4 (the run a3c-ff-ln)" in landing
    assert "profile &#x27;driving&#x27;" in landing
    toc = (report / "book" / "_toc.yml").read_text(encoding="utf-8")
    assert "file: d1\n" in toc
    assert "file: d2\n" not in toc
    assert not list(BOOK.rglob("*tiny*"))


@pytest.mark.slow
def test_a_run_page_tells_arm_commit_packages_digests_and_offers_its_tables(report: Path, tiny_study: Study) -> None:
    folder = report / "_build" / "html" / "runs"
    assert {page.stem for page in folder.glob("*.html")} == {each.id for each in tiny_study.runs}
    for run in load(report / "book" / "data" / "tiny").runs:
        page, facts = (folder / f"{run.id}.html").read_text(encoding="utf-8"), run.provenance
        assert f"<h1>{runs.title(run.config)}" in page
        assert str(ROOT) not in page
        assert all(each in page for each in (facts["commit"][:10], *facts["versions"].values()))
        for name, digest in facts["files"].items():
            (link,) = re.findall(rf'href="\.\./(_downloads/[^"]*/{name})"', page)
            assert sha256(folder.parent / link) == digest
            assert digest in page
        given = dict(each.split() for each in runs.command(run.config).split(" -p ")[1:])
        assert parse(given).science == run.config.science


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('# Title\n\n<img src="no.svg" alt="a">\n', "intro.html: no.svg"),
        ("# Title\n\n{doc}`nowhere`.\n", "WARNING.*nowhere"),
    ],
)
def test_a_missing_picture_or_reference_stops_the_build(tmp_path: Path, text: str, complaint: str) -> None:
    pages.write(tmp_path / "_config.yml", "title: t\nonly_build_toc_files: true\n")
    pages.write(tmp_path / "book" / "_toc.yml", "format: jb-book\nroot: intro\n")
    pages.write(tmp_path / "book" / "intro.md", text)
    with pytest.raises(build.BuildError, match=complaint):
        build.render(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("url", ["", "https://github.com/example/lnlab"])
def test_a_commit_leads_to_the_repository_if_its_address_is_known(tmp_path: Path, url: str) -> None:
    shutil.copytree(BOOK / "_ext", tmp_path / "book" / "_ext")
    config = "title: t\nonly_build_toc_files: true\nsphinx:\n  local_extensions: {offline: book/_ext}\n"
    pages.write(tmp_path / "_config.yml", config + f"repository: {{url: {url}}}\n" * bool(url))
    pages.write(tmp_path / "book" / "_toc.yml", "format: jb-book\nroot: intro\n")
    pages.write(tmp_path / "book" / "intro.md", "# Title\n\n{commit}`0123456789abcdef`\n")
    html = (build.render(tmp_path).parent / "intro.html").read_text(encoding="utf-8")
    assert re.findall(r'href="([^"]*/commit/[^"]*)"', html) == [f"{url}/commit/0123456789abcdef"] * bool(url)
    assert ">0123456789<" in html


# -- parts, contents, needs -------------------------------------------------------------------------------------------
@pytest.fixture
def notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of notebooks in place of the project's; `part` and `needs` as given."""
    for module in (build, needs):
        monkeypatch.setattr(module, "NOTEBOOKS", tmp_path)
    return tmp_path


def notebook(folder: Path, name: str, **said: object) -> None:
    nbformat.write(nbformat.v4.new_notebook(metadata={"lnlab": said} if said else {}), folder / f"{name}.ipynb")


def test_pages_are_the_notebooks_that_name_a_part_in_the_books_order(notebooks: Path) -> None:
    for name, part in {"b": "checks", "a": "checks", "z": "answer", "intro": "root"}.items():
        notebook(notebooks, name, part=part)
    notebook(notebooks, "train")
    assert build.analyses() == ["intro", "z", "a", "b"]
    toc = build.contents(["intro", "b", "a"])
    assert "The answer" not in toc
    assert toc.index("file: b\n") < toc.index("file: a\n") < toc.index("file: methods\n")
    notebook(notebooks, "c", part="chekcs")
    with pytest.raises(ValueError, match=r"c\.ipynb: unknown part of the book 'chekcs'; allowed: root, answer"):
        build.analyses()


def test_a_page_whose_needs_are_not_met_says_what_it_lacks(notebooks: Path, tmp_path: Path) -> None:
    made(tmp_path / "runs" / "paper", range(2), norm="ln")
    asked = {
        "fine": {"runs": ["a3c-gru-ln"], "seeds": 2, "tables": ["curves"]},
        "run": {"runs": ["a3c-gru-none"]},
        "seeds": {"runs": ["a3c-gru-ln"], "seeds": 3},
        "table": {"runs": ["a3c-gru-ln"], "tables": ["diagnostics"]},
        "arm": {"arms": ["rates/a3c-gru-ln-lr3e-4"]},
        "beside": {"beside": ["again-1"]},
        "pages": {"pages": ["run", "seeds"]},
    }
    for name, each in asked.items():
        notebook(notebooks, name, part="checks", needs=each)
    assert needs.lacking(asked, tmp_path / "runs" / "paper") == {
        "fine": "",
        "run": "the run a3c-gru-none",
        "seeds": "3 seeds of a3c-gru-ln",
        "table": "the table diagnostics of a3c-gru-ln",
        "arm": "the profile 'rates', which was not run",
        "beside": "one of the profiles again-1",
        "pages": "one of the pages run, seeds",
    }
    notebook(notebooks, "typo", needs={"rnus": []})
    with pytest.raises(ValueError, match="unknown need 'rnus'"):
        needs.stated(notebooks / "typo.ipynb")


def test_links_to_absent_pages_become_plain_text() -> None:
    text = '{doc}`/d2` and {doc}`/speed`, {doc}`it </runs/x>`; <a href="runs/x.html#y">x</a>'
    heading = nbformat.read(NOTEBOOKS / "d2.ipynb", as_version=4).cells[0].source.splitlines()[0].removeprefix("# ")
    assert build._unlinked(text, ["d2", "runs/x"]) == f"*{heading}* and {{doc}}`/speed`, *it*; x"


# -- what is published ------------------------------------------------------------------------------------------------
def test_the_readmes_answer_is_that_of_the_landing_page(tmp_path: Path) -> None:
    guide = "::: {table}\n:name: tab-intro-guide\n\n| a | {doc}`/d1` |\n:::"
    cells = [
        nbformat.v4.new_markdown_cell(text) for text in ("# T", f"{generated.ANSWER}\nIt helps ({{doc}}`/d1`).", guide)
    ]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / "intro.ipynb")
    said = generated.answer(tmp_path / "intro.ipynb")
    assert said == "It helps ([d1](book/d1.ipynb)).\n\n| a | [d1](book/d1.ipynb) |"
    before = f"# Title\n{generated.BEGIN}\nold\n{generated.END}\nrest\n"
    assert generated.readme_with(before, said) == f"# Title\n{generated.BEGIN}\n{said}\n{generated.END}\nrest\n"
    with pytest.raises(ValueError, match="no place for the answer"):
        generated.readme_with("# Title\n", said)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generated.readme_with(readme, generated.answer(BOOK / "intro.ipynb")) == readme
    assert (BOOK / build.TOC).read_text(encoding="utf-8") == build.contents(build.analyses())
    assert set(build.READING) <= set(build.analyses())


@pytest.mark.slow
def test_every_published_run_has_a_page_that_says_what_its_data_say() -> None:
    made = runs.pages(BOOK, Data.at())
    assert len(made) == len(list(PUBLISHED.glob("*/*/config.json")))
    assert made == {page.stem: page.read_text(encoding="utf-8") for page in (BOOK / "runs").iterdir()}
    assert not [name for name, page in made.items() if re.search(r"\bnan\b", page)]  # of a curve that begins later
    assert not [name for name, page in made.items() if "No page rests on it" in page]


def test_no_table_names_an_object_of_the_process_that_wrote_it() -> None:
    tables = {path.name: path.read_text(encoding="utf-8") for path in (BOOK / "figures").glob("*.csv")}
    assert tables
    assert not [name for name, table in tables.items() if " at 0x" in table]


# -- what does not become a page --------------------------------------------------------------------------------------
def executed(*outputs: nbformat.NotebookNode, status: str = "completed", exception: bool | None = None):
    """A notebook as papermill leaves it, with one code cell."""
    cell = nbformat.v4.new_code_cell("1", outputs=list(outputs), metadata={"papermill": {"status": status}})
    cells = [nbformat.v4.new_markdown_cell("# Title"), cell]
    return nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"exception": exception}})


PICTURE = nbformat.v4.new_output("display_data", {"image/png": "aGk="})
ERROR = nbformat.v4.new_output("error", ename="ValueError", evalue="boom", traceback=[])


@pytest.mark.parametrize(
    ("nb", "complaint"),
    [
        (executed(ERROR), "cell 1 failed: ValueError: boom"),
        (executed(PICTURE), "picture without alt text"),
        (executed(status="running"), "is running, not completed"),
        (executed(exception=True), "ended with an exception"),
        (nbformat.v4.new_notebook(), "not executed by papermill"),
    ],
)
def test_what_is_not_a_result_does_not_become_a_page(nb, complaint: str) -> None:
    with pytest.raises(pages.PageError, match=complaint):
        pages.check(nb, Path("x.ipynb"))


def test_progress_bars_and_warnings_do_not_reach_a_page(tmp_path: Path) -> None:
    bars = [
        nbformat.v4.new_output("stream", name="stderr", text="12%|#  | 3/25 a warning"),
        nbformat.v4.new_output("display_data", {pages.WIDGET: {"model_id": "1"}, "text/plain": "12%"}),
    ]
    kept = nbformat.v4.new_output("stream", name="stdout", text="kept")
    nbformat.write(executed(*bars, kept), tmp_path / "in.ipynb")
    page = nbformat.read(pages.gather(tmp_path / "in.ipynb", tmp_path, "out"), as_version=4)
    assert page.cells[1].outputs == [kept]


def test_a_page_that_failed_stops_a_publication(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "BOOK", tmp_path / "book")
    monkeypatch.setattr(build, "make_pages", lambda *_: {"d1": pages.PageError("d1.ipynb failed: ValueError: boom")})
    with pytest.raises(pages.PageError, match="ValueError: boom"):
        build.publish_pages("placement")


def test_a_publication_speaks_of_the_published_data_whatever_lies_in_results(monkeypatch, tmp_path):
    """A maintainer's results may lack a profile that was published from elsewhere."""
    shutil.copy(ROOT / "README.md", tmp_path)
    (tmp_path / "book").mkdir()
    shown = []

    def make_pages(study, book, data, names):
        shown.append(study.dir)
        shutil.copy(BOOK / "intro.ipynb", book)
        return {}

    for name, place in {"RESULTS": tmp_path / "results", "BOOK": tmp_path / "book", "ROOT": tmp_path}.items():
        monkeypatch.setattr(build, name, place)
    monkeypatch.setattr(build, "make_pages", make_pages)
    monkeypatch.setattr(build.generated, "write_all", lambda book, data: shown.append(data.main.dir))
    build.publish_pages("paper")
    assert shown == [PUBLISHED / "paper"] * 2
    assert (tmp_path / "README.md").read_text() == (ROOT / "README.md").read_text()
