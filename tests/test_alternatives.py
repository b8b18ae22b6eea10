"""What may stand in LayerNorm's place, and what is changed to test its mechanism: limits of gradients, the value's loss
and scale, time shown to the value, learners that act together."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from lnlab import runs
from lnlab.config import ConfigError, parse
from lnlab.evaluation import TOGETHER, evaluate, evaluate_ensemble
from lnlab.inside.actor_critic import diagnose
from lnlab.models.actor_critic import ActorCritic, make_actor_critic, of_settings, seeded_rows
from lnlab.policy import make_policy
from lnlab.trainers import driver, make_trainer
from lnlab.trainers.a3c import ActorCriticTrainer, AutoClip
from lnlab.trainers.returns import actor_critic_gradient

SMALL = {"hidden": 8, "episodes": 4, "lr": 1e-3, "seeds": 2, "workers": 2, "eval_episodes": 1}
NEW: list[dict[str, Any]] = [
    {"clip_norm": 0},
    {"clip_percentile": 10},
    {"value_huber": 1},
    {"return_scale": True},
    {"value_sees_time": True},
]
EACH = pytest.mark.parametrize("settings", NEW, ids=lambda each: next(iter(each)))
EVERY = {"clip_percentile": 10, "value_huber": 1, "return_scale": True}
CUSTOM = {"return_scale": True, "value_sees_time": True}


def trainer(**settings: Any) -> ActorCriticTrainer:
    return make_trainer(parse(SMALL | settings))  # type: ignore[return-value]


# -- settings ---------------------------------------------------------------------------------------------------------
def test_each_has_its_part_of_the_run_id() -> None:
    parts = {"clip0", "autoclip10", "huber1", "popart", "value-time"}
    assert {parse(each).run_id.removeprefix("a3c-gru-ln-") for each in NEW} == parts
    assert (
        parse({"algorithm": "individual", "ensemble": True}).run_id == "individual-gru-ln"
    )  # the training is the same


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"clip_norm": 0.5, "clip_percentile": 10}, "clip_norm=0.5 has no meaning with clip_percentile"),
        ({"norm": "ln_project", "return_scale": True}, "ln_project"),
        ({"norm": "weight", "norm_at": "heads", "return_scale": True}, "weight"),
        ({"ensemble": True}, "algorithm='individual'"),
        ({"env": "CartPole-v1", "value_sees_time": True}, "belongs to env='lnlab/Offloading-v0'"),
    ],
)
def test_what_has_no_meaning_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        parse(settings)


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize("settings", [*NEW, EVERY | {"norm": "batch"}, CUSTOM | {"trunks": "separate"}], ids=str)
def test_a_seed_alone_equals_the_seed_in_a_stack_and_a_resumed_run_a_straight_one(
    algorithm: str, settings: dict[str, Any]
) -> None:
    whole = {"algorithm": algorithm, "hidden": 32, "norm": "none", "episodes": 3} | settings
    stack, alone, first = trainer(**whole), trainer(**whole | {"first_seed": 1, "seeds": 1}), trainer(**whole)
    for _ in range(3):
        stack.train_episode(), alone.train_episode()
    per_seed = stack.learners // 2
    assert torch.equal(stack.parameters[per_seed:], alone.parameters)
    first.train_episode()
    second = trainer(**whole)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for _ in range(2):
        second.train_episode()
    assert torch.equal(stack.parameters, second.parameters)


@EACH
def test_each_changes_the_training_and_diagnostics_run_on_copies(settings: dict[str, Any]) -> None:
    ours, plain = trainer(norm="none", **settings), trainer(norm="none")
    for _ in range(2):
        ours.train_episode(), plain.train_episode()
    views, others = (each.net.layout.views(each.parameters) for each in (ours, plain))
    assert not torch.equal(views["embed.weight"], others["embed.weight"])
    before = ours.parameters.clone()
    found = diagnose(ours)
    assert torch.equal(ours.parameters, before)
    assert np.isfinite(found[found.quantity.isin(["value_mean", "step", "grad_norm.value"])].value).all()


@pytest.mark.parametrize("norm", ["none", "ln"])
def test_they_train_elsewhere_too(norm: str) -> None:
    found = make_trainer(parse(EVERY | {"env": "CartPole-v1", "core": "ff", "norm": norm, "steps": 2000, "hidden": 8}))
    reports = list(found)
    assert all(report["alive"].all() for report in reports)
    assert reports[-1]["clipped"].mean() > 0.5


@pytest.mark.parametrize("settings", [{"trunks": "separate"}, {"norm": "weight"}])
def test_individual_learners_have_the_other_interventions_too(settings: dict[str, Any]) -> None:
    ours = trainer(algorithm="individual", **settings)
    reports = [ours.train_episode() for _ in range(2)]
    assert all(np.isfinite(report["value_loss_all"]).all() and report["alive"].all() for report in reports)


@pytest.mark.parametrize("settings", [{"return_scale": True}, {"value_sees_time": True}, {"clip_norm": 0}], ids=str)
def test_a_tick_never_asks_the_device_for_a_value(settings: dict[str, Any]) -> None:
    learner = ActorCriticTrainer(parse(SMALL | settings), "meta")
    order = torch.zeros(learner.members, learner.learners, dtype=torch.int64, device="meta")
    with torch.no_grad():
        learner.tick(torch.zeros(20, learner.rows, device="meta"), order, torch.ones((), device="meta"))


# -- limits of gradients ----------------------------------------------------------------------------------------------
def test_no_limit_leaves_every_gradient_as_it_is() -> None:
    free, wide = trainer(clip_norm=0), trainer(clip_norm=1e30)
    for _ in range(2):
        report, _ = free.train_episode(), wide.train_episode()
    assert torch.equal(free.parameters, wide.parameters)
    assert (report["clipped"] == 0).all()
    assert (report["grad_norm"] > 2).any()  # the usual limit would have cut some


def test_autoclip_takes_numpys_percentile_of_all_norms_so_far() -> None:
    clip, norms = AutoClip(2, 30), torch.rand(6, 2, 3)
    for n, each in enumerate(norms, 1):
        wanted = np.percentile(norms[:n].transpose(0, 1).flatten(1), 30, axis=1)
        np.testing.assert_allclose(clip.limits(each).flatten(), wanted, rtol=1e-6)


def test_autoclip_cuts_to_its_limit_and_a_gradient_that_is_not_finite_is_no_part_of_it() -> None:
    ours = trainer(algorithm="individual", seeds=1, clip_percentile=50)
    before = []
    for scale in (1.0, 3.0, 2.0):
        ours.gradient.normal_().div_(ours.gradient.norm(dim=1, keepdim=True)).mul_(scale)
        before.append(scale)
        ours._push(torch.zeros(1, 1, dtype=torch.int64))
        limit = min(scale, float(np.median(before)))
        torch.testing.assert_close(ours.gradient.norm(dim=1), torch.full((2,), limit), rtol=1e-4, atol=1e-5)
    ours.gradient[0] = torch.nan
    ours._push(torch.zeros(1, 1, dtype=torch.int64))
    assert [len(own) for own in ours.autoclip.seen] == [3, 4]  # type: ignore[union-attr]
    assert ours.alive.tolist() == [False, True]
    assert ours.parameters.isfinite().all()


# -- the value's loss and scale ---------------------------------------------------------------------------------------
def test_the_huber_loss_agrees_with_autograd_and_the_loss_that_is_told_stays_the_squared_one() -> None:
    torch.manual_seed(0)
    out, returns = torch.randn(7, 4, 4, requires_grad=True), torch.randn(7, 4) * 3
    action = torch.randint(3, (7, 4))
    found = {
        huber: actor_critic_gradient(out.detach(), action, returns, value_cost=0.25, entropy_cost=0.05, huber=huber)
        for huber in (0.0, 1.5, 1e9)
    }
    loss = torch.nn.functional.huber_loss(out[..., 3], returns, reduction="sum", delta=1.5)
    (0.25 * 2 * loss / 7).backward()
    torch.testing.assert_close(found[1.5][0][..., 3], out.grad[..., 3])
    torch.testing.assert_close(found[1e9][0], found[0.0][0])
    torch.testing.assert_close(found[1.5][1].value, (out.detach()[..., 3] - returns).square().mean(0))


def rolled(net: ActorCritic, flat: torch.Tensor, obs: torch.Tensor) -> Any:
    """A tape (T + 1 slots) on which `net` acted on obs (T+1, N, I)."""
    tape, views = net.tape(len(obs) - 1, len(flat)), net.layout.views(flat)
    if flat.dtype == torch.float64:
        tape = tape._replace(**{k: v.double() for k, v in tape._asdict().items() if isinstance(v, torch.Tensor)})
    tape.left.copy_(torch.linspace(1, 0.3, len(obs)))
    for t, each in enumerate(obs):
        tape.obs[t] = each.unsqueeze(1)
        net.step(views, tape, t)
    return tape


@pytest.mark.parametrize(
    ("trunks", "dtype"), [("shared", torch.float32), ("shared", torch.float64), ("separate", torch.float32)]
)
def test_moving_statistics_leave_every_value_and_every_choice_as_they_were(trunks: str, dtype: torch.dtype) -> None:
    net = make_actor_critic("gru", "none", trunks=trunks, hidden=16, inputs=5, **CUSTOM)
    flat = seeded_rows(net, [[0, 0], [1, 0], [2, 0]]).to(dtype)
    views = net.layout.views(flat)
    for name in views:
        if name.endswith("heads.time"):
            views[name].normal_()
    obs = torch.randn(8, 3, 5, dtype=dtype)
    assert net.scale
    alive = torch.tensor([True, True, False])
    for level in (40.0, -300.0):
        before = rolled(net, flat, obs).out.clone()
        frozen = flat[2].clone()
        net.scale.seen = level + 20 * torch.randn(6, 3, dtype=dtype)
        net.scale.move(views, views, alive)
        after = rolled(net, flat, obs).out
        assert (after - before).abs().max() < (1e-6 if dtype == torch.float64 else 1e-6 * abs(level))
        assert torch.equal(flat[2], frozen)
    assert (views[net.scale.var][:2] > 1).all()


def test_the_statistics_are_running_means_of_the_returns_pooled_over_a_learners_workers() -> None:
    net = make_actor_critic("ff", "none", hidden=4, inputs=3, return_scale=True)
    scale, flat = net.scale, seeded_rows(net, [[0], [1]])
    assert scale
    snapshot = flat.repeat_interleave(3, 0)
    first, second = np.zeros(2), np.ones(2)  # means of the returns and of their squares
    for _ in range(5):
        seen = 10 + 5 * torch.randn(7, 6)
        scale.seen = seen
        scale.move(net.layout.views(flat), net.layout.views(snapshot), torch.ones(2, dtype=torch.bool))
        pooled = seen.numpy().reshape(7, 2, 3)
        first = 0.99 * first + 0.01 * pooled.mean((0, 2))
        second = 0.99 * second + 0.01 * (pooled**2).mean((0, 2))
    views, rows = net.layout.views(flat), net.layout.views(snapshot)
    np.testing.assert_allclose(views[scale.mean].squeeze(1), first, rtol=1e-5)
    np.testing.assert_allclose(views[scale.var].squeeze(1), second - first**2, rtol=1e-4)
    assert torch.equal(rows[scale.mean], views[scale.mean].repeat_interleave(3, 0))
    torch.testing.assert_close(rows["heads.weight"], views["heads.weight"].repeat_interleave(3, 0))


@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize("trunks", ["shared", "separate"])
def test_gradients_are_those_of_the_error_in_deviations_by_finite_differences(core: str, trunks: str) -> None:
    """The loss of the value alone, value_cost · mean(((V − R)/σ)²), against a step in every parameter's direction."""
    torch.manual_seed(0)
    net = make_actor_critic(core, "none", trunks=trunks, hidden=6, inputs=4, **CUSTOM)
    flat, steps = seeded_rows(net, [[3]]), 5
    views = net.layout.views(flat)
    assert net.scale
    net.scale.set(views, torch.tensor([[4.0]]), torch.tensor([[9.0]]))
    views[f"{'critic.' * (trunks == 'separate')}heads.time"].normal_()
    obs, returns = torch.randn(steps + 1, 1, 4), torch.randn(steps, 1) * 3

    def loss(row: torch.Tensor) -> float:
        value = rolled(net, row, obs).out[:steps, :, 0, -1]
        return float(0.25 * ((value - returns) / 3.0).square().mean().double())

    tape, gradient = rolled(net, flat, obs), torch.zeros_like(flat)
    dout, _ = actor_critic_gradient(
        tape.out[:steps].squeeze(2),
        torch.zeros(steps, 1, dtype=torch.int64),
        returns,
        value_cost=0.25,
        entropy_cost=0.0,
    )
    dout[..., :-1] = 0.0  # the policy's part is none of the value's loss
    net.backward(views, net.layout.views(gradient), tape, dout)
    for name, view in net.layout.views(gradient).items():
        if name.endswith((".mean", ".var")):
            assert (view == 0).all()  # no gradient moves a statistic
            continue
        along = torch.zeros_like(flat)
        net.layout.views(along)[name].normal_()
        along /= along.norm()
        step = 2e-3
        wanted = (loss(flat + step * along) - loss(flat - step * along)) / (2 * step)
        assert float((gradient * along).sum()) == pytest.approx(wanted, rel=1e-2, abs=5e-4), name


