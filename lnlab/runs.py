"""The run directory: one arm over all its seeds, complete or resumable at every instant.

results/<profile>/<run id>/
    config.json         every setting
    provenance.json     code, versions, machine, times, speed, the SHA-256 of every table, and the status: running,
                        complete or failed
    shards/<seeds>/     what is being trained: checkpoints and rows of a block of seeds (lnlab/shards.py). The last
                        checkpoint stays, not published: policies are taken from it, and a longer run goes on from it
    policies.pt         of a published run whose weights are small: what acts
    episodes.parquet    every episode; not published
    curves.parquet      the same, averaged over at most 100 blocks of episodes
    metrics.parquet     the documents' numbers per seed and worker
    evaluation.parquet  the 18 test scenarios
    sweep.parquet       further velocities, those of D2 and D4
    ensemble.parquet    the learners of a seed of Individual tested together, where asked for
    diagnostics.parquet measurements inside the network, where made

TD3 and DDPG leave other tables: records.parquet (each 100 steps), returns.parquet (training episodes), checks.parquet
(greedy tests), drives.parquet (where the car was), and tensorboard/.

Columns and units: `COLUMNS`. Checked by killing a writer at every rename (tests/test_runs.py) and at random
moments (tests/test_kills.py).
"""

import functools
import shutil
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from lnlab import files, locks, provenance
from lnlab.columns import COLUMNS
from lnlab.config import EXTENT, Config, ConfigError, parse
from lnlab.files import DamagedError
from lnlab.paths import RESULTS
from lnlab.shards import KEYS, ORDER, Report, Shard, seconds_trained

if TYPE_CHECKING:
    from lnlab.policy import Policy

__all__ = ["BLOCK", "COLUMNS", "Report", "Run", "Shard", "Study", "curves", "load", "publish"]

BLOCK = 5  # seeds trained by one process side by side
CURVE_POINTS = 100
LENGTH = ("episodes", "steps")  # settings of how long is trained
OWN_FILES = ("provenance.json", "config.json", *(f"{table}.parquet" for table in COLUMNS))
POLICIES, SMALL = "policies.pt", 400_000  # bytes, above which the weights of a run are not published
PUBLISHED_FILES = tuple(name for name in OWN_FILES if name != "episodes.parquet")


