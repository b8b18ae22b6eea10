"""What is published, as numbers that must stay: `python -m tests.freeze` writes them anew and says what changed.

tests/frozen/ holds every verdict of the ledger with its evidence, the hypotheses with their predictions, and the
contrasts of the landing page: one line each. `--pages` gathers the book's analysis and run pages again too, all or
those named, from book/data. What agrees with the frozen number keeps its digits, so that `git diff` shows what changed
and nothing else.
"""

import argparse
import csv
import functools
import io
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import nbformat
import pandas as pd

from lnlab.analysis.claims import Evidence, Number, Sum
from lnlab.analysis.stats import Interval, interval
from lnlab.book import registered
from lnlab.claims import documents, judge, studies
from lnlab.claims.measures import measure
from lnlab.paths import BOOK, NOTEBOOKS, PUBLISHED
from lnlab.report import (
    best_rates,
    build,
    driving_advice,
    hypotheses,
    ledger,
    pages,
    placement,
    settings_landing,
    workers_why,
)
from lnlab.report.evidence import DRIVING, PROFILE, Data
from lnlab.report.predictions import HYPOTHESES
from lnlab.runs import Run, load

FROZEN = Path(__file__).parent / "frozen"
RELATIVE, FLOOR = 1e-9, 1e-12  # never bytes: the libraries of another machine add in another order
DIGITS = 12  # that are kept
CSV_RELATIVE = 2e-6  # of numbers that are then rounded to six digits
FOLLOWS_CODE = "-parameters.csv"  # all settings with their meanings: new ones come
WORDS = ("what", "says")  # for the reader of a line; they may get better, so they are not compared
Row = dict[str, Any]  # with an id


# -- what there is now ------------------------------------------------------------------------------------------------
@functools.cache
def published() -> Data:
    """The published studies; their tables are read once."""
    return Data.at()


def claims(document: str) -> Iterator[Row]:
    """A document's claims, each followed by its evidence."""
    for entry in ledger.entries(published(), document):
        found = entry.verdict
        row = {"kind": entry.claim["kind"], "verdict": found.verdict, "reason": found.reason}
        yield {"id": entry.id} | row | {"runs": " ".join(sorted(found.runs)), "says": entry.claim["says"]}
        yield from _evidence(entry.id, found.evidence)


def tested() -> Iterator[Row]:
    """The hypotheses of every set, each followed by its predictions."""
    data = published()
    yield from _hypotheses("mechanism", hypotheses.tested(data), {each.name: each.says for each in HYPOTHESES})
    driving = {name: each.says for name, each in documents.hypotheses()["driving"].items()}
    yield from _hypotheses("driving", judge.tested(studies.Data(data.main), "driving"), driving)
    yield from _hypotheses("placement", placement.tested(data))
    yield from _hypotheses("workers-why", workers_why.tested(workers_why.pairs(data)))


def contrasts() -> Iterator[Row]:
    """The differences that the landing page states: at the main rate, at the best rates, in other settings, of TD3."""
    data = published()
    main = registered.effects(studies.Data.at())
    yield from _table("main", main.drop(columns=["agent", "sign"]), ["outcome", "algorithm", "core"])
    yield from _table("best-rates", best_rates.table(data).drop(columns="pair"), ["outcome", "algorithm", "core"])
    for number, row in enumerate(settings_landing.effects_elsewhere(data).to_dict("records"), 1):
        words = f"{row.pop('pair')}, {row.pop('setting')}"
        yield {"id": f"elsewhere/{number}"} | row | {"what": words}
    for name, of in {"growth": driving_advice.GROWTH, "inflation": driving_advice.INFLATION}.items():
        for number, (arm, run) in enumerate(driving_advice.MAIN.items(), 1):
            if name == "growth" or "leaky" in arm:  # in detached arms the two values are one by construction
                found = interval(measure(studies.Data(data.main), of, run))
                yield {"id": f"td3/{name}/{number}", "what": arm} | _interval(found)


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    **{document: functools.partial(claims, document) for document in ledger.judged()},
    "hypotheses": tested,
    "contrasts": contrasts,
}


def now(part: str) -> list[Row]:
    """The rows of a part as the code computes them from the published data."""
    return [{name: _plain(value) for name, value in row.items()} for row in PARTS[part]()]


def _hypotheses(name: str, found: hypotheses.Tested, says: dict[str, str] | None = None) -> Iterator[Row]:
    """Without `says`, the hypotheses' names are their sentences; then they are numbered."""
    for number, (key, each) in enumerate(found.items(), 1):
        made = not isinstance(each, str)
        row = {"id": f"{name}/{key if says else number}"}
        row |= (
            {"verdict": hypotheses.verdict(each), "reason": ""} if made else {"verdict": "not tested", "reason": each}
        )
        yield row | {"says": says[key] if says else key}
        yield from _evidence(row["id"], each if made else ())