def test_a_policy_taken_out_of_its_stack_has_the_scaled_value() -> None:
    config = parse(SMALL | {"return_scale": True, "trunks": "separate"})
    ours = make_trainer(config)
    ours.train_episode()  # type: ignore[attr-defined]
    state = ours.state_dict()
    state["parameters"][1] *= 1.5
    module, net = make_policy(config, state, seed=1).module(), of_settings(config)
    obs = torch.randn(3, 48)
    tape = net.tape(1, 1, 3)
    tape.obs[0] = obs.unsqueeze(0)
    wanted = net.step(net.layout.views(state["parameters"][1:2]), tape, 0)[0]
    with torch.no_grad():
        logits, value, _ = module(obs)
    torch.testing.assert_close(torch.cat([logits, value], -1), wanted, rtol=1e-5, atol=1e-5)


# -- time -------------------------------------------------------------------------------------------------------------
def test_the_value_sees_the_steps_left_and_the_policy_does_not() -> None:
    ours = trainer(value_sees_time=True, norm="none", rollout=20)
    seen: list[torch.Tensor] = []
    tick = ours.tick

    def watched(*inputs: torch.Tensor) -> None:
        tick(*inputs)
        seen.append(ours.tape.left.clone())

    ours._fastest_tick = lambda: watched  # type: ignore[method-assign]
    ours.train_episode()
    torch.testing.assert_close(torch.stack(seen)[:, :-1].flatten() * 100, torch.arange(100, 0, -1.0))
    assert [float(each[-1]) for each in seen] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    views = ours.net.layout.views(ours.parameters)
    assert (views["heads.time"] > 0).all()  # values begin near zero and returns are larger the more is left
    obs = torch.randn(1, 2, 48)
    tape = ours.net.tape(1, 2)
    tape.obs[0] = obs[0].unsqueeze(1)
    outs = []
    for left in (1.0, 0.0):
        tape.left[0] = left
        outs.append(ours.net.step(views, tape, 0).clone())
    early, late = outs
    assert torch.equal(early[..., :-1], late[..., :-1])
    torch.testing.assert_close((early - late)[..., -1], views["heads.time"].sum(1, keepdim=True))


