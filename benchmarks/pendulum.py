"""Whether TD3 learns: Pendulum-v1 from its vector, 15,000 steps, 5 seeds; no timing.

A swing-up that works returns about −150; one that fails, −1000 and less. Judged is the mean of 10 test episodes of the
policy without noise, for every seed.
"""

from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import save, side_by_side
from lnlab.config import TD3Config
from lnlab.provenance import usable_cores
from lnlab.trainers.td3 import OffPolicyTrainer

SEEDS, STEPS, GOAL = 5, 15_000, -200.0
SETTINGS: dict[str, Any] = {  # exploration and gradients without limit as in Fujimoto et al. 2018
    "env": "Pendulum-v1",
    "norm": "none",  # there is no CNN to hold one
    "actor_clip": 0.0,
    "critic_clip": 0.0,
    "exploration_start": 0.1,
    "random_actions": "uniform",
    "eval_every": 0,
    "eval_episodes": 10,
}


def learn(seed: int, steps: int, ready: Any, queue: Any) -> None:
    """Train one seed; (seed, mean return of its test episodes) goes to the queue."""
    torch.set_num_threads(1)
    trainer = OffPolicyTrainer(TD3Config(seeds=1, first_seed=seed, steps=steps, **SETTINGS))
    ready.wait()
    for _ in trainer:
        pass
    returns = [row["return"] for row in trainer.rows["checks"] if row["step"] == steps]
    queue.put((seed, sum(returns) / len(returns)))


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep each seed's mean return; True if all reach the goal. The arguments change nothing here."""
    cores, scores = usable_cores(), dict[int, float]()
    for first in tqdm(range(0, SEEDS, cores), desc="pendulum", unit="group", leave=False):
        group = range(first, min(first + cores, SEEDS))
        scores |= dict(side_by_side(learn, [(seed, STEPS) for seed in group]))
    scores = dict(sorted(scores.items()))
    print(f"\nPendulum-v1 after {STEPS:,} steps, mean return of 10 test episodes; goal {GOAL:.0f} for every seed")
    print("  ".join(f"seed {seed}: {score:.0f}" for seed, score in scores.items()))
    print(save("pendulum", {"steps": STEPS, "goal": GOAL, "settings": SETTINGS, "return_by_seed": scores}))
    return min(scores.values()) > GOAL
