"""TD3 and DDPG: networks as the original counted them, the update by hand and beside Stable-Baselines3, both wirings,
resuming to the bit; runs from settings to tables."""

import copy
import math
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import pytest
import torch
from gymnasium.spaces import Box, Dict
from torch import Tensor, nn

from lnlab import inside, runs
from lnlab.book import run_page
from lnlab.columns import COLUMNS, UPDATE
from lnlab.config import ConfigError, parse
from lnlab.inside.cnn import CNNProbe
from lnlab.models.cnn import CNN, batch, state
from lnlab.runs import Run, Shard
from lnlab.trainers import driver, make_trainer, monitor, watchers
from lnlab.trainers.replay import Transitions
from lnlab.trainers.td3 import (
    TD3,
    OffPolicyTrainer,
    Seen,
    discounted_returns,
    exploration_noise,
    no_returns,
    random_action,
    shifted,
)

IMAGES = Dict(image=Box(0, 255, (4, 84, 84), np.uint8), vector=Box(-np.inf, np.inf, (53,), np.float32))
NUMBERS = Dict(vector=Box(-np.inf, np.inf, (3,), np.float32))
TWO = Box(-1, 1, (2,), np.float32)
PENDULUM = {"env": "Pendulum-v1", "norm": "none"}
PROBED = {name for name in COLUMNS["records"] if name.endswith(("_rms", "_probe", "_weight_std"))}


def config(**settings):
    return parse(
        {"algorithm": "td3", "seeds": 1, "batch_size": 4, "learning_starts": 100, "eval_episodes": 0} | settings
    )


def learner(spaces: Dict = IMAGES, **settings) -> TD3:
    vectors_only = {} if "image" in spaces.spaces else {"norm": "none"}
    return TD3(config(**vectors_only | settings), spaces, TWO)


def transitions(count: int = 4, spaces: Dict = IMAGES, gamma: float = 0.99) -> Transitions:
    """The first has ended."""
    rng = np.random.default_rng(5)
    images = [torch.from_numpy(rng.integers(0, 256, (count, 4, 84, 84), np.uint8)) for _ in range(2)]
    vectors = [torch.from_numpy(rng.standard_normal((count, spaces["vector"].shape[0]), np.float32)) for _ in range(2)]
    action = torch.from_numpy(rng.uniform(-1, 1, (count, 2)).astype(np.float32))
    reward = torch.arange(count, dtype=torch.float32)
    image, following = images if "image" in spaces.spaces else (None, None)
    return Transitions(image, vectors[0], action, reward, following, vectors[1], gamma * (1 - torch.eye(count)[0]))


def count(parameters) -> int:
    return sum(each.numel() for each in parameters)


# -- networks ---------------------------------------------------------------------------------------------------------


def test_parameter_counts_are_the_originals():
    """1,938,594 and 2,150,306 stand in a log of the original; LayerNorm adds 43,264 to each CNN."""
    plain, normed = learner(norm="none"), learner(norm="ln")
    assert count(plain.actor.cnn.parameters()) == 1_684_128
    assert (count(normed.actor.parameters), count(normed.critic.parameters)) == (1_938_594, 2_150_306)
    assert count(normed.actor.parameters) - count(plain.actor.parameters) == 43_264
    assert count(learner(norm="ln_output").actor.parameters) - count(plain.actor.parameters) == 2 * 512


def test_untrained_layers_under_ln_have_the_norms_of_its_formula():
    """LeakyReLU of a standard normal has mean square 0.50005, so a layer of n units has norm √(n/2)."""
    cnn = CNN((4, 84, 84), "ln", "leaky_relu")
    norms = [each.flatten(1).norm(dim=1).mean().item() for each in cnn.stages(torch.rand(8, 4, 84, 84) * 2 - 1)]
    assert norms == pytest.approx([math.sqrt(units * 0.50005) for units in (12_800, 5184, 3136, 512)], rel=0.05)


def test_only_the_norm_tells_the_arms_apart():
    """Equal draws for equal shapes: seeds pair the arms."""
    plain, normed = learner(norm="none"), learner(norm="ln", actor_features="detached")
    for one, other in ((plain.actor, normed.actor), (plain.critic, normed.critic)):
        theirs = dict(other.cnn.named_parameters()) | dict(other.heads.named_parameters())
        for name, value in [*one.cnn.named_parameters(), *one.heads.named_parameters()]:
            torch.testing.assert_close(value, theirs[name], rtol=0, atol=0)
    assert not torch.equal(*(next(learner(first_seed=seed).actor.cnn.parameters()) for seed in (0, 1)))