class Run:
    """One run directory. `Run.open` to train, `Run(folder)` to read. Training, in outline::

    run = Run.open(config)
    for shard in run.shards:                     # each may be trained by its own process
        trainer = make_trainer(run.config.with_seeds(shard.seeds))
        if (state := shard.load()) is not None:
            trainer.load_state_dict(state)
        shard.record(norm_layers=trainer.norm_layers, parameter_count=trainer.parameter_count)
        for report in trainer:
            shard.append(report)
        shard.checkpoint(trainer.state_dict())   # and every few seconds on the way
    run.finish()                                 # or run.fail(error), or run.release() when interrupted
    """

    def __init__(self, folder: Path) -> None:
        self.dir = Path(folder)

    @classmethod
    def at(cls, config: Config, results: Path | None = None) -> "Run":
        """The place of a run, which may not exist yet; in `results`, or where this process leaves its results."""
        return cls((results or RESULTS) / config.profile / config.run_id)

    @classmethod
    def open(cls, config: Config, *, block: int = BLOCK, results: Path | None = None) -> "Run":
        """Create the run's directory, or go on with the one that is there.

        A complete run comes back as it is (`run.complete`), with nothing left to do, unless more is asked. More seeds
        are added in further blocks. More episodes or steps go on from its last checkpoint, to the bits of a run that
        was that long from the start; until it is complete again, its old tables stay. `config.resume=False` deletes it.

        Args:
            block: seeds per shard. Fixed when the run is created, so a resumed run may use any number of processes.

        Raises:
            ConfigError: the directory holds a run with other settings, or one that cannot be made longer.
            DamagedError: a file of the run is damaged, and its shards cannot give it back.
            RuntimeError: another process is training this run.
        """
        run = cls.at(config, results)
        run.dir.mkdir(parents=True, exist_ok=True)
        locks.lock(run.dir)
        try:
            files.sweep(run.dir)
            run._prepare(config, block)
        except BaseException:
            run.release()
            raise
        return run

    @property
    def id(self) -> str:
        return self.dir.name

    @property
    def begun(self) -> bool:
        """Whether the folder holds a run, whole or damaged."""
        return any((self.dir / name).exists() for name in OWN_FILES[:2])

    @functools.cached_property
    def config(self) -> Any:
        """RunConfig or TD3Config.

        Raises:
            FileNotFoundError: the folder holds no run.
            DamagedError: the file is damaged, or this version does not allow what it says.
        """
        path = self.dir / "config.json"
        if not path.exists():
            raise FileNotFoundError(f"{path} is missing")
        try:
            return parse(files.read_json(path))
        except ConfigError as error:
            raise DamagedError(f"{path}: {error}") from None

    @property
    def provenance(self) -> dict[str, Any]:
        """Code, versions, machine, times and status; {} before the run was opened.

        Raises:
            DamagedError: the file is damaged.
        """
        return files.read_json(self.dir / "provenance.json", sealed=True)

    @property
    def status(self) -> str:
        """`running`, `complete`, `failed`, `stopped`: not finished, and no process is at work on it, or `damaged`: a
        file is missing or cannot be read. Whether tables are what was written is asked of `damage`."""
        try:
            facts, _ = self.provenance, self.reports_done
        except (DamagedError, FileNotFoundError):
            return "damaged"
        if not all((self.dir / name).exists() for name in facts.get("files", {})):
            return "damaged"
        status = facts.get("status", "running")
        return "stopped" if status == "running" and not self.busy else status

    @property
    def busy(self) -> bool:
        """Whether a process is at work on the run, or on one of its blocks of seeds."""
        return any(map(locks.locked, [self.dir, *self.dir.glob("shards/*")]))

    def damage(self) -> list[str]:
        """A line for each file of the run that is missing or not what was written, shards left out."""
        try:
            facts, settings = self.provenance, self.config.science
        except (DamagedError, FileNotFoundError) as error:
            return [str(error)]
        told = parse(facts["parameters"]).science if facts.get("status") == "complete" else settings  # with new ones
        return list(files.differing(self.dir, facts.get("files", {}))) + [
            f"{self.dir / 'config.json'} is damaged: {name} is {value!r} there, {told.get(name)!r} in provenance.json"
            for name, value in settings.items()
            if value != told.get(name)
        ]

    @property
    def complete(self) -> bool:
        return self.provenance.get("status") == "complete"

    @property
    def whole(self) -> bool:
        """Whether the run is complete, and every file is there as it was written."""
        return self.status == "complete" and not self.damage()

    def answers(self, config: Config) -> bool:
        """Whether the run is complete and whole, as long as `config` and with at least its seeds."""
        return self.complete and self.config.seeds >= config.seeds and not self._longer(config) and not self.damage()

    @property
    def shards(self) -> list[Shard]:
        """The blocks of seeds that are trained together, in order; none before the run was opened."""
        size = self.provenance.get("block")
        if size is None:
            return []
        seeds, rows, opening = self.config.seed_list, self.config.ROWS, self.provenance.get("opened", 0)
        decisive = {name: value for name, value in self.config.science.items() if name not in EXTENT}
        blocks = [seeds[i : i + size] for i in range(0, len(seeds), size)]
        return [Shard(self.dir, block, rows, decisive | {"seeds": block}, opening) for block in blocks]

    @property
    def reports_done(self) -> int:
        """Reports (episodes, or records) on disk, summed over seeds; 0 to seeds · reports."""
        if self.complete:
            return self.config.seeds * self.config.reports
        return sum(shard.episode * len(shard.seeds) for shard in self.shards)

    def policy(self, seed: int, worker: int = 0) -> "Policy":
        """What a learner does at its last checkpoint, which is the end of a complete run.

        Args:
            worker: of Individual, whose model; in the offloading task also whose speed.

        Raises:
            ConfigError: there is no such seed or worker.
            FileNotFoundError: the run keeps no weights: large ones are not published, or training has only begun.
            DamagedError: the checkpoint, or the published weights, are missing or damaged.
        """
        from lnlab.policy import make_policy

        shard = next((each for each in self.shards if seed in each.seeds), None)
        state = (shard.state() or self._published_state(shard.seeds[0])) if shard else None
        if shard and state is None:
            raise FileNotFoundError(f"{self.dir} keeps no weights of seed {seed}")
        return make_policy(self.config.with_seeds(shard.seeds) if shard else self.config, state or {}, seed, worker)

    def _published_state(self, first: int) -> dict[str, Any] | None:
        """What a published run keeps of the block of seeds that begins with `first`."""
        import torch

        if (digest := self.provenance.get("files", {}).get(POLICIES)) is None:
            return None
        for wrong in files.differing(self.dir, {POLICIES: digest}):
            raise DamagedError(wrong)
        return torch.load(self.dir / POLICIES, weights_only=True).get(str(first))

    def table(self, name: str) -> pd.DataFrame:
        """A table of the run; of one that is not finished, that of its reports up to the last checkpoint.

        Raises:
            KeyError: no table has this name.
            FileNotFoundError: the run has no such table (`episodes` is not published).
            DamagedError: it is missing, cannot be read or is not what was written.
        """
        if name not in COLUMNS:
            raise KeyError(f"unknown table {name!r}; choose one of {', '.join(COLUMNS)}")
        path = self.dir / f"{name}.parquet"
        if name == self.config.ROWS and not self.complete:
            return self._merged_rows()
        if not self.has(name):
            raise FileNotFoundError(f"{path}: run {self.id} has no table {name!r}")
        return files.read_table(path, self.provenance.get("files", {}).get(path.name))

    def has(self, name: str) -> bool:
        """Whether the run has this table, or had it when it was complete."""
        file = f"{name}.parquet"
        return file in self.provenance.get("files", {}) or (self.dir / file).exists()

    def record(self, **facts: Any) -> None:
        files.write_sealed(self.dir / "provenance.json", self.provenance | facts)

    def finish(self) -> None:
        """Join the shards and the tables they kept, write the tables, and mark the run complete, last.

        Raises:
            ValueError: a shard has not trained to its end, or lacks a table that others have.
            DamagedError: a file of a shard is damaged; opened again, the run goes back behind it.
        """
        for shard in self.shards:
            if not self.trained(shard):
                raise ValueError(f"{shard.dir} has trained {shard.episode} of {self.config.reports} {self.config.ROWS}")
        tables = {f"{name}.parquet": frame for name, frame in self._tables().items()}
        for name, frame in tables.items():
            files.write_table(self.dir / name, frame)
        digests = {name: files.sha256(self.dir / name) for name in tables}
        for shard in self.shards:
            shard.settle()
        self.record(**self._summary(), files=digests, status="complete")
        self.release()

    def trained(self, shard: Shard) -> bool:
        """Whether a shard has been trained to its end."""
        return shard.episode == self.config.reports or "stopped_early" in shard.manifest["facts"]

    def fail(self, error: BaseException | str) -> None:
        """Record that the run ended by `error`. It can be opened again and goes on from its last checkpoint."""
        text = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
        self.record(status="failed", error=text, finished=provenance.now())
        self.release()

    def refuse_other(self, config: Config) -> None:
        """A directory holds one experiment; its rows must not mix with those of another.

        Raises:
            ConfigError: the run that is here has other settings than `config`; where and how it runs does not count.
                Or it would be made longer, and keeps no checkpoint.
        """
        if not (self.dir / "config.json").exists():
            return
        there, asked = self.config.science, config.science
        if config.seeds <= self.config.seeds or self.config.seeds % self.provenance.get("block", BLOCK) == 0:
            asked["seeds"] = there["seeds"]  # fewer are there already; more are added as further blocks
        longer = self._longer(config)
        asked |= longer
        differing = [f"{k} is {there[k]!r} there, {asked[k]!r} asked" for k in asked if there[k] != asked[k]]
        if differing:
            raise ConfigError(
                f"{self.dir} holds a run with other settings: {'; '.join(differing)}. "
                "Choose another profile (profile=NAME), or start over with resume=false, which deletes that run"
            )
        if longer and self.complete and not all(map(self.trained, self.shards)):
            ((name, value),) = longer.items()
            told = f"{name} is {value} there, {getattr(config, name)} asked"
            raise ConfigError(f"{self.dir} keeps no checkpoints to go on from: {told}. resume=false starts over")

    def _longer(self, config: Config) -> dict[str, int]:
        """Settings by which `config` is longer than the run, as they are in the run."""
        there, asked = self.config.science, config.science
        return {name: there[name] for name in LENGTH if asked.get(name, 0) > there.get(name, 0)}

    def release(self) -> None:
        """Let another process open the run: for a training that was interrupted."""
        for place in (".lock", "shards"):  # what is beside them may be another's, as a study's .job
            locks.unlock(self.dir / place)

    def _prepare(self, config: Config, block: int) -> None:
        if not config.resume:
            self._clear()
        if not self.provenance and (self.dir / "shards").exists():
            raise DamagedError(
                f"{self.dir / 'provenance.json'} is missing; to train the run again from the start: resume=false"
            )
        self.refuse_other(config)
        if self.answers(config):
            return
        if self.complete:
            self._check_shards(config)
            longer = self._longer(config).items()
            begun = [{"setting": name, "from": value, "at": provenance.now()} for name, value in longer]
            continued = self.provenance.get("continued", []) + begun
            self.record(status="running", continued=continued)  # first: with more in config.json it is not complete
        if (self.dir / "config.json").exists():
            config = config.model_copy(update={"seeds": max(config.seeds, self.config.seeds)})
        files.write_json(self.dir / "config.json", config.model_dump())
        self.__dict__.pop("config", None)  # cores or device may differ from the stopped process's
        self._begin(block)

    def _check_shards(self, config: Config) -> None:
        """Before a complete run is opened to be made whole again, or longer: the shards must hold all that its tables
        held."""
        damaged = [line for shard in self.shards for line in shard.damage()] if self._longer(config) else []
        for wrong in damaged[:1]:
            raise DamagedError(f"{wrong}; the run cannot be made longer, only trained again: resume=false")
        for wrong in self.damage()[:1]:
            if not all(map(self.trained, self.shards)):
                raise DamagedError(f"{wrong}; the run can only be trained again, from the start: resume=false")
            print(f"{wrong}; the tables are made again from {self.dir / 'shards'}", file=sys.stderr)

    def _begin(self, block: int) -> None:
        """Provenance at the start; when resumed, the first start stays; other code and versions are listed."""
        earlier, code, machine = self.provenance, provenance.source(), provenance.machine()
        cores = self.config.cores or provenance.usable_cores()
        fresh = {"started": provenance.now(), "block": block, "sources": []} | code
        kept = {key: earlier.get(key, value) for key, value in fresh.items()}
        kept["sources"] = kept["sources"] + ([code] if code not in kept["sources"] else [])
        kept["dirty"] = any(each["dirty"] for each in kept["sources"])
        kept["opened"] = earlier.get("opened", 0) + 1
        told = earlier.get("continued", [])  # without what was asked for and then not begun
        kept["continued"] = [each for each in told if getattr(self.config, each["setting"]) > each["from"]]
        kept["other_versions"] = sorted({*earlier.get("other_versions", []), *machine["other_versions"]})
        files.write_sealed(
            self.dir / "provenance.json",
            {"status": "running"} | machine | kept | {"parameters": self.config.science, "cores": cores},
        )

    def _clear(self) -> None:
        """Delete the run, not what others keep beside it (the executed page). Its checkpoints go first, at once."""
        if (self.dir / "shards").exists():
            (self.dir / "shards").rename(self.dir / ".shards.tmp")
        for name in OWN_FILES:
            (self.dir / name).unlink(missing_ok=True)
        files.sweep(self.dir)

    def _tables(self) -> dict[str, pd.DataFrame]:
        """The table of reports, those computed from it, and those that the shards kept."""
        found = {self.config.ROWS: (rows := self._merged_rows())}
        if "episodes" in found:
            from lnlab.analysis.metrics import per_seed

            found |= {"curves": curves(rows), "metrics": per_seed(rows, self.config)}
        for name in [each for each in COLUMNS if each not in found]:
            kept = [frame for shard in self.shards if (frame := shard.table(name)) is not None]
            if kept and len(kept) != len(self.shards):
                raise ValueError(f"{self.dir}: {len(kept)} of {len(self.shards)} shards have a table {name!r}")
            if kept:
                found[name] = pd.concat(kept, ignore_index=True)
        return found

    def _merged_rows(self) -> pd.DataFrame:
        rows = pd.concat([shard.rows() for shard in self.shards], ignore_index=True)
        return rows.sort_values(ORDER[self.config.ROWS], ignore_index=True)

    def _summary(self) -> dict[str, Any]:
        """What is known at the end; `seconds` is the time of training that the data rest on, over all resumes."""
        seconds = seconds_trained(self.shards)
        steps = sum(shard.episode * len(shard.seeds) for shard in self.shards) * self.config.steps_per_report
        told = [shard.manifest["facts"] for shard in self.shards]
        facts = {name: value for each in told for name, value in each.items()}
        if "backend" in facts:
            facts["backend"] = sorted({each for shard in told for each in shard["backend"]})
        for name in {"diverged", *facts} & {"diverged", "hosts", "mixed"}:  # of each block a list
            facts[name] = [each for shard in told for each in shard.get(name, [])]
        facts |= {"finished": provenance.now(), "seconds": round(seconds, 2)}
        return facts | {"env_steps": steps, "steps_per_second": round(steps / max(seconds, 1e-3), 1)}


