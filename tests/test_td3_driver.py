"""Runs of TD3 from settings to tables: processes, stops, early stopping, kept checkpoints, event files, alerts."""

from pathlib import Path

import pandas as pd
import pytest

from lnlab import inside, runs
from lnlab.book import run_page
from lnlab.columns import COLUMNS
from lnlab.config import parse
from lnlab.runs import Run, Shard, publish
from lnlab.trainers import driver, watchers
from lnlab.trainers.monitor import first_fired
from lnlab.trainers.td3 import OffPolicyTrainer, no_returns

TABLES = ("records", "returns", "checks")
PENDULUM = {"env": "Pendulum-v1", "norm": "none"}
SMALL = {"algorithm": "td3", **PENDULUM, "steps": 400, "learning_starts": 100, "batch_size": 4, "hidden": 8}
SMALL |= {"eval_episodes": 1, "eval_every": 200, "profile": "test", "device": "cpu", "cores": 1}


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    return tmp_path / "results"


def run(**settings: object) -> Run:
    return inside.run(parse(SMALL | settings), progress=False)


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
    assert not driver.train_shard(config, shard, "cpu", lambda _: None, lambda: next(asked), inside.WATCHERS)
    assert shard.episode == 2
    again = Shard(shard.dir.parent.parent, [0], "records")
    assert driver.train_shard(config, again, "cpu", lambda _: None, lambda: False, inside.WATCHERS)
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
    monkeypatch.setattr(watchers, "KEPT_STEPS", 100)
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


ODD = {
    "learning starts at an odd step": {"learning_starts": 101},
    "learning never starts": {"learning_starts": 1000},
    "no episode ends": {"steps": 100, "learning_starts": 50},
    "diverges": {"lr": 1e30},
    "diverges beyond all numbers": {"lr": 1e38},
}


@pytest.mark.parametrize("settings", ODD.values(), ids=ODD)
def test_an_odd_run_completes_with_every_column_and_its_page_is_built(settings):
    found = run(seeds=1, tensorboard=False, eval_every=0, **settings)
    assert found.complete
    for name in TABLES:
        assert set(found.table(name)) == set(COLUMNS[name]), name
    records = found.table("records")
    assert len(records) == found.config.steps / 100
    assert records.actor_q.notna().any() == ("lr" not in settings and settings["learning_starts"] < 1000)
    run_page.require_complete(found)
    for shows in (run_page.return_curve, run_page.value_curve, run_page.inner_curve, run_page.test_table):
        assert shows(found)
    assert "no norm layer" in run_page.norm_layers(found)._repr_markdown_()


@pytest.mark.parametrize("settings", [{}, {"env": "lnlab/Driving-v0", "norm": "ln", "steps": 200, "eval_episodes": 0}])
def test_a_learner_that_diverges_is_data(settings, capsys, monkeypatch):
    monkeypatch.setattr(OffPolicyTrainer, "_look", lambda *_: None)  # takes a while
    found = run(seeds=2, tensorboard=False, lr=1e30, batch_size=2, **settings)
    assert found.complete
    told, records = found.provenance["diverged"], found.table("records")
    assert [each["seed"] for each in told] == [0, 1]
    for each in told:
        assert {*each} == {"seed", "worker", "episode", "step", "what"}
        assert each["worker"] == -1
        assert each["what"].split() in [
            [who, what] for who in ("critic", "actor") for what in ("loss", "gradient", "parameter")
        ]
        frozen = records[(records.seed == each["seed"]) & ~records.alive]
        assert frozen.step.min() - 100 < each["step"] <= frozen.step.min()
        rows = found.table("returns").query(f"seed == {each['seed']} and step < {each['step']}")
        assert each["episode"] == len(rows)
    said = capsys.readouterr().err
    assert [said.count(f"seed {seed}, step 200: alert diverged") for seed in (0, 1)] == [1, 1]


def test_a_finite_run_names_no_seed():
    assert run(seeds=1).provenance["diverged"] == []


def test_a_seed_without_an_episode_stands_beside_one_with_some():
    rows = run(seeds=1).table("returns")
    joined = pd.concat([no_returns(), rows])
    pd.testing.assert_frame_equal(joined, rows)
    assert list(no_returns()) == list(rows) == list(COLUMNS["returns"])
    assert first_fired(run(seeds=1).table("records"), no_returns()).step.isna().all()


def test_publishing_takes_the_tables_and_leaves_the_rest(tmp_path):
    found = run(seeds=1)
    publish(found.dir.parent, tmp_path / "book", allow_dirty=True)
    files = {path.name for path in (tmp_path / "book" / found.id).iterdir()}
    assert files == {"config.json", "provenance.json", *(f"{name}.parquet" for name in TABLES)}
    published = Run(tmp_path / "book" / found.id)
    assert published.config == found.config
    assert len(published.table("records")) == 4
