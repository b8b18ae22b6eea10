"""The trainer of A3C and Individual: the arithmetic of an update, the schedule, separate learners, where one diverges,
and how much work a step is: counted, not timed, so that a change which doubles it is seen on any machine."""

import copy
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lnlab import runs
from lnlab.config import parse
from lnlab.envs.offloading import draw_noise
from lnlab.trainers import driver, make_trainer
from lnlab.trainers.a3c import ActorCriticTrainer, Report
from lnlab.trainers.returns import actor_critic_gradient, n_step_returns, sample, standardise
from lnlab.trainers.schedule import push_order
from tests.test_models import torch_twin


def test_returns_by_hand_for_two_rollouts() -> None:
    reward = torch.tensor([[1.0, 0.0], [0.0, 0.0], [2.0, 0.0]])
    got = n_step_returns(reward, torch.tensor([4.0, 8.0]), 0.5)
    assert got.T.tolist() == [[2.0, 2.0, 4.0], [1.0, 2.0, 4.0]]


def test_standardised_advantages_use_the_sample_deviation_of_their_own_rollout() -> None:
    got = standardise(torch.tensor([[1.0, 10.0], [2.0, 30.0], [3.0, 50.0]]))
    assert got.T.tolist() == [[-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0]]
    assert standardise(torch.full((3, 1), 5.0)).abs().max() == 0  # a constant rollout meets the floor, not 0/0


@pytest.mark.parametrize("steps", [1, 7])
def test_gradient_and_losses_agree_with_autograd(steps: int) -> None:
    torch.manual_seed(0)
    out = torch.randn(steps, 4, 4, requires_grad=True)
    action, returns = torch.randint(3, (steps, 4)), torch.randn(steps, 4) * 3
    gradient, losses = actor_critic_gradient(out.detach(), action, returns, value_cost=0.25, entropy_cost=0.05)
    distribution = torch.distributions.Categorical(logits=out[..., :3])
    value = out[..., 3]
    advantage = returns - value.detach()
    advantage = advantage - advantage.mean(0)
    if steps > 1:
        advantage = advantage / advantage.std(0)
    policy_loss = -(distribution.log_prob(action) * advantage).mean(0)
    value_loss = torch.stack([torch.nn.functional.mse_loss(value[:, n], returns[:, n]) for n in range(4)])
    entropy = distribution.entropy().mean(0)
    (policy_loss + 0.25 * value_loss - 0.05 * entropy).sum().backward()
    torch.testing.assert_close(gradient, out.grad)
    for ours, theirs in zip(losses, (policy_loss, value_loss, entropy), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_actions_follow_the_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, -2.0])
    uniform = (torch.arange(20_000) + 0.5) / 20_000
    share = torch.bincount(sample(logits.expand(20_000, 3), uniform), minlength=3) / 20_000
    torch.testing.assert_close(share, torch.softmax(logits, 0), atol=1e-4, rtol=0)


def test_every_worker_pushes_once_per_update_and_only_within_its_seed() -> None:
    order = push_order([3, 4], workers=5, episode=7, updates=5)
    assert order.shape == (5, 5, 2)
    for update in order:
        assert sorted(update[:, 0].tolist()) == list(range(5))
        assert sorted(update[:, 1].tolist()) == list(range(5, 10))
    assert not torch.equal(order[0], order[1])


SMALL = {"hidden": 16, "episodes": 3, "lr": 1e-3, "seeds": 2}


def trainer(**settings: object) -> ActorCriticTrainer:
    return make_trainer(parse(SMALL | settings))


def assert_same(one: Report, other: Report) -> None:
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.mark.parametrize(("core", "norm"), [("gru", "ln"), ("ff", "none")])
def test_gradient_of_a_rollout_is_that_of_autograd_through_torch_modules(core: str, norm: str) -> None:
    ours = trainer(algorithm="individual", core=core, norm=norm, seeds=1, workers=2)
    ours.train_episode()
    ours.train_episode()
    before = ours.parameters.clone()
    ours.tape.obs[0].squeeze(1).copy_(ours.env.reset(draw_noise([0], 2, 9, 200)))
    ours._roll_out(torch.rand(20, 2))
    ours._differentiate(torch.ones(()))
    for row in range(2):
        twin = torch_twin(ours.net.layout.views(before), row, core, norm)
        h, outs = ours.tape.state[0, row], []
        for t in range(21):
            out, h = twin(ours.tape.obs[t, row], h)
            outs.append(out)
        returns = n_step_returns(ours.reward[:, row], outs[20][0, -1].detach(), 0.99).unsqueeze(1)
        out = torch.stack(outs[:20])
        dout, _ = actor_critic_gradient(
            out.detach(), ours.action[:, row : row + 1], returns, value_cost=0.25, entropy_cost=0.05
        )
        out.backward(dout)
        wanted = torch.cat([p.grad.flatten() for p in twin.parameters()]).norm()
        torch.testing.assert_close(ours.gradient[row].norm(), wanted, rtol=1e-4, atol=1e-6)
        views = ours.net.layout.views(ours.gradient)
        torch.testing.assert_close(views["embed.weight"][row].T, twin.embed.weight.grad, rtol=1e-3, atol=1e-5)


