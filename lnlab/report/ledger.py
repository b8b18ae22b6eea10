"""The ledger: every claim of the documents with its verdict, as rows, as text and as pages of HTML.

A document's claims are judged by its module lnlab.report.d1_claims, d2_claims, …, which says for each claim what
evidence the data hold; the rules are those of `lnlab.analysis.claims`. No verdict is written by hand.
"""

import html
import importlib.util
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lnlab.analysis.claims import VERDICTS, Direction, Evidence, Number, Sum, Verdict, judge
from lnlab.report import output, tables
from lnlab.report.evidence import Claim, Data, Missing, Untestable, documents

SIDE = {"above": "above", "below": "below", "within": "within ±"}
LARGE = 1e7  # from here on numbers are shown as powers of ten
SYMBOL = dict(zip(VERDICTS, "✓↗○✗Σ–", strict=True))  # beside the word: a verdict is never told by colour alone


@dataclass(frozen=True)
class Entry:
    """A claim and what became of it."""

    document: str
    claim: Mapping[str, Any]  # as in book/claims.yml
    verdict: Verdict
    runs: tuple[str, ...]  # those of the main study that the verdict rests on, which have a page each

    @property
    def id(self) -> str:
        return str(self.claim["id"])

    @property
    def anchor(self) -> str:
        """Its place on the document's page."""
        return "claim-" + self.id.lower().replace(".", "-")


def judges(document: str) -> dict[str, Claim]:
    """What decides on each claim of a document, by its id.

    Raises:
        ModuleNotFoundError: no module judges this document.
    """
    found: dict[str, Claim] = importlib.import_module(f"lnlab.report.{document.lower()}_claims").CLAIMS
    return found


def judged() -> list[str]:
    """The documents that a module judges, in order."""
    return [name for name in documents() if importlib.util.find_spec(f"lnlab.report.{name.lower()}_claims")]


def entries(data: Data, document: str, section: str = "") -> list[Entry]:
    """Every claim of a document, or of one of its sections, with its verdict.

    Raises:
        KeyError: a claim has no judge.
    """
    judge_of = judges(document)
    claims = documents()[document]["claims"]
    chosen = [claim for claim in claims if section in ("", claim["section"])]
    return [_entry(data, document, claim, judge_of[claim["id"]]) for claim in chosen]


def ledger(data: Data) -> list[Entry]:
    """Every claim of every document that is judged."""
    return [entry for document in judged() for entry in entries(data, document)]


def counts(found: Iterable[Entry]) -> dict[str, int]:
    """How many claims got each verdict, in the order of the rules' list."""
    number = Counter(entry.verdict.verdict for entry in found)
    return {verdict: number[verdict] for verdict in VERDICTS}


def sentence(found: Sequence[Entry]) -> str:
    """The counts in words: `Of 25 claims: 3 replicated, 4 direction only.` A verdict nothing got is left out."""
    given = [f"{number} {verdict}" for verdict, number in counts(found).items() if number]
    return f"Of {len(found)} claims: {', '.join(given)}."


def _entry(data: Data, document: str, claim: Mapping[str, Any], decide: Claim) -> Entry:
    with data.recording() as runs:
        try:
            found = decide(data, dict(claim.get("values") or {}))
        except Missing as missing:
            found = Untestable(str(missing))
    evidence, note = ([], "") if isinstance(found, Untestable) else found
    reason = found.reason if isinstance(found, Untestable) else ""
    verdict = judge(claim["id"], evidence, reason=reason, note=note, runs=runs)
    paged = data.paged
    return Entry(document, claim, verdict, tuple(paged[run] for run in runs if run in paged))


# -- rows -----------------------------------------------------------------------------------------------------------


def evidence_rows(found: Iterable[Entry]) -> pd.DataFrame:
    """One row a piece of evidence: claim, what, type, printed, estimate, low, high (95 %), n (seeds), rule, outcome."""
    rows = [
        {"claim": entry.id, **_numbers(each), "outcome": each.outcome}
        for entry in found
        for each in entry.verdict.evidence
    ]
    columns = ["claim", "what", "type", "printed", "estimate", "low", "high", "n", "rule", "outcome"]
    return pd.DataFrame(rows, columns=columns)


def verdict_rows(found: Iterable[Entry]) -> pd.DataFrame:
    """One row a claim: document, claim, kind, section, says, verdict, reason, note, origin, n (seeds, most), runs."""
    rows = [
        {
            "document": entry.document,
            "claim": entry.id,
            "kind": entry.claim["kind"],
            "section": entry.claim["section"],
            "says": entry.claim["says"],
            "verdict": entry.verdict.verdict,
            "reason": entry.verdict.reason,
            "note": entry.verdict.note,
            "origin": entry.claim.get("origin", ""),
            "n": max((each.found.n for each in entry.verdict.evidence if not isinstance(each, Sum)), default=0),
            "runs": " ".join(entry.verdict.runs),
        }
        for entry in found
    ]
    return pd.DataFrame(rows)


