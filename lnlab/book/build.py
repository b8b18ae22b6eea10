"""From a profile's runs to a book: its own folder for a report, the committed pages for a publication. One code makes
both.

A report lies in _build/report-<profile>/: a copy of the book's prose with the pages, figures and data of that profile.
The committed pages and data are never touched by it.
"""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from html import escape, unescape
from pathlib import Path
from urllib.parse import unquote

import nbformat
import yaml
from tqdm.auto import tqdm

from lnlab import digests
from lnlab.book import generated, needs, pages
from lnlab.claims.studies import PROFILE, Data
from lnlab.diverged import note, scored
from lnlab.files import beside, remove_tree, replacing, swap
from lnlab.paths import BOOK, BUILD, NOTEBOOKS, PUBLISHED, RESULTS, ROOT
from lnlab.provenance import usable_cores
from lnlab.runs import Study, load, publish
from lnlab.signals import end_with

PARTS = {  # of the book: what a notebook's metadata calls it, and its heading
    "root": "",
    "answer": "The answer",
    "documents": "What five documents claim",
    "why": "Why it happens",
    "checks": "Can it be trusted?",
    "reference": "How it was done",
}
READING = (  # pages that build on one another; the others of a part follow by name
    "tuned", "sensitivity", "tasks", "elsewhere", "norms", "instead", "scaled", "driving", "driving_more", "off_policy",
    "claims", "mechanism", "steps", "interventions",
)  # fmt: skip
SUMMARY = "summary"  # the page of every report; the published book has more to say on the same runs
MADE = ("runs", "figures", "data", generated.FOLDER, digests.LIST)  # of the book, made rather than written
CONFIG, TOC = "_config.yml", "_toc.yml"
SPHINX_OPTIONS = ("-n", "-W", "--keep-going", "-q")  # missing references and warnings are errors


class BuildError(RuntimeError):
    """The book could not be built; the message holds Sphinx's own words or what is missing."""


def build(profile: str) -> Path:
    """Make the report of a profile from results/<profile>; returns its index.html.

    It holds what the profile can show: runs that are not complete are left out, and so are pages whose needs are not
    met (`lnlab.book.needs`). Both are named, on the terminal and on the first page.

    Raises:
        FileNotFoundError: the profile has no runs.
        RuntimeError: none of its runs is complete.
        PageError: a notebook failed; the report is there without its page.
        BuildError: Sphinx warned, or a page or picture is missing.
    """
    source, folder = RESULTS / profile, BUILD / f"report-{profile}"
    study = scored(Study(source, needs.complete(source)))
    there = {run.id for run in study.runs}
    ended = {run.id: needs.state(run) for run in load(source).runs if run.id not in there}
    lacks = needs.lacking(analyses(), source)
    print(_left_out(ended, lacks), end="", flush=True)
    remove_tree(folder, below=BUILD)
    book = _copy_prose(folder)
    shutil.copy(ROOT / CONFIG, folder / CONFIG)
    publish(source, book / "data" / profile, allow_dirty=True, only=[run.id for run in study.runs])
    names = [SUMMARY, *(name for name, lack in lacks.items() if not lack)]
    failed = make_pages(study, book, str(source), names)
    lacks |= {name: str(error) for name, error in failed.items()}
    shown = [name for name in names if name not in failed]
    generated.write_all(book, Data(scored(load(book / "data" / profile))))  # with the digests of what is downloaded
    _land(study, book, shown, _left_out(ended, lacks))
    pages.write(book / TOC, contents(shown))
    _unlink(book, [name for name, lack in lacks.items() if lack])
    index = render(folder)
    print(f"The report is at {index.as_uri()}")
    if broken := [str(error) for error in failed.values() if not isinstance(error, pages.LacksError)]:
        raise pages.PageError(f"left out of the report: {'; '.join(broken)}")
    return index


def _left_out(ended: Mapping[str, str], lacks: Mapping[str, str]) -> str:
    """A line on the runs that a report leaves out, and one on the pages, each with the reason; "" for nothing.

    Args:
        ended: run → why it is left out.
        lacks: page → what it lacks, "" for one that is shown.
    """
    by_reason: dict[str, list[str]] = {}
    for page, lack in lacks.items():
        by_reason.setdefault(lack, []).append(page)
    by_reason.pop("", None)
    runs = [f"{name} ({state})" for name, state in ended.items()]
    lacking = [f"{', '.join(names)} ({reason})" for reason, names in by_reason.items()]
    lines = {"Runs left out": runs, "Pages left out, and what they lack": lacking}
    return "".join(f"{title}: {'; '.join(each)}.\n" for title, each in lines.items() if each)


