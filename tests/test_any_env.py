"""A3C and Individual outside the offloading task: ends of episodes, kinds of actions, resuming, and what is refused."""

import importlib.util
import io
import math
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium import spaces

from lnlab import inside, runs
from lnlab.cli import main
from lnlab.config import parse
from lnlab.envs.cartpole import CartPoleRows
from lnlab.envs.stack import EnvStack, Moments, fitting
from lnlab.trainers import make_trainer
from lnlab.trainers.actions import Choice, Choices, Gaussian
from lnlab.trainers.returns import Boundaries, actor_critic_gradient, n_step_returns

SMALL = {"env": "Walk-v0", "seeds": 2, "workers": 3, "rollout": 8, "hidden": 8, "steps": 2000, "lr": 1e-2, "cores": 1}
SEPARATE = {"env": "CartPole-v1", "core": "gru", "norm": "ln", "trunks": "separate", "norm_in": "critic"}
ACTIONS = {
    "one": spaces.Discrete(3, start=2),
    "several": spaces.MultiDiscrete([2, 3]),
    "numbers": spaces.Box(np.float32([-2, 0]), np.float32([2, 5])),
    "endless": spaces.Box(-np.inf, np.inf, (1,)),
    "bits": spaces.MultiBinary(2),
}


class Walk(gymnasium.Env):
    """Random steps that end in a fifth of the cases; observed are the episode's mark, the step and a random number."""

    def __init__(self, actions="one", broken="", chance=0.2, seen=None):
        self.action_space, self.broken, self.chance = ACTIONS[actions], broken, chance
        self.observation_space = seen or spaces.Box(-np.inf, np.inf, (3,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.mark, self.t = self.np_random.random(), 0
        self.sick = bool(self.broken) and self.np_random.random() < self.chance
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t += 1
        reward = math.nan if self.sick and self.broken == "reward" else float(np.sum(action)) + self.mark
        return self._seen(), reward, bool(self.np_random.random() < 0.2), False, {}

    def _seen(self):
        number = math.nan if self.sick and self.broken == "observation" and self.t else self.np_random.random()
        return np.array([self.mark, self.t / 10, number], np.float32)


class Odd(Walk):
    """Observes a Dict; what a flattened observation holds is counted."""

    def __init__(self):
        super().__init__(seen=spaces.Dict(place=spaces.Discrete(4), more=spaces.Box(-1, 1, (2, 2))))

    def _seen(self):
        return {"place": self.t % 4, "more": np.full((2, 2), 0.5, np.float32)}


for name, entry, kwargs in [
    ("Walk-v0", Walk, {}),
    ("Several-v0", Walk, {"actions": "several"}),
    ("Numbers-v0", Walk, {"actions": "numbers"}),
    ("Endless-v0", Walk, {"actions": "endless"}),
    ("Bits-v0", Walk, {"actions": "bits"}),
    ("NanSeen-v0", Walk, {"broken": "observation"}),
    ("NanReward-v0", Walk, {"broken": "reward"}),
    ("NanRare-v0", Walk, {"broken": "reward", "chance": 0.003}),
    ("Odd-v0", Odd, {}),
]:
    gymnasium.register(name, entry, kwargs=kwargs, max_episode_steps=6)


def trainer(**settings: Any) -> Any:
    return make_trainer(parse(SMALL | {"norm": "none"} | settings))


def after(reports: int, made: Any) -> Any:
    for _ in range(reports):
        made.train_episode()
    return made


def differentiable(net: Any, p: dict, obs: torch.Tensor, state: torch.Tensor, over: torch.Tensor) -> torch.Tensor:
    """The network by plain torch, one step after another: obs (T, N, I) → outputs (T, N, O + 1)."""

    def norm(name, x):
        if f"{name}.gain" not in p:
            return x
        unit = torch.nn.functional.layer_norm(x, x.shape[-1:])
        return unit * p[f"{name}.gain"] + p[f"{name}.bias"]

    def linear(name, x):
        return torch.einsum("ni,nio->no", x, p[f"{name}.weight"]) + p[f"{name}.bias"]

    found, h = [], state
    for x, ended in zip(obs, over, strict=True):
        x = torch.relu(norm("embed.norm", linear("embed", x)))
        if net.recurrent:
            (r, z, n), (hr, hz, hn) = linear("core.input", x).chunk(3, -1), linear("core.state", h).chunk(3, -1)
            n, z = torch.tanh(n + torch.sigmoid(r + hr) * hn), torch.sigmoid(z + hz)
            h = n + z * (h - n)
            core = norm("core.norm", h)
            h = torch.where(ended[:, None], 0.0, h)
        else:
            core = torch.relu(norm("core.norm", linear("core", x)))
        found.append(linear("heads", core))
    return torch.stack(found)


@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize("norm", ["none", "ln"])
@pytest.mark.parametrize("env", ["Walk-v0", "Several-v0", "Numbers-v0"])
@pytest.mark.parametrize("trunks", ["shared", "separate"])
def test_the_update_sees_what_was_acted_on_over_the_ends_of_episodes(env, norm, core, trunks, monkeypatch):
    """A rollout played again gives the same log-probabilities, and autograd the same gradient, ends included."""
    made = after(1, trainer(env=env, norm=norm, core=core, trunks=trunks))
    seen: dict[str, Any] = {}

    def watched(*args: Any) -> None:
        seen.update(state=made.tape.state[0].clone(), views={k: v.clone() for k, v in made.snapshot_views.items()})
        roll(*args)

    def differentiated(continues: torch.Tensor) -> Any:
        losses = differentiate(continues)
        seen.update(
            gradient={k: v.clone() for k, v in made.gradient_views.items()}, losses=losses, over=made.over.clone()
        )
        seen.update(out=made.tape.out.clone(), obs=made.tape.obs.clone(), after=made.after.clone())
        raise StopIteration

    roll, differentiate = made._roll_out, made._differentiate
    monkeypatch.setattr(made, "_roll_out", watched)
    monkeypatch.setattr(made, "_differentiate", differentiated)
    with pytest.raises(StopIteration):
        made.train_episode()
    over, steps = seen["over"], len(made.action)
    assert 0 < over.sum() < over.numel()
    p = {name: view.double().requires_grad_() for name, view in seen["views"].items()}
    obs, state = seen["obs"].squeeze(2).double(), seen["state"].squeeze(1).double()
    whole = torch.cat([over, torch.zeros_like(over[:1])])
    out = (
        differentiable(made.net, p, obs, state, whole)
        if trunks == "shared"
        else torch.cat(
            [
                differentiable(made.net, {k.removeprefix(f"{side}."): v for k, v in p.items()}, obs, half, whole)
                for side, half in zip(("actor", "critic"), state.chunk(2, -1), strict=True)
            ],
            -1,
        )
    )

    def log_prob(out: torch.Tensor, log_std: Any) -> torch.Tensor:
        kind = made.actions
        return kind.terms(out[:steps, :, :-1], made.action, torch.zeros(()), 0.0, log_std).log_prob

    tape = made.net.tape(steps, made.rows)
    tape.obs.copy_(seen["obs"])
    tape.state[0].copy_(seen["state"])
    for t in range(steps):
        made.net.step(seen["views"], tape, t)
        tape.state[t + 1][over[t]] = 0.0
    acted = log_prob(seen["out"].squeeze(2), seen["views"].get("log_std"))
    for again, views, near in (
        (tape.out.squeeze(2), seen["views"], 1e-6),
        (out, p, 1e-5),
    ):  # the last in double precision
        assert ((log_prob(again, views.get("log_std")) - acted).exp() - 1).abs().max() < near
    ends = Boundaries(over, seen["after"].double())
    returns = n_step_returns(made.reward.double(), out[steps, :, -1].detach(), 0.99, ends)
    error = out[:steps, :, -1] - returns
    advantage = -error.detach()
    advantage = (advantage - advantage.mean(0)) / advantage.std(0)
    terms = made.actions.terms(out[:steps, :, :-1], made.action, torch.zeros(()), 0.0, p.get("log_std"))
    loss = -(terms.log_prob.squeeze(-1) * advantage) + 0.25 * error.square() - 0.05 * terms.entropy.squeeze(-1)
    grads = torch.autograd.grad(loss.mean(0).sum(), [*p.values()])
    for name, expected in zip(p, grads, strict=True):
        torch.testing.assert_close(seen["gradient"][name].double(), expected, rtol=2e-3, atol=2e-4, msg=name)


def test_returns_over_a_truncation_and_a_termination_by_hand():
    reward = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0]])
    over = torch.tensor([[False], [True], [False], [True], [False]])  # cut off after step 1, terminated after step 3
    value = torch.tensor([[0.0], [8.0], [0.0], [0.0], [0.0]])
    found = n_step_returns(reward, torch.tensor([16.0]), 0.5, Boundaries(over, value))
    # 5 + 16/2; 4; 3 + 4/2; 2 + 8/2; 1 + 6/2
    assert found.flatten().tolist() == [4.0, 6.0, 5.0, 4.0, 13.0]