def as_json(found: Sequence[Entry]) -> str:
    """All verdicts with their evidence, as JSON."""
    claims = verdict_rows(found).to_dict("records")
    for claim, entry in zip(claims, found, strict=True):
        rows = evidence_rows([entry]).drop(columns="claim").to_dict("records")
        claim["evidence"] = [{name: _plain(value) for name, value in row.items()} for row in rows]
    return json.dumps({"counts": counts(found), "claims": claims}, ensure_ascii=False, indent=1) + "\n"


def _numbers(each: Evidence) -> dict[str, Any]:
    """A piece of evidence as the numbers of a row."""
    if isinstance(each, Sum):
        rule = f"{each.formula}, ± {each.rounding:g}"
        found = {"estimate": each.computed, "low": math.nan, "high": math.nan, "n": 0}
        return {"what": each.what, "type": "sum", "printed": each.printed, **found, "rule": rule}
    row = {"what": each.what, **each.found._asdict()}
    if isinstance(each, Number):
        rule = f"{_few(each.low)} to {_few(each.high)}"
        return row | {"type": "number", "printed": each.printed, "rule": rule}
    printed = math.nan if each.printed is None else each.printed
    return row | {
        "type": "direction",
        "printed": printed,
        "rule": SIDE[each.side] + _space(each) + _few(each.threshold),
    }


def _space(each: Direction) -> str:
    return "" if each.side == "within" else " "


def _plain(value: Any) -> Any:
    """A number that JSON knows; undefined ones are null, infinite ones a word."""
    if not isinstance(value, float) or math.isfinite(value):
        return value
    return None if math.isnan(value) else "infinite"


# -- words and pages ------------------------------------------------------------------------------------------------


def count_table(found: Sequence[Entry], name: str = "counts") -> output.TableOutput:
    """Claims by verdict, a line each verdict, a column each document."""
    each = {document: [e for e in found if e.document == document] for document in _documents(found)}
    columns = {document: counts(mine) for document, mine in each.items()}
    columns |= {"all": counts(found)} if len(each) > 1 else {}
    rows = pd.DataFrame(columns).rename_axis("verdict").reset_index()
    n = int(verdict_rows(found).n.max())
    caption = f"Claims by verdict; the evidence behind them has up to n = {n} seeds an arm, with 95 % intervals."
    return output.table(name, rows, caption=caption)


def _documents(found: Iterable[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.document for entry in found))


def carried(data: Data, found: Sequence[Entry], name: str = "carried") -> output.TableOutput | output.Text:
    """The verdicts on a document that would be others had A3C carried its gradients over, as in the original."""
    try:
        other = data.carried()
    except Missing as missing:
        return output.Text(f"This {missing}.")
    again = [entry for document in _documents(found) for entry in entries(other, document)]
    changed = [
        (here, there) for here, there in zip(found, again, strict=True) if here.verdict.verdict != there.verdict.verdict
    ]
    rows = [
        {"claim": here.id, "says": here.claim["says"], "here": here.verdict.verdict, "carried": there.verdict.verdict}
        for here, there in changed
    ]
    n = int(verdict_rows(again).n.max())
    caption = (
        f"Verdicts that the original's carried gradient would change: {len(changed)} of {len(found)}; "
        f"up to n = {n} seeds an arm."
    )
    if not rows:
        return output.Text(f"None of the {len(found)} verdicts would be another (up to n = {n} seeds an arm).")
    return output.table(name, pd.DataFrame(rows), caption=caption, data=evidence_rows(there for _, there in changed))


@dataclass(frozen=True)
class Attached:
    """Markdown with files that it links to for download: media type → (file name, content)."""

    text: str
    files: Mapping[str, tuple[str, str]]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> output.Bundle:
        names = {kind: name for kind, (name, _) in self.files.items()}
        links = [f"{{download}}`{name.rsplit('.')[-1].upper()} </figures/{name}>`" for name in names.values()]
        contents = {kind: content for kind, (_, content) in self.files.items()}
        page = f"{self.text}\n\nData: {' · '.join(links)}\n"
        data = {"text/markdown": page, "text/plain": self.text, **contents}
        return data, {output.KEY: {"kind": "text", "files": names}}


def cards(found: Sequence[Entry]) -> Attached:
    """The claims of a document, each opening to its evidence; their ids are where the ledger points to."""
    name = f"claims-{'-'.join(_documents(found)).lower()}.csv"
    files = {"text/csv": (name, output.csv(evidence_rows(found)))}
    return Attached("\n".join(_card(entry) for entry in found), files)


