"""Compiled code against torch's path: networks, updates, environment, trainings; and where there is no compiler."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from lnlab.config import parse
from lnlab.runs import Run
from lnlab.trainers import driver, make_trainer, native
from lnlab.trainers.a3c import ActorCriticTrainer
from lnlab.trainers.native import NativeTick
from tests.test_a3c import SMALL, assert_same, goes_on_to_the_same_bits, results  # noqa: F401

NORMS = ("none", "ln", "ln_noaffine", "ln_core", "rms", "unit", "batch", "weight", "rms@heads", "batch@heads",
         "weight@heads")  # fmt: skip
ARMS = [(core, norm) for core in ("gru", "ff") for norm in NORMS]
BUFFERS = ("state", "embed", "active", "gates", "hidden", "core", "out")  # of the tape
compiled = pytest.mark.skipif(native.library() is None, reason="needs a C++ compiler")


def trainer(**settings: Any) -> ActorCriticTrainer:
    return make_trainer(parse(SMALL | {"backend": "native"} | settings))


def tick(learner: ActorCriticTrainer) -> NativeTick:
    code = native.library()
    assert code is not None
    return NativeTick(learner, code)


def assert_near(got: Tensor, wanted: Tensor, name: str) -> None:
    """To 1e-5 of the largest."""
    assert wanted.numel() == 0 or float((got - wanted).abs().max() / wanted.abs().max()) < 1e-5, name


@compiled
@pytest.mark.parametrize("hidden", [16, 48, 128])
@pytest.mark.parametrize(("core", "norm"), ARMS)
def test_networks_and_gradients_are_those_of_torchs_path(core: str, norm: str, hidden: int) -> None:
    torch.manual_seed(0)
    norm, _, at = norm.partition("@")
    ours = trainer(core=core, norm=norm, norm_at=at or "usual", hidden=hidden, value_sees_time=norm == "ln_noaffine")
    ours.tape.left.uniform_()
    within = ours.snapshot != 0
    ours.snapshot.add_(torch.randn_like(ours.snapshot) * 0.1 * within)
    ours.tape.obs.uniform_(), ours.tape.state[0].normal_()
    for t in range(21):
        ours.net.step(ours.snapshot_views, ours.tape, t)
    wanted = copy.deepcopy(ours.tape)
    code, dout = tick(ours), torch.randn(20, ours.rows, 4)
    for stale in (ours.tape.state[1:], *(getattr(ours.tape, name) for name in BUFFERS[1:])):
        stale.fill_(7.0)
    for t in range(21):
        code.step(t)
    for name, buffer in wanted._asdict().items():
        if name in BUFFERS:
            assert_near(getattr(ours.tape, name), buffer, name)
    ours.net.backward(ours.snapshot_views, ours.gradient_views, ours.tape, dout)
    gradients = {name: view.clone() for name, view in ours.gradient_views.items()}
    norm_wanted = ours.gradient.norm(dim=1)
    for view in ours.gradient_views.values():
        view.fill_(7.0)  # stale values must be overwritten, not added to
    assert_near(code.backward(dout), norm_wanted, "norm")
    for name, view in ours.gradient_views.items():
        if norm == "batch" and float(gradients[name].abs().max()) < 1e-4:  # a bias that the norm takes away again
            assert float(view.abs().max()) < 1e-4, name
        else:
            assert_near(view, gradients[name], name)


@compiled
@pytest.mark.parametrize(
    "settings",
    [{}, {"algorithm": "individual"}, {"schedule": "sync"}, {"norm": "ln_project"}, {"norm": "weight"}],
    ids=str,
)
def test_updates_are_those_of_torchs_path_also_where_a_learner_stops(settings: dict[str, str]) -> None:
    torch.manual_seed(0)
    theirs, ours = trainer(backend="torch", **settings), trainer(**settings)
    code, order = tick(ours), torch.arange(10).view(2, 5).T.contiguous().flip(0)
    for update in range(4):
        gradient = torch.randn_like(ours.gradient) * torch.logspace(-3, 1, 10).unsqueeze(1)
        if update == 2:
            gradient[7, 5] = torch.nan
        ours.gradient.copy_(gradient), theirs.gradient.copy_(gradient)
        code.tensors["norm"].copy_(gradient.norm(dim=1))
        code.update(order)
        with torch.no_grad():
            norm = theirs._push(order)
        torch.testing.assert_close(code.tensors["norm"], norm)
        assert torch.equal(ours.alive, theirs.alive)
        torch.testing.assert_close(ours.parameters, theirs.parameters, rtol=0, atol=1e-6)
        torch.testing.assert_close(ours.snapshot, theirs.snapshot, rtol=0, atol=1e-6)
    assert not ours.alive.all()
    assert ours.alive.any()


@compiled
@pytest.mark.parametrize("cloud", ["shared", "budget", "refilled"])
@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
def test_a_training_follows_torchs_path_and_its_environment_to_the_bit(algorithm: str, cloud: str) -> None:
    """Tolerances of a GPU against a CPU; the same actions, so the same world."""
    settings = {"algorithm": algorithm, "cloud": cloud, "lr": 1e-4, "seeds": 3, "value_huber": 20.0}
    theirs, ours = trainer(backend="torch", **settings), trainer(**settings)
    for _ in range(3):
        there, here = theirs.train_episode(), ours.train_episode()
        assert torch.equal(ours.action, theirs.action)
        for name, buffer in theirs.env.buffers().items():
            assert torch.equal(ours.env.buffers()[name], buffer), name
        assert torch.equal(ours.tape.obs, theirs.tape.obs)
        assert torch.equal(ours.reward, theirs.reward)
        for key in there:
            np.testing.assert_allclose(here[key], there[key], rtol=5e-3, atol=5e-3, err_msg=key)
    torch.testing.assert_close(ours.parameters, theirs.parameters, rtol=0, atol=5e-4)
    assert ours.backend == "native"
    assert theirs.backend == "torch"


def trained_alike(settings: dict[str, Any], episodes: int) -> tuple[Any, Any]:
    """Two trainers after some episodes, torch's path and compiled code, whose actions and numbers agreed in each."""
    theirs, ours = trainer(backend="torch", **settings), trainer(**settings)
    assert (ours.backend, theirs.backend) == ("native", "torch")
    for _ in range(episodes):
        there, here = theirs.train_episode(), ours.train_episode()
        assert torch.equal(ours.action, theirs.action)
        for key in there:
            np.testing.assert_allclose(here[key], there[key], rtol=5e-3, atol=5e-3, err_msg=key)
    return theirs, ours


