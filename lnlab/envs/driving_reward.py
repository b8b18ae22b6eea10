"""The five reward components of the original driving experiment, as pure functions of one step.

Formulas and weights are those of the original (specification, section 3.1). Three things differ: leaving the road
stands for crossing a lane marking; the distance left is that along the route, since on a closed track the straight line
to the goal can shrink while driving away from it; and the distance to an obstacle is that to the car ahead as it is
now, where the original kept the last one it had measured. The tests compute every branch by hand.
"""

import math
from typing import NamedTuple

WEIGHTS = {"efficiency": 1.0, "lane_keeping": 2.0, "comfort": 0.5, "safety": 1.0, "progress": 2.0}

TARGET_SPEED = 8.33  # m/s
MOVING = 0.1  # m/s: below it a car counts as standing for lane keeping and comfort
FULL_SCALE = 2.9  # m/s above MOVING at which lane keeping and comfort count in full
HEADING_TOLERANCE = 0.1  # rad
JERK_TOLERANCE = 5.0  # m/s³
STOPPED = 0.5  # m/s
NEAR, NEAREST = 10.0, 0.5  # m to the car ahead: from where it counts, and where it counts in full
SOON, SOONEST = 3.0, 0.1  # s to a collision: the same
COLLISION = 10.0  # the original's where the impulse is unknown, and its most
DISTANCE_SCALE = 50.0  # per metre of route
STANDING_SCALE = 0.5
DISCOUNT = 0.99
WAYPOINT_BONUS, GOAL_BONUS = 10.0, 100.0
PROGRESS_RANGE = (-10.0, 110.0)


class Situation(NamedTuple):
    """What one step looks like to the reward."""

    speed: float  # m/s
    heading_error: float  # rad, car against road
    deviation: float  # distance to the centre line / half the road's width
    off_lane: bool
    jerk: float  # m/s³
    wrong_way: bool  # the velocity points against the heading
    route_left: float  # m
    route_left_before: float | None  # m, one step earlier; None on an episode's first step
    waypoint: bool  # one was reached in this step
    goal: bool  # the last one was
    gap: float = math.inf  # m to the car ahead
    collision: bool = False  # with another car


def efficiency(s: Situation) -> float:
    """clip(v·cos φ / 8.33, -1, 1): 1 at the target speed along the road."""
    return min(max(s.speed * math.cos(s.heading_error) / TARGET_SPEED, -1.0), 1.0)


def lane_keeping(s: Situation) -> float:
    """In [0, 0.5] on the lane, the higher the more central, the straighter and (below 3 m/s) the faster; -1 off it."""
    if s.off_lane:
        return -1.0
    if s.speed < MOVING:
        return 0.0
    central = 1.0 - 0.7 * min(abs(s.deviation), 1.0)
    straight = 1.0 - 0.3 * min(abs(s.heading_error) / HEADING_TOLERANCE, 1.0)
    return min((s.speed - MOVING) / FULL_SCALE, 1.0) * ((central + straight) / 2 - 0.5)


def comfort(s: Situation) -> float:
    """0.3 at a steady ride, 0 at a jerk of 5 m/s³, -0.3 from 10 m/s³ on; less below 3 m/s, 0 standing."""
    if s.speed < MOVING:
        return 0.0
    jerk = min(s.jerk / JERK_TOLERANCE, 2.0)
    value = 0.3 * (1 - jerk) if jerk <= 1 else -0.3 * (jerk - 1) ** 2
    return value * min(math.sqrt((s.speed - MOVING) / FULL_SCALE), 1.0)


def safety(s: Situation) -> float:
    """-60 off the lane (-50 for crossing its edge, -10 for being outside), -5 the wrong way, down to -0.5 standing.

    With a car less than 10 m ahead: -1 / gap, down to -2; and, moving, if that gap takes less than 3 s at this speed
    (the other car's is left out, as in the original), -0.5 / that time, down to -5. A collision: -10.
    """
    value = -5.0 if s.wrong_way else 0.0
    if s.gap < NEAR:
        value -= 1 / max(s.gap, NEAREST)
        if s.speed > MOVING and s.gap / s.speed < SOON:
            value -= 0.5 / max(s.gap / s.speed, SOONEST)
    if s.collision:
        value -= COLLISION
    if s.off_lane:
        return value - 60.0
    if s.speed < STOPPED and not s.collision:
        value -= 0.1 + (0.4 if s.route_left > 10 else 0.2 if s.route_left > 5 else 0.0)
    return value


def progress(s: Situation, *, standing_bonus: bool = True) -> float:
    """clip(50·(D' - D) + 0.5·(D' - 0.99·D) + 10·waypoint + 100·goal, -10, 110), D' the route left one step earlier.

    The second term is potential-based shaping, γ·Φ(s') - Φ(s) with Φ = -D/2, and pays 0.005·D a step for standing
    still. In an endless discounted sum it comes to D/2 of the start whatever the policy; but plain sums of rewards grow
    with it, and an episode that ends at step T forfeits γ^T·D/2, for its last state keeps a potential.
    `standing_bonus` False leaves the term out.
    """
    value = WAYPOINT_BONUS * s.waypoint + GOAL_BONUS * s.goal
    if s.route_left_before is not None:
        value += DISTANCE_SCALE * (s.route_left_before - s.route_left)
        if standing_bonus:
            value += STANDING_SCALE * (s.route_left_before - DISCOUNT * s.route_left)
    return min(max(value, PROGRESS_RANGE[0]), PROGRESS_RANGE[1])


def components(s: Situation, *, standing_bonus: bool = True) -> dict[str, float]:
    """The five weighted components by name; the reward of the step is their sum, in this order."""
    return {
        "efficiency": WEIGHTS["efficiency"] * efficiency(s),
        "lane_keeping": WEIGHTS["lane_keeping"] * lane_keeping(s),
        "comfort": WEIGHTS["comfort"] * comfort(s),
        "safety": WEIGHTS["safety"] * safety(s),
        "progress": WEIGHTS["progress"] * progress(s, standing_bonus=standing_bonus),
    }
