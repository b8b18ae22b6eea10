"""What the steps of an environment add up to: over an episode, and over the hundred steps of a report."""

import math
from typing import Any

import numpy as np

PHASES = ("random", "mixed", "policy")  # who chose the actions: chance, both within an episode, the actor with noise
COMPONENTS = ("efficiency", "lane_keeping", "comfort", "safety", "progress")  # of the driving reward, weighted
NOTHING = float("nan")  # where an environment does not tell


class Sums:
    """Phases, actions, rewards and what `info` tells, of the steps so far."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []
        self.parts: list[list[float]] = []
        self.speeds: list[float] = []

    def take(self, phase: str, action: np.ndarray, reward: float, info: dict[str, Any]) -> None:
        self.phases.append(phase)
        self.actions.append(action)
        self.rewards.append(reward)
        parts = info.get("reward", {})
        self.parts.append([float(parts.get(name, NOTHING)) for name in COMPONENTS])
        self.speeds.append(float(info.get("speed", NOTHING)))

    @property
    def phase(self) -> str:
        """random or policy where all steps agree, else mixed."""
        return self.phases[0] if len(set(self.phases)) == 1 else PHASES[1]

    def controls(self) -> dict[str, float]:
        """Mean steer and throttle; NaN where there are other actions than these two."""
        mean = np.mean(self.actions, axis=0)
        return dict(zip(("steer", "throttle"), mean.tolist() if len(mean) == 2 else [NOTHING] * 2, strict=True))


class Window(Sums):
    """The steps since the last report."""

    def add(self, phase: str, action: np.ndarray, reward: float, info: dict[str, Any]) -> None:
        self.take(phase, action, reward, info)

    def means(self) -> dict[str, Any]:
        """Columns of `records` over these steps; the window is empty afterwards."""
        row: dict[str, Any] = {"phase": self.phase, "reward": float(np.mean(self.rewards))}
        row |= dict(zip(_columns(), np.mean(self.parts, axis=0).tolist(), strict=True))
        row |= {"speed": float(np.mean(self.speeds))} | self.controls()
        self.__init__()  # type: ignore[misc]
        return row


class Episode(Sums):
    """The episode under way: its number and newest observation, and the columns of `returns` at its end."""

    def __init__(self, number: int, obs: dict[str, np.ndarray]) -> None:
        super().__init__()
        self.number, self.obs = number, obs
        self.info: dict[str, Any] = {}

    def add(
        self, obs: dict[str, np.ndarray], phase: str, action: np.ndarray, reward: float, info: dict[str, Any]
    ) -> None:
        self.take(phase, action, reward, info)
        self.obs, self.info = obs, info

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"episode": self.number, "length": len(self.rewards), "return": math.fsum(self.rewards)}
        row |= {"phase": self.phase, **outcome(self.info)}
        row |= dict(zip(_columns(), np.sum(self.parts, axis=0).tolist(), strict=True))
        return row | self.controls()


def outcome(info: dict[str, Any]) -> dict[str, bool]:
    """How an episode ended, as far as the environment tells."""
    return {"off_lane": bool(info.get("off_lane", False)), "goal": bool(info.get("goal", False))}


def _columns() -> list[str]:
    return [f"reward_{name}" for name in COMPONENTS]
