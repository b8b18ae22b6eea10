"""What is published, as numbers that must stay: `python -m tests.freeze` writes them anew and says what changed.

tests/frozen/ holds every verdict of the ledger with its evidence, the hypotheses with their predictions, and the
contrasts of the landing page: one line each. `--pages` gathers the book's pages again too, all or those named, from
book/data, and writes those of the runs. What agrees with the frozen number keeps its digits, so that `git diff` shows
what changed and nothing else.
"""

import argparse
import functools
import io
import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd

from lnlab.analysis.claims import Evidence, Number, Sum, Untested
from lnlab.analysis.stats import Interval
from lnlab.book import build, generated, pages, registered
from lnlab.book.tidy import at_best, estimates, minus, over_setting, values
from lnlab.book.tidy import contrasts as contrasts_of
from lnlab.claims import judge, studies
from lnlab.claims.documents import documents, hypotheses
from lnlab.paths import BOOK, NOTEBOOKS

FROZEN = Path(__file__).parent / "frozen"
RELATIVE, FLOOR = 1e-9, 1e-12  # never bytes: the libraries of another machine add in another order
DIGITS = 12  # that are kept
CSV_RELATIVE = 2e-6  # of numbers that are then rounded to six digits
WORDS = ("what", "says")  # for the reader of a line; they may get better, so they are not compared
Row = dict[str, Any]  # with an id
AGENTS = ["a3c-gru", "a3c-ff", "individual-gru", "individual-ff"]
DRIVING_ARMS = {
    f"{norm}-{wiring}": f"td3-{norm}-{wiring}-b32" for wiring in ("leaky", "detached") for norm in ("none", "ln")
}
ELSEWHERE = {
    "3 workers": "workers/{}-w3",
    "5 workers": "{}",
    "10 workers": "workers/{}-w10",
    "5 workers, a cloud each": "workers-why/{}-cloud-refilled",
    "5 workers, 5000 episodes": "long/{}",
}


# -- what there is now ------------------------------------------------------------------------------------------------
@functools.cache
def published() -> studies.Data:
    """The published studies; their tables are read once."""
    return studies.Data.at()


@functools.cache
def entries(document: str) -> list[judge.Entry]:
    """The claims of a document with their verdicts."""
    return judge.entries(published(), document)


def claims(document: str) -> Iterator[Row]:
    """A document's claims, each followed by its evidence."""
    for entry in entries(document):
        found = entry.verdict
        row = {"kind": entry.claim.kind, "verdict": str(found), "reason": found.reason}
        yield {"id": entry.id} | row | {"runs": " ".join(sorted(entry.used)), "says": entry.claim.says}
        yield from _evidence(entry.id, found.evidence)


def tested() -> Iterator[Row]:
    """The hypotheses of every set, each followed by its predictions."""
    for name, of in hypotheses().items():
        for key, found in judge.tested(published(), name).items():
            reason, pieces = (found, ()) if isinstance(found, str) else ("", found)
            place = f"{name}/{key}"
            yield {"id": place, "verdict": judge.settled(found), "reason": reason, "says": of[key].says}
            yield from _evidence(place, pieces)


def contrasts() -> Iterator[Row]:
    """The differences that decide the answer: at the main rate, at the best rates, in other settings, of TD3."""
    data = published()
    main = registered.effects(data).drop(columns=["agent", "sign"])
    yield from _table("main", main, ["outcome", "algorithm", "core"])
    yield from _table("best-rates", _at_best(data), ["outcome", "algorithm", "core"])
    for number, row in enumerate(_elsewhere(data), 1):
        yield {"id": f"elsewhere/{number}"} | row
    for name, measure in {"growth": "log10.growth.actor_feature_norm_probe", "inflation": "log10.inflation"}.items():
        for number, (arm, run) in enumerate(DRIVING_ARMS.items(), 1):
            row = {"id": f"td3/{name}/{number}", "what": arm}
            try:
                yield row | estimates(values(data, [measure], [run]))[[*Interval._fields]].iloc[0].to_dict()
            except ValueError as reason:  # it is what it is by construction, which is no finding
                yield row | {"reason": str(reason)}


