"""The arithmetic of the actor-critic update as pure functions; tensors are time-major, (T, N): T steps, N rollouts.

Source: offloading documents D1 to D4 (n-step returns, standardised advantages); Mnih et al. 2016, section 4.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lnlab.trainers.actions import Actions, Choice, sample

__all__ = ["Losses", "actor_critic_gradient", "n_step_returns", "over_time", "sample", "standardise"]


class Boundaries(NamedTuple):
    """Where episodes end within a rollout, (T, N) each."""

    over: Tensor  # bool: the step was its episode's last
    after: Tensor  # value of what followed it: 0 where the episode terminated, where it was cut off its estimate


def n_step_returns(reward: Tensor, bootstrap: Tensor, gamma: float, ends: Boundaries | None = None) -> Tensor:
    """Discounted return from each step to the end of the rollout or of its episode; reward (T, N), bootstrap (N,) → (T,
    N).

    >>> n_step_returns(torch.tensor([[1.0], [0.0], [2.0]]), torch.tensor([4.0]), 0.5).flatten().tolist()
    [2.0, 2.0, 4.0]
    """
    returns = torch.empty_like(reward)
    following = bootstrap
    for t in reversed(range(len(reward))):
        if ends is not None:
            following = torch.where(ends.over[t], ends.after[t], following)
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


CHOICE = Choice(3)  # a single one; of how many, the logits tell


def actor_critic_gradient(
    out: Tensor,
    action: Tensor,
    returns: Tensor,
    *,
    value_cost: float,
    entropy_cost: float,
    huber: float = 0.0,
    actions: Actions = CHOICE,
    log_std: Tensor | None = None,
    d_log_std: Tensor | None = None,
) -> tuple[Tensor, Losses]:
    """Loss = mean(−log π(a) Â) + value_cost · mean((V − R)²) − entropy_cost · mean(H), and its gradient with respect
    to `out`.

    There is no clipped value loss (Schulman et al. 2017): it holds the value near that of the rollout, and the first
    and only update from a rollout begins at that value, where the clip does nothing.

    Args:
        out: (T, N, O+1), the policy's outputs and the value; of a choice, logits.
        action: (T, N, *actions.shape), as drawn.
        huber: where |V − R| exceeds it, the square gives way to huber · (2 |V − R| − huber) (Huber 1964); 0: nowhere.
        returns: (T, N); the advantage R − V is standardised per rollout and held constant in the policy term.
        log_std: (N, A) of a Gaussian policy; `d_log_std`, of the same shape, takes its gradient.

    Returns:
        d loss / d out (T, N, O+1) and the three losses.
    """
    steps = len(out)
    error = out[..., -1] - returns
    advantage = standardise(-error).unsqueeze(-1)
    terms = actions.terms(out[..., :-1], action, advantage, entropy_cost, log_std)
    gradient = torch.empty_like(out)
    gradient[..., :-1] = terms.outputs / steps
    gradient[..., -1] = (error.clamp(-huber, huber) if huber else error) * (2 * value_cost / steps)
    if d_log_std is not None and terms.log_std is not None:
        d_log_std.copy_(over_time(terms.log_std) / steps)
    policy_loss = -(advantage * terms.log_prob).squeeze(-1)
    return gradient, Losses(*(over_time(x) / steps for x in (policy_loss, error.square(), terms.entropy.squeeze(-1))))
