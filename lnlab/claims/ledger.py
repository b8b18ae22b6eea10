"""Verdicts and their evidence as rows of numbers; the words are the pages'."""

import math
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pandas as pd

from lnlab.analysis.claims import VERDICTS, Evidence, Number, Sum
from lnlab.claims.judge import Entry


def counts(found: Iterable[Entry]) -> dict[str, int]:
    """How many claims got each verdict, in the order of the rules' list."""
    number = Counter(entry.verdict.verdict for entry in found)
    return {verdict: number[verdict] for verdict in VERDICTS}


def verdict_rows(found: Iterable[Entry]) -> pd.DataFrame:
    """One row a claim: document, claim, kind, section, says, verdict, reason, note, origin, n (seeds, most), runs."""
    rows = [
        {
            "document": entry.document,
            "claim": entry.id,
            **entry.claim.model_dump(include={"kind", "section", "says"}),
            "verdict": entry.verdict.verdict,
            "reason": entry.verdict.reason,
            "note": entry.verdict.note,
            "origin": entry.claim.origin,
            "n": max((each.found.n for each in entry.verdict.evidence if not isinstance(each, Sum)), default=0),
            "runs": " ".join(entry.verdict.runs),
        }
        for entry in found
    ]
    return pd.DataFrame(rows)


def evidence_rows(found: Iterable[Entry]) -> pd.DataFrame:
    """One row a piece of evidence: claim, what, type, printed, estimate, low, high (95 %), n (seeds), what would agree
    (side and bound of a direction, from and to of a number, formula and rounding of a sum), outcome."""
    rows = [
        {"claim": entry.id, "what": each.what, **_numbers(each), "outcome": each.outcome}
        for entry in found
        for each in entry.verdict.evidence
    ]
    columns = ["claim", "what", "type", "printed", "estimate", "low", "high", "n", "side", "bound", "from", "to"]
    return pd.DataFrame(rows, columns=[*columns, "formula", "rounding", "outcome"])


def _numbers(each: Evidence) -> dict[str, Any]:
    if isinstance(each, Sum):
        row = {"type": "sum", "estimate": each.computed, "n": 0}
        return row | {"printed": each.printed, "formula": each.formula, "rounding": each.rounding}
    if isinstance(each, Number):
        return {"type": "number", "printed": each.printed, **each.found._asdict(), "from": each.low, "to": each.high}
    printed = math.nan if each.printed is None else each.printed
    return {"type": "direction", "printed": printed, **each.found._asdict(), "side": each.side, "bound": each.threshold}
