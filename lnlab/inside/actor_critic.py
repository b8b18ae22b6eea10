"""What goes on inside the learners of an actor-critic run, at a few checkpoints of its training.

Three views of every learner: its features on fixed probe sequences (`features`), its behaviour and its critic on own
episodes (`behaviour`), its gradients and steps on copies of the trainer (`gradients`). The live trainer is only read:
a training with diagnostics in between has the same bits as one without. Measured on the CPU, wherever the run trains.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch

from lnlab.analysis.metrics import ALL_WORKERS
from lnlab.config import RunConfig
from lnlab.inside.behaviour import behaviour
from lnlab.inside.features import representation
from lnlab.inside.gradients import agreement, cut, next_update, weights
from lnlab.inside.probes import Values
from lnlab.shards import Shard
from lnlab.trainers.a3c import ActorCriticTrainer
from lnlab.trainers.watchers import Watcher

SEEDS_AT_ONCE = 5  # bounds the memory of the copies
MARKS = (10, 25, 50, 100, 200, 300, 500, 700, 1000, 1500, 2000, 3000, 5000, 7000, 10_000)  # episodes


def checkpoints(episodes: int) -> list[int]:
    """Episodes at which to look: the untrained network, about evenly on a log scale, and the end.

    The grid is the same for runs of any length, so that their curves can be joined.

    Raises:
        ValueError: `episodes` is below 1.

    >>> checkpoints(2000)
    [0, 10, 25, 50, 100, 200, 300, 500, 700, 1000, 1500, 2000]
    >>> checkpoints(30)
    [0, 10, 25, 30]
    """
    if episodes < 1:
        raise ValueError(f"episodes must be at least 1; got {episodes}")
    return [0, *(mark for mark in MARKS if mark < episodes), episodes]


class Diagnostics(Watcher):
    """Keeps the table `diagnostics`; a run that was killed looks again after its last checkpoint, to the same bits."""

    def __init__(self, trainer: Any, shard: Shard) -> None:
        super().__init__(trainer, shard)
        self.due = checkpoints(trainer.config.episodes)
        if trainer.episode == 0:
            self({})

    @staticmethod
    def wants(trainer: Any) -> bool:
        """Of one trunk: lnlab/quantities.toml speaks of the features that policy and value share."""
        return isinstance(trainer.config, RunConfig) and trainer.config.trunks == "shared"

    def __call__(self, report: dict[str, Any]) -> None:
        episode = self.trainer.episode
        if episode not in self.due:
            return
        earlier, now = self.shard.table("diagnostics"), diagnose(self.trainer)
        if earlier is not None:
            due = earlier["step"].isin(self.due) & (earlier["step"] < episode)  # not the end of a shorter run
            now = pd.concat([earlier[due], now], ignore_index=True)
        self.shard.write_table("diagnostics", now)


@torch.no_grad()
def diagnose(trainer: ActorCriticTrainer) -> pd.DataFrame:
    """Measure every learner of `trainer` between two of its episodes, without changing it.

    Returns:
        Rows seed, worker, step (= trainer.episode), quantity, value (float32), the `diagnostics` table of a run.
        `worker` is −1 for what belongs to a model or a seed of A3C, else the worker or Individual learner. `value` is
        NaN where a learner's numbers are not finite. lnlab/quantities.toml has units and definitions; those of a
        GRU, of LN or of shared learners are left out where there is none.
    """
    seeds = trainer.seeds
    blocks = [(first, seeds[first : first + SEEDS_AT_ONCE]) for first in range(0, len(seeds), SEEDS_AT_ONCE)]
    return pd.concat([table for block in blocks for table in _block(trainer, *block)], ignore_index=True)


def _block(trainer: ActorCriticTrainer, first: int, seeds: list[int]) -> Iterator[pd.DataFrame]:
    """Tables of consecutive seeds, of which `first` is the position of the first."""
    config, last = trainer.config.with_seeds(seeds), first + len(seeds)
    per_seed = config.learners_per_seed
    rows = slice(first * config.workers, last * config.workers)
    state = cut(trainer.state_dict(), slice(first * per_seed, last * per_seed), rows)
    net, parameters = trainer.net, state["parameters"]
    by_seed, by_worker = agreement(config, parameters)
    learner = representation(net, parameters) | behaviour(config, net, parameters) | weights(net, parameters)
    steps, pushes = next_update(config, state)
    every = list(range(config.workers))
    models = [ALL_WORKERS] if config.algorithm == "a3c" else every
    for values, workers in ((learner | steps, models), (by_worker | pushes, every), (by_seed, [ALL_WORKERS])):
        yield _table(values, seeds, workers, trainer.episode)


def _table(values: Values, seeds: list[int], workers: list[int], step: int) -> pd.DataFrame:
    """Tidy rows of quantities measured for each seed and worker, seed-major."""
    seed, worker = np.repeat(seeds, len(workers)), np.tile(workers, len(seeds))
    count = len(values)
    return pd.DataFrame(
        {
            "seed": np.tile(seed, count),
            "worker": np.tile(worker, count),
            "step": step,
            "quantity": np.repeat(np.array(list(values), dtype=object), len(seed)),
            "value": torch.cat([*values.values()]).float().numpy() if values else np.empty(0, np.float32),
        }
    )
