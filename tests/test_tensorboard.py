"""Event files read back: names and numbers of the tables, once each also after a run was stopped."""

import subprocess
import sys
from pathlib import Path

import pytest

from lnlab.trainers.watchers import EventWriter

pytest.importorskip("tensorboard")


def charts(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def record(step: int, loss: float = 0.5) -> dict[str, float | str]:
    return {"seed": 3, "step": step, "phase": "policy", "critic_loss": loss, "actor_q": float("nan")}


def test_tags_are_the_tables_and_their_columns(tmp_path: Path) -> None:
    writer = EventWriter(tmp_path)
    writer.add("records", record(100))
    writer.add("returns", {"seed": 3, "step": 117, "return": -4.0, "off_lane": True})
    writer.close()
    assert charts(tmp_path) == {
        "records/critic_loss": [(100, 0.5)],
        "returns/return": [(117, -4.0)],
        "returns/off_lane": [(117, 1.0)],
    }


def test_a_run_that_goes_on_from_a_checkpoint_repeats_nothing(tmp_path: Path) -> None:
    killed = EventWriter(tmp_path)
    for step in (100, 200, 300):  # the checkpoint was at 200
        killed.add("records", record(step, loss=step))
    killed.flush()
    resumed = EventWriter(tmp_path, step=200)
    for step in (300, 400):
        resumed.add("records", record(step, loss=-step))
    resumed.close()
    assert charts(tmp_path)["records/critic_loss"] == [(100, 100), (200, 200), (300, -300), (400, -400)]


def test_a_run_that_starts_again_hides_the_old_one(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        writer = EventWriter(tmp_path)
        writer.add("records", record(0, loss))
        writer.close()
    assert charts(tmp_path)["records/critic_loss"] == [(0, 2.0)]


def test_tensorboard_is_loaded_only_for_a_writer() -> None:
    code = "import sys, lnlab.trainers.watchers; sys.exit('tensorboard' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
