"""Runs of TD3 from settings to tables: processes, stops, early stopping, kept checkpoints, event files, alerts."""

from pathlib import Path

import pandas as pd
import pytest

from lnlab import runs
from lnlab.config import parse
from lnlab.runs import Run, Shard, publish
from lnlab.trainers import driver, off_policy_driver
from lnlab.trainers.off_policy_driver import train_seed

TABLES = ("records", "returns", "checks")
PENDULUM = {"env": "Pendulum-v1", "norm": "none"}
SMALL = {"algorithm": "td3", **PENDULUM, "steps": 400, "learning_starts": 100, "batch_size": 4, "hidden": 8}
SMALL |= {"eval_episodes": 1, "eval_every": 200, "profile": "test", "device": "cpu", "cores": 1}


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def run(**settings: object) -> Run:
    return driver.run(parse(SMALL | settings), progress=False)


def test_seeds_over_processes_give_what_one_process_gives():
    one, two = run(seeds=2), run(seeds=2, cores=2, profile="two")
    for name in TABLES:
        pd.testing.assert_frame_equal(one.table(name), two.table(name))
    assert list(one.table("records").step) == [100, 200, 300, 400] * 2
    assert list(one.table("checks").groupby("seed").step.unique().iloc[0]) == [0, 200, 400]
    assert one.provenance["env_steps"] == 800
    assert one.provenance["steps_per_second"] > 0


def test_a_run_that_is_stopped_goes_on_to_the_same_tables():
    straight = run(seeds=1)
    asked = iter([False, True])
    shard = Shard(runs.RESULTS / "stopped" / "run", [0], "records")
    config = parse(SMALL | {"seeds": 1})
    assert not train_seed(config, shard, "cpu", lambda _: None, lambda: next(asked))
    assert shard.episode == 2
    again = Shard(shard.dir.parent.parent, [0], "records")
    assert train_seed(config, again, "cpu", lambda _: None, lambda: False)
    pd.testing.assert_frame_equal(straight.table("records"), again.rows())
    for name in ("returns", "checks"):
        pd.testing.assert_frame_equal(straight.table(name), again.table(name))


def test_more_seeds_can_be_added_to_a_complete_run():
    first = run(seeds=1).table("records")
    more = run(seeds=2).table("records")
    pd.testing.assert_frame_equal(more[more.seed == 0].reset_index(drop=True), first)
    assert sorted(more.seed.unique()) == [0, 1]


def test_a_run_that_no_longer_gains_is_complete_before_its_steps():
    found = run(seeds=1, steps=60_000, learning_starts=59_000, early_stopping=True, patience=400, eval_episodes=0)
    stopped = found.provenance["stopped_early"]
    assert found.complete
    assert found.table("records").step.max() == found.provenance["env_steps"] == stopped < 60_000


def test_five_checkpoints_are_kept(monkeypatch):
    monkeypatch.setattr(off_policy_driver, "CHECKPOINT_STEPS", 100)
    found = run(seeds=1, steps=700, eval_episodes=0)
    kept = sorted(path.name for path in (found.dir / "shards" / "0-0").glob("kept-*.pt"))
    assert kept == [f"kept-{step:09d}.pt" for step in (300, 400, 500, 600, 700)]


def test_event_files_are_written_only_where_asked():
    assert list(run(seeds=1).dir.glob("tensorboard/seed-0/events*"))
    assert not (run(seeds=1, tensorboard=False, profile="quiet").dir / "tensorboard").exists()


def test_alerts_are_told_once(capsys):
    run(seeds=1, env="lnlab/Driving-v0", norm="none", steps=200, eval_episodes=0)
    said = [line for line in capsys.readouterr().err.splitlines() if "alert" in line]
    assert "seed 0, step 200: alert actor_critic_ratio" in said
    assert len(said) == len({line.split("alert ")[1] for line in said})


def test_publishing_takes_the_tables_and_leaves_the_rest(tmp_path):
    found = run(seeds=1)
    publish(found.dir.parent, tmp_path / "book", allow_dirty=True)
    files = {path.name for path in (tmp_path / "book" / found.id).iterdir()}
    assert files == {"config.json", "provenance.json", *(f"{name}.parquet" for name in TABLES)}
    published = Run(tmp_path / "book" / found.id)
    assert published.config == found.config
    assert len(published.table("records")) == 4
