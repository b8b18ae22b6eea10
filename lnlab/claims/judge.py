"""From the claims files and the data to verdicts, by the rules of `lnlab.analysis.claims`; none is written by hand."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lnlab.analysis.claims import Direction, Evidence, Verdict, judge
from lnlab.claims.documents import Claim, Hypothesis, documents, hypotheses
from lnlab.claims.evidence import estimates, pieces
from lnlab.claims.rows import Compared, Row
from lnlab.claims.studies import Data, Missing
from lnlab.paths import PUBLISHED


@dataclass(frozen=True)
class Entry:
    """A claim and what became of it."""

    document: str
    id: str
    claim: Claim
    verdict: Verdict
    note: str  # the claim's, with its numbers
    used: tuple[str, ...]  # runs that the verdict rests on
    runs: tuple[str, ...]  # those of them that have a page
    found: str = ""  # the claim's sentence; that of the book's claims speaks of the published runs

    @property
    def anchor(self) -> str:
        """Its place on the document's page."""
        return "claim-" + self.id.lower().replace(".", "-")


def ledger(data: Data) -> list[Entry]:
    """Every claim of every document with its verdict."""
    return [entry for document in documents() for entry in entries(data, document)]


def entries(data: Data, document: str, section: str = "") -> list[Entry]:
    """Every claim of a document of the book, or of one of its sections, with its verdict."""
    claims = documents()[document].claims.items()
    chosen = {name: claim for name, claim in claims if section in ("", claim.section)}
    return judged(data, document, chosen, told=PUBLISHED in data.main.dir.parents)


def judged(data: Data, document: str, claims: Mapping[str, Claim], *, told: bool) -> list[Entry]:
    """Claims by id with their verdicts.

    Args:
        document: what they stand in.
        told: with the sentence of each on what was found, which was written about one set of runs: about these?
    """
    return [_entry(data, document, name, claim, told) for name, claim in claims.items()]


def _entry(data: Data, document: str, name: str, claim: Claim, told: bool) -> Entry:
    fit = data.needing(claim.needs)
    with data.recording() as runs:
        try:
            evidence, note, reason = *_weighed(fit, claim), claim.untestable
        except Missing as missing:
            evidence, note, reason = [], "", str(missing)
    paged = data.paged
    paged_runs = tuple(paged[run] for run in runs if run in paged)
    settings = any(isinstance(row, Compared) and len(row.pair) > 1 for row in claim.evidence)
    verdict = judge(evidence, reason=reason, rows="settings and outcomes" if settings else "rows")
    return Entry(document, name, claim, verdict, note, tuple(runs), paged_runs, claim.found if told else "")


def _weighed(data: Data, claim: Claim) -> tuple[list[Evidence], str]:
    """The evidence on a claim, and its note. Raises Missing where evidence is not there."""
    evidence, without = _gathered(data, claim.evidence)
    try:
        numbers = [str(found).replace("-", "−") for row in claim.aside for _, _, found in estimates(data, row)]
        note = claim.note.format(*numbers)
    except Missing:
        note = ""
    return evidence, " ".join(part for part in (note, *without) if part)


def _gathered(data: Data, rows: Iterable[Row]) -> tuple[list[Evidence], list[str]]:
    """The evidence of all rows but those that say what to do without, and what these say."""
    evidence: list[Evidence] = []
    without: dict[str, Missing] = {}
    for row in rows:
        try:
            evidence += pieces(data, row)
        except Missing as missing:
            if row.otherwise is None:
                raise
            without[row.otherwise] = missing
    if without and not evidence:
        raise next(iter(without.values()))
    return evidence, list(without)


# -- our own hypotheses -----------------------------------------------------------------------------------------------
Tested = dict[str, list[Direction] | str]  # by name: predictions beside the data, or why they could not be made


def tested(data: Data, of: str) -> Tested:
    """Each hypothesis of a set by name."""
    return {name: _tested(data, hypothesis) for name, hypothesis in hypotheses()[of].items()}


def _tested(data: Data, hypothesis: Hypothesis) -> list[Direction] | str:
    try:
        return [each for row in hypothesis.predictions for each in pieces(data, row) if isinstance(each, Direction)]
    except Missing as missing:
        return str(missing)


def settled(predictions: list[Direction] | str) -> str:
    """confirmed if all predictions hold, refuted if some are opposed and none holds, mixed if some are and some do;
    else open, or not tested.

    >>> from lnlab.analysis.stats import Interval
    >>> low, high = Interval(-2, -3, -1, 30), Interval(2, 1, 3, 30)
    >>> settled([Direction("a", high, "above"), Direction("b", low, "above")])
    'mixed'
    """
    if isinstance(predictions, str):
        return "not tested"
    outcomes = {each.outcome for each in predictions}
    if outcomes == {"holds"}:
        return "confirmed"
    if "opposed" in outcomes:
        return "mixed" if "holds" in outcomes else "refuted"
    return "open"