def test_an_ending_step_shows_the_last_observation_and_the_next_episode_begins_at_once():
    stack = EnvStack("Walk-v0", 2, 2, lambda row, number: 100 * row + number)
    before, ends = stack.reset(), {"terminated": 0, "cut": 0}
    for _ in range(60):
        marks, steps = before[:, 0], before[:, 1]
        before, _ = stack.step(np.zeros(4, np.int64))
        for row in np.flatnonzero(stack.ended):
            assert stack.final[row, 0] == marks[row]  # of the episode that ended
            assert stack.final[row, 1] == pytest.approx(steps[row] + 0.1)
            assert before[row, 1] == 0
            again = Walk()
            assert before[row] == pytest.approx(again.reset(seed=100 * int(row) + int(stack.number[row]))[0])
            ends["terminated" if stack.terminated[row] else "cut"] += 1
            assert stack.terminated[row] or stack.final[row, 1] == pytest.approx(0.6)
        assert (before[~stack.ended, 0] == marks[~stack.ended]).all()
    assert min(ends.values()) > 2


def test_a_truncation_is_followed_by_the_value_of_its_last_observation_a_termination_by_nothing(monkeypatch):
    made, seen = after(1, trainer(core="ff")), []
    step, boundaries = made._step, made._boundaries

    def noted(t):
        step(t)
        env = made.env
        seen.extend((t, r, env.final[r].copy(), bool(env.terminated[r])) for r in np.flatnonzero(env.ended))

    def checked():
        found = boundaries()
        p = {name: view.double() for name, view in made.snapshot_views.items()}
        for t, row, final, terminated in seen:
            obs = torch.zeros(1, made.rows, 3, dtype=torch.float64)
            obs[0, row] = torch.from_numpy(final)
            value = differentiable(made.net, p, obs, torch.zeros(made.rows, 8), torch.zeros(1, made.rows))[0, row, -1]
            assert found.after[t, row] == pytest.approx(0.0 if terminated else value.item(), abs=1e-5)
            kinds.add(terminated)
        seen.clear()
        return found

    kinds: set[bool] = set()
    monkeypatch.setattr(made, "_step", noted)
    monkeypatch.setattr(made, "_boundaries", checked)
    made.train_episode()
    assert kinds == {True, False}


