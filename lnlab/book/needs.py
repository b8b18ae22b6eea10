"""What a page needs, as its notebook's metadata says, and which pages a profile can show.

`metadata.lnlab.needs` of a notebook may hold (all of what is there must be met):

    runs     run ids: these runs of the profile are complete
    arms     run ids that `lnlab.claims.studies` finds, of another profile as profile/run-id
    beside   names of profiles: one of them has a complete run in the folder beside the profile's
    tables   tables that these runs have
    seeds    fewest seeds of these runs
    pages    names of pages: one of them is shown

Nothing here is drawn or computed, so that a report knows what it will hold before the first notebook is executed.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lnlab.claims.studies import Data, Missing, plain
from lnlab.paths import NOTEBOOKS
from lnlab.runs import Run, Study, load

SAID = {"part", "needs"}  # what metadata.lnlab may hold
KEYS = {"runs", "arms", "beside", "tables", "seeds", "pages"}


def complete(folder: Path) -> list[Run]:
    """The complete runs of a profile, from its folder.

    Raises:
        FileNotFoundError: there is no run at all.
        RuntimeError: none is complete.
    """
    runs = load(folder).runs
    found = [run for run in runs if run.whole]
    if not found:
        states = "; ".join(f"{run.id} is {state(run)}" for run in runs)
        raise RuntimeError(f"{folder} has no complete run: {states}. Go on with: lnlab study {folder.name}")
    return found


def state(run: Run) -> str:
    """Why a run is not in a report: its status, and the last line of what it says of it."""
    damage = run.damage()
    if damage:
        return f"damaged: {damage[0]}"
    lines = str(run.provenance.get("error", "")).strip().splitlines()
    return f"{run.status}: {lines[-1]}" if lines else run.status


def stated(notebook: Path) -> dict[str, Any]:
    """The needs of a page.

    Raises:
        ValueError: an unknown key.
    """
    metadata = json.loads(notebook.read_text(encoding="utf-8"))["metadata"]
    said = metadata.get("lnlab", {})
    if unknown := sorted(set(said) - SAID):
        raise ValueError(f"{notebook.name}: unknown key {unknown[0]!r}; allowed: {', '.join(sorted(SAID))}")
    needs: dict[str, Any] = said.get("needs", {})
    if unknown := sorted(set(needs) - KEYS):
        raise ValueError(f"{notebook.name}: unknown need {unknown[0]!r}; allowed: {', '.join(sorted(KEYS))}")
    return needs if said.get("part") else {}  # a notebook of no part is not a page yet


def lacking(pages: Iterable[str], folder: Path) -> dict[str, str]:
    """What each page, in the book's order, lacks in the profile of a folder; "" for those that can be shown."""
    runs, found = complete(folder), dict[str, str]()
    for page in pages:
        found[page] = _lacks(stated(NOTEBOOKS / f"{page}.ipynb"), runs, folder)
    for page, need in ((page, stated(NOTEBOOKS / f"{page}.ipynb")) for page in found):
        others = need.get("pages", [])
        if others and not found[page] and all(found.get(each, "lacks") for each in others):
            found[page] = f"one of the pages {', '.join(others)}"
    return found


def _lacks(needs: Mapping[str, Any], runs: list[Run], folder: Path) -> str:
    """The first need that is not met, in words; "" if all are."""
    there = {plain(run.id): run for run in runs} | {run.id: run for run in runs}
    for name in needs.get("runs", []):
        if name not in there:
            return f"the run {name}"
        if short := _short(there[name], needs):
            return f"{short} of {name}"
    try:
        for run in of_arms(needs, Study(folder, runs)):
            if short := _short(run, needs):
                return f"{short} of {run.id}"
    except Missing as missing:
        return str(missing).removeprefix("needs ")
    if (others := needs.get("beside")) and not any(complete_in(folder.parent / each) for each in others):
        return f"one of the profiles {', '.join(others)}"
    return ""


def of_arms(needs: Mapping[str, Any], study: Study) -> list[Run]:
    """The runs of the arms. Raises Missing where one is not there."""
    data = Data(study)
    return [data.run(arm) for arm in needs.get("arms", [])]


def _short(run: Run, needs: Mapping[str, Any]) -> str:
    """What a run lacks: seeds or a table."""
    if run.config.seeds < (seeds := needs.get("seeds", 1)):
        return f"{seeds} seeds"
    absent = [name for name in needs.get("tables", []) if not (run.dir / f"{name}.parquet").exists()]
    return f"the table {absent[0]}" if absent else ""


def complete_in(folder: Path) -> list[Run]:
    """The complete runs of a profile that may not be there."""
    there = any(folder.glob("*/config.json"))
    return [run for run in load(folder).runs if run.whole] if there else []