def test_coarse_products_give_nearly_the_same_features_and_gradients():
    """bfloat16 keeps 8 bits; a unit whose sign flips changes the slope that a gradient passes through."""
    torch.manual_seed(0)
    fine, coarse = (CNN((4, 84, 84), "ln", "leaky_relu", coarse=each) for each in (False, True))
    coarse.load_state_dict(fine.state_dict())
    image, towards = torch.rand(8, 4, 84, 84) * 2 - 1, torch.randn(8, 512)
    found = []
    for cnn in (fine, coarse):
        features = cnn(image)
        gradients = torch.autograd.grad(features, [*cnn.parameters()], towards)
        assert {each.dtype for each in (features, *gradients, *cnn.stages(image))} == {torch.float32}
        found.append([features.detach(), *gradients])
    for place, (one, other) in enumerate(zip(*found, strict=True)):
        assert 0 < (one - other).norm() < (0.01 if place == 0 else 0.15) * one.norm()


def test_settings_reach_the_networks():
    assert [config(norm=norm).activation for norm in ("none", "ln", "ln_output")] == ["linear", *["leaky_relu"] * 2]
    features = learner(norm="ln", final_activation="linear").actor.cnn(torch.rand(2, 4, 84, 84))
    assert features.mean().abs() < 1e-5  # a LayerNorm is last
    small, coarse, ddpg = learner(final_init="small"), learner(precision="bfloat16"), learner(algorithm="ddpg")
    assert small.actor.heads[-1].weight.abs().max() <= 3e-3 < 3e-2 < coarse.actor.heads[-1].weight.abs().max()
    assert (small.actor.cnn.coarse, coarse.actor.cnn.coarse, coarse.critic.cnn.coarse) == (False, True, True)
    assert "bfloat16" in coarse.config.run_id
    assert (len(ddpg.critic.heads), ddpg.config.policy_delay, ddpg.config.target_noise) == (1, 1, 0.0)


# -- the update -------------------------------------------------------------------------------------------------------


def constant(module: torch.nn.Module, value: float) -> None:
    """A head that answers `value` whatever it is asked."""
    for parameter in module.parameters():
        parameter.data.zero_()
    module[-1].bias.data.fill_(value)


def test_the_target_takes_the_smaller_q_and_stops_at_the_end():
    td3 = learner(NUMBERS, gamma=0.5)
    for critic, value in zip(td3._pairs[1][1], (10.0, 4.0), strict=True):
        constant(critic, value)
    target = td3._target(transitions(3, NUMBERS, gamma=0.5), torch.zeros(3, 2))
    assert target.tolist() == [0.0, 3.0, 4.0]  # rewards 0, 1, 2; the first has ended


def test_the_target_action_is_noisy_within_limits_and_ddpgs_is_not():
    seen = []

    class Spy(torch.nn.Module):
        def forward(self, state_action):
            seen.append(state_action[:, -2:])
            return state_action[:, :1]

    for algorithm in ("td3", "ddpg"):
        td3 = learner(NUMBERS, algorithm=algorithm)
        constant(td3._pairs[0][1], 0.0)
        td3._pairs[1] = (td3._pairs[1][0], torch.nn.ModuleList([Spy()]))
        td3._target(transitions(2, NUMBERS), torch.tensor([[1.0, -1.0], [9.0, -9.0]]))
    torch.testing.assert_close(seen[0], torch.tensor([[0.2, -0.2], [0.5, -0.5]]))
    assert not seen[1].any()


@pytest.mark.parametrize(("wiring", "leaks"), [("leaky", True), ("detached", False)])
def test_with_a_saturated_tanh_only_the_leak_moves_the_actors_cnn(wiring, leaks):
    """The original's actor MLP had no gradient in any logged update, yet its CNN grew: through the critic's state."""
    td3 = learner(norm="none", actor_features=wiring)
    td3.actor.heads[-1].bias.data.fill_(1e4)
    seen: Seen = {}
    for _ in range(2):
        td3.update(transitions(), torch.zeros(4, 2), seen)
    assert seen["saturation"] == 1.0
    assert seen["actor_mlp_grad_norm"] == 0.0
    assert (seen["actor_cnn_grad_norm"] > 0) == leaks
    assert leaks or seen["actor_q"] == pytest.approx(seen["critic_q"], rel=1e-6)  # they value an action alike


def test_norms_are_of_the_whole_gradient_before_it_is_clipped():
    seen: Seen = {}
    td3 = learner(critic_clip=0.5)
    td3.update(transitions(), torch.zeros(4, 2), seen)
    parts = math.hypot(seen["critic_cnn_grad_norm"], seen["critic_mlp_grad_norm"])
    assert seen["critic_grad_norm"] == pytest.approx(parts, rel=1e-5)
    after = math.sqrt(sum(p.grad.square().sum().item() for p in td3.critic.parameters))
    assert after == pytest.approx(0.5, rel=1e-4)
    assert seen["critic_clip_scale"] * seen["critic_grad_norm"] == pytest.approx(after, rel=1e-4)


