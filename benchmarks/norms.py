"""What a norm costs: training speed and parameters of A3C with every norm, GRU and feedforward, against none.

All norms of a network take turns within a round; a ratio is that of one round.
"""

from typing import Any

from tqdm.auto import tqdm

from benchmarks.machine import describe, save
from benchmarks.trainers import measure
from lnlab.config import ConfigError, parse
from lnlab.models.norms import ACTOR_CRITIC, NORMS
from lnlab.trainers import make_trainer

CORES = ("gru", "ff")
GOAL = 0.7  # of the speed without a norm, with LayerNorm


def arms(core: str) -> dict[str, Any]:
    """Settings by norm, none first; without the norms that this network cannot take, or that another row's code is."""
    found = {}
    for norm in ("none", *(name for name in ACTOR_CRITIC if name != "none" and not NORMS[name].kind)):
        try:
            found[norm] = parse({"core": core, "norm": norm})
        except ConfigError:  # a norm inside a GRU
            continue
    return found


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the figures; True if LayerNorm keeps most of the speed."""
    figures: list[dict[str, Any]] = []
    print(f"\n{'core':<6}{'norm':<14}{'steps/s':>9}{'of none':>9}{'parameters':>12}")
    for core in CORES:
        configs = arms(core)
        speeds: dict[str, list[float]] = {norm: [] for norm in configs}
        for _ in tqdm(range(rounds), desc=f"norms, {core}", unit="round", leave=False):
            for norm, config in configs.items():
                speeds[norm].append(measure(config, seconds))
        for norm, config in configs.items():
            share = describe([a / b for a, b in zip(speeds[norm], speeds["none"], strict=True)])
            count = make_trainer(config.with_seeds([0])).parameter_count
            figures.append({"core": core, "norm": norm, "parameters": count, "share": share})
            figures[-1]["steps_per_second"] = speed = describe(speeds[norm])
            print(f"{core:<6}{norm:<14}{speed['median']:>9,.0f}{share['median']:>9.2f}{count:>12,}")
    print(save("norms", {"rounds": rounds, "seconds": seconds, "goal": GOAL, "arms": figures}))
    return all(each["share"]["median"] >= GOAL for each in figures if each["norm"] == "ln")
