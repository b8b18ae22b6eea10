"""How training speed and memory change with seeds, workers, width and processes: A3C, GRU with LN.

Seeds are counted by compiled code too, which takes one seed after the other through a rollout.

Each point is one fresh process (or several side by side), so that its memory is its own. The cost of a step should fall
or stay flat as seeds grow: the stack spreads the cost of an operation over more learners, until the parameters leave
the cache. A run therefore trains its seeds in blocks (lnlab.runs.BLOCK), one after the other.
"""

import resource
import sys
import time
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import median, save, side_by_side
from lnlab.config import EPISODE_STEPS, RunConfig, parse
from lnlab.provenance import usable_cores
from lnlab.trainers import make_trainer

AXES: dict[str, list[int]] = {
    "seeds": [1, 2, 5, 10, 20, 50, 100],
    "workers": [1, 2, 5, 10, 20],
    "hidden": [32, 64, 128, 256, 512],
    "processes": [1, 2, 4, 8, 16],
    "native": [1, 2, 5, 10, 20, 50, 100],  # seeds
}
BASE = {"algorithm": "a3c", "core": "gru", "norm": "ln", "seeds": 5}


def measure_point(config: RunConfig, seconds: float, processes: int) -> dict[str, float]:
    """Steps per second over all processes, and the largest peak memory of one of them in MiB."""
    results = side_by_side(_point, [(config, seconds)] * processes)
    return {"steps_per_second": sum(speed for speed, _ in results), "peak_mib": max(memory for _, memory in results)}


def _point(config: RunConfig, seconds: float, ready: Any, queue: Any) -> None:
    torch.set_num_threads(1)
    trainer = make_trainer(config)
    trainer.train_episode()
    ready.wait()
    start, episodes = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds or episodes < 2:
        trainer.train_episode()
        episodes += 1
    unit = 1024 if sys.platform != "darwin" else 1024**2  # ru_maxrss is in KiB, on macOS in bytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    queue.put((episodes * config.seeds * config.workers * EPISODE_STEPS / elapsed, peak))


def settings(axis: str, value: int) -> RunConfig:
    """The settings of a point."""
    if axis == "native":
        return parse(BASE | {"seeds": value, "backend": "native"})
    return parse(BASE if axis == "processes" else BASE | {axis: value})


def points() -> list[tuple[str, int]]:
    """Axis and value of every point; no more processes than this machine has cores."""
    cores = usable_cores()
    return [(axis, value) for axis, values in AXES.items() for value in values if axis != "processes" or value <= cores]


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the curves; rounds go over all points in turn, so that a slow spell of the machine hits all."""
    measured: dict[tuple[str, int], list[dict[str, float]]] = {point: [] for point in points()}
    with tqdm(total=rounds * len(measured), desc="scaling", unit="point") as bar:
        for _ in range(rounds):
            for (axis, value), results in measured.items():
                processes = value if axis == "processes" else 1
                results.append(measure_point(settings(axis, value), seconds / 2, processes))
                bar.update()
    rows = [_row(axis, value, results) for (axis, value), results in measured.items()]
    print(f"\n{'axis':<12}{'value':>6}{'steps/s':>10}{'µs/step':>10}{'MiB':>8}")
    for row in rows:
        print("{axis:<12}{value:>6}{steps_per_second:>10,.0f}{us_per_step:>10.1f}{peak_mib:>8,.0f}".format(**row))
    print(save("scaling", {"rounds": rounds, "seconds": seconds / 2, "base": BASE, "points": rows}))
    return True


def _row(axis: str, value: int, results: list[dict[str, float]]) -> dict[str, Any]:
    speed, peak = (median([r[key] for r in results]) for key in ("steps_per_second", "peak_mib"))
    return {"axis": axis, "value": value, "steps_per_second": speed, "us_per_step": 1e6 / speed, "peak_mib": peak}
