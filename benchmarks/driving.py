"""Steps per second of the driving environment against stock CarRacing-v3 and, where it is installed, EnvPool's.

All take turns of a few steps in one process, with the same steering and gas, so that a ratio is of one moment of the
machine. Like for like is one physics step and one picture a decision; the study takes two physics steps a decision.
"""

import importlib.metadata
import math
import time
from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
from tqdm.auto import tqdm

import lnlab.envs  # noqa: F401  (registers the environment)
from benchmarks.machine import describe, save
from lnlab.envs.track import Race

Advance = Callable[[int], None]

TURN = 25  # steps
GOAL = 8.0  # times the steps per second of stock
STOCK, ALIKE, ENVPOOL = "stock CarRacing-v3", "ours, 1 physics step", "EnvPool CarRacing-v3"


def action(t: int) -> tuple[float, float]:
    """Steer and throttle: a drive of bends that is soon off the road, with some braking."""
    return 0.2 * math.sin(t / 17), 0.25 + 0.35 * math.cos(t / 29)


def three(t: int) -> np.ndarray:
    """The same for stock: steer, gas, brake."""
    steer, throttle = action(t)
    return np.array([steer, max(throttle, 0.0), max(-throttle, 0.0)], np.float32)


def two(t: int) -> np.ndarray:
    """The same for ours."""
    return np.array(action(t), np.float32)


def stepper(env: gymnasium.Env[Any, Any], act: Callable[[int], np.ndarray]) -> Advance:
    """A call that takes n steps, new episodes included."""
    env.reset(seed=0)
    t = 0

    def advance(n: int) -> None:
        nonlocal t
        for _ in range(n):
            over = env.step(act(t))[2:4]
            t += 1
            if any(over):
                env.reset()

    return advance


def physics() -> Advance:
    """Stock's step without any picture: what a perfect painter would leave."""
    race, t = Race(), 0
    race.reset(seed=0)

    def advance(n: int) -> None:
        nonlocal t
        for _ in range(n):
            race.step(three(t))
            t += 1

    return advance


def envpool() -> Advance:
    """EnvPool's environment, one at a time on one thread; it starts new episodes itself."""
    import envpool as pool

    env, t = pool.make_gymnasium("CarRacing-v3", num_envs=1, num_threads=1, seed=0), 0
    env.reset()

    def advance(n: int) -> None:
        nonlocal t
        for _ in range(n):
            env.step(three(t)[None])
            t += 1

    return advance


def peers() -> dict[str, Advance]:
    """Name → a call that takes n steps; EnvPool's where it is installed."""

    def ours(**options: Any) -> Advance:
        return stepper(gymnasium.make("lnlab/Driving-v0", **options), two)

    found = {
        STOCK: stepper(gymnasium.make("CarRacing-v3"), three),
        ALIKE: ours(frame_skip=1, terminate_off_lane=False, route_length=800.0),
        "ours, 2 physics steps": ours(terminate_off_lane=False, route_length=800.0),
        "ours, as trained": ours(),
        "ours, a new track each episode": ours(scenario="varied"),
        "physics alone": physics(),
    }
    return found | ({ENVPOOL: envpool()} if envpool_version() else {})


def envpool_version() -> str | None:
    """None where it is not installed."""
    try:
        return importlib.metadata.version("envpool")
    except importlib.metadata.PackageNotFoundError:
        return None


def steps_per_second(advances: dict[str, Advance], seconds: float) -> dict[str, float]:
    """Of each by its name, in turns, until `seconds` have passed."""
    spent = dict.fromkeys(advances, 0.0)
    turns, end = 0, time.perf_counter() + seconds
    while turns == 0 or time.perf_counter() < end:
        turns += 1
        for name, advance in advances.items():
            start = time.perf_counter()
            advance(TURN)
            spent[name] += time.perf_counter() - start
    return {name: turns * TURN / total for name, total in spent.items()}


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep steps per second and their ratios; True if ours takes 8 times as many as stock, like for like."""
    advances = peers()
    steps_per_second(advances, 0.0)  # a warm-up
    each = [steps_per_second(advances, seconds) for _ in tqdm(range(rounds), desc="driving", unit="round")]
    result = {
        name: {
            "steps_per_second": describe([speeds[name] for speeds in each]),
            "ratio_stock": describe([speeds[name] / speeds[STOCK] for speeds in each]),
        }
        for name in advances
    }
    for name, figures in result.items():
        speed, ratio = figures["steps_per_second"]["median"], figures["ratio_stock"]["median"]
        print(f"{name:32s} {speed:8.0f} steps/s  {ratio:5.1f} × stock")
    if not envpool_version():
        print("EnvPool is not installed: pip install envpool")
    print(save("driving", {"peers": result, "goal_ratio": GOAL, "envpool": envpool_version()}))
    return result[ALIKE]["ratio_stock"]["median"] >= GOAL
