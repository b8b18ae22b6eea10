"""From a profile's runs to a book: its own folder for a report, the committed pages for a publication. One code makes
both.

A report lies in _build/report-<profile>/: a copy of the book's prose with the pages, figures and data of that profile.
The committed pages and data are never touched by it.
"""

import multiprocessing
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from html import unescape
from pathlib import Path
from urllib.parse import unquote

from tqdm.auto import tqdm

from lnlab.paths import BOOK, BUILD, NOTEBOOKS, PUBLISHED, RESULTS, ROOT
from lnlab.provenance import usable_cores
from lnlab.report import d1, generated, pages
from lnlab.report.evidence import DRIVING
from lnlab.runs import Run, Study, load, publish

ANALYSES = (
    "d1",
    "d2",
    "d3",
    "d4",
    "d5",
    "mechanism",
    "checks",
    "sensitivity",
    "claims",
    "speed",
)  # notebooks that read results, each the page of its name
MADE = ("runs", "figures", "data", generated.FOLDER)  # folders of the book that are made, not written
CONFIG = "_config.yml"
SPHINX_OPTIONS = ("-n", "-W", "--keep-going", "-q")  # missing references and warnings are errors


class BuildError(RuntimeError):
    """The book could not be built; the message holds Sphinx's own words or what is missing."""


def build(profile: str) -> Path:
    """Make the report of a profile from results/<profile>; returns its index.html.

    Raises:
        FileNotFoundError: the profile has no runs.
        PageError: a run is not complete, or a notebook failed.
        BuildError: Sphinx warned, or a page or picture is missing.
    """
    folder = BUILD / f"report-{profile}"
    runs = load(RESULTS / profile)
    shutil.rmtree(folder, ignore_errors=True)
    book = _copy_prose(folder)
    shutil.copy(ROOT / CONFIG, folder / CONFIG)
    publish(RESULTS / profile, book / "data" / profile, allow_dirty=True)
    make_pages(runs, book, str(RESULTS / profile), paged=runs.runs)
    index = render(folder)
    print(f"The report is at {index.as_uri()}")
    return index


def publish_pages(profile: str) -> None:
    """Refresh the committed pages, figures and findings: run pages from results/<profile>, the rest from book/data.

    Raises:
        FileNotFoundError: the profile has no runs, or its data were not published.
        PageError: a run is not complete, or a notebook failed.
    """
    paged, published = load(RESULTS / profile).runs, load(PUBLISHED / profile)
    if (RESULTS / DRIVING).exists() and (PUBLISHED / DRIVING).exists():
        paged += load(RESULTS / DRIVING).runs
    for folder in ("runs", "figures", generated.FOLDER):
        _empty(BOOK / folder)
    data = "" if profile == d1.PROFILE else (PUBLISHED / profile).relative_to(ROOT).as_posix()
    make_pages(published, BOOK, data, paged)
    readme = ROOT / "README.md"
    pages.write(readme, generated.readme_with(readme.read_text(encoding="utf-8"), generated.findings(published)))


def make_pages(study: Study, book: Path, data: str, paged: Sequence[Run]) -> None:
    """Write the run pages, the analysis pages and the generated parts of `book`.

    Args:
        study: what the generated parts are made from.
        data: the same, as the parameter `data` of the analysis notebooks.
        paged: the runs that get a page.
    """
    profile = study.dir.name
    for run in tqdm(paged, desc="run pages", unit="page"):
        pages.gather_run(run, book, f"data/{run.dir.parent.name}/{run.id}")
    executed = {name: BUILD / "executed" / profile / f"{name}.ipynb" for name in analyses()}
    parameters = {"data": data} if data else {}
    with ProcessPoolExecutor(usable_cores(), multiprocessing.get_context("spawn")) as pool:
        jobs = {
            n: pool.submit(pages.execute, NOTEBOOKS / f"{n}.ipynb", path, parameters) for n, path in executed.items()
        }
        for name, job in tqdm(jobs.items(), desc="analysis", unit="notebook"):
            job.result()
            pages.gather(executed[name], book, name)
    generated.write_all(study, book, paged)


def analyses() -> list[str]:
    """The analysis notebooks that are there, in the book's order."""
    return [name for name in ANALYSES if (NOTEBOOKS / f"{name}.ipynb").exists()]


def render(folder: Path) -> Path:
    """Build the book in `folder` (its _config.yml, its book/) to HTML; returns its index.html.

    Raises:
        BuildError: Sphinx warned or failed, or a page shows a picture that is not there.
    """
    main = "import sys; from jupyter_book.cli.main import main; sys.exit(main())"  # it has no __main__
    line = [sys.executable, "-c", main, "build", "book", *SPHINX_OPTIONS]
    print("Building the book …", flush=True)
    done = subprocess.run(line, cwd=folder, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        raise BuildError(f"jupyter-book ended with {done.returncode}:\n{_complaints(done.stdout + done.stderr)}")
    index = folder / "_build" / "html" / "index.html"
    if not index.exists():
        raise BuildError(f"jupyter-book wrote no {index}")
    if missing := [
        f"{page.name}: {source}" for page, source in images(index.parent) if not (page.parent / source).exists()
    ]:
        raise BuildError(f"pictures that pages show and that are not there: {'; '.join(missing)}")
    return index


def images(html: Path) -> Iterator[tuple[Path, str]]:
    """Every page below `html` with the source of each <img> on it."""
    for page in sorted(html.rglob("*.html")):
        for tag in re.findall(r"<img\b[^>]*>", page.read_text(encoding="utf-8")):
            if source := re.search(r'\bsrc="([^"]*)"', tag):
                yield page, unquote(unescape(source[1]))


def _copy_prose(folder: Path) -> Path:
    """A copy of the book's written files in `folder`/book, with empty places for those that are made."""
    book = folder / "book"
    made = {*MADE, *(f"{name}.ipynb" for name in analyses())}
    shutil.copytree(BOOK, book, ignore=lambda where, names: made & set(names) if Path(where) == BOOK else set())
    for extra in ("CHANGELOG.md",):
        shutil.copy(ROOT / extra, folder / extra)
    return book


def _empty(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.iterdir():
        if path.name != ".gitkeep":
            path.unlink()


def _complaints(text: str) -> str:
    """The warnings and errors in Sphinx's output, else its last lines."""
    every = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()  # without colours
    lines = [line for line in every if re.search(r"WARNING|ERROR|Error", line)]
    return "\n".join(lines or every[-20:])
