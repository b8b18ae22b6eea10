"""Parts of the book's prose that come from data: findings, the table of runs, the data dictionary.

Pages include them from book/_generated/. They are written anew with every report, so no number in the prose is typed by
hand.
"""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lnlab.analysis.metrics import METRICS
from lnlab.book import registered, words
from lnlab.claims import studies
from lnlab.columns import COLUMNS
from lnlab.config import RunConfig
from lnlab.report import (
    best_rates,
    driving_advice,
    ledger,
    onset,
    output,
    pages,
    settings_landing,
)
from lnlab.report.evidence import Data, arms
from lnlab.report.sensitivity import rate_words
from lnlab.runs import Run, Study

FOLDER = "_generated"
MADE = "<!-- Made from data by lnlab.report.generated; changes are lost. -->\n\n"
BEGIN, END = "<!-- findings -->", "<!-- /findings -->"  # in README.md


def write_all(study: Study, book: Path, paged: Sequence[Run], landing: bool = True) -> None:
    """Write the generated parts of `book` from the runs of `study`.

    Args:
        paged: the runs that have a page.
        landing: also the findings, which need the arms of the main study.
    """
    parts = {"runs": run_list(paged), "columns": dictionary(), "metrics": metrics()}
    if landing:
        parts["findings"] = findings(study)
    for name, text in parts.items():
        pages.write(book / FOLDER / f"{name}.md", MADE + text + "\n")


def short_landing(study: Study, names: Sequence[str]) -> str:
    """The landing page of a report without the arms of the main study; `names` are its analysis pages."""
    parts = [
        f"# Report of the profile {study.dir.name}",
        f"{len(study.runs)} complete runs. {{doc}}`/summary` has their learning curves, their returns with intervals "
        "and what a norm changes, {doc}`/runs` a page for each, and {doc}`/methods` tells what they are.",
        driving_advice.landing(studies.Data(study)) if "d5" in names else "",
        f"## What became of the documents' claims\n\n{verdicts(study)}" if "claims" in names else "",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def findings(study: Study) -> str:
    """The findings as Markdown; each sentence's verb and numbers follow from the data."""
    found, data = registered.effects(studies.Data(study)), Data(study)
    rates = {run.config.lr: "" for run in arms(study).runs}
    parts = {
        f"A3C and Individual at a learning rate of {words.listed(map(rate_words, rates))}": registered.summary(found),
        "At other learning rates": best_rates.landing(data, found),
        "When learning starts": onset.landing(data),
        "Longer, and with other workers": settings_landing.landing(data),
        "TD3 on camera images": driving_advice.landing(studies.Data(study)),
    }
    return "\n\n".join(f"**{title}.**{_after_title(text)}" for title, text in parts.items() if text)


def _after_title(text: str) -> str:
    """A list needs a paragraph of its own, a sentence goes on."""
    return f"\n\n{text}" if text.startswith("- ") else f" {text}"


def verdicts(study: Study) -> str:
    """How many claims got which verdict, as a sentence and a Markdown table."""
    entries = ledger.ledger(Data(study))
    return f"{ledger.sentence(entries)}\n\n{output.markdown(ledger.count_table(entries).shown)}"


def readme_with(readme: str, text: str) -> str:
    """README.md with its findings replaced.

    Raises:
        ValueError: it lacks the two marks between which they stand.
    """
    before, begin, rest = readme.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"README.md has no place for the findings: {BEGIN} … {END}")
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


def run_list(runs: Sequence[Run]) -> str:
    """A Markdown table of the runs: page, extent, speed, time, machine, commit; the page tells how to repeat it."""
    rows = [_run_row(run) for run in runs if run.complete]
    return output.markdown(pd.DataFrame(rows))


def _run_row(run: Run) -> dict[str, str]:
    config, facts = run.config, run.provenance
    speed = facts.get("steps_per_second")
    return {
        "run": f"{{doc}}`{run.id} </runs/{run.id}>`",
        "seeds": str(config.seeds),
        "episodes": f"{config.episodes:,}" if isinstance(config, RunConfig) else f"{config.steps:,} steps",
        "steps per second": f"{speed:,.0f}" if speed else "n/a",
        "minutes": f"{facts['seconds'] / 60:.1f}",
        "machine": pages.machine(facts),
        "commit": f"`{facts['commit'][:10]}`" + (" and changes" if facts["dirty"] else ""),
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
