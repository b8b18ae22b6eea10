"""Somebody's own paper judged on their own results: verdicts, and the page that `lnlab judge` leaves."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import BaseModel

from lnlab.analysis.claims import NO, YES, Measured
from lnlab.claims.documents import FOLDER, PLACE, Document, read
from lnlab.claims.judge import Entry, judged
from lnlab.claims.ledger import evidence_rows, verdict_rows
from lnlab.claims.names import Names, of_study
from lnlab.claims.scores import Scores
from lnlab.claims.studies import LABEL, Data
from lnlab.compare import page, scores
from lnlab.config import ConfigError
from lnlab.diverged import scored
from lnlab.paths import NOTEBOOKS, PACKAGE
from lnlab.runs import Run, Study, run_folders

TEMPLATE = NOTEBOOKS / "judge.ipynb"
EXAMPLE = PACKAGE / "compare" / "example"  # five claims, and scores of published runs
CLAIMS, SCORES = "claims.yml", "scores.csv"


class _Head(BaseModel):
    """Of a claims file, what the rows are read with."""

    arms: dict[str, str] = {}


def verdicts(claims: Path, results: Path) -> tuple[Document, list[Entry]]:
    """The claims of a file, judged on runs or scores.

    Args:
        claims: a file of the form that `lnlab.claims.documents` describes.
        results: folder of a profile or of one run, or what `lnlab.compare.scores.read` takes.

    Raises:
        ConfigError: something in the file is not as it should be, there are no complete runs or no scores, or no claim
            can be tested on them.
    """
    data, names = _results(results)
    declared = read(claims, _Head).arms
    if declared:
        names = Names(names.known, f"the arms of {claims}", declared)
    document: Document = read(claims, Document, names)
    try:
        found = judged(data, document.title, document.claims, told=claims.resolve().parent != FOLDER)
    except ValueError as error:  # a measure that means nothing for a run
        raise ConfigError(f"{claims} on {results}: {error}") from error
    found = [each if _whole(each) else replace(each, found="") for each in found]
    if not any(entry.verdict.evidence for entry in found):
        why = "; ".join(dict.fromkeys(f"{entry.id} {entry.verdict.reason}" for entry in found[:3]))
        raise ConfigError(f"no claim of {claims} can be tested on {results}: {why}")
    return document, found


def _whole(entry: Entry) -> bool:
    """Whether all numbers of its sentence on what was found are there."""
    texts = {each.what for each in entry.verdict.evidence if isinstance(each, Measured)}
    return bool(texts) and all(text in texts for _, text in PLACE.findall(entry.found))


def _results(path: Path) -> tuple[Data, Names]:
    """What is there, and the arms by name."""
    if path.is_dir() and (own := Run(path)).begun:
        return _runs(Study(path.parent, [own]), path)
    if path.is_dir() and (folders := run_folders(path)):
        return _runs(Study(path, [Run(each) for each in folders]), path)
    if path.is_dir() and not any(path.rglob("*monitor.csv")):
        raise ConfigError(f"{path} holds no runs and no scores; train some with: lnlab train, or lnlab study")
    table = Scores.of(scores.read(path, arms=1), path)
    return table, Names(table.parts, str(path))


def _runs(study: Study, path: Path) -> tuple[Data, Names]:
    kept = scored(study)
    if not kept.runs:
        states = "; ".join(f"{run.id} is {run.status}" for run in study.runs)
        raise ConfigError(f"{path} has no complete run: {states}")
    starts = {run.config.seed_list[0]: run.id for run in kept.runs}
    if len(starts) > 1:
        told = ", ".join(f"{run} from {seed}" for seed, run in starts.items())
        raise ConfigError(f"{path} has runs of other seeds, and arms are paired by seed: {told}")
    known = dict(of_study().known)
    where = f"{path} and study.toml" if known else str(path)
    beside = ["/".join(config.parts[-3:-1]) for config in study.dir.parent.glob("*/*/config.json")]  # other profiles
    for name in [*beside, *(run.id for run in study.runs)]:
        known.setdefault(name, {"arm": name})
    for run in kept.runs:
        parts = {name: LABEL.get(value, value) for name, value in run.config.labels.items()}
        known[run.id] = {"arm": run.id, **parts, **known.get(run.id, {})}
    return Data(kept), Names(known, where)


def answer(claims: Path, results: Path, *, out: str | None = None) -> str:
    """Judge, leave the page with its notebook and tables in a folder, and return a line a claim.

    Raises:
        ConfigError: as `verdicts`; then nothing is written.
    """
    document, found = verdicts(claims, results)
    folder = Path(out) if out else Path("judged") / f"{claims.stem}-{results.stem}"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("verdicts", verdict_rows(found)), ("evidence", evidence_rows(found))):
        rows.to_csv(folder / f"{name}.csv", index=False, float_format="%.6g")
    given = {"claims": str(claims.absolute()), "results": str(results.absolute())}
    made = page.write(folder, given, document.title, template=TEMPLATE)
    return "\n".join([*lines(found), "", f"page: {made}"])


def example(out: str | None = None) -> str:
    """Copy the worked example, five claims and scores, into a folder of the user's, and judge it there.

    Raises:
        ConfigError: the folder holds other files of these names, which would be lost.
    """
    folder = Path(out or "judge-example")
    for name in (CLAIMS, SCORES):
        if (folder / name).exists() and (folder / name).read_bytes() != (EXAMPLE / name).read_bytes():
            raise ConfigError(
                f"{folder / name} is not that of the example, and would be lost; --out names another folder"
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name in (CLAIMS, SCORES):
        shutil.copyfile(EXAMPLE / name, folder / name)
    return answer(folder / CLAIMS, folder / SCORES, out=str(folder))


def lines(found: Sequence[Entry]) -> list[str]:
    """A line a claim: its number, verdict, what it says, and the row of evidence that decides, or why none does."""
    rows = [(entry.id, entry.verdict.verdict, f"{entry.claim.says}: {_decisive(entry)}") for entry in found]
    first, second = (max(len(row[column]) for row in rows) for column in (0, 1))
    return [f"{name:{first}}  {verdict:{second}}  {text}" for name, verdict, text in rows]


def _decisive(entry: Entry) -> str:
    rows = [each for each in entry.verdict.evidence if isinstance(each, Measured)]
    verdict, substance = entry.verdict.verdict, entry.verdict.substance
    if verdict == "arithmetic error" or not rows:
        return entry.verdict.reason + (f"; in substance {substance}" if substance else "")
    wanted = {"false": NO, "cannot tell": ("open",)}.get(verdict, YES)
    row = min(rows, key=lambda each: (each.outcome not in wanted, not each.main))  # the first of the best
    return f"{row.what} {row.found}".replace(" -", " −").replace("[-", "[−")
