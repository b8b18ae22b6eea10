"""TD3 and DDPG: networks as the original counted them, the update by hand, the two wirings, resuming to the bit."""

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

from lnlab.columns import COLUMNS, UPDATE
from lnlab.config import ConfigError, parse
from lnlab.inside.cnn import CNNProbe
from lnlab.models.cnn import CNN, batch
from lnlab.trainers import make_trainer
from lnlab.trainers.replay import Transitions
from lnlab.trainers.td3 import TD3, OffPolicyTrainer, Seen, discounted_returns, soft_update

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


def transitions(count: int = 4, spaces: Dict = IMAGES) -> Transitions:
    rng = np.random.default_rng(5)
    images = [torch.from_numpy(rng.integers(0, 256, (count, 4, 84, 84), np.uint8)) for _ in range(2)]
    vectors = [torch.from_numpy(rng.standard_normal((count, spaces["vector"].shape[0]), np.float32)) for _ in range(2)]
    action = torch.from_numpy(rng.uniform(-1, 1, (count, 2)).astype(np.float32))
    reward = torch.arange(count, dtype=torch.float32)
    image, following = images if "image" in spaces.spaces else (None, None)
    return Transitions(image, vectors[0], action, reward, following, vectors[1], torch.eye(count)[0])


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


@pytest.mark.parametrize("norm", ["none", "ln"])
def test_coarse_products_give_nearly_the_same_features_and_gradients(norm):
    """bfloat16 keeps 8 bits; a unit whose sign flips changes the slope that a gradient passes through."""
    torch.manual_seed(0)
    fine, coarse = (CNN((4, 84, 84), norm, "leaky_relu", coarse=each) for each in (False, True))
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


def test_precision_reaches_the_networks_of_actor_and_critics():
    coarse = learner(precision="bfloat16")
    assert coarse.actor.cnn.coarse
    assert coarse.critic.cnn.coarse
    assert not learner().actor.cnn.coarse
    assert "bfloat16" in coarse.config.run_id
    coarse.update(transitions(), torch.zeros(4, 2))
    assert coarse.alive
    with pytest.raises(ConfigError, match=r"float32.*bfloat16"):
        config(precision="float16")


def test_the_fix_of_the_original_also_added_an_activation():
    assert [config(norm=norm).activation for norm in ("none", "ln", "ln_output")] == ["linear", *["leaky_relu"] * 2]
    features = learner(norm="ln", final_activation="linear").actor.cnn(torch.rand(2, 4, 84, 84))
    assert features.mean().abs() < 1e-5  # a LayerNorm is last


def test_pixels_span_minus_one_to_one():
    image = torch.tensor([0, 255], dtype=torch.uint8).view(1, 2, 1, 1)
    assert batch(image, None, torch.device("cpu")).image.flatten().tolist() == [-1.0, 1.0]


def test_a_small_final_layer_starts_near_no_action():
    assert learner(final_init="small").actor.heads[-1].weight.abs().max() <= 3e-3
    assert learner().actor.heads[-1].weight.abs().max() > 3e-2


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
    target = td3._target(transitions(3, NUMBERS), torch.zeros(3, 2))
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


def test_ddpg_is_td3_with_its_three_settings():
    ddpg = config(algorithm="ddpg")
    assert (ddpg.critics, ddpg.policy_delay, ddpg.target_noise) == (1, 1, 0.0)
    assert len(learner(algorithm="ddpg").critic.heads) == 1


def test_the_actor_waits_for_its_turn():
    td3, before = learner(policy_delay=2), None
    for update in (1, 2):
        before = next(td3.actor.heads.parameters()).clone()
        td3.update(transitions(), torch.zeros(4, 2))
        assert torch.equal(before, next(td3.actor.heads.parameters())) == (update == 1)


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


def test_detached_the_actor_and_the_critic_value_an_action_alike():
    seen: Seen = {}
    td3 = learner(actor_features="detached")
    for _ in range(2):
        td3.update(transitions(), torch.zeros(4, 2), seen)
    assert seen["actor_q"] == pytest.approx(seen["critic_q"], rel=1e-6)


