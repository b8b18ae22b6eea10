"""The arithmetic of the actor-critic update as pure functions; tensors are time-major, (T, N): T steps, N rollouts.

Source: offloading documents D1 to D4 (n-step returns, standardised advantages); Mnih et al. 2016, section 4.
"""

from typing import NamedTuple

import torch
from torch import Tensor


def n_step_returns(reward: Tensor, bootstrap: Tensor, gamma: float) -> Tensor:
    """Discounted return from each step to the end of the rollout; reward (T, N), bootstrap (N,) → (T, N).

    >>> n_step_returns(torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([4.0]), 0.5).flatten().tolist()
    [2.0, 2.0, 4.0]
    """
    returns = torch.empty_like(reward)
    following = bootstrap
    for t in reversed(range(len(reward))):
        following = torch.add(reward[t], following, alpha=gamma, out=returns[t])
    return returns


def over_time(x: Tensor) -> Tensor:
    """Sum over the first axis, always in the order of time.

    torch.sum groups its terms by the width of what it reduces, so a seed's last bits would depend on the seeds beside
    it.
    """
    return x.cumsum(0)[-1]


def standardise(advantage: Tensor) -> Tensor:
    """Each rollout to mean 0 and standard deviation 1 over its T steps (ddof 1, floor 1e-8); a single step only loses
    its mean."""
    steps = len(advantage)
    centred = advantage - over_time(advantage) / steps
    if steps == 1:
        return centred
    return centred / (over_time(centred.square()) / (steps - 1)).sqrt().clamp_min(1e-8)


class Losses(NamedTuple):
    """Means over the rollout, each (N,)."""

    policy: Tensor
    value: Tensor  # squared error before its weight, return units squared
    entropy: Tensor  # nats


def actor_critic_gradient(
    out: Tensor, action: Tensor, returns: Tensor, *, value_cost: float, entropy_cost: float
) -> tuple[Tensor, Losses]:
    """Loss = mean(−log π(a) Â) + value_cost · mean((V − R)²) − entropy_cost · mean(H), and its gradient with respect
    to `out`.

    Args:
        out: (T, N, A+1), logits and value.
        action: (T, N) int64.
        returns: (T, N); the advantage R − V is standardised per rollout and held constant in the policy term.

    Returns:
        d loss / d out (T, N, A+1) and the three losses.
    """
    steps = len(out)
    log_policy = torch.log_softmax(out[..., :-1], dim=-1)
    policy = log_policy.exp()
    error = out[..., -1] - returns
    advantage = standardise(-error).unsqueeze(-1)
    entropy = -(policy * log_policy).sum(-1, keepdim=True)
    chosen = torch.zeros_like(policy).scatter_(-1, action.unsqueeze(-1), 1.0)
    gradient = torch.empty_like(out)
    push = advantage * (policy - chosen) + entropy_cost * policy * (log_policy + entropy)
    gradient[..., :-1] = push / steps
    gradient[..., -1] = error * (2 * value_cost / steps)
    policy_loss = -(advantage * (chosen * log_policy).sum(-1, keepdim=True)).squeeze(-1)
    return gradient, Losses(*(over_time(x) / steps for x in (policy_loss, error.square(), entropy.squeeze(-1))))


def sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw actions from softmax(logits) by inverting the distribution function: logits (…, A), uniform (…) → int64 (…).

    >>> sample(torch.zeros(2, 4), torch.tensor([0.1, 0.6])).tolist()
    [0, 2]
    """
    cumulative = torch.softmax(logits, dim=-1).cumsum(-1)[..., :-1]
    return (uniform.unsqueeze(-1) >= cumulative).sum(-1)
