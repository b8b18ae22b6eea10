"""Verdicts and their evidence as rows of numbers; the words are the pages'."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from lnlab.analysis.claims import VERDICTS, Evidence, Measured, Number, Sum, Untested, could_tell, half_width
from lnlab.claims.judge import Entry


def counts(found: Iterable[Entry]) -> dict[str, int]:
    """How many claims got each verdict, in the order of the rules' list."""
    number = Counter(entry.verdict.verdict for entry in found)
    return {verdict: number[verdict] for verdict in VERDICTS}


def verdict_rows(found: Iterable[Entry]) -> pd.DataFrame:
    """One row a claim: document, claim, kind, section, says, verdict, substance (beside an arithmetic error), reason,
    note, origin, n (seeds, most), runs."""
    rows = [
        {
            "document": entry.document,
            "claim": entry.id,
            **entry.claim.model_dump(include={"kind", "section", "says"}),
            "verdict": entry.verdict.verdict,
            "substance": entry.verdict.substance,
            "reason": entry.verdict.reason,
            "note": entry.note,
            "origin": entry.claim.origin,
            "n": max((each.found.n for each in entry.verdict.evidence if isinstance(each, Measured)), default=0),
            "runs": " ".join(entry.runs),
        }
        for entry in found
    ]
    return pd.DataFrame(rows)


def evidence_rows(found: Iterable[Entry]) -> pd.DataFrame:
    """One row a piece of evidence: claim, what, type, main, printed, estimate, low, high (95 %), n (seeds), what would
    agree (side and bound of a direction, margin of a number, formula and rounding of a sum), outcome, and whether our
    data could tell: half_width of the interval against what it has to resolve."""
    rows = [
        {"claim": entry.id, "what": each.what, **_numbers(each), "outcome": each.outcome}
        for entry in found
        for each in entry.verdict.evidence
    ]
    columns = ["claim", "what", "type", "main", "printed", "estimate", "low", "high", "n", "side", "bound", "margin"]
    columns += ["formula", "rounding", "outcome", "could_tell", "half_width", "resolves"]
    return pd.DataFrame(rows, columns=columns)


def _numbers(each: Evidence) -> dict[str, Any]:
    if isinstance(each, Untested):
        return {"type": "untested", "main": each.main, "n": 0}
    if isinstance(each, Sum):
        row = {"type": "sum", "estimate": each.computed, "n": 0}
        return row | {"printed": each.printed, "formula": each.formula, "rounding": each.rounding}
    told: dict[str, Any] = {"main": each.main, "could_tell": "yes" if could_tell(each) else "no"}
    told |= {"half_width": half_width(each), "resolves": each.resolves, **each.found._asdict()}
    if isinstance(each, Number):
        return told | {"type": "number", "printed": each.printed, "margin": each.margin}
    printed = math.nan if each.printed is None else each.printed
    return told | {"type": "direction", "printed": printed, "side": each.side, "bound": each.threshold}