def test_norms_are_of_the_whole_gradient_before_it_is_clipped():
    seen: Seen = {}
    td3 = learner(critic_clip=0.5)
    td3.update(transitions(), torch.zeros(4, 2), seen)
    parts = math.hypot(seen["critic_cnn_grad_norm"], seen["critic_mlp_grad_norm"])
    assert seen["critic_grad_norm"] == pytest.approx(parts, rel=1e-5)
    after = math.sqrt(sum(p.grad.square().sum().item() for p in td3.critic.parameters))
    assert after == pytest.approx(0.5, rel=1e-4)
    assert seen["critic_clip_scale"] * seen["critic_grad_norm"] == pytest.approx(after, rel=1e-4)


def test_targets_move_by_tau():
    one, other = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    expected = 0.75 * one.weight + 0.25 * other.weight
    soft_update(one, other, 0.25)
    torch.testing.assert_close(one.weight, expected)


def test_targets_have_cnns_of_their_own_only_where_asked():
    td3 = learner()
    assert td3._targets[2] is td3._targets[3] is td3.critic.cnn
    own = learner(target_cnn=True)
    assert own._targets[3] is not own.critic.cnn
    own.update(transitions(), torch.zeros(4, 2))
    own.update(transitions(), torch.zeros(4, 2))
    online, target = (next(each.parameters()) for each in (own.critic.cnn, own._targets[3]))
    assert not torch.equal(online, target)


def test_targets_of_an_environment_without_images_have_no_cnn_to_move():
    td3 = learner(NUMBERS, target_cnn=True, policy_delay=1)
    td3.update(transitions(4, NUMBERS), torch.zeros(4, 2))
    assert td3.alive


@pytest.mark.parametrize(("who", "update"), [("critic", 1), ("actor", 2)])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_learner_says_what_was_not_finite_first(who, update, value):
    td3 = learner(NUMBERS)
    td3.update(transitions(4, NUMBERS), torch.zeros(4, 2))
    td3.check_parameters()
    assert (td3.alive, td3.diverged) == (True, None)
    getattr(td3, who).parameters[0].data[0, 0] = value
    td3.check_parameters()
    assert (td3.alive, td3.diverged) == (False, {"update": 1, "what": f"{who} parameter"})
    for reward, what in ((value, "critic loss"), (1e30, "critic loss")):  # 1e30² is past float32
        td3 = learner(NUMBERS)
        td3.update(transitions(4, NUMBERS)._replace(reward=torch.full((4,), reward)), torch.zeros(4, 2))
        assert td3.diverged == {"update": 1, "what": what}
    td3 = learner(NUMBERS, policy_delay=update)
    getattr(td3, who).parameters[0].register_hook(lambda gradient: gradient * value)
    for _ in range(3):
        td3.update(transitions(4, NUMBERS), torch.zeros(4, 2))
    assert td3.diverged == {"update": update, "what": f"{who} gradient"}
    again = learner(NUMBERS, policy_delay=update)
    again.load_state_dict(td3.state_dict())
    assert (again.alive, again.diverged) == (False, td3.diverged)


def test_a_learner_without_a_number_to_say_acts_by_zero():
    td3 = learner(NUMBERS)
    td3.actor.heads[-1].bias.data[0] = math.nan
    action = td3.act({"vector": np.ones(3, np.float32)})
    assert action[0] == 0
    assert action[1] != 0


def test_a_learner_whose_gradient_is_not_finite_is_frozen_and_says_so():
    td3 = learner(NUMBERS)
    bad = transitions(4, NUMBERS)._replace(reward=torch.full((4,), math.nan))
    before = [each.clone() for each in td3.critic.parameters]
    td3.update(bad, torch.zeros(4, 2))
    assert not td3.alive
    td3.update(transitions(4, NUMBERS), torch.zeros(4, 2))
    for old, new in zip(before, td3.critic.parameters, strict=True):
        torch.testing.assert_close(old, new, rtol=0, atol=0)


# -- the trainer ------------------------------------------------------------------------------------------------------