def test_at_first_it_is_the_arm_that_does_not_see_it() -> None:
    with_time, without = (make_actor_critic("gru", "ln", hidden=8, value_sees_time=each) for each in (True, False))
    one, other = (net.layout.views(seeded_rows(net, [[0]])) for net in (with_time, without))
    assert all(torch.equal(one[name], view) for name, view in other.items())
    assert set(one) - set(other) == {"heads.time"}
    assert (one["heads.time"] == 0).all()


# -- learners together ------------------------------------------------------------------------------------------------
TESTED = {"algorithm": "individual", "core": "ff", "norm": "none", "workers": 3, "eval_episodes": 2}


def test_learners_that_are_all_alike_do_together_what_each_does_alone() -> None:
    config = parse(SMALL | TESTED)
    net = of_settings(config)
    rows = 3 * seeded_rows(net, [[0], [1]]).repeat_interleave(3, 0)
    alone = evaluate(config, rows)
    together = evaluate_ensemble(config, rows)
    assert list(together) == list(alone)
    for mode, wanted in zip(TOGETHER, ("greedy", "sampled"), strict=True):
        one, other = together[together["mode"] == mode], alone[(alone["mode"] == wanted) & (alone.worker == 0)]
        keys = ["seed", "cloud", "scenario"]
        one, other = (each.set_index(keys).return_mean.sort_index() for each in (one, other))
        np.testing.assert_allclose(one, other)


