"""Training speed of A3C and Individual: lnlab against a plain PyTorch A3C in the same round, and against the
original's figures.

Steps are environment steps, summed over workers and seeds. The original (one process per worker, one seed at a time)
was timed on two cores of another machine, with the same update rule: its ratio holds only roughly, the plain control's
ratio holds here.
"""

import time
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks import plain_a3c
from benchmarks.machine import describe, median, save, side_by_side
from lnlab.config import EPISODE_STEPS, RunConfig, parse
from lnlab.runs import BLOCK
from lnlab.trainers import make_trainer
from lnlab.trainers.native import library

ORIGINAL = {  # env steps per second on two cores
    ("a3c", "gru", "ln"): 1421,
    ("individual", "gru", "ln"): 1716,
    ("a3c", "ff", "none"): 3246,
    ("individual", "ff", "none"): 4679,
}
GOAL_ORIGINAL, GOAL_PLAIN = 20, 10  # times faster
JUDGED = ("a3c-gru-ln", "individual-gru-ln")  # the arms that the goals are for


def measure(config: Any, seconds: float, *, block: int = BLOCK, processes: int = 2) -> float:
    """Steps per second of `processes` processes side by side, each over `block` seeds, after a warm-up."""
    parts = [config.with_seeds(list(range(i * block, (i + 1) * block))) for i in range(processes)]
    return sum(side_by_side(_time_block, [(part, seconds) for part in parts]))


def _time_block(config: Any, seconds: float, ready: Any, queue: Any) -> None:
    torch.set_num_threads(1)
    queue.put(steps_per_second(config, seconds, ready))


def steps_per_second(config: Any, seconds: float, ready: Any) -> float:
    """Of one trainer, after a warm-up and once those beside it are `ready`."""
    trainer = make_trainer(config)
    trainer.train_episode()
    ready.wait()
    start, episodes = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        trainer.train_episode()
        episodes += 1
    return episodes * config.seeds * config.steps_per_report / elapsed


def measure_plain(config: RunConfig, episodes: int) -> float:
    """Steps per second of the plain control."""
    _, seconds = plain_a3c.train(config.model_copy(update={"seeds": 1, "episodes": episodes}))
    return episodes * config.workers * EPISODE_STEPS / seconds


def compare(rounds: int, seconds: float) -> dict[str, Any]:
    """Every arm of the original's table, ours, by compiled code, and the control in turn, `rounds` times."""
    arms: dict[str, Any] = {}
    library()  # compiled before clocks run
    with tqdm(total=len(ORIGINAL) * rounds, desc="trainers", unit="round") as bar:
        for (algorithm, core, norm), original in ORIGINAL.items():
            config = parse({"algorithm": algorithm, "core": core, "norm": norm})
            ours, compiled, plain = [], [], []
            for _ in range(rounds):
                ours.append(measure(config, seconds))
                compiled.append(measure(config.model_copy(update={"backend": "native"}), seconds))
                plain.append(measure_plain(config, episodes=max(4, int(2 * seconds))))
                bar.update()
            arms[config.run_id] = {
                "steps_per_second": describe(ours),
                "plain_steps_per_second": describe(plain),
                "ratio_plain": describe([a / b for a, b in zip(ours, plain, strict=True)]),
                "original_steps_per_second": original,
                "ratio_original": median(ours) / original,
                "native_steps_per_second": describe(compiled),
                "native_ratio_torch": describe([a / b for a, b in zip(compiled, ours, strict=True)]),
                "native_ratio_plain": describe([a / b for a, b in zip(compiled, plain, strict=True)]),
                "native_ratio_original": median(compiled) / original,
            }
    return arms


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the figures; True if every GRU+LN arm reaches its goals."""
    arms = compare(rounds, seconds)
    print(f"\n{'arm':<20}{'steps/s':>10}{'plain':>8}{'× plain':>9}{'original':>10}{'× original':>12}")
    for name, arm in arms.items():
        print(
            f"{name:<20}{arm['steps_per_second']['median']:>10,.0f}{arm['plain_steps_per_second']['median']:>8,.0f}"
            f"{arm['ratio_plain']['median']:>9.1f}{arm['original_steps_per_second']:>10,}{arm['ratio_original']:>12.1f}"
        )
    print(f"\n{'backend=native':<20}{'steps/s':>10}{'× torch':>9}{'× plain':>9}{'× original':>12}")
    for name, arm in arms.items():
        print(
            f"{name:<20}{arm['native_steps_per_second']['median']:>10,.0f}{arm['native_ratio_torch']['median']:>9.1f}"
            f"{arm['native_ratio_plain']['median']:>9.1f}{arm['native_ratio_original']:>12.1f}"
        )
    print(f"medians of {rounds} rounds, {2 * BLOCK} seeds in 2 processes")
    print(f"goals of {' and '.join(JUDGED)}: {GOAL_PLAIN}× plain, {GOAL_ORIGINAL}× original")
    print(save("trainers", {"rounds": rounds, "seconds": seconds, "seeds": 2 * BLOCK, "arms": arms}))
    goals = [arms[name] for name in JUDGED]
    return all(arm["ratio_original"] >= GOAL_ORIGINAL and arm["ratio_plain"]["median"] >= GOAL_PLAIN for arm in goals)
