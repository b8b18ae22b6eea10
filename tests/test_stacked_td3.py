"""TD3 and DDPG as a stack: the update of one learner of lnlab.trainers.td3, and of Stable-Baselines3 in double
precision; norms, frozen learners, resuming to the bit, runs of several seeds."""

import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.spaces import Box, Dict
from torch import nn

from lnlab import inside, runs
from lnlab.columns import COLUMNS
from lnlab.config import ConfigError, parse
from lnlab.models.mlp import MLP
from lnlab.models.norms import NORMS
from lnlab.runs import Run, Shard
from lnlab.trainers import admission, driver, make_trainer
from lnlab.trainers.replay import Transitions
from lnlab.trainers.stacked_td3 import StackedTD3, StackedTrainer, VectorReplay
from lnlab.trainers.td3 import TD3, Seen
from tests.test_models import by_torch

V, A, B = 3, 2, 8
GAMMA = 0.99
HEADS = [name for name, norm in NORMS.items() if norm.heads is not None]


def config(**settings: Any) -> Any:
    small = {"algorithm": "td3", "env": "Pendulum-v1", "norm": "none", "seeds": 2, "hidden": 32, "batch_size": B}
    return parse(small | {"eval_episodes": 0, "learning_starts": 100, "steps": 300, "device": "cpu"} | settings)