def test_actor_and_targets_wait_for_their_turn_and_targets_move_by_tau():
    """CNNs are among the targets only where asked."""
    td3 = learner(target_cnn=True, policy_delay=2, tau=0.25)
    assert learner()._targets[3] is not td3._targets[3] is not td3.critic.cnn
    before = [each.clone() for each in (*td3.actor.parameters, *td3._targets[3].parameters())]
    td3.update(transitions(), torch.zeros(4, 2))
    assert all(map(torch.equal, before, (*td3.actor.parameters, *td3._targets[3].parameters())))
    td3.update(transitions(), torch.zeros(4, 2))
    assert not torch.equal(before[0], td3.actor.parameters[0])
    online, target = next(td3.critic.cnn.parameters()), next(td3._targets[3].parameters())
    torch.testing.assert_close(target, 0.75 * before[len(td3.actor.parameters)] + 0.25 * online)


@pytest.mark.parametrize("spaces", [IMAGES, NUMBERS])
def test_without_targets_the_online_networks_stand_in_the_target_and_get_no_gradient_from_it(spaces):
    """The target by hand from the networks as they are, each side with its own CNN; it moves with every update."""
    td3, given = learner(spaces, target_network=False, policy_delay=1, lr=0.01), transitions(4, spaces)
    for _ in range(2):
        with torch.no_grad():
            after = batch(given.next_image, given.next_vector, td3.device)
            action = torch.tanh(td3.actor.heads(state(td3.actor.cnn(after.image), after.vector)))
            seen = torch.cat([state(td3.critic.cnn(after.image), after.vector), action], 1)
            smaller = torch.minimum(*(critic(seen).squeeze(1) for critic in td3.critic.heads))
        target = td3._target(given, torch.zeros(4, 2))
        torch.testing.assert_close(target, given.reward + given.discount * smaller)
        assert not target.requires_grad
        td3.update(given, torch.zeros(4, 2))
        assert not torch.allclose(td3._target(given, torch.zeros(4, 2)), target)
    again = learner(spaces, target_network=False, policy_delay=1, lr=0.01)
    again.load_state_dict(td3.state_dict())
    assert torch.equal(again._target(given, torch.zeros(4, 2)), td3._target(given, torch.zeros(4, 2)))


def test_with_a_shared_cnn_the_critics_loss_alone_trains_it_and_the_actor_takes_its_features(monkeypatch):
    """The update by torch alone, from equal weights: both losses on the features before the step; one target CNN."""
    own = {"actor_features": "shared", "target_cnn": True, "target_noise": 0.0, "policy_delay": 1, "tau": 0.25}
    td3, given = learner(norm="ln", actor_clip=0, critic_clip=0, **own), transitions()
    apart = learner(norm="ln", actor_features="detached")
    assert td3.actor.cnn is td3.critic.cnn
    assert all(map(torch.equal, td3.critic.parameters, apart.critic.parameters))
    assert count(td3.actor.parameters) == count(apart.actor.heads.parameters())
    by_hand = copy.deepcopy({"cnn": td3.critic.cnn, "critics": td3.critic.heads, "actor": td3.actor.heads})
    before, after = (batch(*each, td3.device) for each in ((given.image, given.vector), given[4:6]))
    with torch.no_grad():
        now, following = (state(by_hand["cnn"](each.image), each.vector) for each in (before, after))  # (B, 512 + V)
        action = torch.tanh(by_hand["actor"](following))
        smaller = torch.cat([each(torch.cat([following, action], 1)) for each in by_hand["critics"]], 1).amin(1)
        target = given.reward + given.discount * smaller
    features = state(by_hand["cnn"](before.image), before.vector)
    values = [each(torch.cat([features, given.action], 1)).squeeze(1) for each in by_hand["critics"]]
    loss = sum((each - target).square().mean() for each in values)
    for side in (td3.critic, td3.actor):  # by default Adam makes a full step of rounding
        side.optimizer.param_groups[0]["eps"] = 0.1
    step = torch.optim.Adam([*by_hand["cnn"].parameters(), *by_hand["critics"].parameters()], lr=1e-3, eps=0.1)
    loss.backward()
    step.step()
    value = by_hand["critics"][0](torch.cat([now, torch.tanh(by_hand["actor"](now))], 1)).mean()
    step = torch.optim.Adam(by_hand["actor"].parameters(), lr=1e-3, eps=0.1)
    step.zero_grad()
    (-value).backward()
    step.step()
    passes, forward = [], CNN.forward
    monkeypatch.setattr(CNN, "forward", lambda cnn, image: passes.append(cnn) or forward(cnn, image))
    seen: Seen = {}
    td3.update(given, torch.zeros(4, 2))
    assert len(passes) == 2  # of the target's and of the critics' CNN: none for the actor
    for part, theirs in (("cnn", td3.critic.cnn), ("critics", td3.critic.heads), ("actor", td3.actor.heads)):
        pairs = [[each.detach() for each in module.parameters()] for module in (theirs, by_hand[part])]
        torch.testing.assert_close(*pairs, rtol=1e-5, atol=1e-6)
    moved = td3._targets
    assert moved[2] is moved[3] is not td3.critic.cnn
    td3.update(given, torch.zeros(4, 2), seen)
    assert (seen["actor_cnn_grad_norm"], seen["critic_cnn_grad_norm"] > 0) == (0.0, True)
    again = learner(norm="ln", actor_clip=0, critic_clip=0, **own)
    again.load_state_dict(copy.deepcopy(td3.state_dict()))
    for each in (td3, again):
        each.update(given, torch.zeros(4, 2))
    assert all(
        map(
            torch.equal,
            [*moved[2].parameters(), *td3.actor.parameters],
            [*again._targets[2].parameters(), *again.actor.parameters],
        )
    )
    with pytest.raises(ConfigError, match="there is one CNN"):
        config(actor_features="shared", norm_in="actor")


