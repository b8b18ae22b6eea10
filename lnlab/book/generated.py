"""Parts of the book that come from data: the pages of runs and their table, the data dictionary, the README's answer.

Pages include tables from book/_generated/.
"""

import re
from pathlib import Path

import nbformat
import pandas as pd

from lnlab.analysis.metrics import METRICS
from lnlab.book import output, pages, runs
from lnlab.claims.studies import Data
from lnlab.columns import COLUMNS
from lnlab.config import RunConfig
from lnlab.runs import Run, Study

FOLDER = "_generated"
MADE = "<!-- Made from data by lnlab.book.generated; changes are lost. -->\n\n"
ANSWER = "<!-- answer -->"  # begins its cell of the landing page
BEGIN, END = ANSWER, "<!-- /answer -->"  # in README.md


def write_all(book: Path, data: Data) -> None:
    """Write the generated parts of `book`, after its pages: lists, the data dictionary, a page for each run."""
    for name, text in {"runs": run_list(data), "columns": dictionary(), "metrics": metrics()}.items():
        pages.write(book / FOLDER / f"{name}.md", MADE + text + "\n")
    for name, text in runs.pages(book, data).items():
        pages.write(book / "runs" / f"{name}.md", text)


def short_landing(study: Study) -> str:
    """The landing page of a report that lacks the runs of the notebook intro."""
    return (
        f"# Report of the profile {study.dir.name}\n\n"
        f"{len(study.runs)} complete run{'s' * (len(study.runs) != 1)}. {{doc}}`/summary` has learning curves, returns "
        "with intervals and what a norm changes, {doc}`/runs` a page of each; {doc}`/methods` tells what they are.\n"
    )


def answer(landing: Path) -> str:
    """The answer and the guide of the gathered landing page, as the README has them: Markdown without the book's roles.

    Raises:
        ValueError: the page has no answer.
    """
    cells = [cell.source for cell in nbformat.read(landing, as_version=4).cells if cell.cell_type == "markdown"]
    said = next((cell for cell in cells if cell.startswith(ANSWER)), None)
    if said is None:
        raise ValueError(f"{landing} has no cell that begins with {ANSWER}")
    guide = next(cell for cell in cells if ":name: tab-intro-guide" in cell)
    table = "\n".join(line for line in guide.splitlines() if line.startswith("|"))
    whole = f"{said.removeprefix(ANSWER).strip()}\n\n{table}"
    return re.sub(r"{doc}`/(\w+)`", r"[\1](book/\1.ipynb)", whole)


def readme_with(readme: str, text: str) -> str:
    """README.md with its answer replaced.

    Raises:
        ValueError: it lacks the two marks between which it stands.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no place for the answer: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def run_list(data: Data) -> str:
    """A Markdown table of the runs: page, extent, speed, time, machine, commit; the page tells how to repeat it."""
    rows = [_run_row(data.run(name), page) for name, page in data.paged.items()]
    return output.markdown(pd.DataFrame(rows))


def _run_row(run: Run, page: str) -> dict[str, str]:
    config, facts = run.config, run.provenance
    speed = facts.get("steps_per_second")
    return {
        "run": f"{{doc}}`{run.id} </runs/{page}>`",
        "study": run.dir.parent.name,
        "seeds": str(config.seeds),
        "episodes": f"{config.episodes:,}" if isinstance(config, RunConfig) else f"{config.steps:,} steps",
        "steps per second": f"{speed:,.0f}" if speed else "n/a",
        "minutes": f"{facts['seconds'] / 60:.1f}",
        "machine": runs.machine(facts),
        "commit": f"{{commit}}`{facts['commit']}`" + (" and changes" if facts["dirty"] else ""),
    }


def dictionary() -> str:
    """Every column of every table with its unit and meaning, as Markdown."""
    parts = []
    for table, columns in COLUMNS.items():
        rows = [
            {"column": f"`{name}`", "unit": column.unit, "meaning": column.meaning} for name, column in columns.items()
        ]
        parts.append(f"## {table}\n\n{output.markdown(pd.DataFrame(rows))}")
    return "\n\n".join(parts)


def metrics() -> str:
    """Every quantity of the table `metrics`, as Markdown."""
    rows = [
        {"quantity": f"`{name}`", "unit": metric.unit, "meaning": metric.meaning} for name, metric in METRICS.items()
    ]
    return output.markdown(pd.DataFrame(rows))
