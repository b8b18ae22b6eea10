"""Trained policies: the stacks' own numbers in NumPy and by torch's layers, for every norm and core; what acting takes
and gives; what is refused."""

import pickle
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from torch import nn

from lnlab import inside
from lnlab.cli import settings
from lnlab.config import ConfigError, TD3Config, parse
from lnlab.envs.stack import EnvStack
from lnlab.models.norms import ACTOR_CRITIC, NORMS
from lnlab.models.stacked import KINDS, LayerNorm
from lnlab.paths import BOOK
from lnlab.policy import Policy, make_policy
from lnlab.runs import Run
from lnlab.trainers import make_trainer
from lnlab.trainers.actions import Choices, Gaussian
from tests import test_any_env  # registers its environments

assert test_any_env.ACTIONS
STEPS, B = 7, 4
NETS = [(norm, core) for norm in ACTOR_CRITIC for core in ("gru", "ff") if (norm, core) != ("ln_gates", "ff")]
CLOSE = {"rtol": 1e-6, "atol": 1e-6}


def shaken(trainer: Any) -> Any:
    """Its parameters moved away from their start, each norm's gain, bias, scale and statistics too."""
    views = trainer.net.layout.views(trainer.parameters.data)
    rng, by = torch.Generator().manual_seed(1), 0.8 / trainer.config.hidden**0.5
    for name, view in views.items():
        if name.endswith((".gain", ".var", ".scale")):
            view.mul_(0.5 + torch.rand(view.shape, generator=rng))
        else:
            view.add_(by * torch.randn(view.shape, generator=rng))
    return trainer


def played(policy: Policy, trainer: Any, row: int, observations: np.ndarray) -> None:
    """Observations (T, B, I), one step after another: NumPy and the module against the stack, also the states."""
    net, module = trainer.net, policy.module()
    p = net.layout.views(trainer.parameters.detach()[row : row + 1])
    tape = net.tape(1, 1, B)
    state, carried = np.zeros((B, policy.state_size), np.float32), None
    for x in observations:
        tape.obs[0].copy_(torch.from_numpy(x)[None])
        wanted = net.step(p, tape, 0)[0].clone()
        tape.state[0].copy_(tape.state[1])
        outputs, value, state = policy._forward(x, state)
        close(np.concatenate([outputs, value], -1), wanted, 3e-6)
        close(state, tape.state[0, 0], 3e-6)
        with torch.no_grad():
            outputs, value, carried = module(torch.from_numpy(x), carried)
        close(torch.cat([outputs, value], -1), wanted, 1e-6)
        close(carried, tape.state[0, 0], 1e-6)


def close(found: Any, wanted: torch.Tensor, share: float) -> None:
    """Within this share of the largest number, or of 1."""
    found, most = torch.as_tensor(found), max([1.0, *wanted.abs().flatten().tolist()])
    torch.testing.assert_close(found, wanted, rtol=0, atol=share * most)


def seen(inputs: int = 48) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((STEPS, B, inputs)).astype(np.float32)


@pytest.mark.parametrize(("norm", "core"), NETS)
@pytest.mark.parametrize("trunks", ["shared", "separate"])
def test_every_network_says_what_its_stack_says(norm: str, core: str, trunks: str) -> None:
    config = parse({"norm": norm, "core": core, "trunks": trunks, "seeds": 2, "workers": 2, "hidden": 128})
    trainer = shaken(make_trainer(config))
    policy = make_policy(config, trainer.state_dict(), seed=1)
    played(policy, trainer, 1, seen())
    own = [each for each in policy.module().modules() if type(each).__module__.startswith("lnlab")]
    kinds = {type(each).__name__ for each in own} - {"ActorCriticModule", "Trunk"}
    assert kinds == {"unit": {"Own"}, "long": {"Own"}, "ln_gates": {"NormedGRUCell"}}.get(norm, set())


@pytest.mark.parametrize("at", ["embed", "core", "heads"])
def test_a_norm_stands_where_it_stood(at: str) -> None:
    config = parse({"norm": "rms", "norm_at": at, "trunks": "separate", "norm_in": "critic", "seeds": 1, "hidden": 16})
    trainer = shaken(make_trainer(config))
    played(make_policy(config, trainer.state_dict(), seed=0), trainer, 0, seen())


def test_one_of_individuals_workers_is_taken_and_a3c_has_one_model() -> None:
    config = parse({"algorithm": "individual", "seeds": 2, "workers": 3, "hidden": 16})
    trainer = shaken(make_trainer(config))
    for seed, worker in ((0, 0), (0, 2), (1, 1)):
        policy = make_policy(config, trainer.state_dict(), seed=seed, worker=worker)
        played(policy, trainer, 3 * seed + worker, seen())
    speeds = [make_policy(config, trainer.state_dict(), 0, worker).make_env() for worker in range(3)]
    assert [env.spec.kwargs["velocity"] for env in speeds] == [5, 15, 25]
    shared = parse({"seeds": 1, "workers": 3, "hidden": 16})
    trainer = shaken(make_trainer(shared))
    played(make_policy(shared, trainer.state_dict(), 0, worker=2), trainer, 0, seen())