def _land(study: Study, book: Path, names: Sequence[str], left_out: str) -> None:
    """The landing page of a report, with what it leaves out."""
    said = "\n\n".join(f"*{escape(line)}*" for line in left_out.replace("*", "\\*").splitlines())
    if "intro" not in names:
        pages.write(book / "intro.md", f"{generated.short_landing(study)}\n{said}\n")
        return
    landing = nbformat.read(book / "intro.ipynb", as_version=4)
    landing.cells[0].source += f"\n\n{said}"
    pages.write(book / "intro.ipynb", nbformat.writes(landing) + "\n")


def contents(names: Sequence[str]) -> str:
    """The table of contents (_toc.yml) of a book with these analysis pages; each part in the order of the names."""
    listed = {part: [{"file": name} for name in names if part_of(name) == part] for part in PARTS}
    listed["answer"] = [{"file": name} for name in names if name == SUMMARY] + listed["answer"]
    written = {
        "checks": [*listed["checks"], {"file": "limits"}],
        "reference": [
            *({"file": name} for name in ("own-agent", "cluster", "other-worlds", "setup")),
            *({"file": name} for name in ("methods", "registered", "registered-tasks", "registered-td3", "reproduce")),
            *listed["reference"],
            {"file": "data-dictionary"},
        ],
    }
    parts = [{"caption": PARTS[part], "chapters": chapters} for part, chapters in (listed | written).items()
             if chapters and part != "root"]  # fmt: skip
    runs = {"caption": "Runs", "chapters": [{"file": "runs"}]}  # a menu of all their pages would be on every page
    words = {
        "caption": "Reference",
        "chapters": [{"file": name} for name in ("related", "glossary", "references", "changelog")],
    }
    whole = {"format": "jb-book", "root": "intro", "parts": [*parts, runs, words]}
    return yaml.safe_dump(whole, sort_keys=False)


def _unlink(book: Path, absent: Sequence[str]) -> None:
    """Turn references to pages that a report does not have into plain text, in its prose and on its pages."""
    for path in [*book.glob("*.md"), *book.glob("*.ipynb"), *book.glob("runs/*.md"), *book.glob("_generated/*.md")]:
        if path.suffix == ".md":
            pages.write(path, _unlinked(path.read_text(encoding="utf-8"), absent))
            continue
        notebook = nbformat.read(path, as_version=4)
        for cell in notebook.cells:
            cell.source = _unlinked(cell.source, absent)
        pages.write(path, nbformat.writes(notebook) + "\n")


def _unlinked(text: str, absent: Sequence[str]) -> str:
    """A text without links to the absent pages: references by {doc} or <a>, and cards.

    >>> _unlinked('{doc}`its page </runs/x>` and {doc}`speed`; <a href="runs/x.html">x</a>', ["runs/x"])
    '*its page* and {doc}`speed`; x'
    """
    for page in absent:
        name = re.escape(page)
        text = re.sub(rf"````{{grid-item-card}}[^`]*?\n:link: {name}\n[^`]*````\n\n?", "", text)
        text = re.sub(rf"{{doc}}`([^`<]+?) </?{name}>`", r"*\1*", text)
        text = re.sub(rf"{{doc}}`/?{name}`", f"*{_heading(page)}*", text)
        text = re.sub(rf'<a href="{name}\.html[^"]*">([^<]*)</a>', r"\1", text)
    return text


def _heading(page: str) -> str:
    """The heading of an analysis page; the id of a run."""
    notebook = NOTEBOOKS / f"{page}.ipynb"
    if not notebook.exists():
        return Path(page).name
    return str(nbformat.read(notebook, as_version=4).cells[0].source.splitlines()[0].removeprefix("# "))


