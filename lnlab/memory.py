"""How much memory a run takes at most, and whether this machine has it: asked before a run's folder is made.

Rough on purpose: what grows with a setting, without what the libraries take for themselves. Checked against the tensors
of live trainers (tests/test_memory.py).
"""

import os
from pathlib import Path
from typing import Any

from lnlab.config import ActorCriticConfig, Config, ConfigError, TD3Config
from lnlab.runs import BLOCK

FLOAT = 4
VEHICLE = 10_000  # bytes of an offloading environment and its random numbers
ROW = 250  # bytes of a row of reports while the tables are made: it is copied on the way
TEST_ENVIRONMENTS = 2048  # least number stepped at once when a learner is tested
SCENARIOS = 18
FRAME, VECTOR = 84 * 84, 300  # bytes of a slot in the replay buffer
STATE = 565  # features and vector
CNN = 1_690_000  # parameters
ACTIVATIONS = 4 * (12_800 + 5_184 + 3_136) + 4 * 4 * FRAME  # bytes of a picture on its way through the CNN
CGROUPS = (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"))


def block(config: Config, cores: int, device: str = "cpu") -> int:
    """Seeds of a shard. A stack of small networks is one program; a CNN keeps a core busy with one seed."""
    if isinstance(config, TD3Config) and (config.early_stopping or _has_images(config)):
        return 1
    return config.seeds if device == "cuda" else min(BLOCK, -(-config.seeds // cores))


def refuse_too_large(config: Config, cores: int, device: str = "cpu", seeds: int | None = None) -> None:
    """Stop before anything is made for a run that cannot fit.

    Args:
        cores: processes that train side by side, each a block of seeds; no more than there are seeds.
        seeds: of a block, where other runs are trained beside this one.

    Raises:
        ConfigError: the machine, or its GPU, has less memory than the run takes.
    """
    asked, there = needed(config, cores, seeds or block(config, cores, device)), available(device)
    if there is None or asked <= there:
        return
    sizes = ("seeds", "episodes", "workers", "hidden", "eval_episodes", "capacity", "batch_size", "steps")
    named = ", ".join(f"{name}={getattr(config, name)}" for name in sizes if hasattr(config, name))
    raise ConfigError(
        f"{config.run_id} needs about {asked / 1e9:,.1f} GB of memory in {cores} processes, and there are "
        f"{there / 1e9:,.1f} GB; choose smaller sizes ({named}) or fewer cores"
    )


def needed(config: Config, processes: int, seeds: int) -> int:
    """Bytes that a run takes at most: `processes` that train `seeds` each side by side, and the tables at the end."""
    if isinstance(config, ActorCriticConfig):
        return processes * _actor_critics(config, seeds) + config.seeds * config.reports * config.workers * ROW
    return processes * seeds * _off_policy(config) + config.seeds * config.reports * ROW


def available(device: str = "cpu") -> int | None:
    """Bytes of memory of the machine, or what its container may take of it, or of the GPU; None if unknown."""
    if device == "cuda":
        import torch

        return int(torch.cuda.get_device_properties(0).total_memory)
    try:
        found = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")]
    except (AttributeError, ValueError, OSError):  # not a POSIX system
        return None
    limits = [path.read_text().strip() for path in CGROUPS if path.exists()]
    return min(found + [int(limit) for limit in limits if limit.isdigit()])


def _actor_critics(config: Any, seeds: int) -> int:
    """A process that trains `seeds` side by side, and tests them afterwards."""
    hidden, vehicles = config.hidden, seeds * config.workers
    learners = seeds * config.learners_per_seed
    trunks = 1 if config.trunks == "shared" else 2
    size = trunks * ((6 if config.core == "gru" else 1) * hidden**2 + 64 * hidden)
    activations = FLOAT * (trunks * 10 * hidden + 52)  # of one vehicle in one step
    # parameters, gradient, Adam's moments, and all but the gradient once more in a checkpoint; the workers' snapshots
    # and gradients, the snapshots once more
    parameters = FLOAT * size * (7 * learners + (3 + 2 * config.gradient_carry) * vehicles)
    training = vehicles * (VEHICLE + 2 * (config.rollout + 1) * activations)
    tests = getattr(config, "eval_episodes", 0)  # elsewhere than in the offloading task there are none
    tested = max(TEST_ENVIRONMENTS, SCENARIOS * tests) if tests else 0
    return parameters + max(training, tested * (VEHICLE + 2 * activations))


def _off_policy(config: TD3Config) -> int:
    """A process that trains one seed: replay buffer, once more in a checkpoint; networks; a batch on its way."""
    image = _has_images(config)
    slot = VECTOR + (FRAME if image else 0)
    heads = (1 + config.critics) * (config.hidden**2 + (STATE + 2) * config.hidden)
    networks = FLOAT * 8 * (heads + (2 * CNN if image else 0))
    transition = 2 * slot + 4 * (ACTIVATIONS if image else 0) + 8 * FLOAT * (1 + config.critics) * config.hidden
    buffer = slot * (config.capacity + min(config.capacity, config.steps))
    return buffer + networks + config.batch_size * transition


def _has_images(config: TD3Config) -> bool:
    if config.env == TD3Config.model_fields["env"].default:
        return True  # known without the simulator's libraries
    from lnlab.envs.images import has_images

    return has_images(config.env)
