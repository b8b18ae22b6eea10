"""The update's arithmetic: by hand where it is short, against autograd where it is not."""

import pytest
import torch

from lnlab.trainers.returns import actor_critic_gradient, n_step_returns, sample, standardise
from lnlab.trainers.schedule import action_uniforms, push_order


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


def test_random_numbers_of_a_seed_do_not_depend_on_the_others() -> None:
    together, alone = action_uniforms([3, 4], 5, 7, 100), action_uniforms([4], 5, 7, 100)
    assert torch.equal(together[:, 5:], alone)
    assert not torch.equal(alone, action_uniforms([4], 5, 8, 100))
    assert torch.equal(push_order([3, 4], 5, 7, 5)[..., 1] - 5, push_order([4], 5, 7, 5)[..., 0])
