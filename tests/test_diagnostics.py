"""Diagnostics: their arithmetic by hand and against numpy and scipy, and that they change no bit of a training."""

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from lnlab.analysis.quantities import QUANTITIES
from lnlab.columns import COLUMNS
from lnlab.config import parse
from lnlab.inside.actor_critic import checkpoints, diagnose
from lnlab.inside.behaviour import Episodes, behaviour, correlation, critic, explained_variance, play_probes
from lnlab.inside.features import dormant_share, effective_rank, pca_rank, representation
from lnlab.inside.gradients import _Frozen, cut, layer_norms, next_update
from lnlab.inside.probes import mean_ratio, pairwise_cosine, probe_observations, where_finite
from lnlab.models.actor_critic import make_actor_critic, seeded_rows
from lnlab.models.stacked import Layout
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


def test_ranks_of_orthonormal_rank_one_and_zero_matrices() -> None:
    orthonormal = torch.linalg.qr(torch.randn(50, 8, generator=torch.Generator().manual_seed(1)))[0]
    one = torch.outer(torch.arange(1.0, 51), torch.arange(1.0, 9))
    matrices = torch.stack([orthonormal, one, torch.zeros(50, 8)])
    torch.testing.assert_close(effective_rank(matrices), torch.tensor([8.0, 1, 0]), atol=1e-4, rtol=0)
    assert pca_rank(matrices).tolist() == [8, 1, 0]


def test_ranks_agree_with_numpy_and_a_nan_stays_in_its_matrix() -> None:
    x = np.random.default_rng(0).normal(size=(100, 12)) * np.geomspace(1, 1e-2, 12)
    s = np.linalg.svd(x, compute_uv=False)
    share = s / s.sum()
    both = torch.stack([torch.from_numpy(x), torch.full((100, 12), torch.nan)])
    assert effective_rank(both)[0].item() == pytest.approx(np.exp(-(share * np.log(share)).sum()), rel=1e-5)
    assert pca_rank(both)[0].item() == np.searchsorted((s**2).cumsum() / (s**2).sum(), 0.99) + 1
    assert effective_rank(both)[1].isnan()
    assert pca_rank(both)[1].isnan()


def test_dormant_units_are_those_far_below_the_mean_of_their_layer() -> None:
    x = torch.tensor([[[8.0, 0.0, -0.1, 0.5], [-8.0, 0.0, 0.1, -0.3]]])  # mean |x|: 8, 0, 0.1, 0.4; of the layer 2.125
    assert dormant_share(x, 0.025).item() == 0.25  # below 0.053
    assert dormant_share(x, 0.1).item() == 0.5  # below 0.2125
    assert dormant_share(x, 0.2).item() == 0.75  # below 0.425
    assert dormant_share(torch.zeros(1, 2, 4), 0.1).item() == 1


@pytest.mark.parametrize(("sign", "cosine", "kept"), [(1, 1, 1), (-1, -1, 0), (0, 0, 0.5)])
def test_cosine_and_mean_of_equal_opposite_and_zero_gradients(sign: int, cosine: float, kept: float) -> None:
    g = torch.tensor([3.0, 4.0])
    assert pairwise_cosine(torch.stack([g, sign * g]), 0).item() == pytest.approx(cosine)
    ratio = mean_ratio(torch.stack([g, sign * g]), 0).item()
    assert ratio == pytest.approx(kept if sign else 1)  # |g / 2| over the mean norm |g| / 2


def test_cosine_and_ratio_agree_with_a_loop_over_pairs() -> None:
    x = np.random.default_rng(3).normal(size=(6, 5, 9)) + 0.3
    unit = x / np.linalg.norm(x, axis=-1, keepdims=True)
    loop = np.mean([(unit[:, i] * unit[:, j]).sum(-1) for i in range(5) for j in range(5) if i != j], axis=0)
    np.testing.assert_allclose(pairwise_cosine(torch.from_numpy(x), 1), loop, rtol=1e-10)
    ratio = np.linalg.norm(x.mean(1), axis=-1) / np.linalg.norm(x, axis=-1).mean(1)
    np.testing.assert_allclose(mean_ratio(torch.from_numpy(x), 1), ratio, rtol=1e-10)


