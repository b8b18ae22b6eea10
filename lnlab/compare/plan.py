"""A question in settings, such as `env=CartPole-v1 norm=none,ln lr=3e-4,1e-3 seeds=10`: its runs, and their scores.

Seeds are run in blocks of ten, each with folders of its own under results/: a comparison that is stopped goes on, and
one with more seeds or another rate adds what is missing.
"""

import hashlib
import itertools
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from tqdm.auto import tqdm

from lnlab import runs
from lnlab.compare.arms import FEWEST, by_look, decided
from lnlab.compare.pool import train
from lnlab.compare.scores import CURVE, late, thinned
from lnlab.config import Config, ConfigError, parse
from lnlab.diverged import Scored, divergences
from lnlab.runs import Run
from lnlab.trainers.admission import refuse_impossible

Away = Callable[[Sequence[Config], tqdm], None]
BLOCK = 10  # seeds of a folder
MOST_RUNS = 1000


class Cell(NamedTuple):
    """An arm at a setting."""

    arm: str
    setting: Any
    settings: dict[str, str]


class Plan(NamedTuple):
    """What is compared: the cells, the setting that is tuned ("" for none), and the seeds."""

    arm: str  # the setting whose values are the arms
    tuned: str
    cells: list[Cell]
    seeds: int

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "Plan":
        """From settings of which some have several values, with commas between.

        Raises:
            ConfigError: no setting has two values, too few seeds, or a name or value is not allowed.
        """
        values = {name: [each.strip() for each in text.split(",")] for name, text in given.items()}
        lists = {name: each for name, each in values.items() if len(each) > 1}
        for name, each in lists.items():
            if len(set(each)) < len(each) or "" in each:
                raise ConfigError(f"{name}={given[name]} has a value twice, or none")
        for name in {"seeds", "first_seed", "steps", "episodes", "profile", "env"} & lists.keys():
            raise ConfigError(f"{name} wants one value; got {given[name]}")
        arm = "norm" if "norm" in lists else next((name for name in lists if name != "lr"), "")
        if not arm:
            raise ConfigError("nothing to compare: give one setting several values, such as norm=none,ln")
        seeds = parse({"seeds": given.get("seeds", "10")}).seeds
        if seeds < FEWEST:
            raise ConfigError(f"seeds={seeds} is too few to compare arms: at least {FEWEST}, better {BLOCK} or more")
        tuned = [name for name in lists if name != arm]
        fixed = {
            name: each[0] for name, each in values.items() if name not in lists and name not in ("seeds", "profile")
        }
        cells = []
        for choice in itertools.product(*lists.values()):
            own = dict(zip(lists, choice, strict=True))
            setting = float(own["lr"]) if tuned == ["lr"] else ", ".join(f"{name}={own[name]}" for name in tuned)
            cells.append(Cell(own[arm], setting, fixed | own))
        if len(cells) > MOST_RUNS:
            raise ConfigError(f"these are {len(cells)} runs; at most {MOST_RUNS} are allowed")
        plan = cls(arm, " and ".join(tuned), cells, seeds)
        for cell in cells:
            refuse_impossible(parse(cell.settings | {"seeds": "1"}))
        return plan

    @property
    def arms(self) -> list[str]:
        return list(dict.fromkeys(cell.arm for cell in self.cells))

    def runs(self, first: int, last: int) -> list[tuple[Cell, Config]]:
        """The runs of seeds first … last − 1, block by block, all cells of a block before the next."""
        fixed = {name: text for name, text in self.cells[0].settings.items() if name not in ("norm", "lr")}
        name = hashlib.sha256(json.dumps(fixed, sort_keys=True).encode()).hexdigest()[:8]
        start = int(self.cells[0].settings.get("first_seed", 0))
        found = []
        for begin in range(first, last, BLOCK):
            end = min(begin + BLOCK, last)
            extent = {
                "first_seed": start + begin,
                "seeds": end - begin,
                "profile": f"compare-{name}-{start + begin}-{start + end - 1}",
            }
            found += [(cell, parse(cell.settings | extent)) for cell in self.cells]
        return found


