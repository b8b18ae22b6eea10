"""What stands beside a training and writes: the driver makes each for a trainer, and calls it with every report.

These two are of TD3 and DDPG; those that look into networks are in `lnlab.inside`.
"""

import importlib
import math
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lnlab.config import TD3Config
from lnlab.shards import Shard, save
from lnlab.trainers.monitor import alerts

KEPT_STEPS, KEPT = 25_000, 5  # steps between the networks that are kept, and how many
PLACE = ("seed", "step")  # where a row stands, not what it says


class Watcher:
    """Made before the first report of a session; `trainer` stands at its last checkpoint, or at its beginning.

    It may add columns to a report, in place. `wants` tells whether it has anything to do with a trainer.
    """

    def __init__(self, trainer: Any, shard: Shard) -> None:
        self.trainer, self.shard = trainer, shard

    @staticmethod
    def wants(trainer: Any) -> bool:
        return isinstance(trainer.config, TD3Config)

    def __call__(self, report: dict[str, Any]) -> None: ...

    def close(self) -> None:
        """Training is over, or stopped."""


class LateWatcher(NamedTuple):
    """A watcher by name, imported where a trainer of its settings is: torch and a simulator take seconds to load."""

    module: str
    name: str
    settings: type

    def wants(self, trainer: Any) -> bool:
        return isinstance(trainer.config, self.settings) and self._found.wants(trainer)

    def __call__(self, trainer: Any, shard: Shard) -> Watcher:
        return self._found(trainer, shard)

    @property
    def _found(self) -> type[Watcher]:
        found: type[Watcher] = getattr(importlib.import_module(self.module), self.name)
        return found


class KeptNetworks(Watcher):
    """The networks after each 25,000 steps, the newest five, for looking back: `kept-000025000.pt`."""

    def __call__(self, report: dict[str, Any]) -> None:
        if self.trainer.steps % KEPT_STEPS:
            return
        save(self.shard.dir / f"kept-{self.trainer.steps:09d}.pt", self.trainer.learner.state_dict())
        for path in sorted(self.shard.dir.glob("kept-*.pt"))[:-KEPT]:
            path.unlink()


class Teller(Watcher):
    """A line on the first firing of each alert, and TensorBoard's event files where the settings ask for them."""

    def __init__(self, trainer: Any, shard: Shard) -> None:
        super().__init__(trainer, shard)
        self.told = len(trainer.rows["returns"])
        self.seeds = trainer.config.seed_list
        self.fired: list[set[str]] = [set() for _ in self.seeds]
        self.before: list[dict[str, Any] | None] = [None for _ in self.seeds]  # the last record before learning
        folder = shard.dir.parent.parent / "tensorboard"
        seeds = self.seeds if trainer.config.tensorboard else []
        self.writers = {seed: EventWriter(folder / f"seed-{seed}", trainer.steps) for seed in seeds}

    def __call__(self, report: dict[str, Any]) -> None:
        episodes = self.trainer.rows["returns"][self.told :]
        self.told += len(episodes)
        for place, seed in enumerate(self.seeds):
            record = {name: value[place].item() for name, value in report.items() if name != "record"}
            self._tell(place, record, [each for each in episodes if each["seed"] == seed])

    def _tell(self, place: int, record: dict[str, Any], episodes: list[dict[str, Any]]) -> None:
        """What a seed's record and the episodes that ended since the one before it say."""
        seed, fired = self.seeds[place], self.fired[place]
        if seed in self.writers:
            for table, row in (("records", record), *(("returns", each) for each in episodes)):
                self.writers[seed].add(table, row)
        if record["updates"] == 0:
            self.before[place] = record
        for name in sorted({name for row in (record, *episodes) for name in alerts(row, self.before[place])} - fired):
            fired.add(name)
            print(f"seed {seed}, step {self.trainer.steps}: alert {name}", file=sys.stderr)

    def close(self) -> None:
        for writer in self.writers.values():
            writer.close()


class EventWriter:
    """Writes rows to event files; the tag of a number is <table>/<column>, as in the published tables.

    Checked by reading the events back (tests/test_monitor.py). TensorBoard is loaded when a writer is made.

    Args:
        folder: of the seed's event files; those of an earlier, stopped run stay and are continued.
        step: of the checkpoint the seed goes on from, 0 where it starts. Of what an earlier run wrote, TensorBoard
            shows nothing past it.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else 0)
        self.flush, self.close = self._writer.flush, self._writer.close

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Write the numbers of a row at its step; words and missing numbers have no place in a chart."""
        for column, value in row.items():
            if column not in PLACE and not isinstance(value, str) and not math.isnan(value):
                self._writer.add_scalar(f"{table}/{column}", float(value), int(row["step"]))


WATCHERS = (KeptNetworks, Teller)