def test_unrelated_gradients_keep_one_over_root_n_when_averaged() -> None:
    noise = torch.randn(25, 20_000, generator=torch.Generator().manual_seed(0))
    assert mean_ratio(noise, 0).item() == pytest.approx(0.2, abs=0.01)
    assert pairwise_cosine(noise, 0).item() == pytest.approx(0, abs=0.01)


def test_explained_variance_of_perfect_constant_and_reversed_critics() -> None:
    target = torch.tensor([1.0, 2.0, 3.0, 4.0]).double()
    predictions = torch.stack([target, target + 5, torch.full_like(target, 2.5), -target])
    assert explained_variance(predictions, target).tolist() == pytest.approx([1, 1, 0, -3])


def test_correlation_agrees_with_scipy_even_for_a_critic_that_hardly_moves() -> None:
    rng = np.random.default_rng(2)
    left = np.arange(100.0, 0, -1)
    value = 34.7 + 1e-3 * left + 0.05 * rng.normal(size=100)
    ours = correlation(torch.from_numpy(np.stack([value, np.full(100, 34.7)])), torch.from_numpy(left))
    assert ours[0].item() == pytest.approx(stats.pearsonr(value, left)[0], rel=1e-9)
    assert ours[1].isnan()


def test_norms_of_layers_add_up_to_the_whole() -> None:
    layout = Layout({"embed.weight": (3, 2), "embed.bias": (2,), "embed.norm.gain": (2,), "heads.weight": (2, 1)})
    flat = torch.zeros(2, layout.size)
    flat[:, : layout.count] = torch.randn(2, layout.count)
    norms = layer_norms(layout, flat)
    assert list(norms) == ["embed", "embed.norm", "heads", ""]
    torch.testing.assert_close(norms["embed"], flat[:, :8].norm(dim=1))
    torch.testing.assert_close(norms[""], flat.norm(dim=1))


def test_where_finite_blanks_the_sick_learner_alone() -> None:
    numbers = torch.tensor([[1.0, 2.0], [torch.inf, 0.0]])
    assert where_finite({"share": torch.zeros(2)}, numbers)["share"].isnan().tolist() == [False, True]


# -- features ----------------------------------------------------------------------------------------------------------


def test_probes_look_like_training_and_are_the_same_at_every_call() -> None:
    probes = probe_observations()
    again = probe_observations.__wrapped__()
    assert probes.shape == (100, 10, 48)
    assert torch.equal(probes, again)
    assert len(probes.flatten(0, 1).unique(dim=0)) == 1000
    np.testing.assert_allclose(
        probes[:, 0, 1], np.r_[1, np.arange(99, 0, -1) / 100], rtol=1e-6
    )  # the time that is left


def inputs_of(module: torch.nn.Module) -> list[np.ndarray]:
    """Fills with what the module is given from now on."""
    seen: list[np.ndarray] = []
    module.register_forward_pre_hook(lambda _, x: seen.append(x[0].detach().numpy()))
    return seen


@pytest.mark.parametrize("norm", ["none", "ln"])
@pytest.mark.parametrize("core", ["gru", "ff"])
def test_features_agree_with_torch_modules_and_numpy(core: str, norm: str) -> None:
    net, parameters = network(core, norm)
    parameters = parameters + 0.1 * torch.randn(parameters.shape, generator=torch.Generator().manual_seed(4))
    ours = representation(net, parameters)
    probes = probe_observations()
    for learner in range(2):
        twin = torch_twin(net, net.layout.views(parameters), learner, core, norm)
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
    assert 0.99 < latched["state_abs_mean"] <= latched["state_abs_max"] <= 1
    assert latched["state_spread"] < 1e-3 < 0.01 < free["state_spread"]
    assert latched["new_saturated"] == latched["update_shut"] == 1
    assert latched["core_rank_pca"] == 1 < free["core_rank_pca"]
    assert latched["core_rank_effective"] == pytest.approx(1, abs=0.01)
    assert latched["core_cosine"] == pytest.approx(1, abs=1e-4)
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


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize("core", ["gru", "ff"])
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