@pytest.mark.parametrize(
    ("preferred", "taken"),
    [([0, 0, 2], 0), ([2, 1, 2], 2), ([0, 1, 2], 1)],
    ids=["two of three", "two of three", "a tie goes to the likelier"],
)
def test_a_vote_takes_the_action_of_most(preferred: list[int], taken: int) -> None:
    config = parse(SMALL | TESTED | {"seeds": 1})
    net = of_settings(config)
    rows = torch.zeros(3, net.layout.size)
    bias = net.layout.views(rows)["heads.bias"]
    for row, action in enumerate(preferred):
        bias[row, action] = 2.0 if action == 1 else 1.0  # the second is surer of itself
    found = evaluate_ensemble(config, rows)
    votes = found[found["mode"] == "vote"]
    assert (votes[f"share_{('local', 'offload', 'discard')[taken]}"] == 1).all()
    shares = found[found["mode"] == "mean"][["share_local", "share_offload", "share_discard"]].mean()
    wanted = torch.softmax(bias[:, :3], -1).mean(0)
    np.testing.assert_allclose(shares, wanted, atol=0.05)


def test_a_run_keeps_their_tests_where_asked_and_a_measure_reads_them(tmp_path: Any, monkeypatch: Any) -> None:
    from lnlab.claims.measures import measure
    from lnlab.claims.studies import Data

    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    run = driver.run(
        parse(SMALL | TESTED | {"ensemble": True, "episodes": 1, "profile": "paper", "cores": 1}), progress=False
    )
    table = run.table("ensemble")
    assert set(table) <= set(runs.COLUMNS["ensemble"])
    assert set(table["mode"]) == set(TOGETHER)
    data = Data.at(str(tmp_path / "paper"))
    chosen = table[(table["mode"] == "vote") & (table.cloud == "budget")]
    found = measure(data, "test.vote", run.id)
    np.testing.assert_allclose(found, chosen.groupby("seed").return_mean.mean())
    extra = chosen[chosen.group == "extra"].groupby("seed").return_mean.mean()
    np.testing.assert_allclose(measure(data, "test.vote.extra", run.id), extra)
    assert trainer(**TESTED).table("ensemble") is None