def kept(made: Any) -> dict[str, Any]:
    """The state as it comes back from a checkpoint."""
    buffer = io.BytesIO()
    torch.save(made.state_dict(), buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=True)


NORMS = {"obs_norm": True, "reward_norm": True}
EVERYWHERE = [
    ("Walk-v0", "", {"algorithm": "individual"}),
    ("Odd-v0", "", {}),
    ("Numbers-v0", "", NORMS | {"norm": "batch"}),
    ("Endless-v0", "", {"action_bounds": "clip", "core": "ff"}),
    ("CartPole-v1", "", {"norm": "ln", "schedule": "sync"}),
    ("lnlab/CartPoleMasked-v0", "", {"norm": "ln_gates"}),
    ("Acrobot-v1", "", {"core": "ff"}),
    ("Pendulum-v1", "", NORMS),
    ("CartPole-v1", "", SEPARATE),
    ("LunarLander-v3", "Box2D", {}),
    ("Hopper-v5", "mujoco", NORMS | {"action_bounds": "clip", "core": "ff"}),
    ("lnlab/RacetrackVector-v0", "highway_env", {"norm": "ln", "seeds": 1, "workers": 1, "core": "ff"}),
]


@pytest.mark.parametrize(("env", "needs", "settings"), EVERYWHERE, ids=[each[0] for each in EVERYWHERE])
def test_a_stopped_training_goes_on_to_the_same_bits(env, needs, settings):
    if needs and importlib.util.find_spec(needs) is None:
        pytest.skip(f"{needs} is not installed")
    whole, second = after(1, trainer(**settings | {"env": env})), trainer(**settings | {"env": env})
    second.load_state_dict(kept(whole))
    for _ in range(2):
        one, other = whole.train_episode(), second.train_episode()
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name], equal_nan=True) for name in one)
    assert torch.equal(whole.parameters, second.parameters)
    assert whole.table("finished").equals(second.table("finished"))
    assert one["alive"].all()


