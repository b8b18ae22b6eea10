"""The 18 test scenarios of D1, for all learners of a run at once, beside reference policies that learn nothing.

A scenario is a local capacity C and a velocity v. Training used C = 200 and v = 5 … 25: `seen` repeats it, `intra`
changes the velocity, `extra` lowers the capacity (a poorer environment: every competent policy drops there).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.functional import one_hot
from tqdm.auto import tqdm

from lnlab.config import EPISODE_STEPS, RunConfig
from lnlab.envs.offloading import Noise, OffloadingBatch, draw_noise, training_velocities
from lnlab.models.actor_critic import ActorCritic, of_settings
from lnlab.policies import POLICIES
from lnlab.trainers.returns import sample
from lnlab.trainers.schedule import Purpose

SCENARIOS: dict[str, list[tuple[int, int]]] = {  # group → (capacity, velocity in km/h)
    "seen": [(200, 5), (200, 10), (200, 15), (200, 20), (200, 25)],
    "intra": [(200, 7), (200, 12), (200, 17), (200, 25), (200, 30), (200, 35)],
    "extra": [(100, 25), (100, 30), (150, 25), (150, 30), (150, 35), (100, 10), (150, 15)],
}
SWEEP = {"sweep": [(200, velocity) for velocity in (50, 70, 75, 80, 90, 100)]}  # the fast cars of D2 and D4
CLOUDS = ("budget", "refilled")  # the original's test rules, and a private pool with the training's refill
MODES = ("greedy", "sampled")  # arg-max as in the original, and the policy as it was trained
TOGETHER = ("vote", "mean")  # of several learners: the action that most of them choose, one drawn from the mean policy
ACTIONS = ("local", "offload", "discard")
ROWS = 2048  # environments stepped at once: activations stay in the cache
GPU_ROWS = 2**16  # which a GPU takes in hardly more time
TEST_EPISODE = 1_000_000  # test noise comes from episodes that no training reaches

Groups = Mapping[str, list[tuple[int, int]]]
Act = Callable[[Tensor, int], Tensor]  # observations (E, 48), step → actions (E,)


class Outcome(NamedTuple):
    """Per environment: return of the episode and how often each action was taken."""

    returns: Tensor  # (E,)
    actions: Tensor  # (E, 3) shares


def scenario_table(groups: Groups = SCENARIOS) -> pd.DataFrame:
    """The scenarios as rows: scenario (0 … 17, those of the sweep from 18), group, capacity, velocity."""
    rows = [(group, *pair) for group, pairs in groups.items() for pair in pairs]
    table = pd.DataFrame(rows, columns=["group", "capacity", "velocity"])
    first = 0 if groups is SCENARIOS else sum(map(len, SCENARIOS.values()))
    table.insert(0, "scenario", range(first, first + len(table)))
    return table


def evaluate(
    config: RunConfig, parameters: Tensor, *, groups: Groups = SCENARIOS, progress: bool = False
) -> pd.DataFrame:
    """Test every learner on every scenario, greedy and sampled, with both clouds.

    Args:
        config: the run's settings; `eval_episodes` per scenario.
        parameters: (learners, size), seed-major, on the device to use.
        groups: the scenarios, SCENARIOS or SWEEP.

    Returns:
        One row per learner, scenario, mode and cloud: seed, worker (−1 for a shared model), the scenario, mode, cloud,
        episodes, return_mean, return_std (over episodes, ddof 0), share_local, share_offload, share_discard.
    """
    net = of_settings(config)
    per_learner = len(scenario_table(groups)) * config.eval_episodes
    chunk = max(1, (ROWS if parameters.device.type == "cpu" else GPU_ROWS) // per_learner)
    tables: list[pd.DataFrame] = []
    with tqdm(total=len(parameters), desc="testing", unit="learner", disable=not progress) as bar:
        for start in range(0, len(parameters), chunk):
            rows = range(start, min(start + chunk, len(parameters)))
            tables += _evaluate_chunk(config, net, parameters[rows.start : rows.stop], rows, groups)
            bar.update(len(rows))
    return pd.concat(tables).sort_values(["seed", "worker", "cloud", "mode", "scenario"], ignore_index=True)


def evaluate_ensemble(config: RunConfig, parameters: Tensor, *, groups: Groups = SCENARIOS) -> pd.DataFrame:
    """Test the learners of each seed acting as one, by vote and by mean policy, with both clouds.

    Args:
        config: the settings of a run of Individual; `eval_episodes` per scenario.
        parameters: (learners, size), seed-major: those of a trained run, whatever it was trained for.
        groups: the scenarios, SCENARIOS or SWEEP.

    Returns:
        Columns as `evaluate`, with worker −1 and modes `TOGETHER`; the test episodes are those of the learners alone.
    """
    net, tables = of_settings(config), []
    for seed, rows in zip(config.seed_list, parameters.split(config.learners_per_seed), strict=True):
        for cloud in CLOUDS:
            for mode in TOGETHER:
                env, noise, uniforms = _environments([seed], config.eval_episodes, cloud, parameters.device, groups)
                outcome = play(env, noise, _as_one(net, rows, uniforms, mode))
                table = _summarise(outcome, config.eval_episodes, [{"seed": seed, "worker": -1}], groups)
                tables.append(table.assign(cloud=cloud, mode=mode))
    return pd.concat(tables).sort_values(["seed", "worker", "cloud", "mode", "scenario"], ignore_index=True)


def evaluate_policies(
    episodes: int, *, seed: int = 0, groups: Groups = SCENARIOS, device: torch.device | str = "cpu"
) -> pd.DataFrame:
    """The reference policies on the same scenarios: columns as `evaluate`, with `policy` in place of seed and
    worker."""
    tables = []
    for cloud in CLOUDS:
        for name, policy in POLICIES.items():
            env, noise, uniforms = _environments([seed], episodes, cloud, device, groups)
            outcome = play(env, noise, _follow(policy, uniforms))
            tables.append(_summarise(outcome, episodes, [{"policy": name}], groups).assign(cloud=cloud, mode="policy"))
    return pd.concat(tables, ignore_index=True)


def policies_in_training(episodes: int, *, workers: int = 5, seed: int = 0, cloud: str = "shared") -> pd.DataFrame:
    """The reference policies under the training rules (one pool shared by the workers, or another `cloud`): policy,
    return_mean, return_se, episodes.

    The standard error is over episodes of the whole group of workers, since workers of one episode compete for one
    pool.
    """
    velocity = torch.tensor(training_velocities(workers), dtype=torch.float32).repeat(episodes)
    rows = []
    for name, policy in POLICIES.items():
        env = OffloadingBatch(200, velocity, groups=episodes, cloud=cloud)
        noise = draw_noise(range(seed, seed + episodes), workers, TEST_EPISODE, 200)
        uniforms = _uniforms([seed], len(velocity))
        group = play(env, noise, _follow(policy, uniforms)).returns.view(episodes, workers).mean(1)
        rows.append((name, group.mean().item(), (group.std() / episodes**0.5).item(), episodes))
    return pd.DataFrame(rows, columns=["policy", "return_mean", "return_se", "episodes"])


@torch.no_grad()
def play(env: OffloadingBatch, noise: Noise, act: Act) -> Outcome:
    """One episode of every environment under `act`, with one thread: operations this small only wait for a second."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        obs = env.reset(noise)
        returns = torch.zeros(len(obs), device=obs.device)
        counts = torch.zeros(len(obs), len(ACTIONS), device=obs.device)
        for t in range(EPISODE_STEPS):
            action = act(obs, t)
            counts.scatter_add_(1, action.unsqueeze(1), torch.ones_like(action, dtype=counts.dtype).unsqueeze(1))
            obs, reward = env.step(action)
            returns += reward
        return Outcome(returns, counts / EPISODE_STEPS)
    finally:
        torch.set_num_threads(threads)


