"""Trains one seed of TD3 or DDPG to its end: checkpoints on the way, event files for TensorBoard, alerts once each."""

import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pandas as pd

from lnlab.columns import COLUMNS
from lnlab.config import TD3Config
from lnlab.runs import Shard
from lnlab.shards import save
from lnlab.trainers.admission import require_norm
from lnlab.trainers.monitor import CHECKPOINT_STEPS, alerts, stale_checkpoints
from lnlab.trainers.off_policy import OffPolicyTrainer
from lnlab.trainers.tensorboard import EventWriter

CHECKPOINT_SECONDS, SHARE = 15.0, 0.05  # least time between checkpoints, and most of the time that writing may take
Listener = Callable[[dict[str, Any]], None]


def train_seed(config: TD3Config, shard: Shard, device: str, report: Listener, stopped: Callable[[], bool]) -> bool:
    """Train one seed from its last checkpoint; False if stopped before its end."""
    cv2.setNumThreads(1)  # as torch in such a process: the cores belong to the other seeds
    trainer = OffPolicyTrainer(config, device)
    if (state := shard.load()) is not None:
        trainer.load_state_dict(state)
    require_norm(config, trainer.norm_layers)
    shard.record(device=device, norm_layers=trainer.norm_layers, parameter_count=trainer.parameter_count)
    saver, teller = Saver(trainer, shard), Teller(trainer, shard)
    for row in trainer:
        shard.append(row)
        shard.record(diverged=trainer.diverged)
        teller(row)
        report(row | {"seed": np.array(shard.seeds)})
        halt = stopped()
        saver(last=halt or trainer.episode == config.reports or trainer.stopped_early)
        if halt:
            teller.close()
            return False
    require_norm(config, trainer.norm_layers)
    for name, rows in trainer.tables.items():
        if rows:
            shard.write_table(name, pd.DataFrame(rows))
        elif name == "returns":
            shard.write_table(name, no_returns())
    if trainer.stopped_early:
        shard.record(stopped_early=trainer.steps)
        shard.checkpoint(trainer.state_dict())
    teller.close()
    return True


def no_returns() -> pd.DataFrame:
    """The table of a seed in which no episode ended: its columns, of the types they have in others."""
    kinds = {"seed": int, "step": int, "episode": int, "length": int, "phase": str}
    usual = {name: bool if column.unit == "bool" else float for name, column in COLUMNS["returns"].items()}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in (usual | kinds).items()})


class Saver:
    """Checkpoints: the newest one to go on from, rarely enough; and one each 25K steps of which five are kept."""

    def __init__(self, trainer: OffPolicyTrainer, shard: Shard) -> None:
        self.trainer, self.shard = trainer, shard
        self.next, self.wait = time.monotonic() + CHECKPOINT_SECONDS, CHECKPOINT_SECONDS

    def __call__(self, *, last: bool) -> None:
        if self.trainer.steps % CHECKPOINT_STEPS == 0:
            self._keep()
        if last or time.monotonic() > self.next:
            start = time.monotonic()
            self.shard.checkpoint(self.trainer.state_dict())
            self.wait = max(CHECKPOINT_SECONDS, (time.monotonic() - start) / SHARE)
            self.next = time.monotonic() + self.wait

    def _keep(self) -> None:
        """The networks after this step, for looking back; `kept-000025000.pt` in the folder of the seed."""
        save(self.shard.dir / f"kept-{self.trainer.steps:09d}.pt", self.trainer.learner.state_dict())
        kept = {int(path.stem.removeprefix("kept-")): path for path in self.shard.dir.glob("kept-*.pt")}
        for step in stale_checkpoints(list(kept)):
            kept[step].unlink()


class Teller:
    """Event files for TensorBoard, and a line on the first firing of each alert."""

    def __init__(self, trainer: OffPolicyTrainer, shard: Shard) -> None:
        self.trainer, self.seed, self.fired = trainer, shard.seeds[0], set[str]()
        self.told = len(trainer.tables["returns"])
        folder = shard.dir.parent.parent / "tensorboard" / f"seed-{self.seed}"
        resumed_at = trainer.steps or None
        self.writer = EventWriter(folder, resumed_at) if trainer.config.tensorboard else None
        self.before: dict[str, Any] | None = None  # the last record before learning: what growth is measured against

    def __call__(self, row: dict[str, Any]) -> None:
        record = {name: value.item() for name, value in row.items() if name != "record"}
        episodes = self.trainer.tables["returns"][self.told :]
        self.told += len(episodes)
        if self.writer:
            self.writer.add("records", record)
            for each in episodes:
                self.writer.add("returns", each)
        if record["updates"] == 0:
            self.before = record
        for name in sorted({name for each in (record, *episodes) for name in alerts(each, self.before)} - self.fired):
            self.fired.add(name)
            print(f"seed {self.seed}, step {self.trainer.steps}: alert {name}", file=sys.stderr)

    def close(self) -> None:
        if self.writer:
            self.writer.close()
