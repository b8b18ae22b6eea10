"""The studies behind a report as arrays with one row a seed: what evidence on the documents' claims is made from.

An arm goes by its run id, such as `a3c-gru-ln`; those of TD3 by their settings (`lnlab.report.driving_data`). Every
array has shape (n_seeds, ...), seeds in rising order, so that arms are paired by row. Workers and scenarios are
averaged within a seed first. What is not there, or is not defined because a run is too short, raises `Missing`, which
makes a claim untestable; it is never left out in silence.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import yaml
from numpy.typing import NDArray

from lnlab.analysis.claims import Evidence
from lnlab.config import RunConfig
from lnlab.diverged import Scored, scored
from lnlab.paths import BOOK, PUBLISHED, ROOT
from lnlab.runs import Run, Study, load

PROFILE = "paper"  # the published one
ORIGINAL = "original"  # the documents' own protocol: A3C with the gradient carried over
DRIVING = "driving"  # the published runs of TD3 and DDPG, which have pages like those of the main study
CAPACITY = 200  # local units in training and in the velocity lists of D2 and D4
Array = NDArray[np.float64]


class Missing(LookupError):
    """A claim needs a run or a number that is not there; the message says which."""


class Untestable(NamedTuple):
    """A claim that no evidence of ours can decide, and why."""

    reason: str


Found = tuple[Sequence[Evidence], str] | Untestable  # evidence, and a note to the reader; or why there is none
Claim = Callable[["Data", dict[str, Any]], Found]  # (data, the values that the document prints)


class Part(Scored):
    """A run of which some seeds are read and the others ignored."""

    def __init__(self, folder: Path, seeds: frozenset[int]) -> None:
        super().__init__(folder)
        self.seeds = seeds

    def table(self, name: str) -> pd.DataFrame:
        """As of any run, without the rows of other seeds."""
        rows = super().table(name)
        return rows[rows.seed.isin(self.seeds)].reset_index(drop=True)


@dataclass(frozen=True)
class Data:
    """The studies of a report: `main`, and those of other profiles in folders beside it."""

    main: Study
    _tables: dict[tuple[Path, str], pd.DataFrame] = field(default_factory=dict, repr=False, compare=False)
    _used: list[str] = field(default_factory=list, repr=False, compare=False)
    _profile: str = ""  # of a study beside the main one
    _a3c: Study | None = None  # whose A3C runs stand in for those of the main one
    _seeds: frozenset[int] | None = None  # the only ones that are read

    @classmethod
    def at(cls, folder: Path | str = "") -> "Data":
        """The studies of a report from the folder of its main one, seen from the repository; "" is the published one.

        Raises:
            FileNotFoundError: the folder holds no run.
        """
        return cls(scored(load(ROOT / folder if folder else PUBLISHED / PROFILE)))

    def study(self, name: str) -> Study | None:
        """The study of another profile, if the folder beside the main one has a complete run."""
        folder = self.main.dir.parent / name
        if not any(folder.glob("*/config.json")):
            return None
        found = scored(load(folder)) if self._seeds is None else _part(load(folder), self._seeds)
        return found if any(run.complete for run in found.runs) else None

    def of(self, profile: str) -> "Data":
        """The same questions to another profile: `data.of("long").metric(...)`.

        Raises:
            Missing: it has no complete run.
        """
        found = self.study(profile)
        if found is None:
            raise Missing(f"needs the profile {profile!r}, which was not run{self._over}")
        return replace(self, main=found, _profile=f"{profile}/", _a3c=None)

    @property
    def beside(self) -> Study | None:
        """The study whose runs have pages in the same book as those of the main one: in the published book only."""
        return self.study(DRIVING) if self.main.dir.parent == PUBLISHED else None

    @property
    def paged(self) -> dict[str, str]:
        """The runs that have a page: the name under which `recording` notes each, and its id."""
        beside = self.beside.runs if self.beside else []
        return {run.id: run.id for run in self.main.runs} | {f"{DRIVING}/{run.id}": run.id for run in beside}

    def carried(self) -> "Data":
        """The same data with A3C as the original ran it, its gradients carried over; Individual never had that fault.

        Raises:
            Missing: the profile `original` has no complete run.
        """
        return replace(self, _a3c=self.of(ORIGINAL).main)

    def only(self, seeds: Iterable[int]) -> "Data":
        """The same data, of all profiles, as if there were no other seeds; a run with fewer than two of them is absent.

        Arms stay paired: row i of two arms that both have these seeds is the same seed.
        """
        kept = frozenset(seeds)
        a3c = self._a3c and _part(self._a3c, kept)
        return replace(self, main=_part(self.main, kept), _tables={}, _a3c=a3c, _seeds=kept)

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
        """A complete run by its id.

        Raises:
            Missing: there is none.
        """
        study, name, profile = self.main, arm, self._profile
        if self._a3c is not None and arm.startswith("a3c-"):
            study, name, profile = self._a3c, f"{arm}-carry", f"{ORIGINAL}/"
        for run in study.runs:
            if run.id == name and run.complete:
                self._used.append(profile + name)
                return run
        raise Missing(f"needs the run {name} of the profile {study.dir.name!r}, which is not complete{self._over}")

    def table(self, arm: str, name: str) -> pd.DataFrame:
        """A table of a run, read once. Raises Missing where the run or its table is not there."""
        run = self.run(arm)
        key = (run.dir, name)
        if key not in self._tables:
            if not (run.dir / f"{name}.parquet").exists():
                raise Missing(f"needs the table {name!r} of the run {arm}, which is not there")
            self._tables[key] = run.table(name)
        return self._tables[key]

    def _of_quantity(self, arm: str, name: str, quantity: str) -> pd.DataFrame:
        """The rows of one quantity in a table with a row each number, picked once: there are hundreds of thousands."""
        rows, key = self.table(arm, name), (self.run(arm).dir, f"{name} {quantity}")
        if key not in self._tables:
            self._tables[key] = rows[rows.quantity == quantity]
        return self._tables[key]

    def metric(self, arm: str, quantity: str, worker: int = -1, *, empty: float | None = None) -> Array:
        """(n_seeds,) a quantity of `lnlab.analysis.metrics.METRICS`; worker −1 is all workers of a seed together.

        Args:
            empty: stands for a value that is not defined, such as the first explosion where there was none.

        Raises:
            Missing: no such number, or one is not defined and `empty` is not given.
        """
        rows = self._of_quantity(arm, "metrics", quantity)
        rows = rows[rows.worker == worker].sort_values("seed")
        return _defined(rows.value.to_numpy(float), f"{quantity} (worker {worker}) of {arm}", empty)

    def worker_metric(self, arm: str, quantity: str) -> Array:
        """(n_seeds, n_workers) the same for each worker."""
        rows = self._of_quantity(arm, "metrics", quantity)
        rows = rows[rows.worker >= 0]
        return _defined(_wide(rows, "worker", "value"), f"{quantity} of the workers of {arm}")

    def test(
        self, arm: str, groups: Sequence[str] = (), mode: str = "greedy", cloud: str = "budget",
        value: str = "return_mean",
    ) -> Array:  # fmt: skip
        """(n_seeds,) mean over the test scenarios of `groups` (seen, intra, extra; none is all) and over learners."""
        return self.scenario_scores(arm, groups, mode, cloud, value=value).mean(axis=1)

    def scenario_scores(
        self, arm: str, groups: Sequence[str] = (), mode: str = "greedy", cloud: str = "budget", *,
        per_worker: bool = False, value: str = "return_mean",
    ) -> Array:  # fmt: skip
        """(n_seeds, n_scenarios), the mean over learners; or (n_seeds, n_scenarios, n_learners), A3C having one.

        `value` may also be return_std or a share of actions, such as share_local.
        """
        rows = _tested(self.table(arm, "evaluation"), mode, cloud)
        return _cells(rows[rows.group.isin(groups)] if groups else rows, value, f"tests of {arm}", per_worker)

    def sweep(
        self, arm: str, velocities: Sequence[int], mode: str = "greedy", cloud: str = "budget", *,
        per_worker: bool = False, value: str = "return_mean",
    ) -> Array:  # fmt: skip
        """(n_seeds, n_velocities) at local capacity 200, in the order asked for, the mean over learners.

        With `per_worker` (n_seeds, n_velocities · n_learners), the cells of D2 and D4; A3C has one learner.
        """
        rows = self._velocities(arm, mode, cloud)
        if absent := sorted(set(velocities) - set(rows.velocity)):
            raise Missing(f"needs tests of {arm} at {absent} km/h")
        place = {velocity: i for i, velocity in enumerate(velocities)}
        rows = rows[rows.velocity.isin(place)].assign(scenario=lambda cells: cells.velocity.map(place))
        found = _cells(rows, value, f"velocities of {arm}", per_worker)
        return found.reshape(len(found), -1)

    def _velocities(self, arm: str, mode: str, cloud: str) -> pd.DataFrame:
        """All tests at local capacity 200, put together once."""
        tables = [self.table(arm, name) for name in ("evaluation", "sweep")]
        key = (self.run(arm).dir, f"velocities {mode} {cloud}")
        if key not in self._tables:
            rows = _tested(pd.concat(tables), mode, cloud)
            rows = rows[rows.capacity == CAPACITY]
            self._tables[key] = rows.drop_duplicates(["seed", "worker", "velocity"])  # 25 is tested twice
        return self._tables[key]

    def diagnostic(self, arm: str, quantity: str, step: int = -1, *, empty: float | None = None) -> Array:
        """(n_seeds,) a quantity of `lnlab.analysis.quantities.QUANTITIES` after `step` episodes; −1 is the last step.

        The mean over learners; `empty` as in `metric`.
        """
        steps = self.steps(arm)
        step = steps[-1] if step == -1 else step
        if step not in steps:
            raise Missing(f"needs diagnostics of {arm} after {step} episodes; there are some after {steps}")
        rows = self._of_quantity(arm, "diagnostics", quantity)
        rows = rows[rows.step == step]
        if rows.empty:
            raise Missing(f"needs the diagnostic {quantity} of {arm}, which is not there")
        values = _wide(rows, "worker", "value")
        return _defined(_filled(values, empty), f"diagnostic {quantity} of {arm}").mean(axis=1)

    def steps(self, arm: str) -> list[int]:
        """The episodes after which the diagnostics of an arm were taken."""
        return sorted(self.table(arm, "diagnostics").step.unique().tolist())

    def curve(self, arm: str, quantity: str) -> tuple[NDArray[np.int64], Array]:
        """Ends of the blocks of episodes (n_points,), and the mean over workers in each (n_seeds, n_points)."""
        rows = self.table(arm, "curves").groupby(["seed", "episode"])[quantity].mean().unstack()
        return rows.columns.to_numpy(), rows.to_numpy(float)


def arms(study: Study) -> Study:
    """The complete runs of A3C and Individual at the settings of the main study: they differ in the arm alone.

    A run at another learning rate, say, must not be averaged with its arm.
    """
    runs = [run for run in study.runs if run.complete and isinstance(run.config, RunConfig)]
    return Study(study.dir, [run for run in runs if run.id == "-".join(run.config.labels.values())])


@functools.cache
def documents() -> dict[str, dict[str, Any]]:
    """book/claims.yml: the documents by name, each with title, sections and claims."""
    with (BOOK / "claims.yml").open(encoding="utf-8") as file:
        return dict(yaml.safe_load(file))


def printed(claim: str) -> dict[str, Any]:
    """What a document prints in one of its claims, by the claim's id."""
    claims = documents()[claim.split(".")[0]]["claims"]
    return dict(next(each["values"] for each in claims if each["id"] == claim))


