"""The timing of the driving environment runs for real, small; its ratios are of one round; EnvPool is optional."""

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import driving, machine
from lnlab.envs.driving import DrivingEnv


def test_all_take_turns_and_ratios_are_to_stock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(driving, "envpool_version", lambda: None)
    reached = driving.main(rounds=1, seconds=0.0)
    printed, kept = capsys.readouterr().out, json.loads((tmp_path / "driving.json").read_text())
    speeds = {name: figures["steps_per_second"]["median"] for name, figures in kept["peers"].items()}
    for name, figures in kept["peers"].items():
        assert name in printed
        assert figures["ratio_stock"]["median"] == pytest.approx(speeds[name] / speeds[driving.STOCK])
    assert min(speeds.values()) > 0
    assert reached == (kept["peers"][driving.ALIKE]["ratio_stock"]["median"] >= kept["goal_ratio"])
    assert "EnvPool is not installed" in printed


def test_both_are_given_the_same_drive() -> None:
    """Ours turns throttle into gas and brake just as `three` does."""
    for t in range(200):
        steer, throttle = driving.two(t)
        assert driving.three(t) == pytest.approx([steer, max(throttle, 0), max(-throttle, 0)])
    env = DrivingEnv(frame_skip=1)
    env.reset(seed=0)
    env.step(driving.two(80))
    assert np.isclose(env.race.car.wheels[0].brake, driving.three(80)[2])
    assert driving.three(80)[2] > 0
