"""What a CUDA graph asks of a program, tested where there is no GPU.

A graph repeats what was launched while it was captured. So a program must leave its buffers where they are, must not
ask the device for a value, and must have its numbers on the device. Tensors on torch's meta device, and its fake ones,
have shapes and no values: a question raises, and so does a number on another device. The wrappers that warm up, put
back and copy inputs run on the CPU, to the bit of the program alone.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode, unset_fake_temporarily

from lnlab import evaluation
from lnlab.config import parse
from lnlab.models import cnn
from lnlab.models.actor_critic import of_settings, seeded_rows
from lnlab.models.fast import to_unit
from lnlab.trainers import captured, make_trainer
from lnlab.trainers.a3c import ActorCriticTrainer
from lnlab.trainers.captured import CapturedTick, CapturedUpdate
from lnlab.trainers.td3 import TD3
from tests.test_td3 import IMAGES, NUMBERS, TWO, learner, transitions

SMALL = {"hidden": 16, "episodes": 3, "lr": 1e-3, "seeds": 2, "workers": 2}
SEPARATE = {"trunks": "separate", "norm_in": "critic"}
SETTINGS = [
    {"gradient_carry": True}, {"algorithm": "individual"}, {"schedule": "sync"}, SEPARATE,
    {"core": "ff", "norm": "none", "value_sees_time": True, "return_scale": True},
]  # fmt: skip
named = pytest.mark.parametrize("settings", SETTINGS, ids=lambda each: "-".join(map(str, each.values())))


class Replayed:
    """In place of a graph: the program once, as in a capture."""

    def __init__(self, tick: Any, inputs: Any, changing: Any) -> None:
        tick(*inputs)
        self.tick = tick

    def __call__(self, *inputs: torch.Tensor) -> None:
        self.tick(*inputs)


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Tensors without values, and the path of a GPU through the networks on images."""
    monkeypatch.setattr(captured, "CapturedTick", Replayed)
    monkeypatch.setattr(torch.nn.Module, "to", lambda module, _: module)  # a fake parameter cannot be moved
    monkeypatch.setattr(cnn.Linear, "fast", False)
    monkeypatch.setattr(cnn, "pixels", lambda image, device: to_unit(image.to(torch.float32)))
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield


# -- A3C and Individual -----------------------------------------------------------------------------------------------


@named
def test_a_captured_tick_is_the_tick_to_the_bit(settings: dict[str, Any]) -> None:
    """Warm-ups leave no trace, also where a graph is captured in the middle of a training."""
    plain, other = (make_trainer(parse(SMALL | settings)) for _ in range(2))
    for episode in range(3):
        if episode in (0, 2):
            tick = other.captured()
            assert isinstance(tick, CapturedTick)
            other._fastest_tick = lambda tick=tick: tick
        wanted, got = plain.train_episode(), other.train_episode()
        for name in wanted:
            np.testing.assert_array_equal(wanted[name], got[name])
    assert torch.equal(plain.parameters, other.parameters)
    assert torch.equal(plain.snapshot, other.snapshot)