def _evidence(of: str, found: Any) -> Iterator[Row]:
    for number, each in enumerate(found, 1):
        yield {"id": f"{of}/{number}"} | _piece(each) | {"what": each.what}


def _piece(each: Evidence) -> Row:
    if isinstance(each, Sum):
        numbers = {"printed": each.printed, "estimate": each.computed, "rounding": each.rounding}
        return {"type": "sum", "outcome": each.outcome, "formula": each.formula} | numbers
    if isinstance(each, Number):
        row: Row = {"type": "number", "outcome": each.outcome, "printed": each.printed}
        return row | _interval(each.found) | {"from": each.low, "to": each.high, "runs": each.runs}
    row = {"type": "direction", "outcome": each.outcome, "side": each.side, "threshold": each.threshold}
    return row | {"printed": each.printed} | _interval(each.found)


def _interval(found: Interval) -> Row:
    return dict(zip(("estimate", "low", "high", "n"), found, strict=True))


def _table(name: str, rows: pd.DataFrame, keys: list[str]) -> Iterator[Row]:
    for row in rows.to_dict("records"):
        yield {"id": "/".join([name, *(str(row.pop(key)) for key in keys)])} | row


def _plain(value: Any) -> Any:
    """As JSON knows it: NaN is null, infinity a word."""
    if isinstance(value, str) or value is None:
        return value
    number = float(value)
    if math.isnan(number):
        return None
    return str(number) if math.isinf(number) else int(number) if number.is_integer() else number


# -- beside what was frozen -------------------------------------------------------------------------------------------
def frozen(part: str) -> list[Row]:
    """The rows of a part as they were frozen."""
    path = FROZEN / f"{part}.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def differences(before: list[Row], after: list[Row]) -> list[str]:
    """What changed, a line each number, verdict, reason, …"""
    old, new = ({row["id"]: row for row in rows} for rows in (before, after))
    found = []
    for key in dict.fromkeys([*old, *new]):
        if key not in old or key not in new:
            found.append(f"{key} {_words(old.get(key) or new[key])}: {'gone' if key in old else 'new'}")
            continue
        names = [name for name in dict.fromkeys([*old[key], *new[key]]) if name not in WORDS]
        pairs = {name: (old[key].get(name), new[key].get(name)) for name in names}
        found += [f"{key} {_words(new[key])}, {name}: {a} → {b}" for name, (a, b) in pairs.items() if not same(a, b)]
    return found


def same(a: Any, b: Any, relative: float = RELATIVE, floor: float = FLOOR) -> bool:
    """Equal, or numbers that agree."""
    if isinstance(a, int | float) and isinstance(b, int | float):
        return math.isclose(a, b, rel_tol=relative, abs_tol=floor)
    return bool(a == b)


