"""The reward of one step, computed by hand for every branch of the original's formulas."""

import math

import pytest

from lnlab.envs.driving_reward import (
    WEIGHTS,
    Situation,
    comfort,
    components,
    efficiency,
    lane_keeping,
    progress,
    safety,
)

CRUISING = Situation(
    speed=8.33,
    heading_error=0.0,
    deviation=0.0,
    off_lane=False,
    jerk=0.0,
    wrong_way=False,
    route_left=100.0,
    route_left_before=100.0,
    waypoint=False,
    goal=False,
)


def but(**changes: float | bool | None) -> Situation:
    return CRUISING._replace(**changes)


@pytest.mark.parametrize(
    ("situation", "value"),
    [
        (but(), 1.0),
        (but(speed=4.165), 0.5),
        (but(speed=20.0), 1.0),
        (but(heading_error=math.pi / 3), 0.5),
        (but(heading_error=math.pi), -1.0),
        (but(heading_error=math.pi, speed=40.0), -1.0),
    ],
)
def test_efficiency(situation, value):
    assert efficiency(situation) == pytest.approx(value)


@pytest.mark.parametrize(
    ("situation", "value"),
    [
        (but(), 0.5),
        (but(deviation=-0.5), (0.65 + 1.0) / 2 - 0.5),
        (but(deviation=1.0, heading_error=0.1), 0.0),
        (but(heading_error=-0.05), (1.0 + 0.85) / 2 - 0.5),
        (but(heading_error=2.0), (1.0 + 0.7) / 2 - 0.5),
        (but(speed=1.55), 0.25),  # half of the way from 0.1 to 3 m/s
        (but(speed=0.09), 0.0),
        (but(off_lane=True, deviation=1.2), -1.0),
        (but(off_lane=True, speed=0.0), -1.0),
    ],
)
def test_lane_keeping(situation, value):
    assert lane_keeping(situation) == pytest.approx(value)


@pytest.mark.parametrize(
    ("situation", "value"),
    [
        (but(), 0.3),
        (but(jerk=2.5), 0.15),
        (but(jerk=5.0), 0.0),
        (but(jerk=7.5), -0.075),
        (but(jerk=10.0), -0.3),
        (but(jerk=1e6), -0.3),
        (but(speed=0.1 + 2.9 / 4), 0.15),  # √(1/4)
        (but(speed=0.05, jerk=1e6), 0.0),
    ],
)
def test_comfort(situation, value):
    assert comfort(situation) == pytest.approx(value)


@pytest.mark.parametrize(
    ("situation", "value"),
    [
        (but(), 0.0),
        (but(off_lane=True), -60.0),
        (but(off_lane=True, speed=0.0), -60.0),  # standing counts on the road alone
        (but(wrong_way=True), -5.0),
        (but(wrong_way=True, off_lane=True), -65.0),
        (but(speed=0.4), -0.5),
        (but(speed=0.4, route_left=10.0), -0.3),
        (but(speed=0.4, route_left=5.0), -0.1),
    ],
)
def test_safety(situation, value):
    assert safety(situation) == pytest.approx(value)


@pytest.mark.parametrize(
    ("situation", "bonus", "value"),
    [
        (but(), True, 0.5),  # 0.5 · (100 - 99)
        (but(), False, 0.0),
        (but(route_left=99.9), True, 50 * 0.1 + 0.5 * (100 - 0.99 * 99.9)),
        (but(route_left=99.9), False, 5.0),
        (but(route_left_before=None), True, 0.0),
        (but(route_left_before=None, waypoint=True), True, 10.0),
        (but(waypoint=True), True, 10.5),
        (but(goal=True, waypoint=True, route_left_before=None), True, 110.0),
        (but(route_left=90.0, waypoint=True), True, 110.0),
        (but(route_left=101.0), True, -10.0),
    ],
)
def test_progress(situation, bonus, value):
    assert progress(situation, standing_bonus=bonus) == pytest.approx(value)


def test_standing_at_the_originals_start_pays_what_the_original_logged():
    """2.2942 for progress and -0.5 for standing, at 229.42 m from the goal: 1.79 a step for doing nothing."""
    parts = components(but(speed=0.0, route_left=229.42, route_left_before=229.42))
    assert parts["progress"] == pytest.approx(2.2942)
    assert sum(parts.values()) == pytest.approx(1.7942)


def test_leaving_the_lane_costs_62():
    parts = components(but(off_lane=True, deviation=1.01), standing_bonus=False)
    assert parts["safety"] + parts["lane_keeping"] == -62.0


def test_components_are_weighted_and_named():
    parts = components(but(jerk=2.5))
    assert list(parts) == list(WEIGHTS) == ["efficiency", "lane_keeping", "comfort", "safety", "progress"]
    assert list(parts.values()) == pytest.approx([1.0, 2 * 0.5, 0.5 * 0.15, 0.0, 2 * 0.5])
