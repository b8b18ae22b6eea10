"""A block of consecutive seeds of a run, trained by one process, with its own stream of checkpoints.

A checkpoint and the rows and tables that belong to it must never disagree, whenever the process dies. So all go to new
files, and a manifest that names them, with their SHA-256, is replaced last: files that it does not name do not count,
and the next checkpoint deletes them. The manifest before it is kept with its files, for when one of the newest is
damaged.
"""

import sys
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lnlab import files, locks
from lnlab.columns import COLUMNS
from lnlab.files import DamagedError

Report = dict[str, np.ndarray]  # what a trainer yields after each episode; arrays (seeds, workers)
KEYS = ["seed", "worker", "episode"]
ORDER = {"episodes": KEYS, "records": ["seed", "step"]}  # of the rows in a table of reports
NEWEST, PREVIOUS = "manifest.json", "manifest-previous.json"


EMPTY: dict[str, Any] = {  # what manifest.json holds: the files that count, and what goes with them
    "episode": 0,  # the last report on disk
    "serial": 0,  # of this manifest
    "chunks": [],  # files with rows
    "checkpoint": None,
    "tables": {},  # files by the table's name
    "files": {},  # SHA-256 of these files
    "kept": {},  # SHA-256 of the networks kept for looking back
    "sessions": [],  # [opening of the run, start, end] on a clock that nobody sets, without lost work
    "facts": {},
}


