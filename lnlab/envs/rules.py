"""Numbers and formulas of the task-offloading world that its two implementations share.

The values are those behind the documents D1 to D4; the channel probabilities are checked against their table.
"""

import math
import sys
from collections.abc import Collection, Sequence
from typing import Any, TypeVar

import numpy as np

STEPS = 100  # length of an episode; its end is a terminal state
UNIFORM_ROWS = 4 * STEPS + 3  # uniform numbers that a vehicle's episode takes
SLOTS = 20  # tasks a vehicle can compute at once, and as many again in the cloud
TASK_UNITS = 199  # tasks need 1 … 199 units, whatever the capacity
TASK_DURATION = 50  # and take 1 … 50 steps
CLOUD_UNITS = 1000
REWARD_DIVISOR = 20.0  # a reward is units / 20: the documents' scale 0.05, without its rounding
OBSERVATION = 48
ACTIONS = ("local", "offload", "discard")
LOCAL, OFFLOAD, DISCARD = range(3)
CLOUDS = {
    "shared": "one pool a group, refilled by completed tasks (training in the documents)",
    "budget": "a pool for each vehicle, never refilled (evaluation in the documents)",
    "refilled": "a pool for each vehicle, refilled by completed tasks",
}

CARRIER_HZ = 5.9e9
LIGHT_KM_PER_S = 300_000.0
PACKET_S = 1e-3
FADING = 15 / 25  # threshold over mean signal-to-noise ratio; the documents divide decibels as if plain numbers

Number = TypeVar("Number", bound=Any)  # a float, an array or a tensor


def check_choice(name: str, value: Any, allowed: Collection[Any]) -> None:
    """Raise a ValueError that names the allowed values, unless `value` is one of them."""
    if value not in tuple(allowed):  # a list is no key of a table, and could not be looked up
        raise ValueError(f"{name}={value!r} is not allowed; choose one of {', '.join(map(str, allowed))}")


def check_number(name: str, value: Any, least: float, unit: str) -> None:
    """Raise a ValueError that names the value, unless it is a finite number of at least `least`."""
    if not (isinstance(value, int | float | np.number) and least <= value <= sys.float_info.max):  # a NaN is not
        raise ValueError(f"{name}={value!r} is not allowed; it must be a finite number, {least:g} {unit} or more")


def channel_probabilities(velocity: Number) -> tuple[Number, Number]:
    """Chance per step that a bad channel turns good, and that a good one turns bad; velocity in km/h.

    Two-state Gilbert-Elliott channel with the level-crossing rates of Rayleigh fading: with Doppler spread f, packet
    time tau and ratio rho, P(good→bad) = f tau sqrt(2 pi rho) and P(bad→good) = P(good→bad) / (exp(rho) - 1).
    Not clipped: above 1, from 78 km/h on, the flip is sure.

    >>> to_good, to_bad = channel_probabilities(10.0)
    >>> round(to_good, 4), round(to_bad, 4)
    (0.129, 0.1061)
    """
    to_bad = velocity * (CARRIER_HZ * PACKET_S / (3600 * LIGHT_KM_PER_S) * math.sqrt(2 * math.pi * FADING))
    return to_bad / (math.exp(FADING) - 1), to_bad


def training_velocities(workers: int) -> list[int]:
    """Velocities of the training vehicles in km/h: even steps from 5 to 25, rounded down; a single one drives at 10.

    >>> training_velocities(5)
    [5, 10, 15, 20, 25]
    """
    return [10] if workers == 1 else [int(5 + 20 * i / (workers - 1)) for i in range(workers)]


def episode_numbers(uniform: np.ndarray, capacity: float | Sequence[float] | np.ndarray) -> tuple[np.ndarray, ...]:
    """Turn uniform numbers (4T+3, E) on [0, 1) into the random numbers of an episode of T steps.

    Returns the first channel (E,) bool, units (T+1, E), duration (T+1, E), and the uniform numbers of the channel and
    of the priority, (T, E) each; float32 but the first. `capacity`, one or E numbers, bounds the first task alone.
    """
    most = np.full((STEPS + 1, uniform.shape[1]), TASK_UNITS, dtype=np.float64)
    most[0] = capacity
    channel0, units, duration, channel, priority = np.split(uniform, np.cumsum([1, STEPS + 1, STEPS + 1, STEPS]))
    units = np.floor(units * most) + 1  # in float64: float32 could round the product up to the bound
    duration = np.floor(duration * np.float64(TASK_DURATION)) + 1
    return channel0[0] < 0.5, units.astype(np.float32), duration.astype(np.float32), channel, priority
