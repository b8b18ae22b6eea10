"""Whether TD3 learns: Pendulum-v1 from its vector, 15,000 steps, 5 seeds in one stack; no timing.

A swing-up that works returns about −150; one that fails, −1000 and less. Judged is the mean of 10 test episodes of the
policy without noise: of every seed, and over the seeds.
"""

from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import save
from lnlab.config import TD3Config
from lnlab.trainers.stacked_td3 import StackedTrainer

SEEDS, STEPS, GOAL, GOAL_MEAN = 5, 15_000, -200.0, -160.0
SETTINGS: dict[str, Any] = {  # exploration and gradients without limit as in Fujimoto et al. 2018
    "env": "Pendulum-v1",
    "norm": "none",
    "hidden": 64,
    "batch_size": 64,
    "actor_clip": 0.0,
    "critic_clip": 0.0,
    "exploration_start": 0.1,
    "random_actions": "uniform",
    "eval_every": 0,
    "eval_episodes": 10,
}


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep each seed's mean return; True if they reach the goals. The arguments change nothing here."""
    torch.set_num_threads(1)
    trainer = StackedTrainer(TD3Config(seeds=SEEDS, steps=STEPS, **SETTINGS))
    for _ in tqdm(trainer, total=trainer.config.reports, desc="pendulum", unit="report", leave=False):
        pass
    checks = trainer.table("checks")
    assert checks is not None
    scores = checks[checks.step == STEPS].groupby("seed")["return"].mean()
    goals = f"goal {GOAL:.0f} for every seed, {GOAL_MEAN:.0f} in the mean"
    print(f"\nPendulum-v1 after {STEPS:,} steps, mean return of 10 test episodes; {goals}")
    print("  ".join(f"seed {seed}: {score:.0f}" for seed, score in scores.items()), f" mean {scores.mean():.0f}")
    told = {"steps": STEPS, "goal": GOAL, "goal_mean": GOAL_MEAN, "settings": SETTINGS}
    print(save("pendulum", told | {"return_by_seed": scores.to_dict()}))
    return bool(scores.min() > GOAL and scores.mean() > GOAL_MEAN)
