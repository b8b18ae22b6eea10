"""The verdict rules, one by one, on evidence made by hand; prediction intervals against simulation."""

import numpy as np
import pytest

from lnlab.analysis.claims import VERDICTS, Direction, Number, Side, Sum, judge, number
from lnlab.analysis.intervals import Interval, interval

UP, DOWN, OPEN = (Interval(m, m - 1, m + 1, 30) for m in (2.0, -2.0, 0.5))
AGREES, DIFFERS = (Number("x", p, Interval(10, 9, 11, 30), 5, 15, 1) for p in (7.0, 20.0))


def up(found: Interval) -> Direction:
    return Direction("effect", found, "above")


@pytest.mark.parametrize(
    ("evidence", "verdict"),
    [
        ([up(UP)], "replicated"),
        ([up(UP), AGREES], "replicated"),
        ([AGREES], "replicated"),
        ([up(UP), DIFFERS], "direction only"),
        ([DIFFERS], "not replicated"),
        ([AGREES, DIFFERS], "not replicated"),
        ([up(OPEN)], "not replicated"),
        ([up(UP), up(OPEN)], "not replicated"),
        ([up(UP), up(DOWN)], "not replicated"),
        ([up(DOWN)], "contradicted"),
        ([up(DOWN), up(OPEN), AGREES], "contradicted"),
        ([Sum("x", "617 / 5000", 12.3, 27.3, 0.1), up(UP)], "arithmetic error"),
        ([Sum("x", "617 / 770", 19.87, 19.9, 0.1), up(UP)], "replicated"),
    ],
)
def test_each_rule(evidence: list[Direction | Number | Sum], verdict: str) -> None:
    assert verdict in VERDICTS
    assert judge("D0.1", evidence).verdict == verdict


def test_directions_below_a_threshold_and_within_a_margin() -> None:
    assert Direction("x", DOWN, "below").outcome == "holds"
    assert Direction("x", UP, "below").outcome == "opposes"
    assert Direction("x", UP, "above", threshold=2.5).outcome == "open"
    assert Direction("x", OPEN, "within", threshold=2.0).outcome == "holds"
    assert Direction("x", OPEN, "within", threshold=1.0).outcome == "open"
    assert Direction("x", DOWN, "within", threshold=0.5).outcome == "opposes"


def test_unknown_bounds_leave_a_direction_open() -> None:
    one_seed = Interval(5.0, float("nan"), float("nan"), 1)
    assert up(one_seed).outcome == "open"
    assert Direction("x", one_seed, "within", 9.0).outcome == "open"


@pytest.mark.parametrize(("side", "threshold"), [("above", 0.0), ("below", 9.0), ("within", 9.0), ("above", 9.0)])
def test_equal_scores_of_few_seeds_leave_a_direction_open(side: Side, threshold: float) -> None:
    for score in (5.0, 0.1 + 0.2):
        assert Direction("x", interval([score] * 4 + [score * (1 + 1e-15)]), side, threshold).outcome == "open"
    assert Direction("x", interval([5.0] * 30), "above").outcome == "holds"
    assert Direction("x", interval([5.0] * 4 + [5.1]), "above").outcome == "holds"


def test_equal_shares_of_few_seeds_decide_what_their_bounds_allow() -> None:
    """Five seeds of five: the share lies above one half, and may lie above nine tenths."""
    all_of_five = interval([1.0] * 5, bounds=(0, 1))
    assert Direction("x", all_of_five, "above", 0.5).outcome == "holds"
    assert Direction("x", all_of_five, "above", 0.9).outcome == "open"
    assert Direction("x", all_of_five, "below", 0.5).outcome == "opposes"


def test_equal_scores_of_few_seeds_leave_a_number_open() -> None:
    assert [number("x", printed, [3.0] * 5).outcome for printed in (3.0, 4.0)] == ["open", "open"]
    assert [number("x", printed, [3.0] * 20).outcome for printed in (3.0, 4.0)] == ["agrees", "differs"]
    assert judge("D0.1", [up(UP), number("x", 3.0, [3.0] * 5)]).verdict == "not replicated"


def test_without_evidence_a_reason_is_needed() -> None:
    assert judge("D0.1", [], reason="asked, not claimed").verdict == "untestable"
    for evidence, reason in (([], ""), ([AGREES], "why")):
        with pytest.raises(ValueError, match=r"claim D0\.1 needs evidence"):
            judge("D0.1", evidence, reason=reason)


def test_the_reason_counts_the_evidence() -> None:
    verdict = judge("D0.1", [up(UP), up(UP), up(OPEN), DIFFERS, AGREES, AGREES])
    assert verdict.reason == "directions: 2 hold, 1 open; numbers: 1 differs, 2 agree"


@pytest.mark.slow
@pytest.mark.parametrize(("seeds", "runs"), [(30, 1), (30, 5), (5, 1)])
def test_prediction_intervals_catch_95_percent_of_repeated_documents(seeds: int, runs: int) -> None:
    rng = np.random.default_rng(1)
    hits = [
        number("x", rng.normal(50, 8, runs).mean(), rng.normal(50, 8, seeds), runs=runs).outcome == "agrees"
        for _ in range(1500)
    ]
    assert 0.935 < np.mean(hits) < 0.965


def test_a_level_needs_two_finite_seeds() -> None:
    for seeds in ([1.0], [1.0, np.nan], [[1.0, 2.0]]):
        with pytest.raises(ValueError, match="one finite value"):
            number("x", 1.0, seeds)