def _part(study: Study, seeds: frozenset[int]) -> Study:
    """The runs that have two of the seeds or more, without the rows of others."""
    runs = [run for run in study.runs if len(seeds.intersection(run.config.seed_list)) > 1]
    return Study(study.dir, [Part(run.dir, seeds) for run in runs])


def _tested(rows: pd.DataFrame, mode: str, cloud: str) -> pd.DataFrame:
    return rows[(rows["mode"] == mode) & (rows.cloud == cloud)]


def _cells(rows: pd.DataFrame, value: str, what: str, per_worker: bool) -> Array:
    """(n_seeds, n_scenarios, n_learners), or its mean over learners."""
    shape = (rows.seed.nunique(), rows.scenario.nunique(), rows.worker.nunique())
    if rows.empty or len(rows) != np.prod(shape):
        raise Missing(f"needs {what}: {len(rows)} of {np.prod(shape)} cells are there")
    cells = rows.sort_values(["seed", "scenario", "worker"])[value].to_numpy(float).reshape(shape)
    return _defined(cells if per_worker else cells.mean(axis=2), what)


def _wide(rows: pd.DataFrame, columns: str, value: str) -> Array:
    """(n_seeds, n_columns) in rising order of both."""
    return np.asarray(rows.pivot(index="seed", columns=columns, values=value).sort_index(axis=1), dtype=float)


def _filled(values: Array, empty: float | None) -> Array:
    return values if empty is None else np.where(np.isnan(values), empty, values)


def _defined(values: Array, what: str, empty: float | None = None) -> Array:
    """The values of two seeds or more, all of them finite."""
    values = _filled(values, empty)
    if len(values) < 2:
        raise Missing(f"needs {what} over two seeds or more; there are {len(values)}")
    if not np.isfinite(values).all():
        raise Missing(f"needs {what}, which is not defined for every seed (too short a run, or nothing to measure)")
    return values