def batches(learners: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows as of the replay buffer, and noise."""
    rng = np.random.default_rng(5)
    rows = rng.standard_normal((learners, B, 2 * V + A + 2))
    rows[..., V : V + A] = np.tanh(rows[..., V : V + A])
    rows[..., V + A + 1] = GAMMA * (rng.random((learners, B)) >= 0.3)  # the discount; some have terminated
    return torch.tensor(rows, dtype=dtype), torch.tensor(rng.standard_normal((learners, B, A)), dtype=dtype)


def as_transitions(rows: torch.Tensor) -> Transitions:
    obs, action, reward, discount, after = rows.split([V, A, 1, 1, V], -1)
    return Transitions(None, obs, action, reward[:, 0], None, after, discount[:, 0])


# -- the update -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("algorithm", "own"), [("td3", {}), ("ddpg", {}), ("td3", {"target_network": False, "policy_delay": 1})]
)
def test_each_learner_of_the_stack_is_one_of_the_single_module(algorithm: str, own: dict[str, Any]) -> None:
    """Two updates: weights as drawn, gradients clipped, targets moved, and all numbers of the records."""
    settings = config(algorithm=algorithm, seeds=3, actor_clip=0.01, critic_clip=0.5, **own)
    stack, (rows, noise) = StackedTD3(settings, V, A), batches(3)
    space, actions = Dict(vector=Box(-np.inf, np.inf, (V,), np.float32)), Box(-1, 1, (A,), np.float32)
    singles = [TD3(settings.with_seeds([seed]), space, actions) for seed in settings.seed_list]
    found: dict[str, torch.Tensor] = {}
    theirs: list[Seen] = [{} for _ in singles]
    for _ in range(2):
        stack.update(rows, noise, found)
        for single, own, row, drawn in zip(singles, theirs, rows, noise, strict=True):
            single.update(as_transitions(row), drawn, own)
    for place, (single, own) in enumerate(zip(singles, theirs, strict=True)):
        assert set(found) | {"actor_feature_norm", "critic_feature_norm"} == set(own) | {"q_bound"}
        for name, value in found.items():
            if name == "q_bound":
                continue  # of a norm in the heads, which the single module has not
            assert value[place].item() == pytest.approx(own[name], rel=1e-4, abs=1e-6), name
        for who in ("actor", "critic"):
            side, module = getattr(stack, who), getattr(single, who).heads
            networks = [module] if who == "actor" else [*module]
            for row, network in enumerate(networks, start=place * len(networks)):
                for layer, mine in zip((0, 2, 4), ("first", "second", "last"), strict=True):
                    weight = side.p[f"{mine}.weight"][row].T
                    torch.testing.assert_close(weight, network[layer].weight.data, rtol=1e-4, atol=1e-6)
    obs = np.ones((3, 1, V), np.float32)
    for place, single in enumerate(singles):
        np.testing.assert_allclose(
            stack.act(obs)[place, 0], single.act({"vector": obs[place, 0]}), rtol=1e-4, atol=1e-6
        )


class Spaces(gymnasium.Env):
    """Spaces and nothing else: all that a model of theirs needs to be made."""

    observation_space, action_space = Box(-np.inf, np.inf, (V,), np.float64), Box(-1, 1, (A,), np.float64)


def test_a_step_in_double_precision_is_that_of_stable_baselines3(monkeypatch: pytest.MonkeyPatch) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common import policies
    from stable_baselines3.common.buffers import ReplayBufferSamples

    monkeypatch.setattr(policies, "preprocess_obs", lambda obs, *_, **__: obs)  # theirs makes floats of them
    settings = config(seeds=1, actor_clip=0, critic_clip=0)
    stack = StackedTD3(settings, V, A, dtype=torch.float64)
    own = {"learning_rate": settings.lr, "gamma": settings.gamma, "tau": settings.tau, "buffer_size": 2}
    model = sb3.TD3("MlpPolicy", Spaces(), policy_kwargs={"net_arch": [32, 32]}, device="cpu", **own)
    model.set_logger(sb3.common.logger.configure(None, []))
    model.policy.double()

    def pairs() -> list[tuple[torch.Tensor, torch.Tensor]]:
        found = []
        for side, views, target in (
            (stack.actor, "p", ""),
            (stack.critic, "p", ""),
            (stack.actor, "behind", "_target"),
        ):
            who = "actor" if side is stack.actor else "critic"
            module = getattr(model, who + target)
            networks = [module.mu] if who == "actor" else module.q_networks
            for row, network in enumerate(networks):
                for layer, name in zip((0, 2, 4), ("first", "second", "last"), strict=True):
                    view = getattr(side, views)
                    found.append((view[f"{name}.weight"][row].T, network[layer].weight))
                    found.append((view[f"{name}.bias"][row], network[layer].bias))
        return found

    for mine, other in pairs():
        other.data.copy_(mine)
    model.critic_target.load_state_dict(model.critic.state_dict())
    rows, _ = batches(1, torch.float64)
    given = as_transitions(rows[0])
    sample = ReplayBufferSamples(
        given.vector, given.action, given.next_vector, (given.discount == 0).double()[:, None], given.reward[:, None]
    )
    model.replay_buffer.sample = lambda *_, **__: sample
    for update in range(4):  # two steps of the actor
        torch.manual_seed(update)
        noise = torch.empty(B, A, dtype=torch.float64).normal_(0, settings.target_noise) / settings.target_noise
        stack.update(rows, noise.unsqueeze(0))
        torch.manual_seed(update)
        model.train(gradient_steps=1, batch_size=B)
    for mine, other in pairs():
        torch.testing.assert_close(mine, other.data, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", ["none", "ln", "unit", "batch"])
def test_without_targets_the_critics_step_is_that_of_plain_torch(norm: str) -> None:
    """Modules of torch, losses by mse_loss, gradients by autograd: with BatchNorm, of one pass over both halves."""
    own = {"seeds": 1, "critic_clip": 0, "lr": 1e-2, "policy_delay": 10}  # the actor stays
    settings = config(norm=norm, norm_in="both" if norm == "none" else "critic", target_network=False, **own)
    stack = StackedTD3(settings, V, A, dtype=torch.float64)
    rows, noise = batches(1, torch.float64)
    torch.manual_seed(1)
    stack.critic.parameters.add_(0.1 * torch.rand_like(stack.critic.parameters))  # gains and biases of norms, too

    class Unit(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return nn.functional.normalize(x, dim=-1, eps=1e-8)

    def modules(views: Any, row: int, inputs: int, outputs: int, norm: str) -> nn.Sequential:
        make = {"ln": nn.LayerNorm, "batch": nn.BatchNorm1d}.get(norm, lambda _: nn.Identity())
        last = Unit() if norm == "unit" else nn.Identity()
        layers = [nn.Linear(inputs, 32), make(32), nn.ReLU(), nn.Linear(32, 32), make(32), nn.ReLU(), last]
        net = nn.Sequential(*layers, nn.Linear(32, outputs)).double()
        for place, name in ((0, "first"), (3, "second"), (7, "last")):
            net[place].weight.data.copy_(views[f"{name}.weight"][row].T)
            net[place].bias.data.copy_(views[f"{name}.bias"][row])
            if f"{name}.norm.gain" in views:
                net[place + 1].weight.data.copy_(views[f"{name}.norm.gain"][row])
                net[place + 1].bias.data.copy_(views[f"{name}.norm.bias"][row])
            if f"{name}.norm.mean" in views:
                net[place + 1].running_mean.copy_(views[f"{name}.norm.mean"][row])
                net[place + 1].running_var.copy_(views[f"{name}.norm.var"][row])
        return net

    actor = modules(stack.actor.p, 0, V, A, "none")
    critics = [modules(stack.critic.p, row, V + A, 1, norm) for row in (0, 1)]
    adam = torch.optim.Adam([each for critic in critics for each in critic.parameters()], lr=settings.lr)
    given, found = as_transitions(rows[0]), {}
    for _ in range(3):
        with torch.no_grad():
            following = torch.tanh(actor(given.next_vector)) + (noise[0] * 0.2).clamp(-0.5, 0.5)
        before = torch.cat([given.vector, given.action], 1)
        after = torch.cat([given.next_vector, following.clamp(-1, 1)], 1)
        if norm == "batch":
            values, later = zip(*(critic(torch.cat([before, after])).split(B) for critic in critics), strict=True)
        else:
            values, later = [critic(before) for critic in critics], [critic(after) for critic in critics]
        target = given.reward[:, None] + given.discount[:, None] * torch.minimum(*later).detach()
        loss = sum(nn.functional.mse_loss(each, target) for each in values)
        adam.zero_grad()
        loss.backward()
        adam.step()
        stack.update(rows, noise, found)
        assert found["critic_loss"].item() == pytest.approx(loss.item(), rel=1e-9)
    for row, critic in enumerate(critics):
        mine, other = modules(stack.critic.p, row, V + A, 1, norm).state_dict(), critic.state_dict()
        for name in other:
            if not name.endswith("num_batches_tracked"):
                torch.testing.assert_close(mine[name], other[name], rtol=1e-7, atol=1e-9)


def test_targets_that_are_copied_at_each_step_of_the_actor_lag_behind_absent_ones() -> None:
    """With tau = 1 the critics have moved once since the copy at the second and fourth update, else not at all."""
    rows, noise = batches(2)
    none, copied = (StackedTD3(config(**own), V, A) for own in ({"target_network": False}, {"tau": 1.0}))
    alike = []
    for _ in range(2):
        seen: list[dict[str, torch.Tensor]] = [{}, {}]
        for learner, found in zip((none, copied), seen, strict=True):
            learner.update(rows, noise, found)
        alike.append(torch.equal(seen[0]["target_q_mean"], seen[1]["target_q_mean"]))
    assert alike == [True, False]


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"target_network": False, "target_cnn": True}, "target_cnn=True has no meaning with target_network=False"),
        ({"priming_updates": 5, "learning_starts": 1}, "learning_starts=1 leaves none"),
    ],
)
def test_settings_of_absent_targets_and_of_steps_that_are_not_there_are_refused(own: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config(**own)


# -- what the norm bounds ---------------------------------------------------------------------------------------------
BOUNDED = ["ln", "ln_noaffine", "ln_project", "rms", "unit"]


@pytest.mark.parametrize("norm", HEADS)
def test_no_input_takes_a_value_beyond_the_bound_and_some_come_near(norm: str) -> None:
    """Random networks with gains and biases of any sign, at inputs from 1e-3 to 1e6; the worst features touch it."""
    torch.manual_seed(0)
    net, learners = MLP(V, 16, 1, norm), 5
    flat = torch.randn(learners, net.layout.size, dtype=torch.float64)
    p = net.layout.views(flat)
    for name, view in p.items():
        if name.endswith((".var", ".scale")):
            view.abs_().add_(0.1)
    x = (
        torch.randn(learners, 400, V, dtype=torch.float64)
        * torch.logspace(-3, 6, 400, dtype=torch.float64)[None, :, None]
    )
    largest, bound = net.forward(p, x)[0].abs().amax((1, 2)), net.bound(p)
    if norm not in BOUNDED:
        assert bound.isnan().all()
        return
    assert (largest <= bound * (1 + 1e-9)).all()
    assert (largest > 0.1 * bound).any()


def test_the_bound_by_hand() -> None:
    """w = (3, 0, 0, 4), b = −1: LayerNorm 2 · 5 + 1 = 11; gain 2, bias 1: 2 · 10 + 7 + 1 = 28; length 1: 5 + 1 = 6."""
    for norm, gain, shift, expected in (("ln", 1, 0, 11), ("ln", 2, 1, 28), ("ln", -2, -1, 21), ("unit", 1, 0, 6)):
        net = MLP(V, 4, 1, norm)
        p = net.layout.views(torch.zeros(1, net.layout.size))
        p["last.weight"][0, :, 0] = torch.tensor([3.0, 0, 0, 4])
        p["last.bias"].fill_(-1)
        if norm == "ln":
            p["second.norm.gain"].fill_(gain)
            p["second.norm.bias"].fill_(shift)
        assert net.bound(p).tolist() == [expected]


@pytest.mark.parametrize("norm", BOUNDED)
def test_measured_values_stay_within_the_bound_at_every_record(norm: str) -> None:
    trainer = StackedTrainer(config(norm=norm, norm_in="critic", steps=400, lr=0.01, updates_per_step=4))
    reports = list(trainer)[1:]
    for report in reports:
        assert (report["q_max"] > 0).all()
        assert (report["q_max"] <= report["q_bound"] * (1 + 1e-5)).all()
    assert reports[-1]["q_max"].max() > 1.3 * reports[0]["q_max"].max()  # they are measured anew


# -- norms ------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("norm", HEADS)
def test_gradients_with_any_norm_are_those_of_autograd(norm: str) -> None:
    """By the parameters in training, and by the input when the statistics of a batch are those that run."""
    torch.manual_seed(0)
    net, learners = MLP(V, 16, 1, norm), 2
    flat, grads = torch.randn(learners, net.layout.size) * 0.4, torch.full((learners, net.layout.size), 7.0)
    p, g = net.layout.views(flat), net.layout.views(grads)
    for name, view in p.items():
        if name.endswith((".var", ".scale")):
            view.fill_(0.7)
    x, dy = torch.randn(learners, B, V), torch.randn(learners, B, 1)
    out, passes = net.forward(p, x, train=True)
    net.backward(p, g, passes, dy)
    acted, through = net.forward(p, x)
    dx = net.input_gradient(p, net.layout.views(torch.zeros_like(grads)), through, dy)

    def theirs(own: dict[str, torch.Tensor], x: torch.Tensor, *, acting: bool) -> torch.Tensor:
        def normed(place: str, x: torch.Tensor) -> torch.Tensor:
            if place not in net.layers:
                return x
            if norm == "batch" and acting:
                mean, var, gain, bias = (own[f"{place}.{part}"] for part in ("mean", "var", "gain", "bias"))
                return nn.functional.batch_norm(x, mean, var, gain, bias)
            return by_torch(norm, own, place, x)

        def linear(name: str, x: torch.Tensor) -> torch.Tensor:
            weight, scale = own[f"{name}.weight"], own.get(f"{name}.scale")
            weight = weight if scale is None else torch._weight_norm(weight, scale.unsqueeze(0), 1)
            return x @ weight + own[f"{name}.bias"]

        for layer in ("first", "second"):
            x = torch.relu(normed(f"{layer}.norm", linear(layer, x)))
        return linear("last", normed("last.norm", x))

    for row in range(learners):
        own = {name: view[row].clone().requires_grad_(not name.endswith((".mean", ".var"))) for name, view in p.items()}
        wanted = theirs(own, x[row], acting=False)
        torch.testing.assert_close(out[row], wanted.detach(), rtol=1e-4, atol=1e-5)
        trained = [name for name, each in own.items() if each.requires_grad]
        for name, gradient in zip(
            trained, torch.autograd.grad(wanted, [own[name] for name in trained], dy[row]), strict=True
        ):
            torch.testing.assert_close(g[name][row], gradient, rtol=1e-3, atol=1e-4)
        given = x[row].clone().requires_grad_()
        wanted = theirs(own, given, acting=True)
        torch.testing.assert_close(acted[row], wanted.detach(), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(dx[row], torch.autograd.grad(wanted, given, dy[row])[0], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("norm", HEADS)
@pytest.mark.parametrize("side", ["both", "critic"])
def test_every_norm_trains_on_the_side_asked_for_and_is_found_there(norm: str, side: str) -> None:
    if norm == "none" and side != "both":
        with pytest.raises(ConfigError, match=f"norm_in='{side}' has no meaning"):
            admission.refuse_impossible(config(norm=norm, norm_in=side))
        return
    trainer = StackedTrainer(config(norm=norm, norm_in=side, steps=200, learning_starts=180, algorithm="ddpg"))
    list(trainer)
    assert trainer.learner.alive.all()
    admission.require_norm(trainer.config, trainer.norm_layers)
    if norm == "ln_project":
        held = (trainer.learner.actor.hold is not None, trainer.learner.critic.hold is not None)
        assert held == (side in ("both", "actor"), side in ("both", "critic"))


def test_a_norm_of_the_cnn_or_of_a_gru_is_refused() -> None:
    for norm in ("ln_output",):
        with pytest.raises(
            ConfigError, match=f"norm='{norm}' has no place in the networks on vectors of env='Pendulum"
        ):
            admission.refuse_impossible(config(norm=norm))
    with pytest.raises(
        ConfigError, match=r"norm='rms' has no place in the CNN of .*: choose|choose one of none, ln, ln_"
    ):
        admission.refuse_impossible(parse({"algorithm": "td3", "norm": "rms"}))


# -- the trainer ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("ratio", [1, 4, 16])
def test_every_update_after_a_step_is_made_and_the_last_ones_are_recorded(ratio: int) -> None:
    trainer = StackedTrainer(config(updates_per_step=ratio, learning_starts=150, policy_delay=3))
    reports = list(trainer)
    assert [report["updates"][0, 0] for report in reports] == [0, 50 * ratio, 150 * ratio]
    assert trainer.config.updates == 150 * ratio
    for report in reports[1:]:
        assert not any(np.isnan(report[name]).any() for name in ("critic_loss", "actor_q"))


@pytest.mark.parametrize("start", [101, 150, 200])
def test_priming_learns_from_random_steps_alone_before_the_first_step_of_the_policy(start: int) -> None:
    settings = config(learning_starts=start, priming_updates=7, updates_per_step=2, policy_delay=2)
    trainer = StackedTrainer(settings)
    update, filled = trainer.learner.update, []
    trainer.learner.update = lambda *given: [filled.append(trainer.replay.filled), update(*given)]
    reports = list(trainer)
    assert filled[:7] == [start - 1] * 7
    assert filled[7:11] == [start + 1] * 2 + [start + 2] * 2
    assert [report["updates"][0, 0] for report in reports] == [settings.updates_by(step) for step in (100, 200, 300)]
    assert trainer.learner.updates == settings.updates == 7 + 2 * (300 - start)
    assert not any(np.isnan(reports[1][name]).any() for name in ("critic_loss", "actor_q"))
    phases = {row["step"]: row["phase"] for row in trainer.rows["returns"]}
    assert phases == {200: "random" if start > 200 else "mixed"}


@pytest.mark.parametrize(
    "own",
    [
        {},
        {"norm": "batch"},
        {"norm": "batch", "norm_in": "critic", "target_network": False},
        {"env": "lnlab-test/Clock-v0", "n_steps": 5},
    ],
    ids=["none", "batch", "no-targets", "n-steps"],
)
def test_resumed_to_the_bit_and_no_seed_depends_on_those_beside_it(own: dict[str, Any]) -> None:
    settings = config(seeds=2, updates_per_step=2, policy_delay=3, **own)
    straight, stopped, alone = (StackedTrainer(each) for each in (settings, settings, settings.with_seeds([1])))
    reports, first = list(straight), iter(stopped)
    next(first)
    next(first)
    resumed = StackedTrainer(settings)
    resumed.load_state_dict(stopped.state_dict())
    for report, again in zip(reports[2:], resumed, strict=True):
        assert set(report) - {"record"} | {"seed"} == set(COLUMNS["records"])
        for name in report:
            np.testing.assert_array_equal(report[name], again[name], err_msg=name)
    np.testing.assert_equal(straight.rows, resumed.rows)
    for report, own in zip(reports, alone, strict=True):
        for name in ("reward", "critic_loss", "actor_q"):
            np.testing.assert_array_equal(report[name][1:], own[name], err_msg=name)
    assert [report["updates"][0, 0] for report in reports] == [0, 200, 400]
    assert not math.isnan(reports[-1]["actor_q"][0, 0])


@pytest.mark.parametrize("own", [{}, {"norm": "batch", "target_network": False}], ids=["none", "no-targets"])
def test_a_learner_that_is_not_finite_is_frozen_and_touches_no_other(own: dict[str, Any]) -> None:
    settings = config(seeds=3, policy_delay=1, **own)
    ill, well = StackedTD3(settings, V, A), StackedTD3(settings, V, A)
    rows, noise = batches(3)
    for learner in (ill, well):
        learner.update(rows, noise)
    bad = rows.clone()
    bad[1, 0, V + A] = math.nan  # a reward
    before = {
        side: getattr(ill, side).parameters[[1] if side == "actor" else [2, 3]].clone() for side in ("actor", "critic")
    }
    for given in (bad, rows):
        ill.update(given, noise)
    for _ in range(2):
        well.update(rows, noise)
    assert ill.diverged == [None, {"update": 2, "what": "critic loss"}, None]
    assert ill.alive.tolist() == [True, False, True]
    for side, rows_of in (("actor", [1]), ("critic", [2, 3])):
        mine, theirs = getattr(ill, side), getattr(well, side)
        assert torch.equal(mine.parameters[rows_of], before[side])
        others = [row for row in range(len(mine.parameters)) if row not in rows_of]
        for name in ("parameters", "target"):
            assert torch.equal(getattr(mine, name)[others], getattr(theirs, name)[others])
    again = StackedTD3(settings, V, A)
    again.load_state_dict(ill.state_dict())
    assert (again.diverged, again.alive.tolist()) == (ill.diverged, ill.alive.tolist())
    ill.critic.parameters[0, 0] = math.inf
    ill.check_parameters()
    assert ill.diverged[0] == {"update": 3, "what": "critic parameter"}


class Clock(gymnasium.Env):
    """Observes how many steps have passed; ends at 5 or is cut at 3, as its seed says."""

    observation_space, action_space = Box(-np.inf, np.inf, (1,), np.float32), Box(-1, 1, (1,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)
        self.passed, self.cut = 0, bool(self.np_random.integers(2))
        return np.zeros(1, np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.passed += 1
        ended = self.passed == 5 and not self.cut
        return np.full(1, self.passed, np.float32), 1.0, ended, self.cut and self.passed == 3, {}


gymnasium.register("lnlab-test/Clock-v0", Clock)


def test_a_transition_reaches_the_true_last_observation_of_its_episode() -> None:
    trainer = StackedTrainer(config(env="lnlab-test/Clock-v0", steps=100, learning_starts=1000, seeds=3))
    list(trainer)
    obs, _, reward, terminated, after = trainer.replay.data[:100].split([1, 1, 1, 1, 1], -1)
    assert torch.equal(after, obs + 1)  # never the next episode's first
    assert torch.equal(terminated, (after == 5).float())
    assert (reward == 1).all()
    lengths = pd.DataFrame(trainer.rows["returns"]).groupby(["terminated"]).length.unique()
    assert (lengths[False].tolist(), lengths[True].tolist()) == ([3], [5])


@pytest.mark.parametrize("n_steps", [1, 3, 20])
@pytest.mark.parametrize("capacity", [4, 60, 1000])
def test_transitions_of_several_steps_are_those_of_a_naive_loop(n_steps: int, capacity: int) -> None:
    """Seeds end their episodes at their own steps, which the table of returns tells."""
    own = {"capacity": capacity, "n_steps": n_steps, "gamma": 0.9, "reward_scale": 0.5}
    trainer = StackedTrainer(config(env="lnlab-test/Clock-v0", steps=100, learning_starts=1000, seeds=3, **own))
    steps, add = [], trainer.replay.add
    trainer.replay.add = lambda *parts, ended: [steps.append(np.concatenate(parts, axis=1)), add(*parts, ended=ended)]
    list(trainer)
    ends = {(row["seed"], row["step"] - 1) for row in trainer.rows["returns"]}
    kept = min(capacity, 100)
    batch = trainer.replay.sample(np.tile((np.arange(kept) + 0.5) / kept, (3, 1)))
    for seed in trainer.seeds:
        for slot in range(kept):
            first = max(at for at in range(100) if at % capacity == slot)
            reward, discount, at = 0.0, 1.0, first - 1
            while at - first + 1 < n_steps and at < 99 and (at == first - 1 or (seed, at) not in ends):
                at += 1
                reward, discount = reward + discount * 0.5, discount * 0.9
            obs, action, _, terminated, _ = steps[first][seed].tolist()[:3] + steps[at][seed].tolist()[3:]
            expected = [obs, action, reward, discount * (1 - terminated), steps[at][seed][4]]
            np.testing.assert_allclose(batch[seed, slot], expected, rtol=1e-6)
    longest = (batch[..., 4] - batch[..., 0]).max().item()  # observations count the steps of an episode
    assert longest == min(n_steps, 5) or capacity == 4


def test_a_sum_of_three_rewards_by_hand() -> None:
    """Rewards 1, 2, 4, …, halved at each step; one seed terminates after four, the other is cut off after three."""
    replay = VectorReplay(10, 2, 1, 1, gamma=0.5, n_steps=3)
    for t in range(5):
        obs, ended = np.full((2, 1), t, np.float32), np.array([t == 3, t == 2])
        replay.add(obs, obs, 2.0**t * (obs >= 0), np.array([[t == 3], [False]]), obs + 1, ended=ended)
    found = replay.sample(np.tile(np.arange(5) / 5, (2, 1)))
    assert found[0, :, 2:].tolist() == [[3, 0.125, 3], [6, 0, 4], [8, 0, 4], [8, 0, 4], [16, 0.5, 5]]
    assert found[1, :, 2:].tolist() == [[3, 0.125, 3], [4, 0.25, 3], [4, 0.5, 3], [16, 0.25, 5], [16, 0.5, 5]]


def test_transitions_of_several_steps_are_those_of_stable_baselines3() -> None:
    buffers = pytest.importorskip("stable_baselines3.common.buffers")
    if not hasattr(buffers, "NStepReplayBuffer"):
        pytest.skip("they have it since 2.7")
    theirs = buffers.NStepReplayBuffer(60, Spaces.observation_space, Spaces.action_space, n_steps=4, gamma=GAMMA)
    ours, rng = VectorReplay(60, 1, V, A, gamma=GAMMA, n_steps=4), np.random.default_rng(0)
    for _ in range(97):
        obs, after = rng.standard_normal((2, 1, V))
        action, reward = rng.uniform(-1, 1, (1, A)), rng.standard_normal(1)
        terminated, cut = rng.random((2, 1)) < 0.1
        cut &= ~terminated
        ours.add(obs, action, reward[:, None], terminated[:, None], after, ended=terminated | cut)
        theirs.add(obs, after, action, reward, terminated | cut, [{"TimeLimit.truncated": bool(cut[0])}])
    found, given = ours.sample((np.arange(60)[None] + 0.5) / 60)[0], theirs._get_samples(np.arange(60))
    parts = (given.observations, given.actions, given.rewards, given.discounts * (1 - given.dones))
    expected = torch.cat([*parts, given.next_observations], 1).float()
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_transitions_of_one_step_are_the_steps_themselves_to_the_bit() -> None:
    trainer = StackedTrainer(config(env="lnlab-test/Clock-v0", steps=100, learning_starts=1000, gamma=0.97))
    list(trainer)
    batch = trainer.replay.sample(np.tile((np.arange(100) + 0.5) / 100, (2, 1)))
    steps = trainer.replay.data[:100].transpose(0, 1).clone()
    steps[..., 3] = 0.97 * (1 - steps[..., 3])
    assert torch.equal(batch, steps)


def test_shifts_are_for_images() -> None:
    with pytest.raises(ConfigError, match=r"shift=4 is not allowed with env='Pendulum-v1': .* leave it at 0"):
        admission.refuse_impossible(config(shift=4))


def test_the_replay_overwrites_its_oldest_and_draws_from_all_there_is() -> None:
    replay = VectorReplay(4, 2, 1, 1)
    for step in range(6):
        at = np.array([[step], [10 + step]], np.float32)
        replay.add(at, at, at, at * 0, at + 1, ended=np.zeros(2, bool))
    drawn = replay.sample(np.random.default_rng(0).random((2, 200)))[..., 0]
    assert [sorted(set(each.tolist())) for each in drawn] == [[2, 3, 4, 5], [12, 13, 14, 15]]
    assert replay.last(1, 3)[:, 0].tolist() == [13, 14, 15]
    again = VectorReplay(4, 2, 1, 1)
    again.load_state_dict({name: replay.state_dict()[name] for name in ("at", "data")})  # as older versions kept it
    assert torch.equal(again.sample(np.full((2, 3), 0.9)), replay.sample(np.full((2, 3), 0.9)))


# -- runs -------------------------------------------------------------------------------------------------------------
SMALL = {"seeds": 3, "steps": 400, "eval_episodes": 2, "eval_every": 200, "profile": "test", "cores": 2, "norm": "ln"}


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")


def test_a_run_of_several_blocks_has_the_tables_of_one_and_goes_on_where_it_was_stopped() -> None:
    two: Run = inside.run(config(**SMALL), progress=False)
    assert two.complete
    assert [shard.seeds for shard in two.shards] == [[0, 1], [2]]
    assert sorted(two.provenance["norm_layers"])[:2] == ["actor.first.norm", "actor.second.norm"]
    asked = iter([False, True])
    shard = Shard(runs.RESULTS / "stopped" / "run", [0, 1, 2], "records")
    one = config(**SMALL | {"cores": 1})
    assert not driver.train_shard(one, shard, "cpu", lambda _: None, lambda: next(asked), inside.WATCHERS)
    again = Shard(shard.dir.parent.parent, [0, 1, 2], "records")
    assert driver.train_shard(one, again, "cpu", lambda _: None, lambda: False, inside.WATCHERS)
    rows = again.rows().sort_values(["seed", "step"], ignore_index=True)
    pd.testing.assert_frame_equal(two.table("records"), rows[two.table("records").columns], check_dtype=False)
    for name in ("returns", "checks"):
        pd.testing.assert_frame_equal(two.table(name), again.table(name))
        assert set(two.table(name)) == set(COLUMNS[name])
    assert (two.dir / "tensorboard" / "seed-2").exists()
    steps = two.table("checks").groupby("seed").step.unique()
    assert [each.tolist() for each in steps] == [[0, 200, 400]] * 3


def test_one_that_may_stop_early_is_alone() -> None:
    assert isinstance(make_trainer(config(early_stopping=True, seeds=1)), StackedTrainer)
    found = inside.run(config(seeds=2, early_stopping=True, steps=200, cores=1, tensorboard=False), progress=False)
    assert [shard.seeds for shard in found.shards] == [[0], [1]]


def test_scaled_rewards_are_learned_from_and_tables_have_them_as_they_are():
    settings = {"algorithm": "td3", "env": "Pendulum-v1", "norm": "none", "seeds": 2, "steps": 100, "hidden": 32,
                "learning_starts": 100, "eval_episodes": 0}  # fmt: skip
    plain, scaled = (StackedTrainer(parse(settings | {"reward_scale": scale})) for scale in (1.0, 0.01))
    reports = [next(iter(trainer)) for trainer in (plain, scaled)]
    assert reports[0]["reward"].tolist() == reports[1]["reward"].tolist()
    column = plain.envs.single_observation_space["vector"].shape[0] + plain.actions
    kept = [trainer.replay.data[:100, :, column] for trainer in (plain, scaled)]
    torch.testing.assert_close(kept[1], 0.01 * kept[0])
    assert kept[0].abs().max() > 1