def _at_best(data: studies.Data) -> pd.DataFrame:
    """LayerNorm minus no norm, each arm at its own best rate, chosen on the other seeds."""
    outcomes = {"return": "return_final", "sampled": "test.sampled"}
    found = over_setting(data, outcomes, "rates", "lr", [run.id for run in data.main.runs])
    best = at_best(found.assign(arm=found.run.str.extract(r"((?:a3c|individual)-(?:gru|ff)-\w+)")[0]), "lr")
    effects = {agent: minus(f"{agent}-ln", f"{agent}-none") for agent in AGENTS}
    rows = contrasts_of(best, effects)
    for norm in ("ln", "none"):
        picked = best[best.norm == norm].set_index(["measure", "arm"])
        keys = [(row.measure, f"{row.effect}-{norm}") for row in rows.itertuples()]
        for name in ("best", "edge"):
            rows[f"{name}_{norm}"] = [picked.loc[key, name] for key in keys]
    rows[["algorithm", "core"]] = rows.effect.str.split("-", expand=True)
    order = rows.assign(agent=rows.effect.map(AGENTS.index)).sort_values(["measure", "agent"])
    order = order.assign(outcome=order.measure, edge=order.edge_ln | order.edge_none)
    return order[["outcome", "algorithm", "core", "best_ln", "best_none", "edge", *Interval._fields]]


def _elsewhere(data: studies.Data) -> Iterator[Row]:
    """LayerNorm minus no norm in the return at the end, in other settings."""
    for setting, pattern in ELSEWHERE.items():
        for agent in ("a3c-gru", "individual-gru"):
            try:
                found = values(data, ["return_final"], [pattern.format(f"{agent}-{norm}") for norm in ("ln", "none")])
            except studies.Missing:  # five workers with a cloud each: A3C alone
                continue
            change = contrasts_of(found, {"": minus(*found.arm)})[[*Interval._fields]].iloc[0].to_dict()
            yield change | {"what": f"{agent}, {setting}"}


PARTS: dict[str, Callable[[], Iterator[Row]]] = {
    **{document: functools.partial(claims, document) for document in documents()},
    "hypotheses": tested,
    "contrasts": contrasts,
}


def now(part: str) -> list[Row]:
    """The rows of a part as the code computes them from the published data."""
    return [{name: _plain(value) for name, value in row.items()} for row in PARTS[part]()]


def _evidence(of: str, found: Any) -> Iterator[Row]:
    for number, each in enumerate(found, 1):
        yield {"id": f"{of}/{number}"} | _piece(each) | {"what": each.what}


def _piece(each: Evidence) -> Row:
    if isinstance(each, Untested):
        return {"type": "untested", "outcome": each.outcome}
    if isinstance(each, Sum):
        numbers = {"printed": each.printed, "estimate": each.computed, "rounding": each.rounding}
        return {"type": "sum", "outcome": each.outcome, "formula": each.formula} | numbers
    if isinstance(each, Number):
        row: Row = {"type": "number", "outcome": each.outcome, "printed": each.printed}
        return row | _interval(each.found) | {"margin": each.margin}
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
PAGES = build.analyses()


def gather(page: str, folder: Path) -> None:
    """Execute a notebook on the published data and make it the page of a book in `folder`."""
    executed = folder / "executed" / f"{page}.ipynb"
    pages.execute(NOTEBOOKS / f"{page}.ipynb", executed, {})
    pages.gather(executed, folder / "book", page)


def page_differences(page: str, before: Path, after: Path) -> list[str]:
    """What changed on a page between two books: its labels, and the numbers in its CSV files."""
    old, new = (text(book / f"{page}.ipynb") for book in (before, after))
    found = [f"{page} {label}: gone" for label in sorted(labels(old) - labels(new))]
    found += [f"{page} {label}: new" for label in sorted(labels(new) - labels(old))]
    shared = sorted(files(old) & files(new))
    for name in (name for name in shared if name.endswith(".csv")):
        tables = [(book / "figures" / name).read_text(encoding="utf-8") for book in (before, after)]
        found += csv_differences(name, *tables)
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
    """What changed in a CSV file, a line each cell. The last of six digits may differ: it was rounded."""
    old, new = (pd.read_csv(io.StringIO(each), dtype=str, keep_default_na=False) for each in (before, after))
    if list(old) != list(new):
        return [f"{name}: columns {', '.join(old)} → {', '.join(new)}"]
    if len(old) != len(new):
        return [f"{name}: {len(old)} rows → {len(new)} rows"]
    pairs = [(row, column, old[column][row], new[column][row]) for row in range(len(old)) for column in old]
    return [f"{name} row {row + 1}, {column}: {a} → {b}" for row, column, a, b in pairs if not _same_cell(a, b)]


def _same_cell(a: str, b: str) -> bool:
    try:
        old, new = float(a), float(b)
    except ValueError:
        return a == b
    size = max(abs(old), abs(new))
    if a == b or not math.isfinite(size) or size <= FLOOR:
        return a == b or size <= FLOOR
    unit = 10.0 ** (math.floor(math.log10(size)) - 5)
    return abs(old - new) <= max(FLOOR, CSV_RELATIVE * size + 1.001 * unit)


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
        generated.write_all(BOOK, studies.Data.at())
    print("\n".join([*changed, f"{len(changed)} changes"]))


if __name__ == "__main__":
    main()
