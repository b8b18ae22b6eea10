"""How a learner acts and what its critic is worth, on episodes that it plays itself under the rules of its training.

The vehicles share the cloud as in training: for A3C one learner drives the five of a group, for Individual the five
learners of a seed do. So the return that comes is of the kind that the critic was taught. Checked against scipy.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from lnlab.config import EPISODE_STEPS, RunConfig
from lnlab.envs.offloading import Noise, OffloadingBatch, draw_noise, training_velocities
from lnlab.evaluation import ACTIONS
from lnlab.inside.probes import PROBE_EPISODE, SEQUENCES, Values, probe_seeds, where_finite
from lnlab.models.actor_critic import ActorCritic
from lnlab.trainers.a3c import CAPACITY
from lnlab.trainers.returns import n_step_returns, sample
from lnlab.trainers.schedule import action_uniforms

LAST = 20  # steps before the time limit in which the documents take their value loss


class Episodes(NamedTuple):
    """Sampled episodes, time-major, of N learners with B episodes each."""

    out: Tensor  # (T, N, B, A+1) logits | value
    action: Tensor  # (T, N, B)
    reward: Tensor  # (T, N, B)


def explained_variance(prediction: Tensor, target: Tensor) -> Tensor:
    """1 − Var(target − prediction) / Var(target) over the last axis: 1 perfect, 0 as good as a constant, else negative.

    >>> explained_variance(torch.tensor([2.0, 3.0, 4.0]), torch.tensor([1.0, 2.0, 3.0])).item()  # bias is not counted
    1.0
    """
    return 1 - (target - prediction).var(-1) / target.var(-1)


def correlation(x: Tensor, y: Tensor) -> Tensor:
    """Pearson's r over the last axis; NaN where one of them is constant."""
    x, y = (each - each.mean(-1, keepdim=True) for each in (x, y))
    return (x * y).sum(-1) / (x.square().sum(-1) * y.square().sum(-1)).sqrt()


def behaviour(config: RunConfig, net: ActorCritic, parameters: Tensor) -> Values:
    """The second part of lnlab/quantities.toml, each (N,), for `parameters` (N, size) of all learners of `config`."""
    episodes = play_probes(config, net, parameters)
    values = _policy(episodes) | critic(episodes, config.gamma)
    return where_finite({k: v.float() for k, v in values.items()}, episodes.out.transpose(0, 1))


def play_probes(config: RunConfig, net: ActorCritic, parameters: Tensor) -> Episodes:
    """At least ten sampled episodes of every learner, with the same random numbers for all arms and checkpoints."""
    members = config.workers // config.learners_per_seed
    groups = -(-SEQUENCES // members)
    env, noise, chances = _world(config, groups)
    by_learner, by_vehicle = _orders(config, groups)
    tape, views = net.tape(1, len(parameters), groups * members), net.layout.views(parameters)
    out = torch.zeros(EPISODE_STEPS, *tape.out.shape[1:])
    reward = torch.zeros(out.shape[:-1])
    action = torch.zeros(out.shape[:-1], dtype=torch.int64)
    observation = env.reset(noise)
    for t, chance in enumerate(chances):
        tape.obs[0] = observation[by_learner].view_as(tape.obs[0])
        tape.left[0] = 1 - t / EPISODE_STEPS
        out[t] = net.step(views, tape, 0)
        tape.state[0].copy_(tape.state[1])
        chosen = sample(out[t, ..., :-1].flatten(0, 1), chance[by_learner])
        observation, gained = env.step(chosen[by_vehicle])
        action[t], reward[t] = chosen.view_as(action[t]), gained[by_learner].view_as(reward[t])
    return Episodes(out, action, reward)


def _world(config: RunConfig, groups: int) -> tuple[OffloadingBatch, Noise, Tensor]:
    """`groups` training environments for every seed of `config`; vehicles are ordered by (group, seed, worker)."""
    seeds = probe_seeds(config.seed_list, groups)
    velocity = torch.tensor(training_velocities(config.workers), dtype=torch.float32).repeat(len(seeds))
    env = OffloadingBatch(CAPACITY, velocity, groups=len(seeds), cloud=config.cloud)
    noise = draw_noise(seeds, config.workers, PROBE_EPISODE, CAPACITY)
    return env, noise, action_uniforms(seeds, config.workers, PROBE_EPISODE, EPISODE_STEPS)


def _orders(config: RunConfig, groups: int) -> tuple[Tensor, Tensor]:
    """Vehicles (group, seed, worker) listed by learner (seed, learner, group, member), and the way back."""
    learners = config.seeds * config.learners_per_seed
    vehicles = torch.arange(groups * config.seeds * config.workers)
    by_learner = vehicles.view(groups, learners, -1).transpose(0, 1).flatten()
    return by_learner, by_learner.argsort()


def _policy(episodes: Episodes) -> Values:
    """Randomness of the policy, and what it makes of the observation."""
    log_policy = torch.log_softmax(episodes.out[..., :-1].double(), dim=-1)
    mean = log_policy.exp().mean((0, 2))  # (N, A)
    entropy = -(log_policy.exp() * log_policy).sum(-1).mean((0, 2))
    values = {"entropy": entropy, "policy_information": -torch.special.xlogy(mean, mean).sum(-1) - entropy}
    values |= {f"share_{name}": (episodes.action == i).double().mean((0, 2)) for i, name in enumerate(ACTIONS)}
    return values | {"probe_return": episodes.reward.double().sum(0).mean(1)}


def critic(episodes: Episodes, gamma: float) -> Values:
    """Per learner: the value beside the discounted return that really came, to the end of the episode."""
    steps, learners, batch = episodes.reward.shape
    reward = episodes.reward.double().flatten(1)
    returns = n_step_returns(reward, torch.zeros_like(reward[0]), gamma).view(steps, learners, batch)
    value = episodes.out[..., -1].double()
    remaining = torch.arange(steps, 0, -1, dtype=torch.float64).view(-1, 1, 1).expand_as(value)
    v, r, left = (x.transpose(0, 1).flatten(1) for x in (value, returns, remaining))  # (N, T · B)
    return {
        "value_mean": v.mean(1),
        "value_sd": v.std(1, correction=0),
        "value_bias": (v - r).mean(1),
        "value_rmse": (v - r).square().mean(1).sqrt(),
        "value_explained": explained_variance(v, r),
        "value_time_correlation": correlation(v, left),
        "value_mse_last": (value - returns)[-LAST:].square().mean((0, 2)),
    }
