"""Testing speed: 18 scenarios × 100 episodes × 240 learners (8 arms × 30 seeds) with one mode and one cloud, on all
cores.

Timed on a few learners of each core type and scaled to the 240, since every learner costs the same.
"""

import time
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import describe, save, side_by_side
from lnlab import evaluation
from lnlab.config import parse
from lnlab.provenance import usable_cores
from lnlab.trainers import make_trainer

LEARNERS, EPISODES, GOAL_SECONDS = 240, 100, 60.0


def seconds_per_learner(processes: int) -> float:
    """Mean seconds a learner takes (GRU and feedforward, LN), with `processes` testing side by side."""
    return sum(side_by_side(_time, [()] * processes)) / processes


def _time(ready: Any, queue: Any) -> None:
    torch.set_num_threads(1)
    seconds = []
    for core in ("gru", "ff"):
        config = parse({"core": core, "seeds": 2, "eval_episodes": EPISODES})
        parameters = make_trainer(config).parameters.detach()
        evaluation.evaluate(config, parameters[:1])
        ready.wait()
        start = time.perf_counter()
        evaluation.evaluate(config, parameters)
        runs = len(parameters) * len(evaluation.CLOUDS) * len(evaluation.MODES)
        seconds.append((time.perf_counter() - start) / runs)
    queue.put(sum(seconds) / len(seconds))


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the projected time; True if it is under a minute."""
    cores = usable_cores()
    each = [seconds_per_learner(cores) for _ in tqdm(range(rounds), desc="evaluation", unit="round")]
    total = describe([value * LEARNERS / cores for value in each])
    what = f"18 scenarios × {EPISODES} episodes × {LEARNERS} learners"
    print(f"\n{what}: {total['median']:.0f} s on {cores} cores; goal {GOAL_SECONDS:.0f} s")
    print(
        save(
            "evaluation",
            {"seconds_for_all": total, "seconds_per_learner": describe(each), "goal_seconds": GOAL_SECONDS},
        )
    )
    return total["median"] <= GOAL_SECONDS