@pytest.mark.parametrize(("who", "update"), [("critic", 1), ("actor", 2)])
def test_a_learner_says_what_was_not_finite_first_and_is_frozen(who, update):
    td3 = learner(NUMBERS, target_cnn=True)
    td3.update(transitions(4, NUMBERS), torch.zeros(4, 2))
    td3.check_parameters()
    assert (td3.alive, td3.diverged) == (True, None)
    getattr(td3, who).parameters[0].data[0, 0] = math.inf
    td3.check_parameters()
    assert (td3.alive, td3.diverged) == (False, {"update": 1, "what": f"{who} parameter"})
    for reward in (math.nan, 1e30):  # 1e30² is past float32
        td3 = learner(NUMBERS)
        before = [each.clone() for each in td3.critic.parameters]
        td3.update(transitions(4, NUMBERS)._replace(reward=torch.full((4,), reward)), torch.zeros(4, 2))
        assert td3.diverged == {"update": 1, "what": "critic loss"}
        td3.update(transitions(4, NUMBERS), torch.zeros(4, 2))
        assert all(map(torch.equal, before, td3.critic.parameters))
    td3 = learner(NUMBERS, policy_delay=update)
    getattr(td3, who).parameters[0].register_hook(lambda gradient: gradient * math.nan)
    for _ in range(3):
        td3.update(transitions(4, NUMBERS), torch.zeros(4, 2))
    again = learner(NUMBERS, policy_delay=update)
    again.load_state_dict(td3.state_dict())
    for each in (td3, again):
        assert (each.alive, each.diverged) == (False, {"update": update, "what": f"{who} gradient"})
    td3.actor.heads[-1].bias.data[0] = math.nan
    assert (td3.act({"vector": np.ones(3, np.float32)}) != 0).tolist() == [False, True]  # no number: no action


# -- the trainer ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def driven():
    """A trainer of the driving task after 300 steps, its reports, and the rewards of its steps."""
    trainer = make_trainer(config(steps=300, learning_starts=190, gamma=0.5, hidden=8, batch_size=2))
    trainer.learner.q1 = lambda batch: np.zeros(len(batch.reward))
    rewards, add = [], trainer.replay.add
    trainer.replay.add = lambda a, r, t, o, ended: [rewards.append(r), add(a, r, t, o, ended=ended)]
    return trainer, list(trainer), np.array(rewards, np.float32)


def test_reports_fill_the_data_dictionary_and_phases_follow_the_steps(driven):
    trainer, reports, _ = driven
    assert [r["phase"].item() for r in reports] == ["random", "mixed", "policy"]
    assert [r["updates"].item() for r in reports] == [0, 10, 110]
    for report in reports:
        assert {*report, *PROBED} - {"record"} | {"seed"} == set(COLUMNS["records"])
    assert all(math.isnan(reports[0][name].item()) for name in UPDATE)
    assert [name for name in UPDATE if math.isnan(reports[-1][name].item())] == ["q_bound"]  # heads have no norm
    largest = max(abs(reports[-1][f"q1_{end}"].item()) for end in ("min", "max"))
    assert reports[-1]["q_max"].item() >= largest  # of both critics
    for name in ("returns", "drives"):
        assert set(trainer.rows[name][0]) == set(COLUMNS[name])
    lengths = [row["length"] for row in trainer.rows["returns"]]
    assert np.cumsum(lengths).tolist() == [row["step"] for row in trainer.rows["returns"]]
    assert [round(exploration_noise(trainer.config, step), 4) for step in (190, 3090)] == [
        0.3,
        0.1969,
    ]  # as in the original's event file


def test_scaled_rewards_are_learned_from_and_the_tables_have_them_as_they_are(driven):
    _, reports, rewards = driven
    scaled = make_trainer(config(steps=100, learning_starts=190, reward_scale=0.01, hidden=8, batch_size=2))
    kept, add = [], scaled.replay.add
    scaled.replay.add = lambda a, r, t, o, ended: [kept.append(r), add(a, r, t, o, ended=ended)]
    report = next(iter(scaled))
    assert kept == pytest.approx(0.01 * rewards[:100])
    assert report["reward"] == pytest.approx(reports[0]["reward"])