@pytest.mark.parametrize("norm", [name for name, norm in NORMS.items() if norm.heads is not None])
def test_every_actor_of_the_td3_stack_says_what_it_says(norm: str) -> None:
    config = parse({"algorithm": "td3", "env": "Pendulum-v1", "norm": norm, "seeds": 2, "hidden": 16, "device": "cpu"})
    trainer = make_trainer(config)
    learner = trainer.learner
    for view in learner.actor.p.values():
        view.add_(torch.rand(view.shape, generator=torch.Generator().manual_seed(2)))
    policy = make_policy(config, trainer.state_dict(), seed=1)
    obs = seen(3)[:2]
    wanted = learner.act(obs)[1]
    action, state = policy.act(obs[1])
    np.testing.assert_allclose(action, wanted, rtol=1e-5, atol=1e-6)
    assert state.shape == (B, 0)
    with torch.no_grad():
        torch.testing.assert_close(policy.module()(torch.from_numpy(obs[1])), torch.from_numpy(wanted), **CLOSE)
    alone, _ = policy.act({"vector": obs[1, 0]})
    np.testing.assert_allclose(alone, wanted[0], rtol=1e-5, atol=1e-6)


def test_an_actor_on_images_says_what_the_learner_says() -> None:
    from lnlab.trainers.td3 import TD3

    space = Dict(image=Box(0, 255, (4, 84, 84), np.uint8), vector=Box(-np.inf, np.inf, (53,), np.float32))
    for norm in ("none", "ln", "ln_output"):
        config: TD3Config = parse({"algorithm": "td3", "norm": norm, "seeds": 1, "hidden": 16})
        learner = TD3(config, space, Box(-1, 1, (2,), np.float32))
        for parameter in learner.actor.parameters:
            parameter.data.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
        policy = make_policy(config, {"episode": 3, "learner": learner.state_dict()}, seed=0)
        rng = np.random.default_rng(4)
        obs = {"image": rng.integers(0, 256, (2, 4, 84, 84), np.uint8), "vector": rng.standard_normal((2, 53))}
        obs["vector"] = obs["vector"].astype(np.float32)
        both, _ = policy.act(obs)
        for place, action in enumerate(both):
            one = {name: part[place] for name, part in obs.items()}
            np.testing.assert_allclose(action, learner.act(one), rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(policy.act(one)[0], learner.act(one), rtol=1e-4, atol=1e-5)
        image = torch.from_numpy(obs["image"]) * (2 / 255) - 1
        with torch.no_grad():
            module = policy.module()(image, torch.from_numpy(obs["vector"]))
        np.testing.assert_allclose(module.numpy(), both, rtol=1e-4, atol=1e-5)
        assert not {type(each).__module__.partition(".")[0] for each in policy.module().cnn} - {"torch"}
        with pytest.raises(ValueError, match=r"image has shape \(84, 84, 4\); expected \(4, 84, 84\)"):
            policy.act(one | {"image": one["image"].transpose(1, 2, 0)})


def trained(reports: int = 2, **settings: Any) -> tuple[Any, Any]:
    small = {"seeds": 2, "workers": 2, "rollout": 8, "hidden": 8, "steps": 4000, "lr": 1e-2, "norm": "none"}
    config = parse(small | settings)
    return config, test_any_env.after(reports, make_trainer(config))


@pytest.mark.parametrize("bounds", ["squash", "clip"])
def test_numbers_are_acted_within_bounds_as_in_training(bounds: str) -> None:
    config, trainer = trained(env="Numbers-v0", action_bounds=bounds, core="ff", obs_norm=True, algorithm="individual")
    policy = make_policy(config, trainer.state_dict(), seed=1, worker=1)
    row, obs = 3, seen(3)[0] * 3
    p = trainer.net.layout.views(trainer.parameters.detach()[row : row + 1])
    tape = trainer.net.tape(0, 1, B)
    env: EnvStack = trainer.env
    stacked = np.zeros((trainer.rows, 3), np.float32)
    shown = np.stack([env._shown(np.where(np.arange(4)[:, None] == row, one, stacked))[row] for one in obs])
    tape.obs[0].copy_(torch.from_numpy(shown)[None])
    out = trainer.net.step(p, tape, 0)[0, :, :-1]
    low, high = policy.space.low, policy.space.high

    def bounded(drawn: np.ndarray) -> np.ndarray:
        unit = np.tanh(drawn) if bounds == "squash" else drawn.clip(-1, 1)
        return low + (unit + 1) / 2 * (high - low)

    action, _ = policy.act(obs)
    np.testing.assert_allclose(action, bounded(out.numpy()), rtol=1e-5, atol=1e-5)
    draw = np.random.default_rng(5).standard_normal((B, 2), np.float32)
    drawn = Gaussian(2).sample(out, torch.from_numpy(draw), p["log_std"])
    action, _ = policy.act(obs, greedy=False, rng=np.random.default_rng(5))
    np.testing.assert_allclose(action, bounded(drawn.numpy()), rtol=1e-5, atol=1e-5)
    alone, _ = policy.act(obs[0])
    assert policy.space.contains(alone)
    outputs = policy.module()(torch.from_numpy(obs))[0].detach()
    torch.testing.assert_close(outputs, out, **CLOSE)
    torch.testing.assert_close(policy.module().log_std.data, p["log_std"][0])


def test_choices_are_drawn_as_in_training_and_counted_from_where_the_space_counts() -> None:
    config, trainer = trained(env="Several-v0")
    policy = make_policy(config, trainer.state_dict(), seed=0)
    obs = seen(3)[0]
    outputs, _, after = policy._forward(obs, np.zeros((B, 8), np.float32))
    rng = np.random.default_rng(6)
    draws = np.concatenate([rng.random((B, 1), np.float32) for _ in range(2)], -1)
    wanted = Choices([2, 3]).sample(torch.from_numpy(outputs), torch.from_numpy(draws), None)
    action, state = policy.act(obs, greedy=False, rng=np.random.default_rng(6))
    assert action.tolist() == wanted.tolist()
    assert np.array_equal(state, after)
    config, trainer = trained(env="Walk-v0")
    policy = make_policy(config, trainer.state_dict(), seed=0)
    many = np.repeat(obs[:1], 4000, 0)
    chosen, _ = policy.act(many, greedy=False, rng=np.random.default_rng(7))
    chance = torch.softmax(torch.from_numpy(policy._forward(many[:1], np.zeros((1, 8), np.float32))[0]), -1)[0]
    assert np.bincount(chosen - 2, minlength=3) / 4000 == pytest.approx(chance.numpy(), abs=0.04)
    alone, state = policy.act(obs[0])
    assert policy.space.contains(alone)
    assert state.shape == (8,)
    assert alone == 2 + policy._forward(obs[:1], np.zeros((1, 8), np.float32))[0].argmax()


def test_a_dict_is_taken_as_the_environment_gives_it() -> None:
    config, trainer = trained(env="Odd-v0", core="ff")
    policy, env = make_policy(config, trainer.state_dict(), seed=0), gymnasium.make("Odd-v0")
    observation, _ = env.reset(seed=0)
    flat = gymnasium.spaces.flatten(env.observation_space, observation)
    assert policy.act(observation)[0] == policy.act(flat)[0] == policy.act(np.stack([flat] * 3))[0][2]


def test_what_acting_cannot_take_is_refused_by_its_shape() -> None:
    config, trainer = trained(env="CartPole-v1", core="gru")
    policy = make_policy(config, trainer.state_dict(), seed=0)
    with pytest.raises(ValueError, match=r"the observation has shape \(3,\); expected one of Box.*rows of 4 numbers"):
        policy.act(np.zeros(3))
    with pytest.raises(ValueError, match="the observation is dict"):
        policy.act({})
    with pytest.raises(ValueError, match=r"the state has shape \(2, 8\); expected \(8,\)"):
        policy.act(np.zeros(4), np.zeros((2, 8)))
    with pytest.raises(ValueError, match="give rng="):
        policy.act(np.zeros(4), greedy=False)
    with pytest.raises(ConfigError, match="seed=5 is not there: the seeds are 0 to 1"):
        make_policy(config, trainer.state_dict(), seed=5)
    with pytest.raises(ConfigError, match="worker=2 is not there: the workers are 0 to 1"):
        make_policy(config, trainer.state_dict(), seed=0, worker=2)


def test_td3_explores_with_the_noise_of_its_step() -> None:
    settings = {"algorithm": "td3", "env": "Pendulum-v1", "norm": "none", "seeds": 1, "hidden": 16, "device": "cpu"}
    noise = {"exploration_start": 0.2, "exploration_end": 0.2}
    trainer = make_trainer(parse(settings | noise))
    policy = make_policy(trainer.config, trainer.state_dict(), seed=0)
    rows = np.zeros((2000, 3), np.float32)
    greedy, _ = policy.act(rows)
    noisy, _ = policy.act(rows, greedy=False, rng=np.random.default_rng(8))
    assert (noisy - greedy).std() == pytest.approx(0.2, rel=0.05)
    assert np.abs(noisy).max() <= 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("norm", "core"), [("ln", "gru"), ("weight", "gru"), ("ln_gates", "gru"), ("batch", "ff")])