def _evaluate_chunk(
    config: RunConfig, net: ActorCritic, parameters: Tensor, rows: range, groups: Groups
) -> Iterator[pd.DataFrame]:
    """Tables of the learners in `rows`; a seed's learners meet the same test episodes, whatever the arm."""
    per_seed = config.learners_per_seed
    seeds = [config.seed_list[row // per_seed] for row in rows]
    shared = config.algorithm == "a3c"
    labels = [{"seed": seed, "worker": -1 if shared else row % per_seed} for seed, row in zip(seeds, rows, strict=True)]
    for cloud in CLOUDS:
        for mode in MODES:
            env, noise, uniforms = _environments(seeds, config.eval_episodes, cloud, parameters.device, groups)
            outcome = play(env, noise, _actor(net, parameters, uniforms, mode))
            yield _summarise(outcome, config.eval_episodes, labels, groups).assign(cloud=cloud, mode=mode)


def _actor(net: ActorCritic, parameters: Tensor, uniforms: Tensor, mode: str) -> Act:
    """The stack of learners as one policy over E = learners · B environments, with its recurrent state from zero."""
    views, batch = net.layout.views(parameters), uniforms.shape[1] // len(parameters)
    tape = net.tape(1, len(parameters), batch, device=parameters.device)

    def act(obs: Tensor, t: int) -> Tensor:
        tape.obs[0].copy_(obs.view(len(parameters), batch, -1))
        logits = net.step(views, tape, 0)[..., :-1].reshape(len(obs), -1)
        tape.state[0].copy_(tape.state[1])
        return logits.argmax(-1) if mode == "greedy" else sample(logits, uniforms[t])

    return act


def _as_one(net: ActorCritic, parameters: Tensor, uniforms: Tensor, mode: str) -> Act:
    """L learners as one policy over E environments, each with a recurrent state of its own from zero."""
    views = net.layout.views(parameters)
    tape = net.tape(1, len(parameters), uniforms.shape[1], device=parameters.device)

    def act(obs: Tensor, t: int) -> Tensor:
        tape.obs[0].copy_(obs.expand_as(tape.obs[0]))
        logits = net.step(views, tape, 0)[..., :-1]  # (L, E, A)
        tape.state[0].copy_(tape.state[1])
        mean = torch.softmax(logits, -1).mean(0)
        if mode == "mean":
            return sample(mean.log(), uniforms[t])
        votes = one_hot(logits.argmax(-1), mean.shape[-1]).sum(0)
        return (votes + mean / 2).argmax(-1)  # of a tie, what is likelier in the mean

    return act


def _follow(policy: Callable[[Tensor, Tensor], Tensor], uniforms: Tensor) -> Act:
    return lambda obs, t: policy(obs, uniforms[t])


def _environments(
    seeds: list[int], episodes: int, cloud: str, device: torch.device | str, groups: Groups
) -> tuple[OffloadingBatch, Noise, Tensor]:
    """Environments (learner-major, then scenario, then episode) of `seeds`, one entry a learner, with their random
    numbers."""
    pairs = torch.tensor([pair for each in groups.values() for pair in each], dtype=torch.float32)
    batch = len(pairs) * episodes
    capacity, velocity = pairs.repeat_interleave(episodes, 0).repeat(len(seeds), 1).T
    env = OffloadingBatch(capacity, velocity, groups=len(capacity), cloud=cloud, device=device)
    noise = draw_noise(seeds, batch, TEST_EPISODE, capacity, device=device)
    return env, noise, _uniforms(seeds, batch).to(device)


def _uniforms(seeds: Sequence[int], each: int) -> Tensor:
    """Numbers in [0, 1) that pick the actions of `each` environments of every seed, (100, seeds · each)."""
    rngs = [np.random.default_rng([seed, Purpose.TEST_ACTION]) for seed in seeds]
    return torch.from_numpy(np.concatenate([rng.random((EPISODE_STEPS, each), np.float32) for rng in rngs], axis=1))


def _summarise(outcome: Outcome, episodes: int, labels: list[dict[str, Any]], groups: Groups) -> pd.DataFrame:
    """Means over the episodes of each learner and scenario, as rows."""
    scenarios = scenario_table(groups)
    shape = (len(labels), len(scenarios), episodes)
    returns = outcome.returns.view(shape).double()
    shares = outcome.actions.view(*shape, -1).double().mean(2).flatten(0, 1).cpu().numpy()
    table = pd.concat([scenarios.assign(**label) for label in labels], ignore_index=True)
    table["episodes"] = episodes
    table["return_mean"] = returns.mean(2).flatten().cpu().numpy()
    table["return_std"] = returns.std(2, correction=0).flatten().cpu().numpy()
    for column, name in enumerate(ACTIONS):
        table[f"share_{name}"] = shares[:, column]
    first = list(labels[0])
    return table[first + [name for name in table.columns if name not in first]]
