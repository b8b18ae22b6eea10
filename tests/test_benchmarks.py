"""The benchmarks run for real, small; both sides of a comparison do the same work."""

import itertools
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks import __main__ as command
from benchmarks import convolutions, instead, machine, norms, plain_a3c, roofline, td3, trainers
from lnlab.config import parse
from lnlab.envs.rules import STEPS
from lnlab.models.actor_critic import make_actor_critic
from lnlab.trainers import make_trainer
from lnlab.trainers.native import library
from lnlab.trainers.returns import actor_critic_gradient
from tests.fakes import only_long
from tests.test_models import NAMES


@pytest.mark.slow
def test_trainers_are_timed_side_by_side_and_the_ratio_is_of_one_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(trainers, "ORIGINAL", {("a3c", "gru", "ln"): 1421})
    monkeypatch.setattr(trainers, "JUDGED", ("a3c-gru-ln",))
    trainers.main(rounds=1, seconds=0.2)
    kept = json.loads((tmp_path / "trainers.json").read_text())
    for name, arm in kept["arms"].items():
        assert name in capsys.readouterr().out
        ours, plain = arm["steps_per_second"]["median"], arm["plain_steps_per_second"]["median"]
        assert arm["ratio_plain"]["median"] == pytest.approx(ours / plain)
        assert arm["ratio_original"] == pytest.approx(ours / arm["original_steps_per_second"])
        assert ours > plain  # by an order of magnitude where nothing else is running


@only_long
@pytest.mark.slow
def test_the_cost_of_a_norm_is_a_share_of_the_speed_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    few = {"ALGORITHMS": ("individual",), "CORES": ("ff",), "ACTOR_CRITIC": ("none", "ln", "batch")}
    for name, values in few.items():
        monkeypatch.setattr(norms, name, values)
    norms.main(rounds=1, seconds=0.1)
    rows = json.loads((tmp_path / "norms.json").read_text())["arms"]
    found = {(each["backend"], each["norm"]): each for each in rows}
    backends = ("torch", "native") if library() else ("torch",)
    assert [*found] == list(itertools.product(backends, ("none", "ln", "batch")))
    for (backend, norm), each in found.items():
        none = found[backend, "none"]
        assert each["parameters"] - none["parameters"] == {"none": 0, "ln": 4 * 128, "batch": 4 * 128}[norm]
        speeds = [arm["steps_per_second"]["median"] for arm in (each, none)]
        assert each["share"]["median"] == pytest.approx(speeds[0] / speeds[1])


@only_long
@pytest.mark.slow
def test_the_cost_of_each_alternative_is_a_share_of_the_speed_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(instead, "CORES", ("ff",))
    instead.main(rounds=1, seconds=0.1)
    found = {each["way"]: each for each in json.loads((tmp_path / "instead.json").read_text())["arms"]}
    assert [*found] == [*instead.WAYS]
    plain = found["no norm"]["steps_per_second"]["median"]
    for each in found.values():
        assert each["share"]["median"] == pytest.approx(each["steps_per_second"]["median"] / plain)


def test_an_unknown_benchmark_is_answered_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["trainer"])
    assert "unknown benchmark trainer; choose from trainers, off_the_shelf" in capsys.readouterr().err


def test_the_control_makes_the_update_of_the_study() -> None:
    """The gradient of one rollout, from the control's loop and from the stacked network with the same weights."""
    torch.manual_seed(0)
    config = parse({"seeds": 1, "workers": 1, "hidden": 16})
    model, local = (plain_a3c.ActorCritic("gru", "ln", 16) for _ in range(2))
    worker = plain_a3c.Worker(config, 0, model, plain_a3c.SharedAdam(model.parameters(), 1e-3), None, None, None)
    worker.local = local
    obs, actions, returns = torch.rand(20, 48), torch.randint(3, (20,)), torch.rand(20) * 5
    net = make_actor_critic("gru", "ln", hidden=16)
    flat, gradient = torch.zeros(2, 1, net.layout.size)
    views = net.layout.views(flat)
    for name, parameter in _by_our_names(local, "data").items():
        views[name][0] = parameter
    tape = net.tape(20, 1)
    tape.obs[:20, 0, 0] = obs
    for t in range(20):
        net.step(views, tape, t)
    costs = {"value_cost": config.value_cost, "entropy_cost": config.entropy_cost}
    dout, _ = actor_critic_gradient(tape.out[:20].squeeze(2), actions.unsqueeze(1), returns.unsqueeze(1), **costs)
    net.backward(views, net.layout.views(gradient), tape, dout)
    gradient *= min(1.0, config.clip_norm / (gradient.norm().item() + 1e-6))
    worker._learn(torch.zeros(1, 16), [row.unsqueeze(0) for row in obs], actions, returns)
    for name, theirs in _by_our_names(local, "grad").items():
        torch.testing.assert_close(net.layout.views(gradient)[name][0], theirs, rtol=1e-3, atol=1e-5)