def test_a_critic_that_knows_the_return_is_perfect_and_one_that_is_off_by_three_is_biased() -> None:
    reward = torch.zeros(100)
    reward[-1] = 8.0
    returns = 8.0 * 0.5 ** torch.arange(99.0, -1, -1)
    right = {k: v.item() for k, v in critic(episodes(returns, reward), 0.5).items()}
    off = {k: v.item() for k, v in critic(episodes(returns + 3, reward), 0.5).items()}
    assert right["value_bias"] == right["value_rmse"] == right["value_mse_last"] == 0
    assert right["value_explained"] == 1 == pytest.approx(off["value_explained"])
    assert off["value_bias"] == pytest.approx(3)
    assert off["value_rmse"] == pytest.approx(3)
    assert off["value_mse_last"] == pytest.approx(9)


def test_the_last_rollout_of_the_documents_is_the_last_twenty_steps() -> None:
    value = torch.zeros(100)
    value[:80] = 3.0
    assert critic(episodes(value, torch.zeros(100)), 0.99)["value_mse_last"].item() == 0
    value[79:] = 2.0
    assert critic(episodes(value, torch.zeros(100)), 0.99)["value_mse_last"].item() == 4


def test_a_critic_that_tells_the_time_and_one_that_is_a_constant() -> None:
    reward = torch.ones(100)  # undiscounted return: the steps left
    clock = critic(episodes(2 * torch.arange(100.0, 0, -1), reward), 1.0)
    constant = critic(episodes(torch.full((100,), 34.0), torch.zeros(100)), 0.99)
    assert clock["value_time_correlation"].item() == pytest.approx(1)
    assert clock["value_bias"].item() == pytest.approx(50.5)
    assert constant["value_sd"].item() == 0
    assert constant["value_mse_last"].item() == 34.0**2
    assert constant["value_time_correlation"].isnan()


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


@pytest.mark.parametrize("settings", [{"algorithm": "a3c"}, {"algorithm": "individual"}, {"schedule": "sync"}])
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


def test_the_first_adam_step_is_the_learning_rate_over_the_size_of_the_weights() -> None:
    fresh = trainer(algorithm="individual", lr=1e-3, rollout=100, norm="none")  # one update an episode
    size = fresh.parameters.norm(dim=1)
    moving = (fresh.parameters != 0).sum(1)
    values = wide(diagnose(fresh))
    bound = 1e-3 * fresh.parameter_count**0.5 / size  # each of them by the learning rate at most
    assert (values["step"].to_numpy() <= bound.numpy() * 1.001).all()
    assert (values["step"].to_numpy() > 0.5 * (1e-3 * moving.sqrt() / size).numpy()).all()
    np.testing.assert_allclose(values["step"], values["step_episode"], rtol=1e-5)


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
def test_the_step_is_that_of_each_adam_update_not_of_all_so_far(algorithm: str) -> None:
    live = trainer(algorithm=algorithm)
    live.train_episode()
    got = wide(diagnose(live))["step"].dropna()
    path = [live.parameters.clone()]
    live.adam.register_step_post_hook(lambda *_: path.append(live.parameters.clone()))
    live.train_episode()
    steps = [(b - a).norm(dim=1) / a.norm(dim=1) for a, b in pairwise(path)]
    assert len(steps) == 5 * live.members
    np.testing.assert_allclose(got, torch.stack(steps).mean(0), rtol=1e-4)


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
def test_frozen_copies_never_step_and_split_the_gradient_in_two(algorithm: str) -> None:
    live = trainer(algorithm=algorithm)
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