@named
def test_an_episode_asks_the_device_for_nothing_but_its_report(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trainer = ActorCriticTrainer(parse(SMALL | settings), "meta")
    buffers = [trainer.parameters, trainer.snapshot, trainer.totals, trainer.reward, *trainer._moments()]
    places = [each.data_ptr() for each in buffers]
    monkeypatch.setattr(trainer, "_report", lambda updates: {})
    trainer.train_episode()
    now = [trainer.parameters, trainer.snapshot, trainer.totals, trainer.reward, *trainer._moments()]
    assert all(one is other for one, other in zip(buffers, now, strict=True))
    assert places == [each.data_ptr() for each in now]
    assert {(each.device.type, each.dtype) for each in now} == {("meta", torch.float32)}


@pytest.mark.parametrize("buffer", ["parameters", "reward", "limit"])
def test_a_number_elsewhere_and_a_question_are_noticed(buffer: str) -> None:
    trainer = ActorCriticTrainer(parse(SMALL), "meta")
    if buffer == "limit":
        trainer._clip_factor = lambda norm: norm * norm.max().item()
    elif buffer == "reward":
        trainer.reward = torch.zeros(20, 4)
    else:
        trainer.adam.state[trainer.parameters]["exp_avg"] = torch.zeros(2, trainer.parameter_count)
    order = torch.zeros(2, 2, dtype=torch.int64, device="meta")
    with torch.no_grad(), pytest.raises((RuntimeError, NotImplementedError)):
        trainer.tick(torch.zeros(20, 4, device="meta"), order, torch.ones((), device="meta"))


@pytest.mark.parametrize("mode", evaluation.MODES)
def test_a_test_asks_the_device_for_nothing_but_its_outcome(mode: str) -> None:
    config = parse(SMALL | {"eval_episodes": 2})
    net = of_settings(config)
    parameters = seeded_rows(net, [[0], [1]]).to("meta")
    env, noise, uniforms = evaluation._environments([0, 1], 2, "budget", "meta", evaluation.SCENARIOS)
    outcome = evaluation.play(env, noise, evaluation._actor(net, parameters, uniforms, mode))
    assert {each.device.type for each in outcome} == {"meta"}


# -- TD3 and DDPG -----------------------------------------------------------------------------------------------------


def assert_equal_learners(one: TD3, other: TD3) -> None:
    for mine, theirs in zip(one._pairs, other._pairs, strict=True):
        for a, b in zip(mine, theirs, strict=True):
            assert all(map(torch.equal, a.parameters(), b.parameters()))
    for side in ("actor", "critic"):
        a, b = (getattr(each, side).optimizer.state_dict()["state"] for each in (one, other))
        assert all(torch.equal(a[key][name], b[key][name]) for key in a for name in a[key])


@pytest.mark.parametrize("settings", [{}, {"actor_features": "detached", "target_cnn": True}, {"algorithm": "ddpg"}])
def test_captured_updates_are_the_updates_to_the_bit(settings: dict[str, Any]) -> None:
    """Also where it is captured in the middle, and where an update between is not captured."""
    spaces = IMAGES if settings else NUMBERS
    plain, other = learner(spaces, **settings), learner(spaces, **settings)
    batch, noise = transitions(4, spaces), torch.randn(4, 2, generator=torch.Generator().manual_seed(1))
    update = None
    for number in range(5):
        seen: dict[str, float] = {}
        plain.update(batch, noise * number, seen if number == 3 else None)
        if number in (0, 3):
            other.update(batch, noise * number)
        else:
            update = update or CapturedUpdate(other, batch, noise)
            update(batch, noise * number)
    assert update is not None
    update.look()
    assert (other.alive, other.updates) == (True, 5)
    assert_equal_learners(plain, other)


@pytest.mark.parametrize("ill", [1, 2, 3])
@pytest.mark.parametrize("kind", ["loss", "gradient"])
def test_a_learner_that_is_not_finite_stands_still_and_says_since_when(ill: int, kind: str) -> None:
    plain, other = learner(NUMBERS), learner(NUMBERS)
    batch, noise = transitions(4, NUMBERS), torch.zeros(4, 2)
    wrong = batch._replace(reward=torch.full((4,), torch.inf if kind == "loss" else 1e19))
    update = CapturedUpdate(other, batch, noise)
    for number in range(1, 5):
        given = wrong if number == ill else batch
        plain.update(given, noise)
        update(given, noise)
    update.look()
    assert plain.diverged is not None
    assert (plain.diverged["update"], plain.alive) == (ill, False)
    assert (other.diverged, other.alive) == (plain.diverged, plain.alive)
    assert_equal_learners(plain, other)


@pytest.mark.parametrize("settings", [{}, {"norm": "none", "precision": "bfloat16"}, {"algorithm": "ddpg"}])
def test_a_captured_update_asks_the_device_for_nothing(settings: dict[str, Any], fake: None) -> None:
    ours = TD3(learner_config(**settings), IMAGES, TWO)
    update = CapturedUpdate(ours, fake_transitions(), torch.zeros(4, 2))
    for _ in range(2):
        update(fake_transitions(), torch.zeros(4, 2))
    sides = ours.actor, ours.critic
    parts = [each for side in sides for each in side.parameters]
    parts += [each for side in sides for state in side.optimizer.state.values() for each in state.values()]
    assert {each.dtype for each in parts} == {torch.float32}
    with pytest.raises(DataDependentOutputException):
        update.look()  # does ask


def test_an_update_that_is_not_captured_does_ask(fake: None) -> None:
    with pytest.raises(DataDependentOutputException):
        TD3(learner_config(), IMAGES, TWO).update(fake_transitions(), torch.zeros(4, 2))


def learner_config(**settings: Any) -> Any:
    chosen = {"algorithm": "td3", "seeds": 1, "batch_size": 4, "learning_starts": 100, "eval_episodes": 0}
    return parse(chosen | settings)


def fake_transitions() -> Any:
    with unset_fake_temporarily():
        return transitions()