def _by_our_names(model: plain_a3c.ActorCritic, attribute: str) -> dict[str, torch.Tensor]:
    """Weights or gradients of the control under the stacked network's names, in its orientation."""
    theirs = {name: getattr(parameter, attribute) for name, parameter in model.named_parameters()}
    named = {ours: theirs[name].T if turn else theirs[name] for ours, (name, turn) in NAMES.items() if name in theirs}
    named["heads.weight"] = torch.cat([theirs["policy.weight"], theirs["value.weight"]]).T
    named["heads.bias"] = torch.cat([theirs["policy.bias"], theirs["value.bias"]])
    return {name: value for name, value in named.items() if not name.startswith(("core.weight", "core.bias"))}


@pytest.mark.parametrize("core", ["gru", "ff"])
def test_the_roofline_counts_what_torch_counts(core: str) -> None:
    config = parse({"seeds": 1, "hidden": 32, "core": core, "norm": "none"})
    trainer = make_trainer(config)
    with FlopCounterMode(display=False) as counter:
        trainer.train_episode()
    assert roofline.work_per_step(config) * config.workers * STEPS == pytest.approx(counter.get_total_flops())


# -- TD3 ---------------------------------------------------------------------------------------------------------------
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


@pytest.mark.parametrize(
    ("wiring", "forward", "both"), [("same", 4.0, 1.5), ("original", 2.5, 1.5), ("shared", 2.0, 1.0)]
)
def test_the_operations_of_an_update_are_those_of_its_passes(
    wiring: str, forward: float, both: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand: multiply and add for each weight and place; backwards twice that, but for the gradient by the image."""
    monkeypatch.setattr(td3, "STORED", 40)
    space = td3.POLICIES["CnnPolicy"]
    learner, replay, rng = td3.make_learner(space, wiring, "cpu"), td3.fill_ours(space, "cpu"), np.random.default_rng(0)
    found = convolutions.operations(lambda: learner.update(replay.sample(4, rng), torch.zeros(4, 2))) / 4
    first = 20 * 20 * 32 * 4 * 8**2
    cnn = first + 9 * 9 * 64 * 32 * 4**2 + 7 * 7 * 64 * 64 * 3**2 + 3136 * 512
    actor, critic = 512 * 256 + 256**2 + 256 * 2, 514 * 256 + 256**2 + 256
    heads = (actor + 2 * critic) + 2 * 3 * critic + (3 * actor + 2 * critic) / 2
    heads -= (wiring == "shared") * 512 * 256 / 2  # the actor's loss asks for no gradient by the features
    assert found == pytest.approx(2 * (forward * cnn + both * (2 * cnn - first) + heads), rel=1e-9)


def test_other_ways_of_writing_the_convolutions_down_give_the_same() -> None:
    x, net, second = convolutions.images(2), convolutions.layers(), convolutions.layers(1)
    expected = convolutions.usual(x, net)
    inner = torch.nn.functional.conv2d(x, *net[0])
    close = {"rtol": 1e-4, "atol": 1e-5}  # sums in another order
    torch.testing.assert_close(convolutions.fused(x, net), expected, **close)
    torch.testing.assert_close(convolutions.fused(x, convolutions.packed(net, 2)), expected, **close)
    beside = torch.cat([expected, convolutions.usual(x, second)], 1)
    torch.testing.assert_close(convolutions.side_by_side(x, net, second), beside, **close)
    ways = (convolutions.both_ways(each, inner, net[1]) for each in (convolutions.folded, torch.nn.functional.conv2d))
    torch.testing.assert_close(*ways, **close)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor needs g++")
def test_compiled_convolutions_give_the_same() -> None:
    x, net = convolutions.images(2), convolutions.layers()
    ways = (convolutions.trained(each, x, net) for each in (torch.compile(convolutions.usual), convolutions.usual))
    torch.testing.assert_close(*ways, rtol=1e-4, atol=1e-5)


def test_the_log_of_onednn_names_what_ran(capfd: pytest.CaptureFixture[str]) -> None:
    found = convolutions.kernels(lambda: convolutions.usual(convolutions.images(2), convolutions.layers()))
    assert sum(count for name, count in found.items() if name.startswith("convolution ")) == 3
    assert convolutions.instruction_sets(found)
    print("here")
    assert capfd.readouterr().out == "here\n"  # the log went elsewhere, and what follows does not


def test_paging_counts_new_memory_alone() -> None:
    held = torch.zeros(2**20)
    assert convolutions.paging(lambda: held.add_(1))["page_faults"] < 16
    assert convolutions.paging(lambda: torch.zeros(2**26).add_(1))["page_faults"] >= 2**28 / 2**21  # of 2 MiB at most


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