class Shard:
    """Results of `seeds` inside a run's folder. May be sent to another process; one process at a time writes.

    Args:
        rows: the table that takes the reports: `episodes`, or for TD3 `records`, one each hundred steps.
        settings: what decides the numbers of these seeds; a checkpoint made with others is refused.
        opening: how many times the run has been opened; all processes of one opening share a clock; on other
            machines that of the machine stands with it.

    >>> Shard(Path("results/quick/a3c-gru-ln"), [0, 1, 2, 3, 4]).dir.as_posix()
    'results/quick/a3c-gru-ln/shards/0-4'
    """

    def __init__(
        self,
        run_dir: Path,
        seeds: Sequence[int],
        rows: str = "episodes",
        settings: Mapping[str, Any] | None = None,
        opening: int | str = 0,
    ) -> None:
        self.seeds, self.table_of_rows = list(seeds), rows
        self.dir = run_dir / "shards" / f"{self.seeds[0]}-{self.seeds[-1]}"
        self.settings, self.opening = dict(settings or {}), opening
        self._buffer: list[tuple[int, Report]] = []  # episodes since the last checkpoint
        self._facts: dict[str, Any] = {}
        self._since: float | None = None  # when this process began to train

    @property
    def manifest(self) -> dict[str, Any]:
        return _read(self.dir / NEWEST)

    @property
    def episode(self) -> int:
        """Reports kept on disk (episodes, or records): where training goes on after a stop."""
        return int(self.manifest["episode"])

    def damage(self) -> list[str]:
        """A line for each file that is missing or not what was written."""
        if wrong := _wrong(self.dir, NEWEST):
            return wrong
        kept = {name: digest for name, digest in self.manifest["kept"].items() if (self.dir / name).exists()}
        return list(files.differing(self.dir, kept))

    def load(self) -> dict[str, Any] | None:
        """State of the trainer at the last checkpoint, tensors on the CPU; None before the first. Starts the clock.

        Where a file of the newest checkpoint is damaged, the one before it counts again, and a line on stderr says so.

        Raises:
            DamagedError: there is none before it that is whole, or the checkpoint was made with other settings.
            RuntimeError: another process is training these seeds.
        """
        self._claim()
        self._start_clock()
        if (name := self._whole_manifest()["checkpoint"]) is None:
            return None
        content = _content(self.dir / name)
        there = content["settings"]
        other = [f"{k} is {there[k]!r} there, {v!r} here" for k, v in self.settings.items() if there.get(k, v) != v]
        if other:
            raise DamagedError(f"{self.dir / name} was made with other settings: {'; '.join(other)}")
        return content["state"]

    def state(self) -> dict[str, Any] | None:
        """As `load`, for who only looks: nothing is claimed or written, and another process may go on training.

        Raises:
            DamagedError: the checkpoint is missing or damaged.
        """
        manifest = self.manifest
        if (name := manifest["checkpoint"]) is None:
            return None
        for wrong in files.differing(self.dir, {name: manifest["files"][name]}):
            raise DamagedError(wrong)
        return _content(self.dir / name, mapped=True)["state"]

    def record(self, **facts: Any) -> None:
        """Facts for the run's provenance (device, norm_layers, parameter_count), kept with the next checkpoint."""
        self._facts |= facts

    def append(self, report: Report) -> None:
        """Take one report; it reaches the disk with the next checkpoint.

        Args:
            report: its number under "episode" or "record" (scalar, 1 is the first) and columns of the table of rows,
                each (seeds, workers).

        Raises:
            ValueError: a column is unknown, has a wrong shape, or the episode does not follow the last one.
            RuntimeError: another process is training these seeds.
        """
        self._start_clock()
        self._claim()
        episode, expected = int(report[self._counter]), self._last() + 1
        if episode != expected:
            raise ValueError(
                f"{self.dir}: {self._counter} {expected} comes next, got {episode}; load() the checkpoint first"
            )
        columns = {name: np.array(values) for name, values in report.items() if name != self._counter}
        if unknown := columns.keys() - COLUMNS[self.table_of_rows].keys():
            raise ValueError(f"unknown columns {sorted(unknown)}; describe them in lnlab/columns.toml")
        for name, values in columns.items():
            if values.ndim != 2 or len(values) != len(self.seeds):
                raise ValueError(f"{name} has shape {values.shape}; expected ({len(self.seeds)} seeds, workers)")
        self._buffer.append((episode, columns))

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Keep the trainer's `state` and all rows so far; if killed on the way, the previous ones stay, both of them.

        Args:
            state: plain dict of tensors, numbers, strings, lists and dicts (loaded with `weights_only=True`).

        Raises:
            ValueError: state["episode"], where given, is not the last appended episode.
        """
        before = self.manifest
        self._buffer = [(e, r) for e, r in self._buffer if e > before["episode"]]  # rows of an interrupted checkpoint
        episode = self._last()
        if state.get("episode", episode) != episode:
            raise ValueError(f"{self.dir}: the state is of episode {state['episode']}, the last report of {episode}")
        self._claim()
        name = f"checkpoint-{episode:06d}-{before['serial'] + 1:06d}.pt"  # what a manifest names is never replaced
        save(self.dir / name, {"settings": self.settings, "state": state})
        manifest = before | {"episode": episode, "checkpoint": name}
        if self._buffer:
            chunk = f"{self.table_of_rows}-{before['episode'] + 1:06d}-{episode:06d}.parquet"
            files.write_table(self.dir / chunk, pd.concat(map(self._frame, self._buffer), ignore_index=True))
            manifest["chunks"] = [*before["chunks"], chunk]
        this = [self.opening, self._start_clock()]
        sessions = [each for each in before["sessions"] if each[:2] != this] + [[*this, time.monotonic()]]
        manifest |= {"sessions": sessions, "facts": before["facts"] | self._facts}
        kept = sorted(path.name for path in self.dir.glob("kept-*.pt"))
        manifest["kept"] = {name: before["kept"].get(name) or files.sha256(self.dir / name) for name in kept}
        self._commit(manifest)
        files.write_sealed(self.dir / PREVIOUS, before)
        self._buffer = []
        self._delete_all_but(_named(manifest) | _named(before))

    def rows(self) -> pd.DataFrame:
        """The table of reports of these seeds up to the last checkpoint; empty before the first.

        Raises:
            DamagedError: a file of it is missing or damaged.
        """
        manifest = self.manifest
        chunks = [files.read_table(self.dir / name, manifest["files"][name]) for name in manifest["chunks"]]
        return pd.concat(chunks or [pd.DataFrame(columns=list(COLUMNS[self.table_of_rows]))], ignore_index=True)

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Keep a table of these seeds (`evaluation`, `diagnostics`); `Run.finish` joins those of all shards."""
        self._claim()
        manifest = self.manifest
        file = f"{name}-{manifest['serial'] + 1:06d}.parquet"
        files.write_table(self.dir / file, frame)
        self._commit(manifest | {"tables": manifest["tables"] | {name: file}})

    def table(self, name: str) -> pd.DataFrame | None:
        """A table kept by `write_table`; None if there is none.

        Raises:
            DamagedError: it is missing or damaged.
        """
        manifest = self.manifest
        file = manifest["tables"].get(name)
        return files.read_table(self.dir / file, manifest["files"][file]) if file else None

    def drop_tables(self, names: Sequence[str]) -> None:
        """What was made at an earlier end is not a longer run's."""
        manifest = self.manifest
        if manifest["tables"].keys() & {*names}:
            others = {name: file for name, file in manifest["tables"].items() if name not in names}
            self._commit(manifest | {"tables": others})

    def settle(self) -> None:
        """Training is over: the checkpoint before the last is deleted."""
        (self.dir / PREVIOUS).unlink(missing_ok=True)
        self._delete_all_but(_named(self.manifest))

    def _claim(self) -> None:
        """A worker process may outlive the one that started it: it must not meet its successor here."""
        self.dir.mkdir(parents=True, exist_ok=True)
        if locks.lock(self.dir):
            files.sweep(self.dir)

    def _start_clock(self) -> float:
        self._since = self._since or time.monotonic()
        return self._since

    def _commit(self, manifest: dict[str, Any]) -> None:
        """Write the manifest: the instant at which what it names counts. New files are read again, for their digest."""
        known = manifest["files"]
        digests = {name: known.get(name) or files.sha256(self.dir / name) for name in sorted(_named(manifest))}
        files.write_sealed(self.dir / NEWEST, manifest | {"serial": manifest["serial"] + 1, "files": digests})

    def _whole_manifest(self) -> dict[str, Any]:
        """The manifest; the one before it, from now on, where a file of the newest is damaged."""
        wrong = _wrong(self.dir, NEWEST)
        if not wrong:
            return self.manifest
        if not (self.dir / PREVIOUS).exists() or _wrong(self.dir, PREVIOUS):
            raise DamagedError(f"{wrong[0]}; to train these seeds again from the start, delete {self.dir}")
        files.write_sealed(self.dir / NEWEST, _read(self.dir / PREVIOUS))
        print(f"{wrong[0]}; going back to the checkpoint of {self._counter} {self.episode}", file=sys.stderr)
        return self.manifest

    def _last(self) -> int:
        return self._buffer[-1][0] if self._buffer else self.episode

    @property
    def _counter(self) -> str:
        """The number of a report goes by this name."""
        return self.table_of_rows.removesuffix("s")

    def _frame(self, numbered: tuple[int, Report]) -> pd.DataFrame:
        episode, report = numbered
        workers = next(iter(report.values())).shape[1]
        keys: dict[str, Any] = {"seed": np.repeat(self.seeds, workers)}
        keys |= {"worker": np.tile(np.arange(workers), len(self.seeds)), self._counter: episode}
        keys = {name: values for name, values in keys.items() if name in COLUMNS[self.table_of_rows]}
        return pd.DataFrame(keys | {name: values.ravel() for name, values in report.items()})

    def _delete_all_but(self, named: set[str]) -> None:
        for pattern in ("checkpoint-*.pt", "*-*.parquet"):
            for path in self.dir.glob(pattern):
                if path.name not in named:
                    path.unlink(missing_ok=True)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write tensors, numbers, strings, lists and dicts with `torch.save`; equal states give equal bytes."""
    import torch

    # given a path, torch would put its name into the file
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        try:
            torch.save(state, file)
        except RuntimeError as error:  # torch's words for a full disk name neither the disk nor the file
            if isinstance(error.__context__, OSError):
                raise error.__context__ from None
            raise


def _content(checkpoint: Path, *, mapped: bool = False) -> dict[str, Any]:
    """Settings and state, tensors on the CPU; `mapped`: read as they are looked at, so without the replay buffer."""
    import torch

    return dict(torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=mapped))


def _read(path: Path) -> dict[str, Any]:
    return EMPTY | files.read_json(path, sealed=True)


def _named(manifest: Mapping[str, Any]) -> set[str]:
    return {*manifest["chunks"], *manifest["tables"].values(), manifest["checkpoint"]} - {None}


def _wrong(folder: Path, name: str) -> list[str]:
    """What is wrong with a manifest of `folder` or with a file that it names."""
    if not (folder / name).exists() and (folder / PREVIOUS).exists():
        return [f"{folder / name} is missing"]
    try:
        return list(files.differing(folder, _read(folder / name)["files"]))
    except DamagedError as error:
        return [str(error)]


def seconds_trained(shards: Sequence[Shard]) -> float:
    """Time in which at least one of the shards was being trained: the union of their sessions in each opening.

    It leaves out stops between sessions and work lost by a kill, and counts shards that ran side by side on one machine
    once. Clocks of two openings cannot be compared: the machine may have been started anew in between.
    """
    total, reached = 0.0, defaultdict[int | str, float](lambda: -np.inf)
    sessions = [each for shard in shards for each in shard.manifest["sessions"]]
    for opening, start, end in sorted(sessions, key=lambda each: (str(each[0]), *each[1:])):
        total += max(0.0, end - max(start, reached[opening]))
        reached[opening] = max(reached[opening], end)
    return total