def test_q_bias_is_q_minus_the_discounted_return(driven):
    trainer, _, rewards = driven
    rows = trainer.rows["returns"]
    assert all(math.isnan(row["q_bias"]) for row in rows if row["step"] <= 190)
    row = next(row for row in rows if row["step"] > 190)
    expected = discounted_returns(rewards[row["step"] - row["length"] : row["step"]], 0.5)
    chosen = np.unique(np.linspace(0, row["length"] - 1, min(8, row["length"])).round().astype(int))
    assert row["q_bias"] == pytest.approx(-expected[chosen].mean(), rel=1e-5)


def test_random_actions_never_brake_unless_they_are_uniform():
    for mode, brakes in (("forward", False), ("uniform", True)):
        drawn = np.array([random_action(config(random_actions=mode), 2, np.random.default_rng(n)) for n in range(40)])
        assert (drawn[:, 0] < 0).any()
        assert (drawn[:, 1] < 0).any() == brakes


def test_the_probe_adds_its_columns_on_the_same_observations_for_every_arm():
    found = []
    for settings in ({}, {"norm": "none", "actor_features": "detached"}, PENDULUM):
        report, probe = {}, CNNProbe(OffPolicyTrainer(config(**settings)), None)
        probe(report)
        assert set(report) == PROBED
        found.append((probe.obs, {name: value.item() for name, value in report.items()}))
    (one, normed), (other, plain), (_, without) = found
    assert torch.equal(one.image, other.image)
    assert all(map(math.isfinite, (*normed.values(), *plain.values())))
    assert normed["actor_feature_norm_probe"] == pytest.approx(16, abs=1)  # √(512 / 2), as LeakyReLU of a normal has it
    assert [name for name, value in without.items() if math.isfinite(value)] == ["actor_mlp_weight_std"]


@pytest.mark.parametrize(
    ("starts", "delay", "windows"),  # of the four, those in which the actor was updated
    [(50, 1, 4), (187, 7, 3), (210, 150, 1)],
)
def test_a_record_holds_the_newest_update_of_critics_and_actor(starts, delay, windows):
    trainer = OffPolicyTrainer(config(**PENDULUM, steps=400, learning_starts=starts, policy_delay=delay, hidden=8))
    log, update, acted = [], trainer.learner.update, 0
    names = [name for name in UPDATE if not name.endswith("_feature_norm")]

    def spy(transitions, noise, seen=None):
        log.append(own := {})
        update(transitions, noise, own)
        if seen is not None:
            seen |= own

    trainer.learner.update = spy
    for report in trainer:
        shown, newest = {name: report[name].item() for name in names}, log[-100:] if trainer.steps > starts else []
        both = [newest[-1:], [each for each in newest if "actor_q" in each][-1:]]
        expected = dict.fromkeys(names, math.nan) | {k: v for part in both for each in part for k, v in each.items()}
        critics = newest[-1] if newest else {}
        expected |= {name: critics[name] for name in critics if not name.startswith("actor") and name != "critic_q"}
        np.testing.assert_equal(shown, {name: expected[name] for name in names})
        acted += not math.isnan(shown["actor_q"])
    assert acted == windows


def test_records_are_those_of_the_code_that_made_the_published_runs():
    """Reckoned with that code, on another machine maybe: the arithmetic's last bits may differ."""
    settings = {"steps": 400, "learning_starts": 200, "batch_size": 8, "hidden": 8}
    reports = OffPolicyTrainer(config(**PENDULUM, **settings))
    found = [{name: value.item() for name, value in report.items() if name != "record"} for report in reports]
    assert [row["reward"] for row in found] == pytest.approx([-7.79744, -8.40399, -4.39635, -7.67457], rel=1e-3)
    for name, values in {
        "critic_loss": [110.50339, 80.94052],
        "actor_q": [-0.42230, -1.32820],
        "actor_grad_norm": [0.0350525, 0.105365],
    }.items():
        assert [row[name] for row in found[2:]] == pytest.approx(values, rel=1e-3), name


def test_the_step_at_which_learning_starts_is_the_policys_as_in_the_original():
    """Up to it all is random: of ten steps before the first update nine are."""
    trainer = OffPolicyTrainer(config(**PENDULUM, learning_starts=10))
    assert [trainer._action(at)[1] for at in range(1, 13)] == ["random"] * 9 + ["policy"] * 3


@pytest.mark.parametrize(
    ("own", "end"),
    [({}, 200), ({"n_steps": 3, "shift": 4}, 300), (PENDULUM, 300), (PENDULUM, 200)],
)
def test_a_resumed_trainer_goes_on_to_the_bit(own, end, tmp_path):
    """Also one that was at its end, and shall go further."""
    settings = {**own, "learning_starts": 160, "hidden": 8, "batch_size": 2}
    straight = make_trainer(config(steps=300, **settings))
    reports = list(straight)
    stopped = make_trainer(config(steps=end, **settings))
    first = iter(stopped)
    next(first)
    next(first)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    assert stopped.done == (end == 200)
    resumed = make_trainer(straight.config)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for expected, found in zip(reports[2:], resumed, strict=True):
        for name in expected:
            np.testing.assert_array_equal(expected[name], found[name], err_msg=name)
    np.testing.assert_equal(straight.rows, resumed.rows)


