"""The book is built for real: without a warning, a request to another host, or a picture that is not there."""

import hashlib
import re
import shutil
from pathlib import Path

import nbformat
import pytest

from lnlab.book import build, generated, pages
from lnlab.claims.documents import documents
from lnlab.claims.studies import DRIVING, PROFILE
from lnlab.config import parse
from lnlab.paths import BOOK, PUBLISHED, ROOT
from lnlab.runs import load


def digest(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def shown_run(tiny_study):
    """The executed notebook of one run; the others take it as theirs, since only the assembly is tested with them."""
    first, *others = tiny_study.runs
    pages.show(first)
    for run in others:
        shutil.copy(first.dir / pages.PAGE, run.dir / pages.PAGE)
    return first


@pytest.fixture(scope="module")
def report(tiny_study, shown_run, tmp_path_factory):
    """A report of the tiny study, built in a temporary folder; with the committed book's digest from before."""
    before = digest(BOOK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "BUILD", tmp_path_factory.mktemp("build"))
        index = build.build("tiny")
    assert digest(BOOK) == before, "a report must leave the published pages and data alone"
    return index


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """The published book, built from a copy as `make book` builds it."""
    folder = tmp_path_factory.mktemp("committed")
    shutil.copytree(BOOK, folder / "book")
    for name in (build.CONFIG, "CHANGELOG.md"):
        shutil.copy(ROOT / name, folder / name)
    return build.render(folder)


@pytest.fixture(params=["report", "committed"])
def html(request):
    """Folder of the built pages, of a fresh report and of the published book."""
    return request.getfixturevalue(request.param).parent


def test_every_page_is_there(html):
    for name in (
        "intro",
        "d1",
        "d4",
        "claims",
        "methods",
        "reproduce",
        "data-dictionary",
        "limits",
        "related",
        "glossary",
        "references",
        "changelog",
    ):
        assert (html / f"{name}.html").exists(), name


def test_report_has_a_page_for_each_run(report, tiny_study):
    assert {page.stem for page in (report.parent / "runs").glob("*.html")} == {run.id for run in tiny_study.runs}


def test_the_ledger_leads_to_every_claims_place_and_runs(report):
    folder = report.parent
    ledger = (folder / "claims.html").read_text(encoding="utf-8")
    claims = re.findall(r'href="(d\d)\.html#(claim-[^"]*)"', ledger)
    there = [name for name in documents() if (folder / f"{name.lower()}.html").exists()]
    assert there == ["D1", "D2", "D3", "D4"]  # without a run of TD3 there is no page for D5, and no link to it
    assert len(claims) == sum(len(documents()[name]["claims"]) for name in there)
    for page, anchor in claims:
        assert f'id="{anchor}"' in (folder / f"{page}.html").read_text(encoding="utf-8"), anchor
    runs = set(re.findall(r'href="(runs/[^"]*)"', ledger))
    assert runs
    assert all((folder / run).exists() for run in runs)


def test_the_ledgers_verdicts_can_be_downloaded(report):
    page = (report.parent / "claims.html").read_text(encoding="utf-8")
    for name in ("claims-verdicts.csv", "claims-verdicts.json"):
        (link,) = re.findall(rf'href="([^"]*{name})"', page)
        assert (report.parent / link).read_text(encoding="utf-8").count("D1.25") == 1


FETCHED = re.compile(
    r'<(?:script|img|iframe|source)\b[^>]*\bsrc="([^"]*)"|<link\b[^>]*\bhref="([^"]*)"|url\(["\']?([^)"\']+)'
)


def test_no_page_fetches_anything_from_another_host(html):
    found = []
    for path in [*html.rglob("*.html"), *(html / "_static").glob("*.css"), *(html / "_images").glob("*.svg")]:
        for match in FETCHED.finditer(path.read_text(encoding="utf-8")):
            source = next(group for group in match.groups() if group)
            if re.match(r"(https?:)?//", source):
                found.append((path.name, source))
    assert not found


def test_no_page_declares_a_script_constant_twice(html):
    """A second `const` of one name is an error in the reader's console and stops the script that holds it."""
    for path in html.rglob("*.html"):
        names = re.findall(r"<script>\s*const (\w+)", path.read_text(encoding="utf-8"))
        assert len(names) == len(set(names)), (path.name, names)


def test_math_is_drawn_by_the_files_of_the_site(html):
    page = (html / "methods.html").read_text(encoding="utf-8")
    (script,) = re.findall(r'src="(_static/mathjax/[^"?]*)', page)
    assert (html / script).exists()


def test_every_picture_is_there_and_has_alt_text(html):
    sources = list(build.images(html))
    assert sources
    for page, source in sources:
        assert (page.parent / source).exists(), (page, source)
    for page in html.rglob("*.html"):
        for tag in re.findall(r"<img\b[^>]*>", page.read_text(encoding="utf-8")):
            assert re.search(r'\balt="[^"]+"', tag), (page.name, tag)


def test_every_figure_and_table_links_to_its_data(html):
    page = (html / "d1.html").read_text(encoding="utf-8")
    figures = re.findall(r"<figure\b.*?</figure>", page, re.S)
    assert figures
    for figure in figures:
        assert re.search(r'href="_downloads/[^"]*\.csv"', figure)


def test_run_page_tells_its_arm_its_parameters_and_its_origin(report, shown_run):
    page = (report.parent / "runs" / f"{shown_run.id}.html").read_text(encoding="utf-8")
    text = re.sub(r"<[^>]+>", "", page)
    assert f"<h1>{pages.run_title(shown_run.config)}" in page
    assert shown_run.provenance["commit"][:10] in text
    assert "papermill notebooks/train.ipynb" in text
    assert all(f"{name}.parquet" in text for name in ("curves", "metrics", "evaluation"))


def test_run_page_can_be_run_as_it_ran(report, shown_run):
    nb = nbformat.read(report.parents[2] / "book" / "runs" / f"{shown_run.id}.ipynb", as_version=4)
    (cell,) = [c for c in nb.cells if "parameters" in c.metadata.get("tags", [])]
    assert "hide-input" in cell.metadata.tags
    assert not [c for c in nb.cells if "injected-parameters" in c.metadata.get("tags", [])]
    values: dict = {}
    exec(cell.source, values)
    given = shown_run.config.model_dump()
    told = {name: values[name] for name in given if values[name] is not None}  # the algorithm decides what is None
    assert parse(told) == shown_run.config


def test_gathered_page_holds_nothing_of_the_machine(report, shown_run):
    text = (report.parents[2] / "book" / "runs" / f"{shown_run.id}.ipynb").read_text(encoding="utf-8")
    assert str(shown_run.dir) not in text
    assert str(ROOT) not in text


def test_gathering_twice_gives_the_same_bytes(shown_run, tmp_path):
    for folder in ("one", "two"):
        pages.gather_run(shown_run, tmp_path / folder, "data/tiny")
    assert digest(tmp_path / "one") == digest(tmp_path / "two")


def executed(*outputs, status="completed", exception=None):
    """A notebook as papermill leaves it, with one code cell."""
    cell = nbformat.v4.new_code_cell("1", outputs=list(outputs), metadata={"papermill": {"status": status}})
    cells = [nbformat.v4.new_markdown_cell("# Title"), cell]
    return nbformat.v4.new_notebook(cells=cells, metadata={"papermill": {"exception": exception}})


def test_a_whole_notebook_passes():
    pages.check(executed(), Path("x.ipynb"))


def test_progress_bars_and_warnings_do_not_reach_a_page(tmp_path):
    bars = [
        nbformat.v4.new_output("stream", name="stderr", text="12%|#  | 3/25 a warning"),
        nbformat.v4.new_output("display_data", {pages.WIDGET: {"model_id": "1"}, "text/plain": "12%"}),
        nbformat.v4.new_output("display_data", {"text/html": "", "text/plain": "<HTML>"}),
    ]
    kept = nbformat.v4.new_output("stream", name="stdout", text="kept")
    nbformat.write(executed(*bars, kept), tmp_path / "in.ipynb")
    page = nbformat.read(pages.gather(tmp_path / "in.ipynb", tmp_path, "out"), as_version=4)
    assert page.cells[1].outputs == [kept]


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
def test_what_is_not_a_result_does_not_become_a_page(nb, complaint):
    with pytest.raises(pages.PageError, match=complaint):
        pages.check(nb, Path("x.ipynb"))


@pytest.fixture
def two_runs(tmp_path):
    """Published runs with the page of one that is fine, and of one whose notebook failed after training."""
    shutil.copytree(PUBLISHED / "placement", tmp_path / "placement")
    study = load(tmp_path / "placement")
    for run, outputs in zip(study.runs, ([], [ERROR]), strict=True):
        nbformat.write(executed(*outputs), run.dir / pages.PAGE)
    return study


def test_a_page_that_failed_after_training_is_executed_again(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "show", lambda run: nbformat.write(executed(), run.dir / pages.PAGE))
    assert build.make_pages(two_runs, tmp_path / "book", "", two_runs.runs, []) == {}
    assert len(list((tmp_path / "book" / "runs").iterdir())) == 2


def test_a_page_that_fails_again_stops_a_publication_and_is_left_out_of_a_report(two_runs, tmp_path, monkeypatch):
    monkeypatch.setattr(pages, "show", lambda run: None)
    failed = build.make_pages(two_runs, tmp_path / "book", "", two_runs.runs, [])
    assert list(failed) == [f"runs/{two_runs.runs[1].id}"]
    assert "ValueError: boom" in str(*failed.values())
    monkeypatch.setattr(build, "RESULTS", tmp_path)
    monkeypatch.setattr(build, "BOOK", tmp_path / "book")
    monkeypatch.setattr(build, "analyses", list)
    with pytest.raises(pages.PageError, match="ValueError: boom"):
        build.publish_pages("placement")


def test_an_unfinished_run_stops_the_build(shown_run, tmp_path):
    copy = tmp_path / shown_run.id
    shutil.copytree(shown_run.dir, copy)
    run = type(shown_run)(copy)
    run.record(status="failed", error="ValueError: boom")
    with pytest.raises(pages.PageError, match="is failed, not complete: ValueError: boom"):
        pages.gather_run(run, tmp_path / "book", "data/tiny")


def small_book(folder: Path, text: str) -> Path:
    pages.write(folder / "_config.yml", "title: t\nonly_build_toc_files: true\n")
    pages.write(folder / "book" / "_toc.yml", "format: jb-book\nroot: intro\n")
    pages.write(folder / "book" / "intro.md", text)
    return folder


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("# Title\n\n<img src='no.svg' alt='a'>\n".replace("'", '"'), "intro.html: no.svg"),
        ("# Title\n\nSee {doc}`nowhere`.\n", "WARNING.*nowhere"),
    ],
)
def test_a_missing_picture_or_reference_stops_the_build(tmp_path, text, complaint):
    with pytest.raises(build.BuildError, match=complaint):
        build.render(small_book(tmp_path, text))


