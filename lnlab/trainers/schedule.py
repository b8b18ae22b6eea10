"""Random numbers of the trainers, stateless: each is a function of (seed, purpose, episode), so resuming needs no
generator state and a seed's numbers never depend on which other seeds are trained beside it."""

from collections.abc import Sequence
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor


class Purpose(IntEnum):
    """Streams of one seed; those below 10 are the environments'."""

    INIT = 10
    ACTION = 11
    SCHEDULE = 12
    TEST_ACTION = 13
    RANDOM_ACTION = 20
    EXPLORATION = 21
    BATCH = 22
    TARGET_NOISE = 23
    EPISODE = 24
    PROBE = 25
    TEST_EPISODE = 26
    SHIFT = 27


def action_uniforms(seeds: Sequence[int], workers: int, episode: int, steps: int) -> Tensor:
    """Uniform numbers (steps, N) in [0, 1), N = seeds · workers, that pick the actions of an episode."""
    draws = [
        np.random.default_rng([seed, Purpose.ACTION, episode]).random((steps, workers), np.float32) for seed in seeds
    ]
    return torch.from_numpy(np.concatenate(draws, axis=1))


def action_draws(
    seeds: Sequence[int], workers: int, episode: int, steps: int, shape: tuple[int, ...], *, gaussian: bool
) -> Tensor:
    """Random numbers (steps, N, *shape) that pick the actions of a report: uniform on [0, 1), or standard normal."""
    rngs = [np.random.default_rng([seed, Purpose.ACTION, episode]) for seed in seeds]
    size = (steps, workers, *shape)
    draws = [rng.standard_normal(size, np.float32) if gaussian else rng.random(size, np.float32) for rng in rngs]
    return torch.from_numpy(np.concatenate(draws, axis=1))


def push_order(seeds: Sequence[int], workers: int, episode: int, updates: int) -> Tensor:
    """Rows (updates, workers, seeds) of the worker that pushes its gradient first, second, … in each of the episode's
    updates."""
    orders = []
    for seed in seeds:
        rng = np.random.default_rng([seed, Purpose.SCHEDULE, episode])
        orders.append(rng.permuted(np.tile(np.arange(workers), (updates, 1)), axis=1))
    rows = np.stack(orders, axis=-1) + workers * np.arange(len(seeds))
    return torch.from_numpy(rows)
