"""Verdicts, numbers, labels and files that are published stay as they are, unless someone freezes others on purpose."""

import copy
import re
from pathlib import Path

import pytest

from lnlab.book import build, words
from lnlab.claims.documents import documents
from lnlab.paths import BOOK
from tests import freeze
from tests.fakes import only_long

MEANT = "if this was meant: python -m tests.freeze"


@pytest.mark.parametrize("part", freeze.PARTS)
def test_verdicts_and_numbers_are_the_frozen_ones(part: str) -> None:
    assert freeze.differences(freeze.frozen(part), freeze.now(part)) == [], MEANT


AGAIN = ("checks", "explore")  # what they show is judged above and on the documents' own pages, or is data
PAGES = [pytest.param(page, marks=[only_long] * (page in AGAIN)) for page in build.analyses()]


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_page_made_from_the_published_data_is_the_committed_one(page: str, tmp_path: Path) -> None:
    freeze.gather(page, tmp_path)
    assert freeze.page_differences(page, BOOK, tmp_path / "book") == [], f"{MEANT} --pages"


@pytest.mark.parametrize("document", documents())
def test_each_claim_has_a_sentence_whose_numbers_are_filled_from_its_rows(document: str) -> None:
    for entry in freeze.entries(document):
        said = words.filled(entry.found, entry.verdict.evidence)  # a name that is no row is refused
        assert len(said) > 40, entry.id
        assert not re.search(r"[{}]|n/a", said), said


def test_no_sentence_holds_a_number_that_its_claim_does_not_print() -> None:
    number = re.compile(r"\d+(?:\.\d+)?(?:e[+-]?\d+)?")
    for document in documents().values():
        for name, claim in document.claims.items():
            own = set(map(float, number.findall(str(claim.model_copy(update={"found": ""})))))
            typed = set(map(float, number.findall(re.sub(r"{[^{}]*}|\b[A-Z]+\d\w*", "", claim.found)))) - own
            assert not typed, f"{name}: {typed}"


def test_every_part_is_frozen_and_nothing_else() -> None:
    assert {path.stem for path in freeze.FROZEN.iterdir()} == set(freeze.PARTS)
    assert len([row for part in freeze.PARTS for row in freeze.frozen(part) if "kind" in row]) == 90


# -- it can fail ------------------------------------------------------------------------------------------------------
def change(part: str, place: int, **values: object) -> list[str]:
    """What is said of a frozen part in which one row was changed."""
    rows = copy.deepcopy(freeze.frozen(part))
    rows[place] |= values
    return freeze.differences(freeze.frozen(part), rows)


def test_a_changed_verdict_reason_outcome_or_number_is_told_by_name() -> None:
    assert change("D1", 0, verdict="true") == ["D1.1 (Mean value loss per arm), verdict: false → true"]
    assert len(change("D1", 0, reason="numbers: 4 differ", kind="derived")) == 2
    assert len(change("D1", 1, outcome="holds", n=29)) == 2
    assert "D1.1/1 (mean value loss: A3C, LayerNorm), estimate: " in change("D1", 1, estimate=1.0)[0]


def test_numbers_may_differ_by_rounding_and_words_may_get_better() -> None:
    number = freeze.frozen("D1")[1]["estimate"]
    assert not change("D1", 1, estimate=number * (1 + 5e-10), what="another word")
    assert change("D1", 1, estimate=number * (1 + 2e-9))
    assert freeze.same(0, 5e-13)
    assert not freeze.same(None, 0.0)


def test_rows_that_come_and_go_are_told() -> None:
    rows = freeze.frozen("hypotheses")
    (gone,), (new,) = freeze.differences(rows, rows[1:]), freeze.differences(rows[1:], rows)
    assert gone.startswith(rows[0]["id"])
    assert (gone.rsplit(" ")[-1], new.rsplit(" ")[-1]) == ("gone", "new")


@pytest.mark.parametrize(
    ("before", "after", "agree"),
    [
        ("1.00000", "1.00001", True),
        ("1.00000", "1.00002", False),
        ("-123.456", "-123.457", True),
        ("2.45e+11", "2.46e+11", False),
        ("0", "-0", True),
        ("0", "-1e-13", True),
        ("0", "1e-11", False),
        ("", "nan", False),
        ("inf", "1", False),
        ("holds", "open", False),
    ],
)
def test_cells_of_a_csv_agree_up_to_the_last_of_six_digits(before: str, after: str, agree: bool) -> None:
    table = "arm,value\na,{}\n"
    found = freeze.csv_differences("x.csv", table.format(before), table.format(after))
    assert found == ([] if agree else [f"x.csv row 1, value: {before} → {after}"])
    for other in (table + "b,1\n", "arm\na\n", "arm,values\na,1\n"):
        assert freeze.csv_differences("x.csv", table, other)


PAGE = """(place)=
<details class="claim" id="claim-d1-1">
:::{figure} /figures/d1-effects.svg
:name: fig-d1-effects
:alt: Rising.

Caption. Data: {download}`CSV </figures/d1-effects.csv>`.
:::"""
LABELS = {"place", "claim-d1-1", "fig-d1-effects", "d1-effects.svg", "d1-effects.csv"}


def test_labels_are_all_that_a_link_can_lead_to_and_alt_text() -> None:
    assert freeze.labels(PAGE) == LABELS | {"/figures/d1-effects.svg with alt text"}
    assert freeze.labels(PAGE.replace(":alt: Rising.\n", "")) == LABELS | {"/figures/d1-effects.svg without alt text"}


def test_freezing_keeps_the_digits_of_what_agrees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freeze, "FROZEN", tmp_path)
    rows = [{"id": "x/1", "estimate": 1 / 3, "n": 5, "low": None, "printed": "inf"}]
    monkeypatch.setattr(freeze, "PARTS", {"part": lambda: iter(rows)})
    assert freeze.freeze("part") == ["x/1 : new"]
    first = (tmp_path / "part.jsonl").read_text()
    rows[0] |= {"estimate": 1 / 3 * (1 + 1e-10)}
    assert freeze.freeze("part") == []
    assert (tmp_path / "part.jsonl").read_text() == first
    rows[0] |= {"n": 6}
    assert freeze.freeze("part") == ["x/1 , n: 5 → 6"]
