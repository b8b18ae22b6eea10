"""Runs made by hand: complete, small, and every number what a test says it is."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from lnlab.claims.pooled import EVERY
from lnlab.config import RunConfig
from lnlab.files import write_json, write_sealed

GROUPS = {"seen": 0, "intra": 5, "extra": 11}  # a scenario of each
MODES = ("sampled", "greedy")
TESTS = ["seed", "worker", "scenario", "group", "capacity", "velocity", "mode", "cloud", "return_mean"]
Value = Callable[[str, int], float]  # of a quantity and a seed; the tests' quantities are sampled and greedy
Curve = Callable[[int, int], float]  # of a seed and an episode


def made(
    folder: Path,
    seeds: Sequence[int] = range(4),
    value: Value = lambda quantity, seed: 10.0 + seed,
    quantities: Sequence[str] = ("return_mean",),
    curve: Curve | None = None,
    **settings: Any,
) -> None:
    """A complete run of 2000 episodes below `folder`; its return is the `value` of "return" throughout, or `curve`."""
    config = RunConfig(seeds=len(seeds), first_seed=seeds[0], **{"episodes": 2000, **settings})
    run = folder / config.run_id
    run.mkdir(parents=True)
    write_json(run / "config.json", config.model_dump())
    write_sealed(run / "provenance.json", {"status": "complete", "parameters": config.science})
    workers = range(1 if config.algorithm == "a3c" else config.workers)
    metrics = [(seed, -1, name, value(name, seed)) for seed, name in itertools.product(seeds, quantities)]
    _write(run / "metrics.parquet", metrics, ["seed", "worker", "quantity", "value"])
    _write_curves(run, config, curve or (lambda seed, episode: value("return", seed)))
    keys = list(itertools.product(seeds, workers, MODES))
    tests = [(*key, group, scenario) for key, (group, scenario) in itertools.product(keys, GROUPS.items())]
    evaluation = [(s, w, number, group, 100, 25, m, "budget", value(m, s)) for s, w, m, group, number in tests]
    _write(run / "evaluation.parquet", evaluation, TESTS)
    driven = [(*key, velocity) for key, velocity in itertools.product(keys, EVERY)]
    sweep = [(s, w, v, "sweep", 200, v, m, "budget", value(m, s)) for s, w, m, v in driven]
    _write(run / "sweep.parquet", sweep, TESTS)


def _write_curves(run: Path, config: RunConfig, curve: Curve) -> None:
    """A hundred points, as of any run; the value loss is 50."""
    step = config.episodes // 100
    points = itertools.product(config.seed_list, range(step, config.episodes + 1, step))
    rows = [(seed, 0, episode, curve(seed, episode), 50.0) for seed, episode in points]
    _write(run / "curves.parquet", rows, ["seed", "worker", "episode", "return", "value_loss"])


def _write(path: Path, rows: list[tuple], columns: list[str]) -> None:
    pd.DataFrame(rows, columns=columns).to_parquet(path)
