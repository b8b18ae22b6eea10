"""The claims files say what the modules they replace say: the same verdicts from the same evidence, digit for digit."""

import functools
import math
import re

import pytest

from lnlab.analysis.claims import Direction, Evidence, Number, Sum
from lnlab.claims import judge
from lnlab.claims.documents import documents
from lnlab.claims.studies import Data
from lnlab.report import evidence, hypotheses, ledger, placement, workers_why

pytestmark = pytest.mark.slow
ROUNDINGS = 0.03  # of a sum: one rule now, that differs in the second order, or is stricter where zeros were lost


@functools.cache
def old() -> evidence.Data:
    return evidence.Data.at()


@functools.cache
def new() -> Data:
    return Data.at()


def numbers(each: Evidence) -> list[float]:
    if isinstance(each, Sum):
        return [each.printed, each.computed]
    printed = math.nan if each.printed is None else each.printed
    if isinstance(each, Number):
        return [printed, *each.found, each.low, each.high, each.runs]
    return [printed, *each.found, each.threshold]


def digits(formula: str) -> str:
    """Zeros at the end are kept now: 31.60."""
    return re.sub(r"\d+\.\d+", lambda found: f"{float(found[0]):g}", formula)


def words(each: Evidence) -> list[str]:
    shown = [type(each).__name__, each.what, each.outcome]
    if isinstance(each, Direction):
        return [*shown, each.side]
    return [*shown, digits(each.formula)] if isinstance(each, Sum) else shown


def same(a: Evidence, b: Evidence) -> bool:
    roundings = b.rounding <= (1 + ROUNDINGS) * a.rounding if isinstance(a, Sum) else True
    return words(a) == words(b) and numbers(a) == pytest.approx(numbers(b), rel=1e-9, nan_ok=True) and roundings


@pytest.mark.parametrize("document", list(documents()))
def test_a_document_is_judged_as_by_the_module_that_it_replaces(document):
    before, after = ledger.entries(old(), document), judge.entries(new(), document)
    assert [each.id for each in after] == [each.id for each in before]
    for a, b in zip(before, after, strict=True):
        kept = {name: getattr(b.claim, name) for name in ("kind", "section", "says", "origin")}
        assert kept == {"origin": ""} | {name: a.claim[name] for name in kept if name in a.claim}
        assert [each.what for each in b.verdict.evidence] == [each.what for each in a.verdict.evidence], a.id
        different = [(x, y) for x, y in zip(a.verdict.evidence, b.verdict.evidence, strict=True) if not same(x, y)]
        assert not different, a.id
        assert (b.verdict.verdict, b.verdict.reason) == (a.verdict.verdict, a.verdict.reason), a.id
        assert (sorted(b.verdict.runs), sorted(b.runs)) == (sorted(a.verdict.runs), sorted(a.runs)), a.id
        if not b.claim.aside and a.id != "D5.15":  # numbers in a note have another form, a count is gone
            assert b.verdict.note == a.verdict.note, a.id


OLD = {
    "mechanism": lambda: hypotheses.tested(old()),
    "placement": lambda: placement.tested(old()),
    "workers-why": lambda: workers_why.tested(workers_why.pairs(old())),
}


@pytest.mark.parametrize("name", list(OLD))
def test_hypotheses_fare_as_before(name):
    before, after = OLD[name](), judge.tested(new(), name)
    assert len(after) == len(before)
    for (key, a), (found, b) in zip(before.items(), after.items(), strict=True):
        assert isinstance(a, str) == isinstance(b, str), (key, a, b)
        if not isinstance(a, str):
            assert [each.what for each in b] == [each.what for each in a], found
            assert not [(x, y) for x, y in zip(a, b, strict=True) if not same(x, y)], found
            assert judge.settled(b) == hypotheses.verdict(a)


PARTS = {
    "carried": lambda data: data.carried(),
    "ten seeds": lambda data: data.only(range(10, 20)),
}


@pytest.mark.parametrize("part", list(PARTS))
def test_parts_of_the_data_are_judged_as_before(part):
    before, after = ledger.ledger(PARTS[part](old())), judge.ledger(PARTS[part](new()))
    assert [(e.id, e.verdict.verdict, e.verdict.reason) for e in after if e.verdict.evidence] == [
        (e.id, e.verdict.verdict, e.verdict.reason) for e in before if e.verdict.evidence
    ]


def test_a_small_study_is_judged_as_before(tiny_study):
    before, after = ledger.ledger(evidence.Data(tiny_study)), judge.ledger(Data(tiny_study))
    assert [(e.id, e.verdict.verdict) for e in after] == [(e.id, e.verdict.verdict) for e in before]
    for name in ("mechanism", "driving", "placement", "workers-why", "averaging"):
        assert judge.tested(Data(tiny_study), name)
