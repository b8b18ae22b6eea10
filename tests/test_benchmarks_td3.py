"""The benchmarks of TD3 run for real, small: what they time is the same work on both sides, and they keep it."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from lnlab.report import speed_driving

from benchmarks import machine, pendulum, td3


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    return tmp_path


def test_updates_are_timed_in_turn_and_ratios_are_of_one_round(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("stable_baselines3")
    cases = [("CnnPolicy", "same", 4, "float32"), ("MultiInputPolicy", "original", 4, "bfloat16")]
    monkeypatch.setattr(td3, "CASES", cases)
    monkeypatch.setattr(td3, "STORED", 40)
    monkeypatch.setattr(td3, "EQUAL", ("same", 4, "float32"))
    td3.main(rounds=1, seconds=0.05)
    kept = json.loads((results / "td3.json").read_text())
    assert "MultiInputPolicy  original" in capsys.readouterr().out
    for case in kept["cases"]:
        ours, theirs = case["updates_per_second"]["median"], case["sb3_updates_per_second"]["median"]
        assert case["ratio"]["median"] == pytest.approx(ours / theirs)
        assert case["bytes_per_transition"] < td3.GOAL_BYTES
    assert ["sb3_autocast_updates_per_second" in case for case in kept["cases"]] == [False, True]
    assert ["products_per_second" in case for case in kept["cases"]] == [True, False]
    image, action = 4 * 84 * 84, 2 * 4
    assert kept["cases"][0]["sb3_bytes_per_transition"] == 2 * image + action + 3 * 4  # reward, done, timeout


def test_the_page_tells_what_the_products_alone_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    speeds = {"updates_per_second": 3.0, "sb3_updates_per_second": 2.0, "products_per_second": 3.5}
    cases = [{name: {"median": value} for name, value in speeds.items()}, {"precision": "bfloat16"}]
    monkeypatch.setattr(speed_driving, "result", lambda name: {"cases": cases})
    assert "can be run 3.50 times a second: 1.75 times Stable-Baselines3's updates" in speed_driving._bound()
    monkeypatch.setattr(speed_driving, "result", lambda name: {"cases": cases[1:]})
    assert speed_driving._bound() == ""


def test_the_products_are_those_of_an_update(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted: CNNs run forwards and backwards in our learner's update, and in the bare products of two updates."""
    monkeypatch.setattr(td3, "STORED", 40)
    learner, replay = (
        td3.make_learner(td3.POLICIES["CnnPolicy"], "same", "cpu"),
        td3.fill_ours(td3.POLICIES["CnnPolicy"], "cpu"),
    )
    rng, products = np.random.default_rng(0), td3.make_products(4, "cpu")
    counts = []
    for update in (lambda: learner.update(replay.sample(4, rng), torch.zeros(4, 2)), products):
        with torch.profiler.profile() as seen:
            update()
            update()
        calls = {event.key: event.count for event in seen.key_averages()}
        counts.append([calls[f"aten::{name}"] for name in ("convolution", "convolution_backward")])
    assert counts[0] == counts[1] == [3 * 8, 3 * 3]


@pytest.mark.parametrize("policy", td3.POLICIES)
def test_both_sides_have_the_same_networks_and_experience(policy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("stable_baselines3")
    monkeypatch.setattr(td3, "STORED", 40)
    space = td3.POLICIES[policy]
    learner, model = td3.make_learner(space, "same", "cpu"), td3.make_model(policy, space, "cpu")
    for ours, theirs in ((learner.actor.parameters, model.actor), (learner.critic.parameters, model.critic)):
        assert [each.shape for each in ours] == [each.shape for each in theirs.parameters()]
    replay, buffer = td3.fill_ours(space, "cpu"), td3.fill_theirs(model, space)
    assert len(replay) == buffer.size() == 40
    stored = buffer.observations if policy == "CnnPolicy" else buffer.observations["image"]
    image = replay.sample(400, np.random.default_rng(0)).image
    assert image is not None
    assert {bytes(frame) for frame in image[:, -1].numpy()} == {bytes(frame) for frame in stored[:40, 0, -1]}


def test_every_seed_of_pendulum_is_judged(
    results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pendulum, "SEEDS", 2)
    monkeypatch.setattr(pendulum, "STEPS", 200)
    monkeypatch.setitem(pendulum.SETTINGS, "learning_starts", 180)
    assert not pendulum.main()  # nobody learns in 20 updates
    kept = json.loads((results / "pendulum.json").read_text())["return_by_seed"]
    assert list(kept) == ["0", "1"]
    assert kept["0"] != kept["1"]
    assert all(score < -200 for score in kept.values())
    assert f"seed 0: {kept['0']:.0f}" in capsys.readouterr().out
