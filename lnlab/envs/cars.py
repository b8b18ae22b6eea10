"""Other cars on the road: they follow the route's centre line, all drawn from the track's seed, without physics.

The original had 20 of CARLA's autopilots, from 20 m off on (specification, section 3). Here each cruises at a speed of
its own and falls back behind what drives or stands ahead of it, the learner's car as well, so that the same track and
the same actions give the same episode.
"""

import math

import numpy as np

from lnlab.envs.driving_reward import TARGET_SPEED
from lnlab.envs.road import Pose, car, in_frame, on_plane
from lnlab.envs.track import CentreLine, Position

STREAM = 1  # of the random numbers of a track's seed; the track itself is drawn from the seed alone
FREE = 20.0  # m of road before and behind the start that begin without cars
LEAST = 10.0  # m of road for each car
CRUISE = (0.5 * TARGET_SPEED, TARGET_SPEED)  # m/s, uniform: the learner is paid for catching up with them
HEADWAY, MARGIN = 1.0, 2.0  # s and m that a car keeps to what is ahead of it

_RIGHT, _FORWARD = np.array([point for part, _ in car() for point in part]).T
HALF_WIDTH, FRONT, REAR = float(_RIGHT.max()), float(_FORWARD.max()), float(_FORWARD.min())  # of a car's box, m
LENGTH = FRONT - REAR
BOX = np.array([(HALF_WIDTH, FRONT), (HALF_WIDTH, REAR), (-HALF_WIDTH, REAR), (-HALF_WIDTH, FRONT)])  # right, forward


class Cars:
    """Cars on a track, from the start of an episode on.

    Args:
        line: what they follow, round after round.
        track_seed: what their places and speeds are drawn from.
        count: how many.

    Raises:
        ValueError: they do not fit on the track.
    """

    def __init__(self, line: CentreLine, track_seed: int, count: int) -> None:
        room = line.length - 2 * FREE
        if count * LEAST > room:
            raise ValueError(f"cars={count} is not allowed: the track has room for {int(room // LEAST)}")
        place, speed = np.random.default_rng([STREAM, track_seed]).random((2, count))
        self._line = line
        self.stations = FREE + (np.arange(count) + place / 2) * (room / max(count, 1))  # (N,) m, in order
        self._cruise = CRUISE[0] + speed * (CRUISE[1] - CRUISE[0])  # (N,) m/s
        self.poses = self._poses()

    def move(self, interval: float, learner: Position) -> None:
        """Let `interval` seconds pass; the learner's car is where it is."""
        if not len(self.stations):
            return
        following = np.append(self.stations[1:], self.stations[0] + self._line.length)
        if _on_their_way(learner):
            following = np.minimum(following, self.stations + (learner.station - self.stations) % self._line.length)
        gap = following - self.stations - LENGTH
        self.stations += interval * np.clip((gap - MARGIN) / max(HEADWAY, interval), 0.0, self._cruise)
        self.poses = self._poses()

    def gap(self, learner: Position) -> float:
        """Metres of road between the learner's car and the one ahead of it; infinite if none is in its way."""
        if not (len(self.stations) and _on_their_way(learner)):
            return math.inf
        return max(float(((self.stations - learner.station) % self._line.length).min()) - LENGTH, 0.0)

    def hit(self, pose: Pose) -> bool:
        """Whether the box of a car at `pose` overlaps one of theirs."""
        return any(math.dist(pose[:2], other[:2]) < 2 * FRONT + 1 and overlap(pose, other) for other in self.poses)

    def _poses(self) -> list[Pose]:
        return [(x, y, heading) for x, y, heading in self._line.poses(self.stations).tolist()]


def overlap(one: Pose, other: Pose) -> bool:
    """Whether the boxes of two cars overlap: no side of either has the whole of the other beyond it."""
    for a, b in ((one, other), (other, one)):
        right, forward = in_frame(on_plane(BOX, b), a).T
        if min(right) >= HALF_WIDTH or max(right) <= -HALF_WIDTH or min(forward) >= FRONT or max(forward) <= REAR:
            return False
    return True


def _on_their_way(learner: Position) -> bool:
    return abs(learner.right) < 2 * HALF_WIDTH