SEPARATE = {"trunks": "separate", "norm_in": "critic"}


@pytest.mark.parametrize(
    "settings",
    [
        {"gradient_carry": True},
        {"algorithm": "individual"},
        {"schedule": "sync"},
        SEPARATE,
        SEPARATE | {"core": "ff", "norm": "rms"},
    ],
)
def test_a_seed_alone_equals_the_seed_in_a_stack_to_the_bit(settings: dict[str, object]) -> None:
    stack, alone = (
        trainer(seeds=3, hidden=128, episodes=2, **settings),
        trainer(seeds=1, first_seed=1, hidden=128, episodes=2, **settings),
    )
    for together, single in zip(stack, alone, strict=True):
        assert_same({k: v if v.ndim == 0 else v[1:2] for k, v in together.items()}, single)
    per_seed = stack.learners // 3
    assert torch.equal(stack.parameters[per_seed : 2 * per_seed], alone.parameters)


def test_the_same_seed_gives_the_same_bits_another_does_not_and_norms_meet_the_same_environment() -> None:
    one, two, other, plain = trainer(), trainer(), trainer(first_seed=5), trainer(norm="none")
    a, b, c, _ = (each.train_episode() for each in (one, two, other, plain))
    assert_same(a, b)
    assert torch.equal(one.parameters, two.parameters)
    assert not np.array_equal(a["return"], c["return"])
    assert torch.equal(one.tape.obs[..., 42:44], plain.tape.obs[..., 42:44])  # the tasks


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
def test_a_learner_that_turns_nan_is_frozen_and_leaves_the_others_to_the_bit(algorithm: str) -> None:
    healthy, ill = trainer(algorithm=algorithm, episodes=4), trainer(algorithm=algorithm, episodes=4)
    healthy.train_episode(), ill.train_episode()
    victims = slice(0, ill.members)  # the rows of the first learner
    ill.parameters[0] *= 1e30
    ill.snapshot[victims] *= 1e30 if ill.members > 1 else 1.0
    frozen = ill.parameters[0].clone()
    for _ in range(3):
        good, bad = healthy.train_episode(), ill.train_episode()
    assert not bad["alive"].reshape(-1)[: ill.members].any()
    assert bad["alive"].reshape(-1)[ill.members :].all()
    assert torch.equal(ill.parameters[0], frozen)
    if algorithm == "a3c":  # Individual learners of a seed meet in the cloud, so only the other seed is untouched there
        assert torch.equal(ill.parameters[1:], healthy.parameters[1:])
    assert_same({k: v[1:] for k, v in good.items() if v.ndim}, {k: v[1:] for k, v in bad.items() if v.ndim})