def freeze(part: str) -> list[str]:
    """Write a part anew; what agrees keeps its digits. Returns what changed."""
    before, after = frozen(part), now(part)
    old = {row["id"]: row for row in before}
    lines = [json.dumps(_kept(row, old.get(row["id"], {})), ensure_ascii=False) for row in after]
    FROZEN.mkdir(exist_ok=True)
    (FROZEN / f"{part}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return differences(before, after)


def _kept(row: Row, old: Row) -> Row:
    kept = {name: old[name] if name in old and same(old[name], value) else value for name, value in row.items()}
    return {name: float(f"{each:.{DIGITS}g}") if isinstance(each, float) else each for name, each in kept.items()}


def _words(row: Row) -> str:
    return next((f"({row[name]})" for name in WORDS if name in row), "")


# -- pages ------------------------------------------------------------------------------------------------------------
RUNS = {f"runs/{run.id}": run.dir for profile in (PROFILE, DRIVING) for run in load(PUBLISHED / profile).runs}
PAGES = [*build.analyses(), *RUNS]


def gather(page: str, folder: Path) -> None:
    """Execute a notebook on the published data and make it the page of a book in `folder`."""
    if page in RUNS:
        gather_run(page, folder)
        return
    executed = folder / "executed" / f"{page}.ipynb"
    pages.execute(NOTEBOOKS / f"{page}.ipynb", executed, {})
    pages.gather(executed, folder / "book", page)


def gather_run(page: str, folder: Path) -> None:
    """The same with the notebook that trains: a copy of a published run lies where it finds it complete."""
    published_run = RUNS[page]
    place = published_run.relative_to(PUBLISHED)
    shutil.copytree(published_run, folder / "results" / place)
    with mock.patch.dict(os.environ, {"LNLAB_RESULTS": str(folder / "results"), "LNLAB_SMALL": ""}):
        pages.gather_run(Run(folder / "results" / place), folder / "book", f"data/{place.as_posix()}")


def page_differences(page: str, before: Path, after: Path) -> list[str]:
    """What changed on a page between two books: its labels, and the numbers in its CSV files."""
    old, new = (text(book / f"{page}.ipynb") for book in (before, after))
    found = [f"{page} {label}: gone" for label in sorted(labels(old) - labels(new))]
    found += [f"{page} {label}: new" for label in sorted(labels(new) - labels(old))]
    shared = sorted(files(old) & files(new))
    for name in (name for name in shared if name.endswith(".csv") and not name.endswith(FOLLOWS_CODE)):
        found += csv_differences(
            name, *((book / "figures" / name).read_text(encoding="utf-8") for book in (before, after))
        )
    return found


def text(page: Path) -> str:
    """The Markdown of a page, in which its figures, tables and claims stand; "" where there is no such page yet."""
    if not page.exists():
        return ""
    cells = nbformat.read(page, as_version=4).cells
    return "\n\n".join(cell.source for cell in cells if cell.cell_type == "markdown")


def files(markdown: str) -> set[str]:
    """Pictures and downloads that a page links to."""
    return set(re.findall(r"/figures/([\w.-]+\w)", markdown))


def labels(markdown: str) -> set[str]:
    """All that a link may lead to, all files, and which pictures have alt text."""
    targets = re.findall(r'^:name: (\S+)$|^\((\S+)\)=$|\bid="([^"]+)"', markdown, re.M)
    pictures = re.findall(r"^:::\{(?:figure|image)\} (\S+)\n((?::.*\n)*)", markdown, re.M)
    described = {f"{file} {'with' if ':alt: ' in options else 'without'} alt text" for file, options in pictures}
    return {name for groups in targets for name in groups if name} | files(markdown) | described


def csv_differences(name: str, before: str, after: str) -> list[str]:
    """What changed in a CSV file, a line each cell."""
    old, new = (list(csv.reader(io.StringIO(each))) for each in (before, after))
    if old[0] != new[0]:
        return [f"{name}: columns {', '.join(old[0])} → {', '.join(new[0])}"]
    if len(old) != len(new):
        return [f"{name}: {len(old) - 1} rows → {len(new) - 1} rows"]
    cells = [
        (row, column, *pair)
        for row, lines in enumerate(zip(old, new, strict=True))
        for column, *pair in zip(old[0], *lines, strict=True)
    ]
    return [f"{name} row {row}, {column}: {a} → {b}" for row, column, a, b in cells if not _same_cell(a, b)]


def _same_cell(a: str, b: str) -> bool:
    """Equal, or numbers that agreed before they were rounded: the last of their six digits may then be another."""
    if a == b:
        return True
    try:
        old, new = float(a), float(b)
    except ValueError:
        return False
    if abs(old - new) <= FLOOR:
        return True
    size = max(abs(old), abs(new))
    if not math.isfinite(size):
        return False
    unit = 10.0 ** (math.floor(math.log10(size)) - 5)
    return abs(old - new) <= CSV_RELATIVE * size + 1.001 * unit


def gather_again(page: str) -> list[str]:
    """Make a page of the book anew, with its files. Returns what changed."""
    with tempfile.TemporaryDirectory() as scratch:
        gather(page, Path(scratch))
        made = Path(scratch) / "book"
        changed = page_differences(page, BOOK, made)
        for name in files(text(BOOK / f"{page}.ipynb")):
            (BOOK / "figures" / name).unlink(missing_ok=True)
        shutil.copytree(made, BOOK, dirs_exist_ok=True)
    return changed


def main() -> None:
    """Write the frozen numbers, and the pages if asked to, and print every change."""
    parser = argparse.ArgumentParser(prog="python -m tests.freeze", description=__doc__)
    parser.add_argument("--pages", nargs="*", help=f"of {', '.join(PAGES)}; without names all", metavar="PAGE")
    given = parser.parse_args()
    if unknown := set(given.pages or ()) - set(PAGES):
        parser.error(f"no page {', '.join(sorted(unknown))}; there are {', '.join(PAGES)}")
    changed = [line for part in PARTS for line in freeze(part)]
    if given.pages is not None:
        changed += [line for page in given.pages or PAGES for line in gather_again(page)]
    print("\n".join([*changed, f"{len(changed)} changes"]))


if __name__ == "__main__":
    main()