def test_a_module_is_exported_saved_and_trained_on(norm: str, core: str, tmp_path: Any) -> None:
    config = parse({"norm": norm, "core": core, "seeds": 1, "workers": 1, "hidden": 16})
    policy = make_policy(config, shaken(make_trainer(config)).state_dict(), seed=0)
    module, x = policy.module(), torch.from_numpy(seen()[0])
    state = torch.zeros(B, policy.state_size)
    many = torch.export.Dim("many")
    torch.export.save(
        torch.export.export(module, (x[:2], state[:2]), dynamic_shapes=({0: many}, {0: many})), tmp_path / "net.pt2"
    )
    exported = torch.export.load(tmp_path / "net.pt2").module()
    for one, other in zip(exported(x, state), module(x, state), strict=True):
        torch.testing.assert_close(one, other)
    scripted = torch.jit.trace(module, (x, state))
    torch.testing.assert_close(scripted(x[:3], state[:3])[0], module(x[:3], state[:3])[0])
    module.train()
    before = module(x)[0].detach().clone()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(x)[0].square().mean().backward()
    assert all(parameter.grad is not None for parameter in module.trunks[0].embed.parameters())
    optimizer.step()
    assert not torch.equal(module(x)[0], before)
    torch.testing.assert_close(policy.module()(x)[0], policy.module()(x)[0], rtol=0, atol=0)  # the policy stays


