"""Diagnostics: their arithmetic by hand and against numpy and scipy, and that they change no bit of a training."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lnlab.columns import COLUMNS, QUANTITIES
from lnlab.config import parse
from lnlab.inside.actor_critic import diagnose
from lnlab.inside.behaviour import Episodes, behaviour, correlation, critic, play_probes
from lnlab.inside.features import effective_rank, pca_rank, representation
from lnlab.inside.gradients import _Frozen
from lnlab.inside.probes import mean_ratio, pairwise_cosine, probe_observations
from lnlab.models.actor_critic import make_actor_critic, seeded_rows
from lnlab.trainers import make_trainer
from lnlab.trainers.a3c import ActorCriticTrainer
from tests.test_models import H, torch_twin

SMALL = {"hidden": 8, "episodes": 3, "lr": 1e-3, "seeds": 2, "workers": 2}


def trainer(**settings: object) -> ActorCriticTrainer:
    return make_trainer(parse(SMALL | settings))


def network(core: str, norm: str, learners: int = 2) -> tuple:
    net = make_actor_critic(core, norm, hidden=H)
    return net, seeded_rows(net, [[7, learner] for learner in range(learners)])


def wide(table: pd.DataFrame) -> pd.DataFrame:
    return table.pivot(index=["seed", "worker"], columns="quantity", values="value")


# -- arithmetic --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rank", [effective_rank, pca_rank])
def test_a_nan_stays_in_its_matrix(rank) -> None:
    matrices = torch.stack([torch.eye(12), torch.full((12, 12), torch.nan), torch.zeros(12, 12)])
    np.testing.assert_allclose(rank(matrices), [12, np.nan, 0])


def test_cosine_and_ratio_agree_with_a_loop_over_pairs() -> None:
    x = np.random.default_rng(3).normal(size=(6, 5, 9)) + 0.3
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    loop = np.mean([(unit[:, i] * unit[:, j]).sum(-1) for i in range(5) for j in range(5) if i != j], axis=0)
    np.testing.assert_allclose(pairwise_cosine(torch.from_numpy(x), 1), loop, rtol=1e-10)
    ratio = np.linalg.norm(x.mean(1), axis=-1) / np.linalg.norm(x, axis=-1).mean(1)
    np.testing.assert_allclose(mean_ratio(torch.from_numpy(x), 1), ratio, rtol=1e-10)


def test_correlation_agrees_with_scipy_even_for_a_critic_that_hardly_moves() -> None:
    rng = np.random.default_rng(2)
    left = np.arange(100.0, 0, -1)
    value = 34.7 + 1e-3 * left + 0.05 * rng.normal(size=100)
    ours = correlation(torch.from_numpy(np.stack([value, np.full(100, 34.7)])), torch.from_numpy(left))
    assert ours[0].item() == pytest.approx(stats.pearsonr(value, left)[0], rel=1e-9)
    assert ours[1].isnan()


# -- features ----------------------------------------------------------------------------------------------------------


def test_probes_look_like_training_and_are_the_same_at_every_call() -> None:
    probes = probe_observations()
    assert torch.equal(probes, probe_observations.__wrapped__())
    assert (probes.shape, len(probes.flatten(0, 1).unique(dim=0))) == ((100, 10, 48), 1000)
    np.testing.assert_allclose(probes[:, 0, 1], np.r_[1, np.arange(99, 0, -1) / 100], rtol=1e-6)  # the time left


def inputs_of(module: torch.nn.Module) -> list[np.ndarray]:
    """Fills with what the module is given from now on."""
    seen: list[np.ndarray] = []
    module.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach().numpy()))
    return seen


@pytest.mark.parametrize(("core", "norm"), [("gru", "ln"), ("ff", "none")])
def test_features_agree_with_torch_modules_and_numpy(core: str, norm: str) -> None:
    net, parameters = network(core, norm)
    parameters = parameters + 0.1 * torch.randn(parameters.shape, generator=torch.Generator().manual_seed(4))
    ours = representation(net, parameters)
    probes = probe_observations()
    for learner in range(2):
        twin = torch_twin(net.layout.views(parameters), learner, core, norm)
        seen = {name: inputs_of(module) for name, module in twin.named_children()}
        h = torch.zeros(10, H)
        for observation in probes:
            _, h = twin(observation, h)
        got = {name: values[learner].item() for name, values in ours.items()}
        for place in ("embed", "core"):
            before = np.stack(seen[f"{place}_norm"])
            assert got[f"{place}_pre_mean"] == pytest.approx(before.mean(), abs=1e-5)
            assert got[f"{place}_pre_var"] == pytest.approx(before.var(-1).mean(), rel=1e-4)
        embed, features = (np.stack(seen[name]).reshape(1000, H) for name in ("core", "heads"))  # what enters them
        for place, x in {"embed": embed, "core": features}.items():
            lengths = np.linalg.norm(x, axis=1)
            assert got[f"{place}_norm_mean"] == pytest.approx(lengths.mean(), rel=1e-4)
            assert got[f"{place}_norm_max"] == pytest.approx(lengths.max(), rel=1e-4)
        assert got["embed_mean"] == pytest.approx(embed.mean(), rel=1e-4)
        assert got["embed_max"] == pytest.approx(embed.max(), rel=1e-4)
        s = np.linalg.svd(features.astype(np.float64), compute_uv=False)
        share = s / s.sum()
        assert got["core_rank_effective"] == pytest.approx(np.exp(stats.entropy(share)), rel=1e-3)
        assert got["core_rank_pca"] == np.searchsorted((s**2).cumsum() / (s**2).sum(), 0.99) + 1
        activity = np.abs(features).mean(0)
        assert got["core_dormant_100"] == np.mean(activity <= 0.1 * activity.mean())
        unit = features / lengths[:, None]
        assert got["core_cosine"] == pytest.approx(((unit @ unit.T).sum() - 1000) / 999_000, abs=1e-4)
        if core == "gru":
            states = np.stack(seen["core_norm"])[20:]
            assert got["state_abs_mean"] == pytest.approx(np.abs(states).mean(), rel=1e-4)
            assert got["state_abs_max"] == pytest.approx(np.abs(states).max(), rel=1e-4)
            assert got["state_spread"] == pytest.approx(states.std(0).mean(), rel=1e-4)


def latch(core_bias: float, update_bias: float) -> dict[str, float]:
    net, parameters = network("gru", "none", learners=1)
    biases = net.layout.views(parameters)["core.input.bias"][0].view(3, H)  # reset, update, new
    biases[1], biases[2] = update_bias, core_bias
    return {name: value.item() for name, value in representation(net, parameters).items()}


def test_a_latched_gru_is_seen_as_saturated_still_and_of_rank_one() -> None:
    latched, free = latch(20.0, -20.0), latch(0.0, 0.0)
    assert latched["state_saturated"] > 0.99
    assert latched["state_spread"] < 1e-3 < 0.01 < free["state_spread"]
    assert latched["new_saturated"] == latched["update_shut"] == 1
    assert latched["core_rank_pca"] == 1 < free["core_rank_pca"]
    assert free["state_saturated"] == free["new_saturated"] == free["update_shut"] == 0
    assert latch(20.0, 20.0)["update_open"] == 1  # keeps its first state, zero, for ever
    assert latch(20.0, 20.0)["state_abs_max"] < 0.01


# -- behaviour ---------------------------------------------------------------------------------------------------------


def test_every_arm_meets_the_same_episodes_of_vehicles_that_share_a_cloud() -> None:
    shared, own = parse(SMALL | {"workers": 5}), parse(SMALL | {"workers": 5, "algorithm": "individual"})
    net, one = network("gru", "ln", learners=1)
    a3c, individual = play_probes(shared, net, one.repeat(2, 1)), play_probes(own, net, one.repeat(10, 1))
    assert a3c.reward.shape == (100, 2, 10)
    assert individual.reward.shape == (100, 10, 10)
    by_vehicle = individual.reward.view(100, 2, 5, 10)[..., :2]  # step, seed, worker, the two groups that A3C has too
    torch.testing.assert_close(a3c.reward.view(100, 2, 2, 5), by_vehicle.transpose(2, 3))
    assert not torch.equal(a3c.reward[:, 0], a3c.reward[:, 1])  # seeds with equal learners have other luck


@pytest.mark.parametrize(("algorithm", "core"), [("a3c", "gru"), ("individual", "ff")])
def test_own_episodes_are_played_as_the_trainer_plays_them(algorithm: str, core: str) -> None:
    live = trainer(algorithm=algorithm, core=core, rollout=100, hidden=16)
    frozen = _Frozen(live.config, live.parameters)  # plays the first two groups
    frozen.train_episode()
    played = play_probes(live.config, live.net, live.parameters)
    groups = played.reward.shape[2] * live.learners // live.rows
    for ours, theirs in ((played.out, frozen.tape.out[:100]), (played.reward, frozen.reward)):
        tail = ours.shape[3:]
        by_group = ours.view(100, 2, live.learners // 2, groups, live.members, *tail).transpose(1, 3)[:, :2]
        wanted = theirs.reshape(100, 2, 2, live.learners // 2, live.members, *tail)  # replicate, seed, learner, member
        torch.testing.assert_close(by_group.transpose(2, 3), wanted, rtol=1e-3, atol=1e-5)


def episodes(value: torch.Tensor, reward: torch.Tensor) -> Episodes:
    """One learner with one episode, uniform policy."""
    out = torch.zeros(len(value), 1, 1, 4)
    out[:, 0, 0, 3] = value
    return Episodes(out, torch.zeros(len(value), 1, 1, dtype=torch.int64), reward.view(-1, 1, 1))


def test_critics_by_hand() -> None:
    def judged(value: torch.Tensor, reward: torch.Tensor, gamma: float) -> dict[str, float]:
        return {name: number.item() for name, number in critic(episodes(value, reward), gamma).items()}

    reward, zero = torch.zeros(100), torch.zeros(100)
    reward[-1] = 8.0
    returns = 8.0 * 0.5 ** torch.arange(99.0, -1, -1)
    right, off = judged(returns, reward, 0.5), judged(returns + 3, reward, 0.5)
    assert right["value_bias"] == right["value_rmse"] == right["value_mse_last"] == 0
    assert right["value_explained"] == 1 == pytest.approx(off["value_explained"])
    assert [off[f"value_{name}"] for name in ("bias", "rmse", "mse_last")] == pytest.approx([3, 3, 9])
    clock = judged(2 * torch.arange(100.0, 0, -1), torch.ones(100), 1.0)  # undiscounted return: the steps left
    assert clock["value_time_correlation"] == pytest.approx(1)
    assert clock["value_bias"] == pytest.approx(50.5)
    constant = judged(torch.full((100,), 34.0), zero, 0.99)
    assert (constant["value_sd"], constant["value_mse_last"]) == (0, 34.0**2)
    assert np.isnan(constant["value_time_correlation"])
    early = torch.where(torch.arange(100) < 80, 3.0, 0.0)
    assert judged(early, zero, 0.99)["value_mse_last"] == 0  # the documents' last rollout has twenty steps
    assert judged(early + 2, zero, 0.99)["value_mse_last"] == 4


def test_a_policy_that_ignores_its_observation_carries_no_information() -> None:
    config = parse(SMALL)
    net, parameters = network("ff", "none", learners=2)
    views = net.layout.views(parameters)
    views["heads.weight"].zero_()
    views["heads.bias"][:] = torch.tensor([[0.0, 0.0, 0.0, 5.0], [50.0, 0.0, 0.0, 5.0]])
    values = behaviour(config, net, parameters)
    torch.testing.assert_close(values["entropy"], torch.tensor([np.log(3), 0.0]).float(), atol=1e-6, rtol=0)
    torch.testing.assert_close(values["policy_information"], torch.zeros(2), atol=1e-6, rtol=0)
    assert values["share_local"].tolist() == [pytest.approx(1 / 3, abs=0.05), 1]
    assert sum(values[f"share_{a}"] for a in ("local", "offload", "discard")).tolist() == pytest.approx([1, 1])
    assert values["value_mean"].tolist() == [5, 5]
    assert 25 < values["probe_return"][1] < 36  # always LOCAL earns about 30
    assert 40 < values["probe_return"][0] < 90  # the uniform policy


# -- gradients and steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"algorithm": "individual"}, {"schedule": "sync"}])
def test_steps_and_gradients_are_those_that_the_live_trainer_takes_next(settings: dict[str, object]) -> None:
    live = trainer(**settings)
    live.train_episode()
    table = wide(diagnose(live))
    before = live.parameters.clone()
    report = live.train_episode()
    moved = ((live.parameters - before).norm(dim=1) / before.norm(dim=1)).numpy()
    np.testing.assert_array_equal(table["step_episode"].dropna(), moved)
    workers = table["clipped"].dropna()
    np.testing.assert_array_equal(workers, report["clipped"].ravel())
    if settings != {"schedule": "sync"}:  # there the report has the norm of the average
        np.testing.assert_allclose(table["grad_norm"].dropna(), report["grad_norm"].ravel(), rtol=1e-5)


def test_the_step_is_that_of_each_adam_update_not_of_all_so_far() -> None:
    live = trainer()
    live.train_episode()
    got = wide(diagnose(live))["step"].dropna()
    path = [live.parameters.clone()]
    live.adam.register_step_post_hook(lambda *_: path.append(live.parameters.clone()))
    live.train_episode()
    steps = [(b - a).norm(dim=1) / a.norm(dim=1) for a, b in pairwise(path)]
    assert len(steps) == 5 * live.members
    np.testing.assert_allclose(got, torch.stack(steps).mean(0), rtol=1e-4)


def test_frozen_copies_never_step_and_split_the_gradient_in_two() -> None:
    live = trainer()
    live.train_episode()
    probe = _Frozen(live.config, live.parameters)
    probe.train_episode()
    assert torch.equal(probe.parameters, live.parameters.repeat(2, 1))
    assert torch.equal(probe.snapshot, probe.parameters.repeat_interleave(probe.members, 0))
    views = {part: live.net.layout.views(total.flatten(0, 1)) for part, total in probe.sums.items()}
    assert (views[".policy"]["heads.weight"][..., 3] == 0).all()
    assert (views[".value"]["heads.weight"][..., :3].abs() < 1e-5).all()
    assert (views[".policy"]["heads.weight"][..., :3] != 0).any()
    assert (views[".value"]["heads.weight"][..., 3] != 0).any()
    torch.testing.assert_close(probe.sums[""], probe.sums[".policy"] + probe.sums[".value"])


# -- the whole ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{"gradient_carry": True}, {"algorithm": "individual", "core": "ff"}])
def test_a_training_with_diagnostics_in_between_has_the_same_bits(settings: dict[str, object]) -> None:
    plain, watched = trainer(**settings), trainer(**settings)
    generator = torch.get_rng_state()
    diagnose(watched)
    assert torch.equal(generator, torch.get_rng_state())
    for one, other in zip(plain, watched, strict=True):
        assert all(np.array_equal(one[key], other[key]) for key in one)
        diagnose(watched)
    state, other = plain.state_dict(), watched.state_dict()
    assert state["episode"] == other["episode"]
    assert all(torch.equal(state[name], other[name]) for name in ("parameters", "snapshot", "alive"))
    for name, moment in state["adam"]["state"][0].items():
        assert torch.equal(moment, other["adam"]["state"][0][name])


def test_the_same_trainer_gives_the_same_table_and_a_seed_alone_about_its_own() -> None:
    stack, alone = trainer(seeds=6), trainer(seeds=1, first_seed=5)  # six seeds take two blocks
    for each in (stack, alone):
        each.train_episode()
    table = diagnose(stack)
    pd.testing.assert_frame_equal(table, diagnose(stack))
    assert sorted(table["seed"].unique()) == list(range(6))
    mine, own = wide(table).loc[5:], wide(diagnose(alone))
    pd.testing.assert_frame_equal(mine[own.columns], own, rtol=1e-3, atol=1e-5)


def test_the_tables_are_those_of_the_run_store_and_every_quantity_is_documented() -> None:
    found: set[str] = set()
    for core, norm, algorithm in [("gru", "ln", "a3c"), ("gru", "none", "individual"), ("ff", "ln", "individual")]:
        table = diagnose(trainer(core=core, norm=norm, algorithm=algorithm))
        assert list(table.columns) == list(COLUMNS["diagnostics"])
        assert not table.duplicated(["seed", "worker", "quantity"]).any()
        assert (table["step"] == 0).all()
        assert np.isfinite(table.loc[table["quantity"] != "value_time_correlation", "value"]).all()
        workers = {name: set(rows["worker"]) for name, rows in table.groupby("quantity")}
        assert workers["entropy"] == workers["step"] == ({-1} if algorithm == "a3c" else {0, 1})
        assert workers["grad_norm"] == workers["clipped"] == workers["grad_cosine_episodes"] == {0, 1}
        assert workers.get("grad_cosine_workers", {-1} if algorithm == "individual" else None) == {-1}
        found |= set(table["quantity"])
    found |= set(diagnose(trainer(norm_at="heads"))["quantity"])
    assert found == set(QUANTITIES)
    assert all(column.meaning for column in QUANTITIES.values())


def test_a_learner_that_is_not_finite_is_nan_and_leaves_the_others_alone() -> None:
    healthy, ill = trainer(norm="none"), trainer(norm="none")
    ill.parameters[0] = torch.nan
    ill.snapshot[: ill.members] = torch.nan
    good, bad = wide(diagnose(healthy)), wide(diagnose(ill))
    assert bad.loc[(0, -1), ["core_rank_effective", "embed_dormant_025", "share_local", "weight_norm"]].isna().all()
    pd.testing.assert_frame_equal(good.loc[1:], bad.loc[1:], rtol=1e-4, atol=1e-6)