def table(found: Sequence[Entry]) -> Attached:
    """The table of all claims with its downloads; _static/claims.js adds filters."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("claim", "kind", "verdict", "what it says"))
    rows = "\n".join(_row(entry) for entry in found)
    page = f'<table class="table ledger"><thead><tr>{head}</tr></thead>\n{rows}\n</table>'
    files = {
        "text/csv": ("claims-verdicts.csv", output.csv(verdict_rows(found))),
        "text/json": ("claims-verdicts.json", as_json(found)),
    }
    return Attached(page, files)


def badge(verdict: str) -> str:
    """A verdict as a word with a sign and a colour."""
    return f'<span class="verdict verdict-{verdict.replace(" ", "-")}">{SYMBOL[verdict]} {verdict}</span>'


def _row(entry: Entry) -> str:
    """A claim in two lines: what it says and its verdict, and below the evidence to open."""
    claim = entry.claim
    attributes = f'data-document="{entry.document}" data-kind="{claim["kind"]}" data-verdict="{entry.verdict.verdict}"'
    place = f'<a href="{entry.document.lower()}.html#{entry.anchor}">{entry.id}</a>'
    cells = [claim["kind"], badge(entry.verdict.verdict), html.escape(claim["says"])]
    first = f'<tr><th scope="row">{place}</th>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"
    opened = f"<details><summary>{html.escape(_sentence_case(entry.verdict.reason))}</summary>{_body(entry)}</details>"
    return f'<tbody {attributes}>{first}<tr><td></td><td colspan="3">{opened}</td></tr></tbody>'


def _card(entry: Entry) -> str:
    title = f"<b>{entry.id}</b> {badge(entry.verdict.verdict)} {html.escape(entry.claim['says'])}"
    kind = f'<span class="claim-kind">({entry.claim["kind"]})</span>'
    return f'<details class="claim" id="{entry.anchor}"><summary>{title} {kind}</summary>{_body(entry)}</details>\n'


def _body(entry: Entry) -> str:
    """Evidence, reason, note, origin and runs of a claim; one line, since a blank one would end the HTML."""
    parts = [_evidence_table(entry)] if entry.verdict.evidence else []
    parts.append(
        f"<p><b>Verdict: {entry.verdict.verdict}.</b> {html.escape(_sentence_case(entry.verdict.reason))}.</p>"
    )
    if entry.verdict.note:
        parts.append(f"<p><b>Note.</b> {html.escape(entry.verdict.note)}</p>")
    if origin := entry.claim.get("origin"):
        parts.append(f"<p><b>Where the printed number comes from.</b> {html.escape(origin)}.</p>")
    if entry.runs:
        links = ", ".join(f'<a href="runs/{run}.html">{run}</a>' for run in entry.runs)
        parts.append(f"<p><b>Runs.</b> {links}</p>")
    return "".join(parts).replace("\n", " ")


def _evidence_table(entry: Entry) -> str:
    head = "".join(
        f'<th scope="col">{name}</th>' for name in ("evidence", "printed", "here [95 %]", "n", "expected", "outcome")
    )
    rows = evidence_rows([entry]).itertuples()
    lines = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in _cells(row)) + "</tr>" for row in rows)
    return f'<table class="table evidence"><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>'


def _cells(row: Any) -> list[str]:
    """A row of evidence as the words of its cells."""
    here = interval_words(row.estimate, row.low, row.high)
    return [
        row.what,
        "" if math.isnan(row.printed) else _few(row.printed, 6),
        here,
        str(row.n or ""),
        row.rule,
        row.outcome,
    ]


def interval_words(estimate: float, low: float, high: float) -> str:
    r"""An estimate with its interval, with as many digits as the interval supports.

    >>> interval_words(12.3456, 10.12, 14.5)
    '12.3 [10.1,\xa014.5]'
    >>> interval_words(2.453e11, math.nan, math.nan)
    '2.45e+11'
    """
    if abs(estimate) >= LARGE:
        bounds = f" [{low:.3g},\N{NO-BREAK SPACE}{high:.3g}]" if math.isfinite(low) else ""
        return f"{estimate:.3g}{bounds}".replace("-", "−")
    half = (high - low) / 2
    size = half if half > 0 else abs(estimate)  # NaN > 0 is false
    digits = min(max(0, 1 - math.floor(math.log10(size))), 6) if size > 0 and math.isfinite(size) else 1
    return tables.words(pd.Series({"estimate": estimate, "low": low, "high": high}), digits)


def _few(value: float, digits: int = 4) -> str:
    """A printed value or a bound: few significant digits, a true minus sign."""
    return "infinite" if math.isinf(value) else f"{value:,.{digits}g}".replace("-", "−")


def _sentence_case(text: str) -> str:
    return text[:1].upper() + text[1:]
