"""The trainer of A3C and Individual: its gradient, its schedule, and the independence of its learners."""

import copy

import numpy as np
import pytest
import torch

from lnlab.config import parse
from lnlab.envs.offloading import draw_noise
from lnlab.trainers import make_trainer
from lnlab.trainers.a3c import ActorCriticTrainer, Report
from lnlab.trainers.returns import actor_critic_gradient, n_step_returns
from tests.test_models import torch_twin

SMALL = {"hidden": 16, "episodes": 3, "lr": 1e-3, "seeds": 2}


def trainer(**settings: object) -> ActorCriticTrainer:
    return make_trainer(parse(SMALL | settings))


def assert_same(one: Report, other: Report) -> None:
    assert one.keys() == other.keys()
    for key in one:
        np.testing.assert_array_equal(one[key], other[key], err_msg=key)


@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize("norm", ["none", "ln"])
def test_gradient_of_a_rollout_is_that_of_autograd_through_torch_modules(core: str, norm: str) -> None:
    ours = trainer(algorithm="individual", core=core, norm=norm, seeds=1, workers=2)
    ours.train_episode()
    ours.train_episode()
    before = ours.parameters.clone()
    ours.tape.obs[0].squeeze(1).copy_(ours.env.reset(draw_noise([0], 2, 9, 200)))
    ours._roll_out(torch.rand(20, 2))
    ours._differentiate(torch.ones(()))
    for row in range(2):
        twin = torch_twin(ours.net, ours.net.layout.views(before), row, core, norm)
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


@pytest.mark.parametrize(
    "settings", [{"algorithm": "a3c"}, {"algorithm": "individual"}, {"gradient_carry": True}, {"schedule": "sync"}]
)
def test_a_seed_alone_equals_the_seed_in_a_stack_to_the_bit(settings: dict[str, object]) -> None:
    stack, alone = trainer(seeds=3, hidden=128, **settings), trainer(seeds=1, first_seed=1, hidden=128, **settings)
    for together, single in zip(stack, alone, strict=True):
        assert_same({k: v if v.ndim == 0 else v[1:2] for k, v in together.items()}, single)
    per_seed = stack.learners // 3
    assert torch.equal(stack.parameters[per_seed : 2 * per_seed], alone.parameters)


def test_the_same_seed_twice_gives_the_same_bits_and_another_does_not() -> None:
    one, two, other = trainer(), trainer(), trainer(first_seed=5)
    for a, b, c in zip(one, two, other, strict=True):
        assert_same(a, b)
        assert not np.array_equal(a["return"], c["return"])
    assert torch.equal(one.parameters, two.parameters)


def test_individual_is_a3c_with_one_worker_a_learner() -> None:
    a3c, individual = trainer(workers=1), trainer(workers=1, algorithm="individual")
    for one, other in zip(a3c, individual, strict=True):
        assert_same(one, other)


def test_arms_that_differ_in_the_norm_meet_the_same_environment() -> None:
    tasks = slice(42, 44)
    one, other = trainer(norm="ln"), trainer(norm="none")
    for t in (one, other):
        t.train_episode()
    assert torch.equal(one.tape.obs[..., tasks], other.tape.obs[..., tasks])


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


@pytest.mark.parametrize("settings", [{}, {"gradient_carry": True}, {"algorithm": "individual", "core": "ff"}])
def test_a_saved_and_loaded_trainer_goes_on_to_the_same_bits(settings: dict[str, object]) -> None:
    straight, stopped = trainer(**settings), trainer(**settings)
    reports = list(straight)
    stopped.train_episode()
    resumed = trainer(**settings)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    for wanted, got in zip(reports[1:], resumed, strict=True):
        assert_same(wanted, got)
    assert torch.equal(straight.parameters, resumed.parameters)


def test_it_learns_to_beat_the_uniform_policy_within_seconds() -> None:
    uniform = 88.0  # of the reference policy where each worker has its own refilled cloud
    learner = trainer(core="ff", hidden=64, episodes=120, lr=2e-3, entropy_cost=0.01, cloud="refilled", seeds=5)
    returns = np.stack([report["return"] for report in learner])
    seeds = returns[-20:].mean((0, 2))
    assert np.sort(seeds)[-2] > uniform + 25  # at such a rate seeds collapse, and rounding decides which and how many


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
def test_a_tick_never_asks_the_device_for_a_value(algorithm: str) -> None:
    """On torch's meta device reading a value raises: what passes here can be captured as a CUDA graph."""
    learner = ActorCriticTrainer(parse(SMALL | {"algorithm": algorithm}), "meta")
    order = torch.zeros(learner.members, learner.learners, dtype=torch.int64, device="meta")
    with torch.no_grad():
        learner.tick(torch.zeros(20, learner.rows, device="meta"), order, torch.ones((), device="meta"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("settings", [{}, {"algorithm": "individual"}, {"gradient_carry": True}, {"schedule": "sync"}])
def test_a_gpu_follows_the_cpu_over_the_first_updates(settings: dict[str, object]) -> None:
    cpu, gpu = trainer(lr=1e-4, **settings), make_trainer(parse(SMALL | {"lr": 1e-4} | settings), "cuda")
    for _ in range(2):
        here, there = cpu.train_episode(), gpu.train_episode()
        for key in ("return", "value_loss", "value_loss_all", "entropy", "grad_norm"):
            np.testing.assert_allclose(there[key], here[key], rtol=5e-3, atol=5e-3, err_msg=key)
    torch.testing.assert_close(gpu.parameters.cpu(), cpu.parameters, rtol=0, atol=5e-4)
