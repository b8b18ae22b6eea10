"""Task offloading of one vehicle in plain Python: the same rules as the batch, written a second time.

Lists and floats, no tensor: quick for a single vehicle and easy to read. It takes the same random numbers as
`lnlab.envs.offloading.OffloadingBatch`, and the tests hold the two equal to the last bit.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from lnlab.envs.rules import (
    CLOUD_UNITS,
    LOCAL,
    OFFLOAD,
    REWARD_DIVISOR,
    SLOTS,
    STEPS,
    TASK_DURATION,
    UNIFORM_ROWS,
    channel_probabilities,
    check_number,
    episode_numbers,
)


class Pool:
    """Cloud units that one vehicle or several draw on; `refill` gives back the units of finished tasks."""

    def __init__(self, refill: bool) -> None:
        self.refill = refill
        self.reset()

    def reset(self) -> None:
        self.units: float = CLOUD_UNITS

    def take(self, units: float) -> bool:
        """Hand out `units` if there are as many."""
        if units > self.units:
            return False
        self.units -= units
        return True

    def give_back(self, units: float) -> None:
        if self.refill:
            self.units = min(self.units + units, CLOUD_UNITS)


class Script(NamedTuple):
    """The random numbers of a vehicle's episode of T steps."""

    channel0: bool
    units: Sequence[float]  # T+1
    duration: Sequence[float]  # T+1
    channel: Sequence[float]  # T

    @classmethod
    def draw(cls, rng: np.random.Generator, capacity: float) -> "Script":
        """An episode for one vehicle from the generator's next numbers."""
        uniform = rng.random((UNIFORM_ROWS, 1), dtype=np.float32)
        channel0, units, duration, channel, _ = episode_numbers(uniform, capacity)
        return cls(bool(channel0[0]), *(part[:, 0].tolist() for part in (units, duration, channel)))


class Vehicle:
    """One vehicle; `reset` with a script, then `step` exactly 100 times.

    State to read: `local` and `cloud`, lists of (units, remaining time) in order of arrival; `free` local units,
    `channel` (good or not), `task` (units, duration), steps done `t`, `local_success` and `offload_success` (kept
    until the same action is taken again), `accepted` (of the last action).

    Raises:
        ValueError: a capacity below 1, a negative velocity, or one that is infinite or NaN.
    """

    def __init__(self, capacity: float, velocity: float, pool: Pool) -> None:
        check_number("capacity", capacity, 1, "unit")
        check_number("velocity", velocity, 0, "km/h")
        self.capacity, self.pool, self.t = capacity, pool, STEPS
        # The batch compares in float32; its probabilities are these, to the last bit.
        self._to_good, self._to_bad = (float(np.float32(p)) for p in channel_probabilities(float(velocity)))
        self._context = [min(max((velocity - 30) / 70, 0.0), 1.0), min(capacity / 120, 1.0)]

    def reset(self, script: Script) -> None:
        """Start an episode; the pool is reset by whoever owns it."""
        self.script, self.t = script, 0
        self.free, self.channel = self.capacity, script.channel0
        self.local: list[tuple[float, float]] = []
        self.cloud: list[tuple[float, float]] = []
        self.local_success = self.offload_success = False
        self.task = script.units[0], script.duration[0]

    def step(self, action: int) -> float:
        """Act on the current task, then let one step pass; reward: units of the tasks finished in it / 20."""
        self.accepted = False
        if action == LOCAL:
            self.local_success = self.accepted = self._compute()
        elif action == OFFLOAD:
            self.offload_success = self.accepted = self._offload()
        self.t += 1
        self.task = self.script.units[self.t], self.script.duration[self.t]
        if self.script.channel[self.t - 1] < (self._to_bad if self.channel else self._to_good):
            self.channel = not self.channel
        return self._complete() / REWARD_DIVISOR

    def _compute(self) -> bool:
        if self.task[0] > self.free or len(self.local) == SLOTS:
            return False
        self.free -= self.task[0]
        self.local.append(self.task)
        return True

    def _offload(self) -> bool:
        if not self.channel or len(self.cloud) == SLOTS or not self.pool.take(self.task[0]):
            return False
        self.cloud.append(self.task)
        return True

    def _complete(self) -> float:
        """Remove the tasks in their last step and return their units to where they came from; units finished."""
        here = sum(units for units, left in self.local if left == 1)
        there = sum(units for units, left in self.cloud if left == 1)
        self.free += here
        self.pool.give_back(there)
        self.local = [(units, left - 1) for units, left in self.local if left > 1]
        self.cloud = [(units, left - 1) for units, left in self.cloud if left > 1]
        return here + there

    def observation(self) -> np.ndarray:
        """The 48 numbers a policy sees, float32."""
        capacity, empty = self.capacity, [0.0] * (SLOTS - len(self.local))
        numbers = [self.free / capacity, (STEPS - self.t) / STEPS]
        numbers += [units / capacity for units, _ in self.local] + empty
        numbers += [left / TASK_DURATION for _, left in self.local] + empty
        numbers += [self.task[0] / capacity, self.task[1] / TASK_DURATION, self.local_success, self.offload_success]
        return np.array(numbers + self._context, dtype=np.float32)
