"""A block of consecutive seeds of a run, trained by one process, with its own stream of checkpoints.

A checkpoint and the rows that belong to it must never disagree, whenever the process dies. So both go to new files,
named by episode, and a manifest that names them is replaced last: files that it does not name do not count, and the
next checkpoint deletes them.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lnlab.columns import COLUMNS
from lnlab.files import lock, read_json, replacing, write_json, write_table

Report = dict[str, np.ndarray]  # what a trainer yields after each episode; arrays (seeds, workers)
KEYS = ["seed", "worker", "episode"]
ORDER = {"episodes": KEYS, "records": ["seed", "step"]}  # of the rows in a table of reports
EMPTY: dict[str, Any] = {"episode": 0, "chunks": [], "checkpoint": None, "sessions": [], "facts": {}}


class Shard:
    """Results of `seeds` inside a run's folder. May be sent to another process; one process at a time writes.

    `rows` names the table that takes the reports: `episodes`, or for TD3 `records`, one each hundred steps.

    >>> Shard(Path("results/quick/a3c-gru-ln"), [0, 1, 2, 3, 4]).dir.as_posix()
    'results/quick/a3c-gru-ln/shards/0-4'
    """

    def __init__(self, run_dir: Path, seeds: Sequence[int], rows: str = "episodes") -> None:
        self.seeds, self.table_of_rows = list(seeds), rows
        self.dir = run_dir / "shards" / f"{self.seeds[0]}-{self.seeds[-1]}"
        self._buffer: list[tuple[int, Report]] = []  # episodes since the last checkpoint
        self._facts: dict[str, Any] = {}
        self._since: float | None = None  # when this process began to train

    @property
    def manifest(self) -> dict[str, Any]:
        return EMPTY | read_json(self.dir / "manifest.json")

    @property
    def episode(self) -> int:
        """Reports kept on disk (episodes, or records): where training goes on after a stop."""
        return int(self.manifest["episode"])

    def load(self) -> dict[str, Any] | None:
        """State of the trainer at the last checkpoint, tensors on the CPU; None before the first. Starts the clock."""
        import torch

        self._start_clock()
        name = self.manifest["checkpoint"]
        return torch.load(self.dir / name, map_location="cpu", weights_only=True) if name else None

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
        self._check(report)
        self._buffer.append((episode, {k: np.array(v) for k, v in report.items() if k != self._counter}))

    def checkpoint(self, state: dict[str, Any]) -> None:
        """Keep the trainer's `state` and all rows so far; if killed on the way, the previous ones stay, both of them.

        Args:
            state: plain dict of tensors, numbers, strings, lists and dicts (loaded with `weights_only=True`).

        Raises:
            ValueError: state["episode"], where given, is not the last appended episode.
        """
        manifest = self.manifest
        self._buffer = [(e, r) for e, r in self._buffer if e > manifest["episode"]]  # rows of an interrupted checkpoint
        episode = self._last()
        if state.get("episode", episode) != episode:
            raise ValueError(f"{self.dir}: the state is of episode {state['episode']}, the last report of {episode}")
        self._claim()
        if self._buffer:
            manifest["chunks"] = [*manifest["chunks"], self._write_chunk(manifest["episode"] + 1, episode)]
        manifest |= {"episode": episode, "checkpoint": self._write_state(state, episode)}
        manifest |= {"sessions": self._sessions(manifest["sessions"]), "facts": manifest["facts"] | self._facts}
        write_json(self.dir / "manifest.json", manifest)  # the instant at which the new checkpoint counts
        self._buffer = []
        self._delete_unnamed(manifest)

    def rows(self) -> pd.DataFrame:
        """The table of reports of these seeds up to the last checkpoint; empty before the first."""
        chunks = [pd.read_parquet(self.dir / name) for name in self.manifest["chunks"]]
        empty = pd.DataFrame(columns=list(COLUMNS[self.table_of_rows]))
        return pd.concat(chunks, ignore_index=True) if chunks else empty

    def write_table(self, name: str, frame: pd.DataFrame) -> None:
        """Keep a table of these seeds (`evaluation`, `diagnostics`); `Run.finish` joins those of all shards."""
        self.dir.mkdir(parents=True, exist_ok=True)
        write_table(self.dir / f"{name}.parquet", frame)

    def table(self, name: str) -> pd.DataFrame | None:
        """A table kept by `write_table`; None if there is none."""
        path = self.dir / f"{name}.parquet"
        return pd.read_parquet(path) if path.exists() else None

    def _claim(self) -> None:
        """A worker process may outlive the one that started it: it must not meet its successor here."""
        self.dir.mkdir(parents=True, exist_ok=True)
        lock(self.dir)

    def _start_clock(self) -> None:
        self._since = self._since or time.time()

    def _last(self) -> int:
        return self._buffer[-1][0] if self._buffer else self.episode

    @property
    def _counter(self) -> str:
        """The number of a report goes by this name."""
        return self.table_of_rows.removesuffix("s")

    def _check(self, report: Report) -> None:
        unknown = set(report) - set(COLUMNS[self.table_of_rows]) - {self._counter}
        if unknown:
            raise ValueError(f"unknown columns {sorted(unknown)}; describe them in lnlab/columns.py")
        for name, values in report.items():
            if name != self._counter and (np.ndim(values) != 2 or len(values) != len(self.seeds)):
                raise ValueError(f"{name} has shape {np.shape(values)}; expected ({len(self.seeds)} seeds, workers)")

    def _write_chunk(self, first: int, last: int) -> str:
        name = f"{self.table_of_rows}-{first:06d}-{last:06d}.parquet"
        write_table(self.dir / name, pd.concat([self._frame(e, r) for e, r in self._buffer], ignore_index=True))
        return name

    def _frame(self, episode: int, report: Report) -> pd.DataFrame:
        workers = next(iter(report.values())).shape[1]
        keys: dict[str, Any] = {"seed": np.repeat(self.seeds, workers)}
        keys |= {"worker": np.tile(np.arange(workers), len(self.seeds)), self._counter: episode}
        keys = {name: values for name, values in keys.items() if name in COLUMNS[self.table_of_rows]}
        return pd.DataFrame(keys | {name: values.ravel() for name, values in report.items()})

    def _write_state(self, state: dict[str, Any], episode: int) -> str:
        import torch

        name = f"checkpoint-{episode:06d}.pt"
        with replacing(self.dir / name) as temporary:
            torch.save(state, temporary)
        return name

    def _sessions(self, earlier: list[list[float]]) -> list[list[float]]:
        """Wall-clock intervals of training that this checkpoint keeps; work lost by a kill is not in them."""
        self._since = self._since or time.time()
        return [s for s in earlier if s[0] != self._since] + [[self._since, time.time()]]

    def _delete_unnamed(self, manifest: dict[str, Any]) -> None:
        named = {*manifest["chunks"], manifest["checkpoint"]}
        for path in [
            *self.dir.glob(f"{self.table_of_rows}-*"),
            *self.dir.glob("checkpoint-*"),
            *self.dir.glob(".*.tmp"),
        ]:
            if path.name not in named:
                path.unlink(missing_ok=True)


def seconds_trained(shards: Sequence[Shard]) -> float:
    """Wall-clock time in which at least one of the shards was being trained: the union of their sessions.

    It leaves out stops between sessions and work lost by a kill, and counts shards that ran side by side once.
    """
    total, reached = 0.0, -np.inf
    for start, end in sorted(s for shard in shards for s in shard.manifest["sessions"]):
        total += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return total
