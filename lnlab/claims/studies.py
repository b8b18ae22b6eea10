"""The one door to the data of runs: arrays with one row a seed, or `Missing`.

An arm is its run id, such as `a3c-gru-ln`; one of another profile has it in front: `workers/a3c-gru-ln-w3`. Every array
has shape (n_seeds, ...), seeds in rising order, so that arms are paired by row. Workers and scenarios are averaged
within a seed first. What is not there, or is not defined because a run is too short, raises `Missing`, which makes a
claim untestable; it is never left out in silence.

TD3 and DDPG runs may differ from the published ones in batch size and length: the run that has an arm's other settings
is the arm. They lie in the main study if that holds any, else in `driving` beside it.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lnlab.analysis.metrics import late
from lnlab.config import EXTENT, Config
from lnlab.diverged import Scored, scored
from lnlab.models.norms import NORMS
from lnlab.paths import PUBLISHED, ROOT, STUDY
from lnlab.runs import Run, Study, load
from lnlab.study import expand, profiles

PROFILE = "paper"  # the published one
ORIGINAL = "original"  # the documents' own protocol: A3C with the gradient carried over
DRIVING = "driving"  # the published runs of TD3 and DDPG, which have pages like those of the main study
OFF_POLICY = ("td3-", "ddpg-")  # beginnings of their run ids
FREE = EXTENT | {"learning_starts", "batch_size", "capacity", "eval_every", "early_stopping"}  # not what an arm is
CAPACITY = 200  # local units in training and in the velocity lists of D2 and D4
LABEL = {"a3c": "A3C", "individual": "Individual", "gru": "GRU", "ff": "feedforward"}
LABEL |= {name: norm.label for name, norm in NORMS.items()}
UNLIKE = {
    "lr": "rate {:.0e}", "workers": "{} workers", "episodes": "{} episodes", "cloud": "a cloud each",
    "schedule": "gradients averaged", "gradient_carry": "gradients carried over",
}  # fmt: skip
WHOLE = "whole runs"  # what was read of them, whatever the seeds
Array = NDArray[np.float64]


class Missing(LookupError):
    """A run or a number is not there; the message says which."""


# -- arms -----------------------------------------------------------------------------------------------------------
@functools.cache
def known() -> dict[str, Config]:
    """The arms of study.toml with their settings: by run id for the main study and TD3, else by profile/run id.

    None where there is no study.toml, as outside a clone.
    """
    if not STUDY.exists():
        return {}
    arms = {f"{profile}/{config.run_id}": config for profile in profiles() for config in expand(profile)}
    return arms | {config.run_id: config for profile in (DRIVING, PROFILE) for config in expand(profile)}


def labels(arm: str) -> dict[str, str]:
    """What readers call the parts of an arm: `{"algorithm": "A3C", "core": "GRU", "norm": "LayerNorm", "setting": …}`.

    The setting is in what it is unlike the arm of the main study, such as `rate 1e-3`.
    """
    config, main = known()[arm], _main()
    here = {name: getattr(config, name, None) for name in UNLIKE}
    unlike = [
        UNLIKE[name].format(value).replace("e-0", "e-")
        for name, value in here.items()
        if value not in (None, getattr(main, name))
    ]
    parts = {name: LABEL.get(value, value) for name, value in config.labels.items()}
    return parts | {"setting": ", ".join(unlike) or "as documented"}


@functools.cache
def _main() -> Any:
    return next(iter(expand(PROFILE)))


def plain(run_id: str) -> str:
    """The arm of a run of the main study: compiled code trains the same one, but for rounding.

    >>> plain("a3c-gru-ln-native")
    'a3c-gru-ln'
    """
    return run_id.removesuffix("-native")


def paired(*arms: Array) -> list[Array]:
    """The arms over the seeds that all of them have: rows are seeds in rising order, from the same first one."""
    shared = min(map(len, arms))
    return [each[:shared] for each in arms]


def _kind(config: Any) -> frozenset[tuple[str, Any]]:
    """The settings that make an arm of TD3; the final activation as it is, however it was asked for."""
    kept = {name: value for name, value in config.science.items() if name not in FREE}
    return frozenset((kept | {"final_activation": config.activation}).items())


class Part(Scored):
    """A run of which some seeds are read and the others ignored."""

    def __init__(self, folder: Path, seeds: frozenset[int]) -> None:
        super().__init__(folder)
        self.seeds = seeds

    def table(self, name: str) -> pd.DataFrame:
        """As of any run, without the rows of other seeds."""
        rows = super().table(name)
        return rows[rows.seed.isin(self.seeds)].reset_index(drop=True)


# -- data -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Data:
    """The studies of a report: `main`, and those of other profiles in folders beside it."""

    main: Study
    _kept: dict[tuple[Any, ...], Any] = field(default_factory=dict, repr=False, compare=False)  # what was read once
    _used: list[str] = field(default_factory=list, repr=False, compare=False)
    _carried: bool = False  # A3C's runs are those of ORIGINAL
    _seeds: frozenset[int] | None = None  # the only ones that are read
    _needs: tuple[tuple[str, Any], ...] = ()  # settings that every run must have

    @classmethod
    def at(cls, folder: Path | str = "") -> "Data":
        """The studies of a report from the folder of its main one, seen from the repository; "" is the published one.

        Raises:
            FileNotFoundError: the folder holds no run.
        """
        return cls(scored(load(ROOT / folder if folder else PUBLISHED / PROFILE)))

    def study(self, profile: str) -> Study:
        """The study of another profile, in the folder beside the main one; read once.

        Raises:
            Missing: it has no complete run.
        """
        found: Study = self._once(("study", profile), lambda: self._study(profile))
        return found

    def _study(self, profile: str) -> Study:
        folder = self.main.dir.parent / profile
        there = any(folder.glob("*/config.json"))
        runs = self._once((WHOLE, profile), lambda: scored(load(folder)).runs if there else [])
        kept = [run for run in (runs if self._seeds is None else _parts(runs, self._seeds)) if run.complete]
        if not kept:
            raise Missing(f"needs the profile {profile!r}, which was not run{self._over}")
        return Study(folder, kept)

    @property
    def paged(self) -> dict[str, str]:
        """The runs with a page in the same book: the name under which `recording` notes each, and its page."""
        found: dict[str, str] = self._once(("paged",), self._paged)
        return found

    def _paged(self) -> dict[str, str]:
        pages = {run.id: run.id for run in self.main.runs}
        beside = PUBLISHED.glob("*/*/config.json") if self.main.dir.parent == PUBLISHED else []
        for profile, run, _ in sorted(path.parts[-3:] for path in beside):
            if profile != self.main.dir.name:
                pages[f"{profile}/{run}"] = run if profile == DRIVING else f"{profile}-{run}"
        return pages

    def carried(self) -> "Data":
        """The same data with A3C as the original ran it, its gradients carried over; Individual never had that fault.

        Raises:
            Missing: the profile `original` has no complete run.
        """
        self.study(ORIGINAL)
        return replace(self, _carried=True)

    def only(self, seeds: Iterable[int]) -> "Data":
        """The same data, of all profiles, as if there were no other seeds; a run with fewer than two of them is absent.

        Arms stay paired: row i of two arms that both have these seeds is the same seed.
        """
        kept = frozenset(seeds)
        main = Study(self.main.dir, _parts(self.main.runs, kept))
        shared = {key: value for key, value in self._kept.items() if key[0] == WHOLE}  # checking files takes long
        return replace(self, main=main, _kept=shared, _seeds=kept)

    def needing(self, settings: Mapping[str, Any]) -> "Data":
        """The same data, in which a run with other values of these settings is absent."""
        return replace(self, _needs=tuple(settings.items()))

    @property
    def _over(self) -> str:
        return "" if self._seeds is None else f" with two of the {len(self._seeds)} seeds asked for"

    @contextmanager
    def recording(self) -> Iterator[list[str]]:
        """The ids of the runs that are read inside the block, each once; those of other profiles as profile/id."""
        runs: list[str] = []
        self._used.clear()
        yield runs
        runs.extend(dict.fromkeys(self._used))

    def run(self, arm: str) -> Run:
        """The complete run of an arm.

        Raises:
            Missing: there is none.
        """
        found, name = self._once(("run", arm, self._carried), lambda: self._found(arm))
        for setting, value in self._needs:
            if (here := getattr(found.config, setting, None)) != value:
                raise Missing(f"needs {arm} with {setting} = {value}; here it is {here}")
        self._used.append(name)
        return found

    def _found(self, arm: str) -> tuple[Run, str]:
        """The run of an arm, and its name for `recording`."""
        profile, _, name = arm.rpartition("/")
        if self._carried and not profile and name.startswith("a3c-"):
            profile, name = ORIGINAL, f"{name}-carry"
        if not profile and name.startswith(OFF_POLICY) and not any(r.id.startswith(OFF_POLICY) for r in self.main.runs):
            profile = DRIVING
        study = self.study(profile) if profile else self.main
        there = [run for run in study.runs if run.complete]
        if name.startswith(OFF_POLICY) and arm in known():
            same = [run for run in _same_extent(there) if _kind(run.config) == _kind(known()[arm])]
        else:
            same = [run for run in there if run.id == name]
            same = same or [run for run in there if not profile and plain(run.id) == name]
        if not same:
            raise Missing(f"needs the run {name} of the profile {study.dir.name!r}, which is not complete{self._over}")
        return same[0], f"{profile}/{same[0].id}" if profile else same[0].id

    def _once(self, key: tuple[Any, ...], make: Callable[[], Any]) -> Any:
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def table(self, arm: str, name: str) -> pd.DataFrame:
        """A table of a run, read once. Raises Missing where the run or its table is not there."""
        run = self.run(arm)
        if not (run.dir / f"{name}.parquet").exists():
            raise Missing(f"needs the table {name!r} of the run {arm}, which is not there")
        found: pd.DataFrame = self._once((run.dir, name), lambda: run.table(name))
        return found

    def _quantity(self, arm: str, name: str, quantity: str) -> pd.DataFrame:
        """Rows of a table that has a row each number: there are hundreds of thousands, so they are picked once."""
        rows = self.table(arm, name)
        found: pd.DataFrame = self._once(
            (self.run(arm).dir, name, quantity), lambda: rows[rows.quantity == quantity].sort_values("seed")
        )
        return found

    def metric(self, arm: str, quantity: str, worker: int = -1, *, empty: float | None = None) -> Array:
        """(n_seeds,) a quantity of `lnlab.analysis.metrics.METRICS`; worker −1 is all workers of a seed together.

        Args:
            empty: stands for a value that is not defined, such as the first explosion where there was none.

        Raises:
            Missing: no such number, or one is not defined and `empty` is not given.
        """
        rows = self._quantity(arm, "metrics", quantity)
        values = rows[rows.worker == worker].value.to_numpy(float)
        return defined(values, f"{quantity} (worker {worker}) of {arm}", empty)

    def worker_metric(self, arm: str, quantity: str) -> Array:
        """(n_seeds, n_workers) the same for each worker."""
        rows = self._quantity(arm, "metrics", quantity)
        return defined(_wide(rows[rows.worker >= 0], "worker"), f"{quantity} of the workers of {arm}")

    def score(self, arm: str) -> Array:
        """(n_seeds,) return over the last tenth of training, by which `lnlab compare` scores a run too."""
        if self.run(arm).config.ROWS == "episodes":
            return self.metric(arm, "return_final")
        rows = self.table(arm, "returns").sort_values(["seed", "episode"])
        return defined(rows.groupby("seed")["return"].apply(late).to_numpy(float), f"episodes of {arm}")

    def seed_by_seed(self, arm: str) -> None:
        """Raises Missing where the scores of an arm are good for their mean alone; those of runs are good for all."""

    def test(
        self, arm: str, groups: Sequence[str] = (), mode: str = "greedy", cloud: str = "budget",
        value: str = "return_mean",
    ) -> Array:  # fmt: skip
        """(n_seeds,) mean over the test scenarios of `groups` (seen, intra, extra; none is all) and over learners."""
        return self.scenarios(arm, groups, mode, cloud, value).mean(axis=2).mean(axis=1)

    def scenarios(
        self, arm: str, groups: Sequence[str] = (), mode: str = "greedy", cloud: str = "budget",
        value: str = "return_mean",
    ) -> Array:  # fmt: skip
        """(n_seeds, n_scenarios, n_learners) test scores, A3C having one learner.

        `value` may also be return_std or a share of actions, such as share_local. Modes vote and mean are those of
        the learners of a seed together.
        """
        rows = _tested(self.table(arm, "ensemble" if mode in ("vote", "mean") else "evaluation"), mode, cloud)
        return _cells(rows[rows.group.isin(groups)] if groups else rows, value, f"tests of {arm}")

    def sweep(
        self, arm: str, velocities: Sequence[int], mode: str = "greedy", cloud: str = "budget",
        value: str = "return_mean",
    ) -> Array:  # fmt: skip
        """(n_seeds, n_velocities, n_learners) at local capacity 200, in the order asked for: the cells of D2 and D4."""
        rows = self._velocities(arm, mode, cloud)
        if absent := sorted(set(velocities) - set(rows.velocity)):
            raise Missing(f"needs tests of {arm} at {absent} km/h")
        place = {velocity: i for i, velocity in enumerate(velocities)}
        rows = rows[rows.velocity.isin(place)].assign(scenario=lambda cells: cells.velocity.map(place))
        return _cells(rows, value, f"velocities of {arm}")

    def _velocities(self, arm: str, mode: str, cloud: str) -> pd.DataFrame:
        tables = [self.table(arm, name) for name in ("evaluation", "sweep")]

        def joined() -> pd.DataFrame:
            rows = _tested(pd.concat(tables), mode, cloud)
            rows = rows[rows.capacity == CAPACITY]
            return rows.drop_duplicates(["seed", "worker", "velocity"])  # 25 km/h is tested twice

        found: pd.DataFrame = self._once((self.run(arm).dir, "velocities", mode, cloud), joined)
        return found

    def diagnostic(self, arm: str, quantity: str, step: int = -1, *, empty: float | None = None) -> Array:
        """(n_seeds,) a quantity of lnlab/quantities.toml after `step` episodes; −1 is the last step.

        The mean over learners; `empty` as in `metric`.
        """
        steps = self.steps(arm)
        step = steps[-1] if step == -1 else step
        if step not in steps:
            raise Missing(f"needs diagnostics of {arm} after {step} episodes; there are some after {steps}")
        rows = self._quantity(arm, "diagnostics", quantity)
        rows = rows[rows.step == step]
        if rows.empty:
            raise Missing(f"needs the diagnostic {quantity} of {arm}, which is not there")
        return defined(_wide(rows, "worker"), f"diagnostic {quantity} of {arm}", empty).mean(axis=1)

    def steps(self, arm: str) -> list[int]:
        """The episodes after which the diagnostics of an arm were taken."""
        return sorted(self.table(arm, "diagnostics").step.unique().tolist())

    def curve(self, arm: str, quantity: str) -> tuple[NDArray[np.int64], Array]:
        """Ends of the blocks of episodes (n_points,), and the mean over workers in each (n_seeds, n_points)."""
        rows = self.table(arm, "curves").groupby(["seed", "episode"])[quantity].mean().unstack()
        return rows.columns.to_numpy(), rows.to_numpy(float)


def defined(values: Array, what: str, empty: float | None = None) -> Array:
    """The values of two seeds or more, all of them finite; `empty` stands for those that are not defined.

    Raises:
        Missing: there are fewer, or one is not finite.
    """
    values = values if empty is None else np.where(np.isnan(values), empty, values)
    if len(values) < 2:
        raise Missing(f"needs {what} over two seeds or more; there are {len(values)}")
    if not np.isfinite(values).all():
        raise Missing(f"needs {what}, which is not defined for every seed (too short a run, or nothing to measure)")
    return values


def _parts(runs: Iterable[Run], seeds: frozenset[int]) -> list[Run]:
    """The runs that have two of the seeds or more, without the rows of others."""
    return [Part(run.dir, seeds) for run in runs if len(seeds.intersection(run.config.seed_list)) > 1]


def _same_extent(runs: Iterable[Run]) -> list[Run]:
    """Runs of TD3 of one batch size and length: those that most arms have, then the longest."""
    driving = [run for run in runs if run.config.ROWS == "records"]
    extents = Counter(_extent(run) for run in driving)
    chosen = max(extents, key=lambda each: (extents[each], each[1]), default=None)
    return [run for run in driving if _extent(run) == chosen]


def _extent(run: Run) -> tuple[int, int, int]:
    return run.config.batch_size, run.config.steps, run.config.learning_starts


def _tested(rows: pd.DataFrame, mode: str, cloud: str) -> pd.DataFrame:
    return rows[(rows["mode"] == mode) & (rows.cloud == cloud)]


def _cells(rows: pd.DataFrame, value: str, what: str) -> Array:
    """(n_seeds, n_scenarios, n_learners)"""
    shape = (rows.seed.nunique(), rows.scenario.nunique(), rows.worker.nunique())
    if rows.empty or len(rows) != np.prod(shape):
        raise Missing(f"needs {what}: {len(rows)} of {np.prod(shape)} cells are there")
    cells = rows.sort_values(["seed", "scenario", "worker"])[value].to_numpy(float).reshape(shape)
    return defined(cells, what)


def _wide(rows: pd.DataFrame, columns: str) -> Array:
    """(n_seeds, n_columns) in rising order of both."""
    return np.asarray(rows.pivot(index="seed", columns=columns, values="value").sort_index(axis=1), dtype=float)