def test_the_settings_reach_the_sums_that_are_learned_from():
    trainer = OffPolicyTrainer(config(**PENDULUM, n_steps=3, gamma=0.5, steps=100, learning_starts=97, batch_size=40))
    given, rewards = [], []
    trainer.learner.update = lambda batch, noise, seen: given.append(batch)
    add = trainer.replay.add
    trainer.replay.add = lambda a, r, t, o, ended: [rewards.append(r), add(a, r, t, o, ended=ended)]
    list(trainer)
    sums = np.convolve(rewards, [0.25, 0.5, 1])[2:]  # the last two are of fewer steps
    batch = given[-1]
    whole = batch.discount == 0.125
    assert whole.sum() > 30
    assert np.abs(batch.reward.numpy()[:, None] - sums).min(1) == pytest.approx(0, abs=1e-5)


def moved(image: np.ndarray, down: int, right: int, by: int) -> np.ndarray:
    """(F, H, W) padded with its edges and cut out again."""
    _, height, width = image.shape
    padded = np.pad(image, ((0, 0), (by, by), (by, by)), mode="edge")
    return padded[:, by + down : by + down + height, by + right : by + right + width]


@pytest.mark.parametrize("shape", [(40, 4, 7, 5), (3, 4, 84, 84)])
def test_images_are_shifted_as_if_padded_with_their_edges(shape):
    rng = np.random.default_rng(0)
    image, by = rng.integers(0, 256, shape, np.uint8), rng.integers(-8, 9, (shape[0], 2))
    expected = np.stack([moved(each, down, right, 8) for each, (down, right) in zip(image, by.tolist(), strict=True)])
    np.testing.assert_array_equal(shifted(torch.from_numpy(image), by), expected)


def test_a_batch_is_shifted_anew_for_either_observation_and_alike_for_both_arms(monkeypatch):
    monkeypatch.setattr(OffPolicyTrainer, "_look", lambda *_: None)  # takes a while
    batches = []
    for own in ({}, {"shift": 3}, {"shift": 3, "norm": "none"}):
        trainer = make_trainer(config(steps=100, learning_starts=99, batch_size=12, hidden=8, **own))
        trainer.learner.act = lambda obs: np.ones(2, np.float32)  # all see the same
        trainer.learner.update = lambda batch, noise, seen: batches.append(batch)
        list(trainer)
    plain, one, other = ([batch.image.numpy(), batch.next_image.numpy()] for batch in batches)
    np.testing.assert_array_equal(one, other)
    every = [(down, right) for down in range(-3, 4) for right in range(-3, 4)]
    for raw, found in zip(plain, one, strict=True):
        fits = [{by for by in every if np.array_equal(moved(a, *by, 3), b)} for a, b in zip(raw, found, strict=True)]
        assert all(fits)
        assert not set.intersection(*fits)
    np.testing.assert_array_equal(plain[0][:, 1:], plain[1][:, :-1])
    assert (one[0][:, 1:] != one[1][:, :-1]).any((1, 2, 3)).sum() > 6  # of twelve


def test_any_environment_with_pictures_goes_by_its_id():
    trainer = make_trainer(config(env="CarRacing-v3", steps=100, learning_starts=98, hidden=8))
    (report,) = trainer
    assert report["updates"].item() == 2
    assert math.isnan(report["reward_progress"].item())
    assert trainer.rows["drives"] == []


def test_greedy_tests_are_the_same_for_every_seed():
    trainers = [make_trainer(config(steps=100, eval_episodes=1, first_seed=seed, hidden=8)) for seed in (0, 1)]
    for trainer in trainers:
        trainer.learner.act = lambda obs: np.ones(2, np.float32)  # full right, full throttle
        trainer._test()
    one, other = ([row | {"seed": 0} for row in trainer.rows["checks"]] for trainer in trainers)
    assert one == other
    assert set(trainers[0].rows["checks"][0]) == set(COLUMNS["checks"])


# -- beside Stable-Baselines3 -----------------------------------------------------------------------------------------


class Spaces(gymnasium.Env):
    """Spaces and nothing else: all that a model of theirs needs to be made."""

    observation_space, action_space = IMAGES, TWO


def plain_cnn(norm: str) -> nn.Sequential:
    """The CNN of the study, written out in torch's layers."""
    widths, shapes = (4, 32, 64, 64), ((32, 20, 20), (64, 9, 9), (64, 7, 7))
    layers: list[nn.Module] = []
    for index, (kernel, stride) in enumerate(((8, 4), (4, 2), (3, 1))):
        layers += [nn.Conv2d(widths[index], widths[index + 1], kernel, stride)]
        layers += [nn.LayerNorm(shapes[index])] * (norm == "ln") + [nn.LeakyReLU(0.01)]
    layers += [nn.Flatten(), nn.Linear(3136, 512)]
    return nn.Sequential(*layers, *([nn.LayerNorm(512), nn.LeakyReLU(0.01)] if norm == "ln" else []))