def publish_pages(profile: str) -> None:
    """Refresh the committed pages, figures and findings from book/data.

    Raises:
        FileNotFoundError: the data of the profile were not published.
        PageError: a notebook failed.
    """
    published = scored(load(PUBLISHED / profile))
    fresh = beside(BOOK)  # the pages that are there stay until all new ones are made
    data = "" if profile == PROFILE else (PUBLISHED / profile).relative_to(ROOT).as_posix()
    for error in make_pages(published, fresh, data, analyses()).values():
        raise error
    generated.write_all(fresh, Data(published))
    readme = ROOT / "README.md"
    answer = generated.answer(fresh / "intro.ipynb")
    pages.write(fresh / readme.name, generated.readme_with(readme.read_text("utf-8"), answer))
    pages.write(fresh / TOC, contents(analyses()))
    places = {page: BOOK / page.name for page in fresh.glob("*.ipynb")} | {fresh / readme.name: readme}
    places |= {fresh / TOC: BOOK / TOC}
    for page, place in places.items():
        with replacing(place) as temporary:
            shutil.copyfile(page, temporary)
    for folder in ("runs", "figures", generated.FOLDER):
        (fresh / folder).mkdir(exist_ok=True)
        swap(fresh / folder, BOOK / folder)
    remove_tree(fresh, below=BOOK.parent)


def make_pages(study: Study, book: Path, data: str, names: Sequence[str]) -> dict[str, pages.PageError]:
    """Write the analysis pages of `book`; returns those that failed, by name, with the error.

    Args:
        study: the runs that the analysis pages are about.
        data: their folder, as the parameter `data` of the notebooks.
        names: the analysis pages.
    """
    failed: dict[str, pages.PageError] = {}
    executed = {name: BUILD / "executed" / study.dir.name / f"{name}.ipynb" for name in names}
    parameters = {"data": data} if data else {}
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(usable_cores(), context, initializer=end_with, initargs=(os.getpid(),)) as pool:
        jobs = {
            n: pool.submit(pages.execute, NOTEBOOKS / f"{n}.ipynb", path, parameters) for n, path in executed.items()
        }
        for name, job in tqdm(jobs.items(), desc="analysis", unit="notebook"):
            try:
                job.result()
                pages.gather(executed[name], book, name, card=_diverged(study, name))
            except pages.PageError as error:
                failed[name] = error
    return failed


def _diverged(study: Study, page: str) -> str:
    """The note on seeds that diverged, of all runs that an analysis page may rest on."""
    asked = needs.stated(NOTEBOOKS / f"{page}.ipynb")
    if page != SUMMARY and not asked:
        return ""  # such as the page on speed
    others = [study.dir.parent / name for name in asked.get("beside", [])]
    read_too = [run for folder in others for run in needs.complete_in(folder)] + needs.of_arms(asked, study)
    return note([*study.runs, *(run for run in read_too if run.dir.parent != study.dir)])


def part_of(name: str) -> str:
    """The part of the book to which a notebook's metadata say that its page belongs; "" for none.

    Raises:
        ValueError: there is no such part.
    """
    metadata = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text(encoding="utf-8"))["metadata"]
    part = metadata.get("lnlab", {}).get("part", "")
    if part and part not in PARTS:
        raise ValueError(f"{name}.ipynb: unknown part of the book {part!r}; allowed: {', '.join(PARTS)}")
    return str(part)


def analyses() -> list[str]:
    """The notebooks that become pages: those that name a part of the book, in the book's order."""
    parts = {path.stem: part_of(path.stem) for path in NOTEBOOKS.glob("*.ipynb")}
    order, known = list(PARTS), dict(zip(READING, range(len(READING)), strict=True))
    named = (name for name in parts if parts[name])
    return sorted(named, key=lambda name: (order.index(parts[name]), known.get(name, len(READING)), name))


def render(folder: Path) -> Path:
    """Build the book in `folder` (its _config.yml, its book/) to HTML; returns its index.html.

    Raises:
        BuildError: Sphinx warned or failed, or a page shows a picture that is not there.
    """
    main = (  # it has no __main__, and would go on writing when this process was killed
        f"import sys; from lnlab.signals import end_with; end_with({os.getpid()}); "
        "from jupyter_book.cli.main import main; sys.exit(main())"
    )
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


def _complaints(text: str) -> str:
    """The warnings and errors in Sphinx's output, else its last lines."""
    every = re.sub(r"\x1b\[[\d;]*m", "", text).splitlines()  # without colours
    lines = [line for line in every if re.search(r"WARNING|ERROR|Error", line)]
    return "\n".join(lines or every[-20:])