def test_exploration_decays_as_in_the_originals_event_file():
    trainer = OffPolicyTrainer(config(**PENDULUM, learning_starts=1000))
    assert [round(trainer._noise(step), 4) for step in (1000, 3900)] == [0.3, 0.1969]


def test_random_actions_never_brake_unless_they_are_uniform():
    for mode, brakes in (("forward", False), ("uniform", True)):
        trainer = OffPolicyTrainer(config(random_actions=mode))
        drawn = np.array([trainer.random_action(np.random.default_rng(seed)) for seed in range(40)])
        assert (drawn[:, 0] < 0).any()
        assert (drawn[:, 1] < 0).any() == brakes


def test_reports_fill_the_data_dictionary_and_phases_follow_the_steps():
    trainer = make_trainer(config(steps=300, learning_starts=150))
    reports = list(trainer)
    assert [r["phase"].item() for r in reports] == ["random", "mixed", "policy"]
    assert [r["updates"].item() for r in reports] == [0, 50, 150]
    for report in reports:
        assert {*report, *PROBED} - {"record"} | {"seed"} == set(COLUMNS["records"])
    assert all(math.isnan(reports[0][name].item()) for name in UPDATE)
    assert not any(math.isnan(reports[-1][name].item()) for name in UPDATE)
    for name in ("returns", "drives"):
        assert set(trainer.rows[name][0]) == set(COLUMNS[name])
    lengths = [row["length"] for row in trainer.rows["returns"]]
    assert np.cumsum(lengths).tolist() == [row["step"] for row in trainer.rows["returns"]]


def test_the_probe_adds_its_columns_on_the_same_observations_for_every_arm():
    found = []
    for settings in ({}, {"norm": "none", "actor_features": "detached"}, PENDULUM):
        report, probe = {}, CNNProbe(make_trainer(config(**settings)), None)
        probe(report)
        assert set(report) == PROBED
        found.append((probe.obs, {name: value.item() for name, value in report.items()}))
    (one, normed), (other, plain), (_, without) = found
    assert torch.equal(one.image, other.image)
    assert all(map(math.isfinite, (*normed.values(), *plain.values())))
    assert normed["actor_feature_norm_probe"] == pytest.approx(16, abs=1)  # √(512 / 2), as LeakyReLU of a normal has it
    assert [name for name, value in without.items() if math.isfinite(value)] == ["actor_mlp_weight_std"]


def noted(trainer) -> list[dict[str, float]]:
    """Every update's numbers, as the trainer goes on."""
    log, update = [], trainer.learner.update

    def spy(transitions, noise, seen=None):
        own: Seen = {}
        update(transitions, noise, own)
        log.append(own)
        if seen is not None:
            seen |= own

    trainer.learner.update = spy
    return log


@pytest.mark.parametrize(
    ("starts", "delay", "windows"),  # of the four, those in which the actor was updated
    [(100, 2, 3), (101, 2, 3), (101, 3, 3), (50, 1, 4), (187, 7, 3), (199, 2, 2), (10, 150, 2), (300, 200, 0)],
)
def test_a_record_holds_the_newest_update_of_critics_and_actor(starts, delay, windows):
    trainer = make_trainer(config(**PENDULUM, steps=400, learning_starts=starts, policy_delay=delay, hidden=8))
    log, columns, acted = noted(trainer), set(UPDATE) - {"critic_feature_norm", "actor_feature_norm"}, 0
    for report in trainer:
        updates, shown = log[-100:], {name: report[name].item() for name in columns}
        newest = updates[-1] if updates and trainer.steps > starts else {}
        actor = next((each for each in reversed(updates) if "actor_q" in each), {}) if newest else {}
        expected = {name: actor.get(name, math.nan) for name in columns if name in ACTORS}
        expected |= {name: newest.get(name, math.nan) for name in columns if name not in ACTORS}
        np.testing.assert_equal(shown, expected)
        acted += not math.isnan(shown["actor_q"])
    assert acted == windows


ACTORS = {"actor_loss", "actor_q", "actor_feature_norm", "pretanh", "saturation", "critic_q"}
ACTORS |= {f"actor_{part}" for part in ("grad_norm", "cnn_grad_norm", "mlp_grad_norm", "clip_scale")}