def make_theirs(config) -> Any:
    """Their model with our settings."""
    sb3 = pytest.importorskip("stable_baselines3")

    class Extractor(sb3.common.torch_layers.BaseFeaturesExtractor):
        def __init__(self, space: Dict) -> None:
            super().__init__(space, 512 + 53)
            self.layers = plain_cnn(config.norm)

        def forward(self, obs: dict[str, Tensor]) -> Tensor:  # images come in as [0, 1]
            return torch.cat([self.layers(2 * obs["image"] - 1), obs["vector"]], dim=1)

    policy = {"net_arch": [config.hidden, config.hidden], "features_extractor_class": Extractor}
    settings = {"learning_rate": config.lr, "gamma": config.gamma, "tau": config.tau, "buffer_size": 2}
    settings |= {"target_policy_noise": config.target_noise, "target_noise_clip": config.noise_clip}
    model = sb3.TD3("MultiInputPolicy", Spaces(), policy_kwargs=policy, device="cpu", **settings)
    model.set_logger(sb3.common.logger.configure(None, []))
    return model


def networks(td3: TD3, model: Any) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """Parameters of ours and theirs in the same order: CNN, heads."""
    actor, critics, actor_cnn, critic_cnn = td3._targets
    ours = {"actor": td3.actor.parameters, "critic": td3.critic.parameters}
    ours |= {"actor_target": [*actor_cnn.parameters(), *actor.parameters()]}
    ours |= {"critic_target": [*critic_cnn.parameters(), *critics.parameters()]}
    return {name: (each, [*getattr(model, name).parameters()]) for name, each in ours.items()}


def update_theirs(model: Any, batch: Transitions, seed: int) -> None:
    """One step of `model.train` on `batch`; it draws its noise from torch's global generator."""
    from stable_baselines3.common.buffers import DictReplayBufferSamples

    obs = {"image": batch.image, "vector": batch.vector}
    after = {"image": batch.next_image, "vector": batch.next_vector}
    done = (batch.discount == 0).float()
    sample = DictReplayBufferSamples(obs, batch.action, after, done[:, None], batch.reward[:, None])
    model.replay_buffer.sample = lambda *_, **__: sample
    torch.manual_seed(seed)
    model.train(gradient_steps=1, batch_size=len(batch.reward))


@pytest.mark.parametrize("norm", ["none", "ln"])
def test_critic_and_actor_steps_agree_with_stable_baselines3(norm: str) -> None:
    """Two updates from equal weights, under the settings that make the two the same algorithm."""
    own = {"actor_features": "detached", "target_cnn": True, "actor_clip": 0, "critic_clip": 0}
    td3 = learner(norm=norm, hidden=32, batch_size=8, **own)
    model = make_theirs(td3.config)
    torch.manual_seed(0)
    for name, (ours, theirs) in networks(td3, model).items():
        for mine, other in zip(ours, theirs, strict=True):
            if name.endswith("target"):  # which differ from the online networks
                mine += 0.1 * mine.std() * torch.randn_like(mine) if mine.numel() > 1 else 0.1
            other.data.copy_(mine.data)
    for side in (td3.actor, td3.critic, model.actor, model.critic):  # by default Adam makes a full step of rounding
        side.optimizer.param_groups[0]["eps"] = 0.1
    for update, stepped in enumerate(("critic", "actor"), start=1):  # the actor steps at the second update
        torch.manual_seed(update)
        td3.update(transitions(8), torch.empty(8, 2).normal_())  # what they draw, before its scale
        update_theirs(model, transitions(8), update)
        gradients = [[parameter.grad for parameter in each] for each in networks(td3, model)[stepped]]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-6)
    for mine, other in networks(td3, model).values():
        pairs = [each.detach() for each in mine], [each.detach() for each in other]
        torch.testing.assert_close(*pairs, rtol=1e-5, atol=1e-3 * td3.config.lr)  # a thousandth of a full step


# -- runs, from settings to tables ------------------------------------------------------------------------------------
TABLES = ("records", "returns", "checks")
SMALL = {"algorithm": "td3", **PENDULUM, "steps": 400, "learning_starts": 100, "batch_size": 4, "hidden": 8}
SMALL |= {"eval_episodes": 1, "eval_every": 200, "profile": "test", "device": "cpu", "cores": 1}


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")


def trained(**settings: object) -> Run:
    return inside.run(parse(SMALL | settings), progress=False)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", tmp_path_factory.mktemp("plain"))
        return trained(seeds=1)


