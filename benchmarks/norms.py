"""What a norm costs: training speed and parameters of A3C and Individual with every norm, GRU and feedforward, against
none, by torch's path and by compiled code where it knows the norm.

All norms of a network take turns within a round, in the same two processes; a ratio is that of one round.
"""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import describe, save, side_by_side
from benchmarks.trainers import steps_per_second
from lnlab.config import ConfigError, RunConfig, parse
from lnlab.models.norms import ACTOR_CRITIC, NORMS
from lnlab.runs import BLOCK
from lnlab.trainers import make_trainer

ALGORITHMS, CORES, BACKENDS = ("a3c", "individual"), ("gru", "ff"), ("torch", "native")
GOAL = 0.7  # of the speed without a norm, with LayerNorm


def arms(algorithm: str, core: str, backend: str) -> dict[str, RunConfig]:
    """Settings by norm, none first; without the norms that this network or backend cannot take, or that another row's
    code is."""
    found: dict[str, RunConfig] = {}
    for norm in ("none", *(name for name in ACTOR_CRITIC if name != "none" and not NORMS[name].kind)):
        try:
            config: Any = parse({"algorithm": algorithm, "core": core, "norm": norm, "backend": backend})
        except ConfigError:  # a norm inside a GRU
            continue
        if make_trainer(config.with_seeds([0])).backend == backend:  # torch takes what native does not know
            found[norm] = config
    return found


def measure(configs: Sequence[RunConfig], seconds: float) -> list[float]:
    """Steps per second of each, one after the other, in two processes side by side with a block of seeds each."""
    parts = [[each.with_seeds(list(range(i * BLOCK, (i + 1) * BLOCK))) for each in configs] for i in range(2)]
    return [sum(both) for both in zip(*side_by_side(_time_in_turn, [(part, seconds) for part in parts]), strict=True)]


def _time_in_turn(configs: Sequence[RunConfig], seconds: float, ready: Any, queue: Any) -> None:
    torch.set_num_threads(1)
    queue.put([steps_per_second(config, seconds, ready) for config in configs])


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the figures; True if LayerNorm keeps most of the speed."""
    figures: list[dict[str, Any]] = []
    groups = {key: arms(*key) for key in itertools.product(ALGORITHMS, CORES, BACKENDS)}
    print(f"\n{'arm':<28}{'backend':<9}{'steps/s':>9}{'of none':>9}{'parameters':>12}")
    with tqdm(total=rounds * len(groups), desc="norms", unit="round", leave=False) as bar:
        for (algorithm, core, backend), configs in groups.items():
            speeds: dict[str, list[float]] = {norm: [] for norm in configs}
            for _ in range(rounds if configs else 0):
                for norm, speed in zip(configs, measure([*configs.values()], seconds), strict=True):
                    speeds[norm].append(speed)
                bar.update()
            for norm, config in configs.items():
                share = describe([a / b for a, b in zip(speeds[norm], speeds["none"], strict=True)])
                count = make_trainer(config.with_seeds([0])).parameter_count
                row = {"algorithm": algorithm, "core": core, "norm": norm, "backend": backend, "parameters": count}
                figures.append(row | {"share": share, "steps_per_second": (found := describe(speeds[norm]))})
                tqdm.write(
                    f"{f'{algorithm}-{core}-{norm}':<28}{backend:<9}{found['median']:>9,.0f}{share['median']:>9.2f}"
                    f"{count:>12,}"
                )
    print(save("norms", {"rounds": rounds, "seconds": seconds, "seeds": 2 * BLOCK, "goal": GOAL, "arms": figures}))
    return all(each["share"]["median"] >= GOAL for each in figures if each["norm"] == "ln")