def test_an_environment_that_is_no_function_of_its_seed_is_not_resumed(monkeypatch):
    made = after(1, trainer())
    state = kept(made)
    monkeypatch.setattr(Walk, "_seen", lambda self: np.random.default_rng().random(3, np.float32))
    with pytest.raises(RuntimeError, match="Walk-v0' gives other states for the same seeds and actions"):
        trainer().load_state_dict(state)


@pytest.mark.parametrize(
    "settings", [{}, NORMS, {"env": "CartPole-v1"}, {"algorithm": "individual"}, SEPARATE], ids=str
)
def test_a_seed_does_not_depend_on_the_seeds_beside_it(settings):
    both, alone = trainer(**settings), trainer(**settings | {"seeds": 1, "first_seed": 1})
    for _ in range(2):
        one, other = both.train_episode(), alone.train_episode()
        for name in set(one) - {"episode"}:
            assert np.array_equal(one[name][1:], other[name], equal_nan=True), name


def test_reports_hold_the_returns_of_the_episodes_that_ended():
    made = trainer(steps=5000)
    rows, reports = made.config.workers * made.config.seeds, list(made)
    assert len(reports) == made.config.reports == -(-5000 // made.config.steps_per_report)
    finished = made.table("finished")
    assert len(finished) > 100 * rows / 3
    assert finished.groupby(["seed", "worker"]).episode.agg(lambda each: list(each) == list(range(len(each)))).all()
    newest = finished[(finished.seed == 1) & (finished.worker == 2)]
    steps = [int(report["step"][1, 2]) for report in reports]
    assert steps == [made.config.steps_per_report * (i + 1) for i in range(len(reports))]
    here = newest[(newest.step > steps[1]) & (newest.step <= steps[2])]
    assert reports[2]["return"][1, 2] == pytest.approx(here["return"].mean(), rel=1e-5)
    assert reports[2]["length"][1, 2] == pytest.approx(here["length"].mean(), rel=1e-5)


def test_a_run_leaves_the_tables_that_everything_reads(capsys):
    assert main(["train", *(f"{name}={value}" for name, value in SMALL.items()), "norm=ln"]) == 0
    (run,) = runs.load(runs.RESULTS / "scratch").runs
    assert run.id == "a3c-gru-ln-Walk-v0-w3-T8-h8-lr0.01"
    assert run.whole
    curves, metrics = run.table("curves"), run.table("metrics")
    assert curves.step.max() >= 2000
    final = metrics[(metrics.quantity == "return_final") & (metrics.worker == -1)].value
    assert len(final) == 2
    assert np.isfinite(final).all()
    assert set(run.table("finished").seed) == {0, 1}
    for name in ("episodes", "curves", "finished"):
        assert set(run.table(name)) <= set(runs.COLUMNS[name])


@pytest.mark.parametrize(("env", "what"), [("NanSeen-v0", "observation"), ("NanReward-v0", "reward")])
@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
def test_a_number_that_is_none_freezes_its_learner_and_is_named(env, what, algorithm):
    made = trainer(env=env, seeds=3, workers=1 if algorithm == "a3c" else 2, steps=1000, algorithm=algorithm, **NORMS)
    reports = list(made)
    assert made.diverged
    assert {entry["what"] for entry in made.diverged} == {what}
    for entry in made.diverged:
        assert not reports[entry["episode"] - 1]["alive"][entry["seed"], entry["worker"]]
    assert torch.isfinite(made.parameters).all()


def test_the_learners_beside_a_frozen_one_go_on():
    made = trainer(env="NanRare-v0", seeds=8, workers=1, steps=1000)
    gone = {entry["seed"] for entry in (list(made), made.diverged)[1]}
    assert 0 < len(gone) < 8
    left = next(seed for seed in range(8) if seed not in gone)
    alone = trainer(env="NanRare-v0", seeds=1, first_seed=left, workers=1, steps=1000)
    list(alone)
    assert torch.equal(made.parameters[left], alone.parameters[0])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"env": "CartPole-v9"}, "no such environment; the nearest ids: CartPole-v"),
        ({"env": "nowhere_at_all:Some-v0"}, "it cannot be made here: No module named 'nowhere_at_all'"),
        ({"env": "Bits-v0"}, "it acts by MultiBinary(2); needed: Discrete, MultiDiscrete or a Box of floats"),
        ({"env": "CarRacing-v3"}, "it observes Box(0, 255, (96, 96, 3), uint8); needed: Box, Discrete, or"),
        ({"env": "Endless-v0"}, "action_bounds='squash' is not allowed with env='Endless-v0'"),
        ({"env": "Walk-v0", "action_bounds": "clip"}, "only a Box has bounds"),
        ({"env": "Walk-v0", "cloud": "budget"}, "'cloud', which belongs to env='lnlab/Offloading-v0'"),
        ({"env": "Walk-v0", "episodes": 9}, "'episodes', which belongs to env='lnlab/Offloading-v0'"),
        ({"steps": 9}, "'steps', which belongs to other environments than env='lnlab/Offloading-v0'"),
        ({"env": "Walk-v0", "device": "cuda"}, "device='cuda' is not allowed"),
    ],
    ids=lambda each: str(each)[:40],
)
def test_what_cannot_be_trained_is_answered_in_one_line_and_leaves_nothing(settings, said, capsys):
    before = sorted(runs.RESULTS.rglob("*"))
    assert main(["train", *(f"{name}={value}" for name, value in settings.items())]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert sorted(runs.RESULTS.rglob("*")) == before


@pytest.mark.parametrize("kind", [Choice(3), Choices([2, 4]), Gaussian(2)], ids=["one", "several", "gaussian"])
def test_kinds_of_actions_agree_with_torch_distributions_and_autograd(kind):
    generator = torch.Generator().manual_seed(0)
    out = torch.randn(5, 4, kind.outputs + 1, generator=generator, dtype=torch.float64).requires_grad_()
    log_std = (torch.randn(4, 2, generator=generator, dtype=torch.float64) / 3).requires_grad_()
    returns = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    if kind.gaussian:
        action = kind.sample(out[..., :-1], torch.randn(5, 4, 2, generator=generator).double(), log_std).detach()
        law: Any = torch.distributions.Independent(torch.distributions.Normal(out[..., :-1], log_std.exp()), 1)
        log_prob, entropy = law.log_prob(action), law.entropy()
    else:
        action = kind.sample(out[..., :-1], torch.rand(5, 4, *kind.shape, generator=generator), None)
        parts, chosen = out[..., :-1].split(getattr(kind, "sizes", [3]), -1), action.view(5, 4, -1).unbind(-1)
        laws = [torch.distributions.Categorical(logits=part) for part in parts]
        log_prob = sum(law.log_prob(each) for law, each in zip(laws, chosen, strict=True))
        entropy = sum(law.entropy() for law in laws)
    advantage = (returns - out[..., -1]).detach()
    advantage = (advantage - advantage.mean(0)) / advantage.std(0)
    loss = -log_prob * advantage + 0.5 * (out[..., -1] - returns).square() - 0.1 * entropy
    wanted = torch.autograd.grad(loss.mean(0).sum(), [out, log_std] if kind.gaussian else [out])
    found = torch.zeros_like(log_std)
    gradient, losses = actor_critic_gradient(
        out.detach(), action, returns, value_cost=0.5, entropy_cost=0.1, actions=kind,
        log_std=log_std.detach(), d_log_std=found,
    )  # fmt: skip
    for one, other in zip((gradient, found), wanted, strict=False):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(losses.policy, -(log_prob * advantage).mean(0).detach())
    torch.testing.assert_close(losses.entropy, entropy.mean(0).detach().expand(4))


def test_drawn_numbers_fit_the_bounds():
    drawn = np.array([[0.0, 0.0], [9.0, -9.0], [np.nan, 0.5]], np.float32)
    for bounds, third in (("squash", 2.5 + 2.5 * math.tanh(0.5)), ("clip", 3.75)):
        assert fitting(ACTIONS["numbers"], bounds, drawn) == pytest.approx(
            np.array([[0, 2.5], [2, 0], [0, third]]), abs=1e-5
        )
    assert fitting(ACTIONS["endless"], "clip", np.float32([[7.5]])).item() == 7.5


def test_moments_are_those_of_all_that_was_seen():
    values = np.random.default_rng(0).normal(3.0, 2.0, (50, 2, 4, 3))
    moments = Moments(2, 3)
    for part in values:
        moments.add(part)
    assert moments.mean == pytest.approx(values.mean((0, 2)), rel=1e-4)
    assert moments.var == pytest.approx(values.var((0, 2)), rel=1e-3)


def test_rewards_are_scaled_as_gymnasium_does_it():
    stack = EnvStack("Walk-v0", 1, 1, lambda row, number: number, reward_norm=True)
    plain = EnvStack("Walk-v0", 1, 1, lambda row, number: number)
    other = gymnasium.wrappers.vector.NormalizeReward(
        gymnasium.make_vec("Walk-v0", 1, vectorization_mode="sync"), gamma=0.99
    )
    stack.reset(), plain.reset()
    sums = 0.0
    for _ in range(40):
        (_, scaled), (_, reward) = stack.step(np.zeros(1, np.int64)), plain.step(np.zeros(1, np.int64))
        sums = 0.99 * sums + float(reward[0])
        other.return_rms.update(np.array([sums]))
        wanted = float(reward[0]) / math.sqrt(other.return_rms.var + 1e-8)
        assert scaled[0] == pytest.approx(min(10.0, wanted), rel=1e-4)
        sums *= not stack.ended[0]


def test_rows_of_cartpole_move_as_gymnasiums_single_cart_and_start_from_their_own_seeds():
    rows = CartPoleRows(3)
    obs, _ = rows.reset(seed=[5, 6, 7])
    assert np.array_equal(CartPoleRows(1).reset(seed=[6])[0][0], obs[1])
    cart: Any = gymnasium.make("CartPole-v1").unwrapped
    cart.reset(seed=0)
    cart.state = rows.state[:, 1].copy()
    for action in [0, 1, 1, 0, 1]:
        obs, *_ = rows.step(np.full(3, action))
        assert obs[1] == pytest.approx(cart.step(action)[0], rel=1e-5)
    before = obs.copy()
    mask = np.array([False, True, False])
    obs, _ = rows.reset(seed=[None, 6, None], options={"reset_mask": mask})
    assert np.array_equal(obs[~mask], before[~mask])


@pytest.mark.parametrize("vector", [False, True])
def test_the_masked_cartpole_hides_the_velocities(vector):
    name, full = "lnlab/CartPoleMasked-v0", gymnasium.make("CartPole-v1")
    if vector:
        masked: Any = EnvStack(name, 1, 1, lambda row, number: 3)
        masked.reset()
        assert masked.inputs == 2
        assert isinstance(masked.envs, CartPoleRows)
        assert masked.envs.max_episode_steps == 500
        return
    masked = gymnasium.make(name)
    assert masked.spec.max_episode_steps == 500
    one, other = masked.reset(seed=3)[0], full.reset(seed=3)[0]
    for action in (0, 1, 1):
        assert masked.observation_space.contains(one)
        assert np.array_equal(one, other[[0, 2]])
        one, other = masked.step(action)[0], full.step(action)[0]


def test_individual_learns_cartpole():
    settings = {"algorithm": "individual", "core": "ff", "workers": 1, "rollout": 64, "hidden": 32, "lr": 1e-3}
    settings |= {"entropy_cost": 0.01, "reward_norm": True, "env": "CartPole-v1", "seeds": 4, "steps": 15_000}
    run = inside.run(parse(settings | {"norm": "none", "cores": 1}), progress=False)
    last = run.table("finished").sort_values("step", kind="stable").groupby("seed").tail(20)
    assert last.groupby("seed")["return"].mean().median() > 50  # a uniform policy has 22