def test_seeds_over_processes_give_what_one_process_gives(plain):
    two = trained(seeds=2, cores=2)
    for name in TABLES:
        table = two.table(name)
        pd.testing.assert_frame_equal(plain.table(name), table[table.seed == 0].reset_index(drop=True))
    assert list(two.table("records").step) == [100, 200, 300, 400] * 2
    assert list(two.table("checks").groupby("seed").step.unique().iloc[0]) == [0, 200, 400]
    assert two.provenance["env_steps"] == 800
    assert two.provenance["steps_per_second"] > 0
    assert (plain.provenance["diverged"], list(plain.dir.glob("tensorboard/seed-0/events*")) != []) == ([], True)


def test_a_run_that_is_stopped_goes_on_to_the_same_tables(plain):
    asked = iter([False, True])
    shard = Shard(runs.RESULTS / "stopped" / "run", [0], "records")
    config = parse(SMALL | {"seeds": 1})
    assert not driver.train_shard(config, shard, "cpu", lambda _: None, lambda: next(asked), inside.WATCHERS)
    assert shard.episode == 2
    again = Shard(shard.dir.parent.parent, [0], "records")
    assert driver.train_shard(config, again, "cpu", lambda _: None, lambda: False, inside.WATCHERS)
    pd.testing.assert_frame_equal(plain.table("records"), again.rows())
    for name in ("returns", "checks"):
        pd.testing.assert_frame_equal(plain.table(name), again.table(name))


def test_a_run_that_no_longer_gains_is_complete_before_its_steps(monkeypatch):
    monkeypatch.setattr(monitor, "WINDOW", 3)
    settings = {"steps": 60_000, "learning_starts": 59_000, "early_stopping": True, "patience": 400}
    found = trained(seeds=1, eval_episodes=0, tensorboard=False, **settings)
    stopped = found.provenance["stopped_early"]
    assert found.complete
    assert not (found.dir / "tensorboard").exists()
    assert 1000 <= found.table("records").step.max() == found.provenance["env_steps"] == stopped < 10_000


def test_five_checkpoints_are_kept(monkeypatch):
    monkeypatch.setattr(watchers, "KEPT_STEPS", 100)
    found = trained(seeds=1, steps=700, learning_starts=690, eval_episodes=0)
    kept = sorted(path.name for path in (found.dir / "shards" / "0-0").glob("kept-*.pt"))
    assert kept == [f"kept-{step:09d}.pt" for step in (300, 400, 500, 600, 700)]


ODD = {
    "learning starts at an odd step": {"learning_starts": 101},
    "learning never starts": {"learning_starts": 1000},
    "no episode ends": {"steps": 100, "learning_starts": 50},
    "diverges beyond all numbers": {"lr": 1e38},
}


@pytest.mark.parametrize("settings", ODD.values(), ids=ODD)
def test_an_odd_run_completes_with_every_column_and_its_page_is_built(settings):
    found = trained(seeds=1, tensorboard=False, eval_every=0, **settings)
    assert found.complete
    for name in TABLES:
        assert set(found.table(name)) == set(COLUMNS[name]), name
    records = found.table("records")
    assert len(records) == found.config.steps / 100
    assert records.actor_q.notna().any() == ("lr" not in settings and settings["learning_starts"] < 1000)
    run_page.require_complete(found)
    for shows in (run_page.return_curve, run_page.value_curve, run_page.inner_curve, run_page.test_table):
        assert shows(found)
    assert "no norm layer" in run_page.norm_layers(found)._repr_markdown_()


def test_a_learner_that_diverges_is_data_and_an_alert_is_told_once(capsys, monkeypatch):
    monkeypatch.setattr(OffPolicyTrainer, "_look", lambda *_: None)  # takes a while
    settings = {"env": "lnlab/Driving-v0", "norm": "ln", "steps": 200, "eval_episodes": 0}
    found = trained(seeds=2, tensorboard=False, lr=1e30, batch_size=2, **settings)
    assert found.complete
    told, records = found.provenance["diverged"], found.table("records")
    assert [each["seed"] for each in told] == [0, 1]
    for each in told:
        assert (each["worker"], each["what"].split()[0] in ("critic", "actor")) == (-1, True)
        frozen = records[(records.seed == each["seed"]) & ~records.alive]
        assert frozen.step.min() - 100 < each["step"] <= frozen.step.min()
        rows = found.table("returns").query(f"seed == {each['seed']} and step < {each['step']}")
        assert each["episode"] == len(rows)
    said = capsys.readouterr().err
    assert [said.count(f"seed {seed}, step 200: alert diverged") for seed in (0, 1)] == [1, 1]


def test_a_seed_without_an_episode_stands_beside_one_with_some(plain):
    rows = plain.table("returns")
    joined = pd.concat([no_returns(), rows])
    pd.testing.assert_frame_equal(joined, rows)
    assert list(no_returns()) == list(rows) == list(COLUMNS["returns"])
    assert monitor.first_fired(plain.table("records"), no_returns()).step.isna().all()