@compiled
@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize(
    "settings", [{}, {"algorithm": "individual"}, {"schedule": "sync"}, {"norm_at": "heads"}], ids=str
)
def test_batch_norm_trains_on_the_rollouts_statistics_and_moves_the_running_ones(
    core: str, settings: dict[str, str]
) -> None:
    # parameters stay: rounding alone moves a bias that the norm takes away, by a whole step of Adam
    settings = {"norm": "batch", "core": core, "lr": 1e-9} | settings
    theirs, ours = trained_alike(settings, episodes=3)
    torch.testing.assert_close(ours.parameters, theirs.parameters, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(ours.snapshot, theirs.snapshot, rtol=1e-4, atol=1e-5)
    views = ours.net.layout.views(ours.parameters)
    assert all(float((views[name] - (0 if name.endswith("mean") else 1)).abs().max()) > 0.1
               for name in views if name.endswith((".mean", ".var")))  # fmt: skip


@compiled
@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize(
    "settings",
    [{"return_scale": True}, {"return_scale": True, "value_sees_time": True, "core": "ff"}, {"clip_percentile": 30}],
    ids=str,
)
def test_scaled_returns_and_limits_that_follow_are_those_of_torchs_path(
    algorithm: str, settings: dict[str, Any]
) -> None:
    settings = {"norm": "none", "algorithm": algorithm, "lr": 1e-4, "seeds": 3} | settings
    theirs, ours = trained_alike(settings, episodes=4)
    torch.testing.assert_close(ours.parameters, theirs.parameters, rtol=1e-4, atol=5e-4)
    if ours.autoclip and theirs.autoclip:
        for here, there in zip(ours.autoclip.seen, theirs.autoclip.seen, strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-3)


@compiled
@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize(("norm", "leader"), [("none", "ln"), ("ln", "none"), ("none", "ln_project")])
def test_steps_of_another_arm_are_imposed_as_by_torchs_path(algorithm: str, norm: str, leader: str) -> None:
    settings = {"algorithm": algorithm, "norm": norm, "steps_of": leader, "lr": 1e-4}
    theirs, ours = trainer(backend="torch", **settings), trainer(**settings)
    free = trainer(**settings | {"steps_of": "own"})
    for _ in range(3):
        there, here = theirs.train_episode(), ours.train_episode()
        free.train_episode()
        for key in there:
            np.testing.assert_allclose(here[key], there[key], rtol=5e-3, atol=5e-3, err_msg=key)
    assert ours.leader is not None
    assert theirs.leader is not None
    assert (ours.backend, ours.leader.backend) == ("native", "native")
    torch.testing.assert_close(ours.leader.parameters, theirs.leader.parameters, rtol=0, atol=5e-4)
    away, imposed = ((ours.parameters - each.parameters).abs().mean() for each in (theirs, free))
    assert away < imposed / 20


@compiled
@pytest.mark.parametrize(
    "settings",
    [{}, {"algorithm": "individual", "core": "ff"}, {"schedule": "sync"}, {"steps_of": "none"}, {"norm": "weight"},
     {"norm": "batch"}, {"clip_percentile": 30, "return_scale": True, "algorithm": "individual"}],
    ids=str,
)  # fmt: skip
def test_a_saved_and_loaded_training_goes_on_to_the_same_bits_and_a_seed_is_what_it_is_alone(
    settings: dict[str, Any],
) -> None:
    reports = goes_on_to_the_same_bits(backend="native", **settings)
    for wanted, got in zip(reports, trainer(seeds=1, first_seed=1, **settings), strict=True):
        assert_same({key: value if value.ndim == 0 else value[1:] for key, value in wanted.items()}, got)


@compiled
def test_a_learner_that_turns_nan_is_frozen_and_leaves_the_others_to_the_bit() -> None:
    healthy, ill = trainer(episodes=3), trainer(episodes=3)
    healthy.train_episode(), ill.train_episode()
    ill.parameters[0] *= 1e30
    ill.snapshot[:5] *= 1e30
    frozen = ill.parameters[0].clone()
    for _ in range(2):
        healthy.train_episode()
        report = ill.train_episode()
    assert report["alive"].tolist() == [[False] * 5, [True] * 5]
    assert torch.equal(ill.parameters[0], frozen)
    assert torch.equal(ill.parameters[1], healthy.parameters[1])


@pytest.mark.parametrize(
    "settings", [{"norm": "batch", "rollout": 1}, {"trunks": "separate"}, {"hidden": 24}, {"norm": "ln_gates"}]
)
def test_what_the_code_does_not_know_keeps_the_bits_of_torchs_path(settings: dict[str, Any]) -> None:
    asked, usual = trainer(**settings), trainer(backend="torch", **settings)
    assert asked.backend == "torch"
    assert_same(asked.train_episode(), usual.train_episode())
    assert asked.config.run_id == f"{usual.config.run_id}-native"


def test_without_a_compiler_one_line_says_so_and_torch_trains(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    native.library.cache_clear()
    asked, again, usual = trainer(), trainer(), trainer(backend="torch")
    native.library.cache_clear()
    assert_same(asked.train_episode(), usual.train_episode())
    assert again.backend == "torch"
    (line,) = capfd.readouterr().err.splitlines()
    assert "no-such-compiler" in line


@compiled
def test_provenance_says_what_trained(results: Any) -> None:  # noqa: F811
    settings = {"backend": "native", "seeds": 1, "eval_episodes": 0, "device": "cpu", "cores": 1}
    told = [driver.run(parse(SMALL | settings | {"norm": norm}), progress=False) for norm in ("ln", "ln_gates")]
    assert [run.provenance["backend"] for run in told] == [["native"], ["torch"]]
    assert [run.id for run in told] == ["a3c-gru-ln-h16-lr1e-3-native", "a3c-gru-ln_gates-h16-lr1e-3-native"]


@compiled
def test_a_run_that_goes_on_without_a_compiler_names_both(results: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    config = parse(SMALL | {"backend": "native", "seeds": 1, "eval_episodes": 0, "device": "cpu", "cores": 1})
    run = Run.open(config)
    (shard,) = run.shards
    assert not driver.train_shard(run.config, shard, "cpu", lambda _: None, lambda: True)
    run.release()
    monkeypatch.setenv("CXX", "no-such-compiler")
    native.library.cache_clear()
    assert driver.run(config, progress=False).provenance["backend"] == ["native", "torch"]
    native.library.cache_clear()
