"""The verdict rules, one by one, on evidence made by hand."""

import numpy as np
import pytest

from lnlab.analysis.claims import VERDICTS, Direction, Number, Sum, Untested, could_tell, judge, margin_of
from lnlab.analysis.stats import Interval, clopper_pearson, interval

UP, DOWN, OPEN = (Interval(m, m - 1, m + 1, 30) for m in (2.0, -2.0, 0.5))
AGREES, DIFFERS, BETWEEN = (Number("x", p, Interval(10, 9, 11, 30), p / 4) for p in (10.0, 20.0, 8.0))
WRONG = Sum("x", "617 / 5000", 12.3, 27.3, 0.1)


def up(found: Interval, *, main: bool = False) -> Direction:
    return Direction("effect", found, "above", main=main)


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        ([up(UP)], "true"),
        ([up(UP), AGREES], "true"),
        ([AGREES], "true"),
        ([up(UP), BETWEEN], "mostly true"),
        ([up(UP), AGREES, DIFFERS], "mostly true"),
        ([up(UP), DIFFERS], "false"),  # half of the rows
        ([DIFFERS], "false"),
        ([AGREES, DIFFERS], "false"),
        ([AGREES, AGREES, AGREES, DIFFERS], "mostly true"),
        ([AGREES, AGREES, BETWEEN], "cannot tell"),
        ([AGREES, AGREES, DIFFERS], "cannot tell"),
        ([BETWEEN], "cannot tell"),
        ([up(OPEN)], "cannot tell"),
        ([up(UP), up(OPEN)], "cannot tell"),
        ([up(UP), up(UP), up(UP), up(OPEN)], "mostly true"),  # three quarters
        ([up(UP), up(UP), up(UP), up(UP), up(DOWN)], "false"),  # all it says are main rows
        ([up(UP, main=True), up(UP), up(UP), up(DOWN)], "mostly true"),
        ([up(DOWN, main=True), up(UP), up(UP), up(UP)], "false"),
        ([up(OPEN, main=True), up(UP), up(DOWN)], "cannot tell"),
        ([up(DOWN), Untested("another", main=True), Untested("third", main=True)], "cannot tell"),
        ([up(DOWN), Untested("another"), Untested("third")], "false"),
        ([WRONG, up(UP)], "arithmetic error; in substance true"),
        ([WRONG, up(DOWN)], "arithmetic error; in substance false"),
        ([WRONG], "arithmetic error"),
        ([Sum("x", "617 / 770", 19.87, 19.9, 0.1), up(UP)], "true"),
    ],
)
def test_each_rule(evidence: list, verdict: str) -> None:
    found = judge(evidence)
    assert {found.verdict, found.substance or "true"} <= set(VERDICTS)
    assert str(found) == verdict


def test_directions_below_a_threshold_and_within_a_margin() -> None:
    assert Direction("x", DOWN, "below").outcome == "holds"
    assert Direction("x", UP, "below").outcome == "opposed"
    assert Direction("x", UP, "above", threshold=2.5).outcome == "open"
    assert Direction("x", OPEN, "within", threshold=2.0).outcome == "holds"
    assert Direction("x", OPEN, "within", threshold=1.0).outcome == "open"
    assert Direction("x", DOWN, "within", threshold=0.5).outcome == "opposed"


def test_unknown_bounds_leave_a_direction_open() -> None:
    one_seed = Interval(5.0, float("nan"), float("nan"), 1)
    assert up(one_seed).outcome == "open"
    assert Direction("x", one_seed, "within", 9.0).outcome == "open"


def test_equal_scores_are_a_point_and_an_effect_of_exactly_zero_opposes_more_and_less() -> None:
    assert Direction("x", interval([5.0] * 5), "above", 4.0).outcome == "holds"
    assert Direction("x", interval([5.0] * 5), "below", 4.0).outcome == "opposed"
    for side in ("above", "below"):
        assert Direction("x", interval([0.0] * 5), side).outcome == "opposed"  # type: ignore[arg-type]
    assert Direction("x", interval([0.0] * 5), "within", 1.0).outcome == "holds"


def test_equal_shares_of_few_seeds_decide_what_their_bounds_allow() -> None:
    """Five seeds of five: the share lies above two fifths, and may lie above nine tenths."""
    all_of_five = clopper_pearson(5, 5)
    assert Direction("x", all_of_five, "above", 0.4).outcome == "holds"
    assert Direction("x", all_of_five, "above", 0.9).outcome == "open"
    assert Direction("x", all_of_five, "below", 0.4).outcome == "opposed"


def test_a_number_agrees_within_its_margin_differs_outside_and_is_open_between() -> None:
    ours = Interval(10, 9, 11, 30)
    outcomes = {margin: Number("x", 8.0, ours, margin).outcome for margin in (0.5, 1.5, 2.5, 3.5)}
    assert outcomes == {0.5: "differs", 1.5: "open", 2.5: "open", 3.5: "agrees"}
    assert Number("x", 9.0, Interval(5.0, float("nan"), float("nan"), 1), 9.0).outcome == "open"
    assert margin_of(-8.0) == 2.0
    assert margin_of(0.0, 5) == 5
    assert margin_of(11.0, log=True) == pytest.approx(np.log10(2))


def test_a_wide_interval_can_refute_what_it_could_not_confirm() -> None:
    printed = Number("gap", 1.9, Interval(36, 6, 62, 30), margin_of(1.9))
    assert (printed.outcome, could_tell(printed)) == ("differs", False)
    assert could_tell(Number("gap", 30, Interval(36, 32, 40, 30), margin_of(30)))


def test_what_a_direction_has_to_resolve_is_the_printed_effect_or_its_margin_or_what_was_found() -> None:
    assert Direction("x", UP, "above", printed=0.5).resolves == 0.5
    assert Direction("x", UP, "above", threshold=-1.0).resolves == 3.0
    assert Direction("x", UP, "within", threshold=4.0).resolves == 4.0


def test_without_evidence_a_reason_is_needed() -> None:
    assert judge([], reason="asked, not claimed").verdict == "not testable here"
    for evidence, reason in (([], ""), ([AGREES], "why")):
        with pytest.raises(ValueError, match="a claim needs evidence"):
            judge(evidence, reason=reason)


def test_the_reason_counts_the_evidence_and_names_what_is_against_it() -> None:
    verdict = judge([up(UP), up(OPEN), DIFFERS, AGREES, WRONG])
    assert verdict.reason == "holds in 2 of 4 rows, 1 open; against it: x; wrong sum: x"
    many = [Number(name, 20.0, Interval(10, 9, 11, 30), 5.0) for name in "abcde"]
    assert judge(many, rows="settings").reason == "holds in 0 of 5 settings; against it: a · b · c · and 2 more"