def plain_pushes(
    parameters: torch.Tensor, gradients: torch.Tensor, order: list[int], lr: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The schedule in the plainest form: clip with torch, one Adam, a snapshot after each push."""
    shared = torch.nn.Parameter(parameters.clone())
    adam, snapshots = torch.optim.Adam([shared], lr=lr), gradients.clone()
    for worker in order:
        shared.grad = gradients[worker].clone()
        torch.nn.utils.clip_grad_norm_([shared], 2.0)
        adam.step()
        snapshots[worker] = shared.detach()
    return shared.detach(), snapshots


def test_pushes_follow_the_order_with_one_shared_adam_and_a_snapshot_each() -> None:
    ours = trainer(seeds=1)
    start = ours.parameters[0].clone()
    ours.gradient.normal_(std=0.05)
    ours.gradient[2] *= 1e-3  # below the clip
    gradients, order = ours.gradient.clone(), [3, 0, 4, 2, 1]
    norms = ours._push(torch.tensor(order).unsqueeze(1))
    torch.testing.assert_close(norms, gradients.norm(dim=1))
    parameters, snapshots = plain_pushes(start, gradients, order, 1e-3)
    torch.testing.assert_close(ours.parameters[0], parameters, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.snapshot, snapshots, rtol=1e-5, atol=1e-7)
    assert not torch.equal(ours.snapshot[3], ours.snapshot[1])  # the first to push has not seen the others' steps


def test_sync_averages_before_clipping_and_steps_once() -> None:
    ours = trainer(seeds=1, schedule="sync")
    start = ours.parameters[0].clone()
    ours.gradient.normal_()
    mean = ours.gradient.mean(0, keepdim=True)
    ours._push(torch.zeros(5, 1, dtype=torch.int64))
    parameters, _ = plain_pushes(start, mean, [0], 1e-3)
    torch.testing.assert_close(ours.parameters[0], parameters, rtol=1e-5, atol=1e-7)
    assert torch.equal(ours.snapshot, ours.parameters.expand(5, -1))


def test_the_carried_gradient_is_the_clipped_sum_with_the_last_one() -> None:
    ours = trainer(seeds=1, workers=1, gradient_carry=True)
    first, second = torch.randn_like(ours.gradient), torch.randn_like(ours.gradient)
    for fresh in (first, second):
        ours.gradient.copy_(fresh)
        ours._push(torch.zeros(1, 1, dtype=torch.int64))
    clipped = first * 2 / first.norm()
    wanted = clipped + second
    torch.testing.assert_close(ours.carried, wanted * 2 / wanted.norm(), rtol=1e-4, atol=1e-6)


def goes_on_to_the_same_bits(**settings: object) -> list[Report]:
    """Hold a training that was saved and loaded against one that was not, whose reports it returns."""
    straight, stopped = trainer(**settings), trainer(**settings)
    reports = list(straight)
    stopped.train_episode()
    resumed = trainer(**settings)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    for wanted, got in zip(reports[1:], resumed, strict=True):
        assert_same(wanted, got)
    assert torch.equal(straight.parameters, resumed.parameters)
    return reports


@pytest.mark.parametrize("settings", [{"gradient_carry": True}, {"algorithm": "individual", "core": "ff"}, SEPARATE])
def test_a_saved_and_loaded_trainer_goes_on_to_the_same_bits(settings: dict[str, object]) -> None:
    goes_on_to_the_same_bits(**settings)


def test_it_learns_to_beat_the_uniform_policy_within_seconds() -> None:
    uniform = 88.0  # of the reference policy where each worker has its own refilled cloud
    learner = trainer(core="ff", hidden=64, episodes=120, lr=2e-3, entropy_cost=0.01, cloud="refilled", seeds=5)
    returns = np.stack([report["return"] for report in learner])
    seeds = returns[-20:].mean((0, 2))
    assert np.sort(seeds)[-2] > uniform + 25  # at such a rate seeds collapse, and rounding decides which and how many


@pytest.mark.parametrize("settings", [{}, SEPARATE], ids=["shared", "separate"])
def test_a_tick_never_asks_the_device_for_a_value(settings: dict[str, object]) -> None:
    """On torch's meta device reading a value raises: what passes here can be captured as a CUDA graph."""
    learner = ActorCriticTrainer(parse(SMALL | settings), "meta")
    order = torch.zeros(learner.members, learner.learners, dtype=torch.int64, device="meta")
    with torch.no_grad():
        learner.tick(torch.zeros(20, learner.rows, device="meta"), order, torch.ones((), device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize(
    "settings", [{"gradient_carry": True}, {"algorithm": "individual"}, {"schedule": "sync"}, SEPARATE]
)
def test_a_gpu_follows_the_cpu_over_the_first_updates(settings: dict[str, object]) -> None:
    cpu, gpu = trainer(lr=1e-4, **settings), make_trainer(parse(SMALL | {"lr": 1e-4} | settings), "cuda")
    for _ in range(2):
        here, there = cpu.train_episode(), gpu.train_episode()
        for key in ("return", "value_loss", "value_loss_all", "entropy", "grad_norm"):
            np.testing.assert_allclose(there[key], here[key], rtol=5e-3, atol=5e-3, err_msg=key)
    torch.testing.assert_close(gpu.parameters.cpu(), cpu.parameters, rtol=0, atol=5e-4)


ILL = {"core": "ff", "hidden": 8, "seeds": 3, "workers": 2, "episodes": 4, "first_seed": 5, "eval_episodes": 1}


class Ill(ActorCriticTrainer):
    """One rollout's number is not finite: `what` of `row` in the second of its episodes."""

    def __init__(self, what: str, row: int, value: float = torch.nan, **settings: object) -> None:
        super().__init__(parse(ILL | settings))
        self.what, self.row, self.value = what, row, value

    def _differentiate(self, continues: torch.Tensor) -> Any:
        losses = super()._differentiate(continues)
        if self.episode == 1:
            if self.what == "gradient":
                self.gradient[self.row, 3] = self.value
            if self.what == "loss":
                losses.value[self.row] = self.value
                self.gradient[self.row] = self.value
        return losses


def followed(trainer: ActorCriticTrainer) -> list[dict[str, Any]]:
    for _ in trainer:
        pass
    return trainer.diverged


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_the_first_number_that_is_not_finite_is_named_once(algorithm: str, what: str) -> None:
    trainer = Ill(what, row=3, value=torch.inf, algorithm=algorithm)
    assert followed(trainer) == [{"seed": 6, "worker": 1, "episode": 2, "what": what}]
    assert trainer.alive.sum() == trainer.learners - 1


@pytest.mark.parametrize(("algorithm", "worker"), [("a3c", -1), ("individual", 1)])
def test_a_parameter_is_seen_though_its_last_gradient_was_finite(algorithm: str, worker: int) -> None:
    trainer = ActorCriticTrainer(parse(ILL | {"algorithm": algorithm}))
    for _ in range(3):
        trainer.train_episode()
    report = trainer.train_episode()
    trainer.parameters[{"a3c": 1, "individual": 3}[algorithm], 0] = torch.inf  # as a step of Adam can leave it
    entry = {"seed": 6, "worker": worker, "episode": 4, "what": "parameter"}
    assert trainer._first_divergences(report) == [entry]
    trainer.diverged.append(entry)
    assert trainer._first_divergences(report) == []


@pytest.fixture
def results(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return tmp_path


def test_the_summary_of_a_run_names_the_diverged_learners_of_all_its_shards(results: Any) -> None:
    config = parse(ILL | {"lr": 1e38, "seeds": 2, "cores": 1, "device": "cpu", "core": "gru"})
    runs.Run.open(config, block=1).release()
    run = driver.run(config, progress=False)
    assert run.complete
    assert len(run.table("episodes")) == 2 * 2 * 4
    told = run.provenance["diverged"]
    assert [entry["seed"] for entry in told] == [5, 6]
    assert {*told[0]} == {"seed", "worker", "episode", "what"}
    dead = run.table("episodes").query("~alive").groupby("seed").episode.min()
    assert all(entry["episode"] <= dead[entry["seed"]] for entry in told)
    assert run.table("evaluation").return_mean.notna().all()


def test_entries_survive_a_stop(results: Any) -> None:
    config = parse(ILL | {"seeds": 1, "lr": 1e38, "device": "cpu", "core": "gru", "episodes": 8, "eval_episodes": 0})
    run = runs.Run.open(config, block=1)
    asked = iter([False] * 4 + [True])
    (shard,) = run.shards
    assert not driver.train_shard(config, shard, "cpu", lambda _: None, lambda: next(asked))
    told = shard.manifest["facts"]["diverged"]
    run.release()
    assert len(told) == 1
    again = driver.run(config, progress=False)
    assert again.provenance["diverged"] == told


class OperationCounter(TorchDispatchMode):
    """Counts dispatched operations that do work; views and detachments cost nothing."""

    FREE = "view unsqueeze squeeze select slice transpose permute expand split detach alias t _unsafe_view"

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in self.FREE.split():
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def operations(seeds: int, **settings: object) -> int:
    trainer = make_trainer(parse({"seeds": seeds, "hidden": 32} | settings))
    trainer.train_episode()
    with OperationCounter() as counter:
        trainer.train_episode()
    return sum(counter.counts.values())


@pytest.mark.parametrize(("core", "norm", "bound"), [("gru", "ln", 102), ("gru", "none", 95), ("ff", "ln", 85)])
def test_operations_a_step_are_bounded_and_do_not_grow_with_the_seeds(core: str, norm: str, bound: int) -> None:
    one, four = (operations(seeds, core=core, norm=norm) for seeds in (1, 4))
    assert one / 100 < bound
    assert abs(four - one) < 10  # of some 9,500


def test_matrix_products_are_those_of_one_forward_and_one_backward_pass() -> None:
    """No second forward pass: the gradient uses what acting stored. Only the bootstrap value adds 5 of 100 steps."""
    hidden, seeds, workers = 32, 2, 5
    trainer = make_trainer(parse({"seeds": seeds, "hidden": hidden, "core": "gru"}))
    trainer.train_episode()
    with FlopCounterMode(display=False) as counter:
        trainer.train_episode()
    embed, gates, heads = 48 * hidden, 6 * hidden * hidden, hidden * 4  # multiply-adds of one sample
    forward = 105 * (embed + gates + heads)
    weights, inputs = 100 * (embed + gates + heads), 100 * (gates + heads)  # no gradient of the observations
    assert counter.get_total_flops() == 2 * seeds * workers * (forward + weights + inputs)