def test_records_are_those_of_the_code_that_made_the_published_runs():
    """Reckoned with that code, on another machine maybe: the arithmetic's last bits may differ."""
    settings = {"steps": 400, "learning_starts": 200, "batch_size": 8, "hidden": 8}
    reports = make_trainer(config(**PENDULUM, **settings))
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
    trainer = make_trainer(config(**PENDULUM, learning_starts=10))
    phases = [trainer._action(at)[1] for at in range(1, 13)]
    assert phases == ["random"] * 9 + ["policy"] * 3
    for _ in range(10):
        trainer._step(None)
    assert trainer.learner.updates == 0
    trainer._step(None)
    assert trainer.learner.updates == 1


def test_q_bias_is_q_minus_the_discounted_return(monkeypatch):
    trainer = make_trainer(config(steps=300, gamma=0.5))
    monkeypatch.setattr(trainer.learner, "q1", lambda batch: np.zeros(len(batch.reward)))
    rewarded, add = [], trainer.replay.add
    monkeypatch.setattr(
        trainer.replay, "add", lambda a, r, t, o, ended: [rewarded.append(r), add(a, r, t, o, ended=ended)]
    )
    list(trainer)
    learned = [row for row in trainer.rows["returns"] if row["step"] > 100]
    lengths = np.cumsum([0] + [row["length"] for row in trainer.rows["returns"]])
    rewards = np.array(rewarded)
    row, start = learned[0], lengths[trainer.rows["returns"].index(learned[0])]
    expected = discounted_returns(rewards[start : row["step"]].astype(np.float32), 0.5)
    chosen = np.unique(np.linspace(0, row["length"] - 1, min(8, row["length"])).round().astype(int))
    assert row["q_bias"] == pytest.approx(-expected[chosen].mean(), rel=1e-5)
    assert all(math.isnan(row["q_bias"]) for row in trainer.rows["returns"] if row["step"] < 100)


@pytest.mark.parametrize("env", [{"env": "lnlab/Driving-v0"}, PENDULUM])
def test_a_resumed_trainer_goes_on_to_the_bit(env, tmp_path):
    settings = config(**env, steps=400)
    straight = make_trainer(settings)
    reports = list(straight)
    stopped = make_trainer(settings)
    first = iter(stopped)
    next(first)
    next(first)
    torch.save(stopped.state_dict(), tmp_path / "state.pt")
    resumed = make_trainer(settings)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for expected, found in zip(reports[2:], resumed, strict=True):
        for name in expected:
            np.testing.assert_array_equal(expected[name], found[name], err_msg=name)
    np.testing.assert_equal(straight.rows, resumed.rows)


def test_any_environment_with_pictures_goes_by_its_id():
    trainer = make_trainer(config(env="CarRacing-v3", steps=100, learning_starts=90))
    (report,) = trainer
    assert report["updates"].item() == 10
    assert math.isnan(report["reward_progress"].item())
    assert trainer.rows["drives"] == []


def test_greedy_tests_are_the_same_for_every_seed():
    trainers = [make_trainer(config(steps=100, eval_episodes=1, first_seed=seed)) for seed in (0, 1)]
    for trainer in trainers:
        trainer.learner.act = lambda obs: np.ones(2, np.float32)  # full right, full throttle
        trainer._test()
    one, other = ([row | {"seed": 0} for row in trainer.rows["checks"]] for trainer in trainers)
    assert one == other
    assert set(trainers[0].rows["checks"][0]) == set(COLUMNS["checks"])


def test_early_stopping_ends_the_run_before_its_steps():
    settings = config(**PENDULUM, steps=100_000, learning_starts=99_000, early_stopping=True, patience=200)
    trainer = make_trainer(settings)
    steps = sum(1 for _ in trainer) * 100
    assert 200 * 100 < steps < 30_000  # a hundred episodes of 200 steps, then no gain
    assert trainer.stopped_early


def test_a_trainer_takes_one_seed():
    with pytest.raises(ValueError, match="takes one seed; got 2"):
        make_trainer(config(seeds=2))