def curves(episodes: pd.DataFrame) -> pd.DataFrame:
    """Learning curves: `episodes` averaged over blocks of ceil(episodes / 100) episodes, float32.

    The last block may be shorter. A block with a NaN is NaN: a diverged learner must not look like a shorter one.
    """
    last = int(episodes["episode"].max())
    size = -(-last // CURVE_POINTS)
    block = ((episodes["episode"] - 1) // size + 1) * size
    quantities = [name for name in episodes.columns if name not in KEYS]
    frame = episodes.assign(episode=block.clip(upper=last))
    groups = frame.astype(dict.fromkeys(quantities, "float64")).groupby(KEYS)[quantities]
    whole = groups.count().eq(groups.size(), axis=0)  # pandas 2 has no mean(skipna=False)
    found = groups.mean().where(whole).astype("float32")
    if "step" in frame:
        found["step"] = frame.groupby(KEYS)["step"].max()  # where the block ends
    return found.reset_index()


@dataclass(frozen=True)
class Study:
    """The runs of a profile, in the order of their names."""

    dir: Path
    runs: list[Run]

    def __getitem__(self, run_id: str) -> Run:
        runs = {run.id: run for run in self.runs}
        if run_id not in runs:
            raise KeyError(f"no run {run_id!r} in {self.dir}; there are {', '.join(runs) or 'none'}")
        return runs[run_id]

    def table(self, name: str) -> pd.DataFrame:
        """One table of all complete runs that have it, with the run and what names its arm in front.

        Raises:
            FileNotFoundError: no complete run has it.
            DamagedError: a run's table, or what the run says of itself, is damaged.
        """
        having = [run for run in self.runs if run.complete and run.has(name)]
        if not having:
            raise FileNotFoundError(f"no complete run in {self.dir} has a table {name!r}")
        frames = []
        for run in having:
            frames.append(frame := run.table(name))
            for position, (column, value) in enumerate(({"run": run.id} | run.config.labels).items()):
                frame.insert(position, column, value)
        return pd.concat(frames, ignore_index=True)


def load(profile_dir: Path | str) -> Study:
    """The runs below a folder: results/<profile> or book/data/<profile>.

    Raises:
        FileNotFoundError: the folder holds no run.
    """
    folder = Path(profile_dir)
    runs = [Run(each) for each in run_folders(folder)]
    if not runs:
        raise FileNotFoundError(f"{folder} holds no run; train some with: lnlab study {folder.name}")
    return Study(folder, runs)


def run_folders(profile_dir: Path) -> list[Path]:
    """The folders of runs below a folder, whole or damaged; hidden ones are being written, or left by a kill."""
    return sorted(folder for folder in profile_dir.glob("[!.]*") if Run(folder).begun)


def publish(
    profile_dir: Path, target: Path, *, allow_dirty: bool = False, only: Collection[str] | None = None
) -> list[str]:
    """Copy the small tables, settings and provenance of the complete runs, or of `only` these, to `target`; returns
    their ids.

    Each run takes the place of an earlier one as a whole: whenever this is killed, the one or the other is there.

    Raises:
        ValueError: no run is complete, or one was made by code that no commit holds (unless `allow_dirty`), or `target`
            is, holds or lies in `profile_dir`.
        DamagedError: a file of a run is not what was written.
    """
    here, there = profile_dir.resolve(), target.resolve()
    if here.is_relative_to(there) or there.is_relative_to(here):
        raise ValueError(f"{profile_dir} cannot be published to {target}: the runs themselves would be replaced")
    complete = [run for run in load(profile_dir).runs if (run.id in only if only is not None else run.complete)]
    if not complete:
        raise ValueError(f"{profile_dir} has no complete run to publish")
    if wrong := [line for run in complete for line in run.damage()]:
        raise DamagedError("; ".join(wrong))
    unclear = [run.id for run in complete if any(each["dirty"] for each in run.provenance["sources"])]
    if unclear and not allow_dirty:
        raise ValueError(
            f"made with changes that were not committed, or outside a git repository: {', '.join(unclear)}. "
            "Commit, then train again"
        )
    for run in complete:
        _copy(run, target / run.id)  # as a whole, so that no table of an earlier run stays
    files.sweep(target)
    return [run.id for run in complete]


def _copy(run: Run, target: Path) -> None:
    fresh = files.beside(target)
    tables = [name for name in PUBLISHED_FILES if name.endswith(".parquet") and (run.dir / name).exists()]
    for name in tables:
        files.write_compact(fresh / name, pd.read_parquet(run.dir / name))
    shutil.copyfile(run.dir / "config.json", fresh / "config.json")
    digests = {name: files.sha256(fresh / name) for name in [*tables, *_copy_policies(run, fresh)]}
    files.write_sealed(fresh / "provenance.json", run.provenance | {"files": digests})
    files.swap(fresh, target)


def _copy_policies(run: Run, target: Path) -> list[str]:
    """Write what acts of every seed to a file if it is small, and name it."""
    import torch

    from lnlab.policy import acting

    kept = {str(each.seeds[0]): acting(run.config, state) for each in run.shards if (state := each.state())}
    torch.save(kept, target / POLICIES)
    if not any(kept.values()) or (target / POLICIES).stat().st_size > SMALL:
        (target / POLICIES).unlink()
        return []
    return [POLICIES]