def test_published_pages_are_those_of_the_published_data():
    runs = load(PUBLISHED / PROFILE)
    paged = [*runs.runs, *load(PUBLISHED / DRIVING).runs]
    assert {page.stem for page in (BOOK / "runs").glob("*.ipynb")} == {run.id for run in paged}
    assert (
        (BOOK / generated.FOLDER / "findings.md").read_text(encoding="utf-8").endswith(generated.findings(runs) + "\n")
    )
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generated.readme_with(readme, generated.findings(runs)) == readme


def test_a_publication_speaks_of_the_published_data_whatever_lies_in_results(monkeypatch, tmp_path):
    """A maintainer's results may lack a profile that was published from elsewhere."""
    shutil.copytree(PUBLISHED / "paper" / "a3c-ff-ln", tmp_path / "results" / "paper" / "a3c-ff-ln")
    shutil.copy(ROOT / "README.md", tmp_path)
    seen: list[Path] = []
    monkeypatch.setattr(build, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(build, "BOOK", tmp_path / "book")
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "analyses", list)
    monkeypatch.setattr(pages, "gather_run", lambda run, *_: seen.append(run.dir))
    monkeypatch.setattr(generated, "write_all", lambda study, *_: seen.append(study.dir))
    build.publish_pages("paper")
    assert seen == [tmp_path / "results" / "paper" / "a3c-ff-ln", PUBLISHED / "paper"]
    assert (tmp_path / "README.md").read_text() == (ROOT / "README.md").read_text()