def test_workers_that_meet_the_same_episode_have_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    live = trainer(cloud="refilled", workers=3)
    probe = _Frozen(live.config, live.parameters)
    roll_out = probe._roll_out

    def roll_out_one_for_all(uniforms: torch.Tensor) -> None:
        roll_out(uniforms)
        for buffer in (*probe.tape, probe.action, probe.reward):
            buffer.copy_(buffer[:, :1].clone())

    monkeypatch.setattr(probe, "_roll_out", roll_out_one_for_all)
    probe.parameters.copy_(probe.parameters[:1].expand_as(probe.parameters))
    probe.snapshot.copy_(probe.parameters[:1].expand_as(probe.snapshot))
    probe.train_episode()
    between, within = probe.between_workers(), probe.within_worker()
    for value in (between["grad_cosine_workers"], between["grad_kept_workers"], within["grad_cosine_episodes"]):
        torch.testing.assert_close(value, torch.ones_like(value), atol=1e-4, rtol=0)


def test_the_next_update_of_a_cut_is_that_of_the_whole() -> None:
    live = trainer(algorithm="individual", seeds=3)
    live.train_episode()
    whole, _ = next_update(live.config, cut(live.state_dict(), slice(0, 6), slice(0, 6)))
    part, _ = next_update(live.config.with_seeds([1, 2]), cut(live.state_dict(), slice(2, 6), slice(2, 6)))
    for name, values in whole.items():
        torch.testing.assert_close(values[2:], part[name], rtol=1e-4, atol=1e-7)


# -- the whole ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [{}, {"algorithm": "individual", "core": "ff", "norm": "none"}, {"gradient_carry": True}, {"schedule": "sync"}],
)
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
        found |= set(table["quantity"])
    assert found == set(QUANTITIES)
    assert all(column.meaning for column in QUANTITIES.values())


def test_shares_cosines_and_ranks_lie_within_their_bounds() -> None:
    live = trainer(algorithm="a3c", lr=0.03)
    list(live)
    values = diagnose(live).set_index("quantity")["value"]
    for name, value in values.items():
        if QUANTITIES[name].unit == "share" or name.startswith("grad_kept"):
            assert -1e-6 <= value <= 1 + 1e-6, name
        if "cosine" in name:
            assert -1 - 1e-5 <= value <= 1 + 1e-5, name
    assert (values["state_abs_max"] < 1).all()
    assert values["core_rank_effective"].between(1, 8).all()
    assert (values["entropy"] <= np.log(3) + 1e-6).all()
    assert (values["policy_information"] >= -1e-6).all()


def test_workers_of_a3c_and_learners_of_individual_are_labelled() -> None:
    shared, own = diagnose(trainer(norm="none")), diagnose(trainer(algorithm="individual", norm="none"))
    workers = {name: set(rows["worker"]) for name, rows in shared.groupby("quantity")}
    assert workers["entropy"] == workers["step"] == workers["grad_cosine_workers"] == {-1}
    assert workers["grad_norm"] == workers["clipped"] == workers["grad_cosine_episodes"] == {0, 1}
    assert set(own["worker"]) == {0, 1}
    assert not own["quantity"].str.contains("_workers").any()
    assert not shared["quantity"].str.contains("_rms.", regex=False).any()  # no LN, no gain


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
def test_a_learner_that_is_not_finite_is_nan_and_leaves_the_others_alone(algorithm: str) -> None:
    healthy, ill = trainer(algorithm=algorithm, norm="none"), trainer(algorithm=algorithm, norm="none")
    ill.parameters[0] = torch.nan
    ill.snapshot[: ill.members] = torch.nan
    good, bad = wide(diagnose(healthy)), wide(diagnose(ill))
    sick = (0, 0 if algorithm == "individual" else -1)
    assert bad.loc[sick, ["core_rank_effective", "embed_dormant_025", "share_local", "weight_norm"]].isna().all()
    pd.testing.assert_frame_equal(good.loc[1:], bad.loc[1:], rtol=1e-4, atol=1e-6)


def test_checkpoints_begin_at_zero_end_with_the_run_and_grow() -> None:
    for episodes_ in (1, 9, 10, 11, 500, 2000, 50_000):
        marks = checkpoints(episodes_)
        assert marks[0] == 0
        assert marks[-1] == episodes_
        assert marks == sorted(set(marks))
    assert 10 <= len(checkpoints(2000)) <= 14
    assert set(checkpoints(500)) <= set(checkpoints(2000))
    with pytest.raises(ValueError, match="at least 1; got 0"):
        checkpoints(0)