def trained(
    plan: Plan,
    *,
    until: bool = False,
    margin: float | None = None,
    seconds: float | None = None,
    against: str = "",
    away: Away | None = None,
) -> pd.DataFrame:
    """The scores of a plan's runs, trained where they are not yet there.

    Args:
        until: look after each block of seeds, and stop where the comparison of the first two arms is decided.
        seconds: no further block begins that would take longer than is left of them.
        away: trains runs elsewhere, and counts their steps on a bar; None trains them here.

    Raises:
        ConfigError: too little memory, a folder holds a run with other settings, or no episode ended in a run.
        KeyboardInterrupt: stopped; the same command goes on.
    """
    looks = list(by_look(plan.seeds, BLOCK)) if until and plan.seeds > BLOCK else [plan.seeds]
    begun, tables = time.monotonic(), []
    blocks = {last: plan.runs(start, last) for start, last in zip([0, *looks[:-1]], looks, strict=True)}
    configs = [config for block in blocks.values() for _, config in block]
    done = sum(min(Run.at(config).reports_done * config.steps_per_report, config.env_steps) for config in configs)
    show: dict[str, Any] = {"desc": f"{len(configs)} runs", "unit": "step", "unit_scale": True, "smoothing": 0}
    interval = 0.5 if sys.stderr.isatty() else 30.0  # a log file wants few lines
    with tqdm(total=sum(each.env_steps for each in configs), initial=done, mininterval=interval, **show) as bar:
        for last, block in blocks.items():
            since = time.monotonic()
            if away:
                away([config for _, config in block], bar)
            train([config for _, config in block], bar.update)
            tables += [_scores(cell, Scored(Run.at(config).dir)) for cell, config in block]
            took = time.monotonic() - since
            scores = pd.concat(tables, ignore_index=True)
            if (lost := scores.score.isna() & ~scores.diverged).any():
                raise ConfigError(
                    f"the runs are too short: no episode ended in {lost.sum()} of {len(lost)} seeds of arms and "
                    f"settings, such as seed {scores.seed[lost].iloc[0]} of {scores.arm[lost].iloc[0]}; give more steps"
                )
            if last == looks[-1]:
                break
            if until and _decided(scores, plan, margin, len(looks), against):
                break
            if seconds is not None and time.monotonic() - begun + took > seconds:
                bar.write(f"stopped after {last} seeds: the next block would exceed the budget")
                break
    return scores


def _decided(scores: pd.DataFrame, plan: Plan, margin: float | None, looks: int, against: str) -> bool:
    wide = {
        arm: part.pivot(index="seed", columns="setting", values="score").to_numpy()
        for arm, part in scores.groupby("arm")
    }
    old = against or plan.arms[0]
    return all(decided(wide[arm], wide[old], margin=margin, looks=looks) is not None for arm in plan.arms if arm != old)


def _scores(cell: Cell, done: Scored) -> pd.DataFrame:
    """A row a seed."""
    config = done.config
    rows = done.table("curves" if config.ROWS == "episodes" else "returns")
    own = rows.groupby("seed")["return"].apply(late) if config.ROWS == "records" else _return_final(done)
    lost = {each.seed for each in divergences(done)}
    return pd.DataFrame(
        {
            "task": str(getattr(config, "env", "lnlab/Offloading-v0")),
            "setting": cell.setting,
            "arm": cell.arm,
            "seed": own.index,
            "score": own.to_numpy(dtype=float),
            "diverged": [seed in lost for seed in own.index],
            "steps_per_second": done.provenance.get("steps_per_second", np.nan),
            "parameters": done.provenance.get("parameter_count", np.nan),
            "run": f"{config.profile}/{done.id}",
            "commit": done.provenance.get("commit", ""),
        }
    )


def curves(scores: pd.DataFrame) -> pd.DataFrame:
    """Learning curves behind scores of our own runs, as `lnlab.compare.scores.learning` has those of others."""
    parts = []
    for (task, setting, arm, run), _ in scores.groupby(["task", "setting", "arm", "run"], sort=False):
        done = Run(runs.RESULTS / run)
        rows = done.table("curves" if done.config.ROWS == "episodes" else "returns")
        if "step" not in rows:  # of the offloading task
            rows = rows.assign(step=rows.episode * done.config.steps_per_report)
        parts.append(rows.assign(task=task, setting=setting, arm=arm, value=rows["return"])[CURVE].dropna())
    return thinned(parts)


def _return_final(done: Scored) -> "pd.Series":
    rows = done.table("metrics")
    rows = rows[rows.quantity == "return_final"]
    return rows.groupby("seed").value.mean()