def test_a_norm_of_ones_own_goes_on_by_its_code(monkeypatch: pytest.MonkeyPatch) -> None:
    class Soft(LayerNorm):
        eps = 0.5

    monkeypatch.setitem(KINDS, "rms", Soft)
    config = parse({"norm": "rms", "core": "ff", "seeds": 1, "workers": 1, "hidden": 16})
    trainer = shaken(make_trainer(config))
    played(make_policy(config, trainer.state_dict(), seed=0), trainer, 0, seen())


def test_a_run_gives_the_policy_of_its_end_and_of_its_checkpoint_before(results: Any) -> None:
    small = {"core": "ff", "hidden": 16, "seeds": 2, "episodes": 3, "eval_episodes": 0, "cores": 1, "profile": "test"}
    run = inside.run(parse(small), progress=False)
    policy = run.policy(1)
    assert (policy.seed, policy.reports) == (1, 3)
    trainer = make_trainer(parse(small))
    list(trainer)
    played(policy, trainer, 1, seen())
    kept = pickle.loads(pickle.dumps(policy))
    assert kept.act(seen()[0])[0].tolist() == policy.act(seen()[0])[0].tolist()
    with pytest.raises(ConfigError, match="seed=2 is not there: the seeds are 0 to 1"):
        run.policy(2)
    files = sorted(run.dir.rglob("*"))
    Run(run.dir).policy(0, worker=4)
    assert sorted(run.dir.rglob("*")) == files
    other = Run.open(parse(small | {"norm": "none"}))
    with pytest.raises(FileNotFoundError, match="keeps no weights of seed 0"):
        other.policy(0)
    other.release()


def test_acting_asks_torch_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse({"norm": "ln", "seeds": 1, "workers": 1, "hidden": 16})
    policy = make_policy(config, make_trainer(config).state_dict(), seed=0)
    for name in ("from_numpy", "tensor", "as_tensor", "zeros"):
        monkeypatch.setattr(torch, name, None)
    monkeypatch.setattr(nn.Module, "__call__", None)
    action, state = policy.act(np.zeros(48, np.float32), greedy=False, rng=np.random.default_rng(0))
    assert action in (0, 1, 2)
    assert policy.act(np.zeros(48, np.float32), state)[0] in (0, 1, 2)


def test_the_example_of_the_book_plays_an_episode(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (BOOK / "own-agent.md").read_text(encoding="utf-8").partition("## Use the policy")[2]
    train, play = (line.split() for line in text.split("```sh\n")[1].splitlines()[:2])
    fewer = [*train[2:], "seeds=3", "cores=1"]
    config = parse(settings(fewer) | {"steps": "2000"})
    run = inside.run(config, progress=False)
    assert run.id == play[2]
    monkeypatch.chdir(results.parent)
    code, found = text.split("```python\n")[1].split("```")[0], dict[str, Any]()
    exec(code, found)
    assert found["done"]
    outputs, value, state = found["module"](torch.from_numpy(found["observation"])[None])
    assert (outputs.shape, value.shape, state.shape) == ((1, 2), (1, 1), (1, 128))
