"""The run directory: whenever its writer dies, it is whole, agrees with itself, and goes on to the same result."""

import json
import multiprocessing
import os
import signal
import time
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnlab import files, runs
from lnlab.config import ConfigError
from lnlab.runs import COLUMNS, Run, Shard, curves, load, publish
from lnlab.shards import seconds_trained
from tests.fakes import FakeTrainer, finished, small, train

pytestmark = pytest.mark.usefixtures("results")


def test_a_new_run_lies_under_its_profile_and_says_what_it_is(results):
    run = Run.open(small(cores=1))
    assert run.dir == results / "test" / "a3c-gru-ln-w2"
    assert json.loads((run.dir / "config.json").read_text())["episodes"] == 6
    assert (run.status, run.reports_done) == ("running", 0)
    assert Run.open(small(cores=2, device="cpu")).config.cores == 2
    with pytest.raises(ConfigError, match=r"episodes is 6 there, 5 asked.*profile=.*resume=false"):
        Run.open(small(episodes=5))


def test_a_finished_run_is_complete_and_opening_it_again_changes_nothing():
    def written() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in run.dir.rglob("*") if ".lock" not in path.parts}

    run = finished()
    before = written()
    assert Run.open(small()).complete
    assert written() == before


def test_resume_false_starts_over_but_leaves_the_page_of_others():
    run = finished()
    (run.dir / "page.ipynb").write_text("{}")
    again = Run.open(small(resume=False, episodes=2))
    assert not again.complete
    assert again.config.episodes == 2
    assert {path.name for path in run.dir.iterdir()} == {"config.json", "provenance.json", ".lock", "page.ipynb"}


def test_a_run_that_was_being_deleted_starts_over(monkeypatch):
    """Killed before any deletion of `resume=False`: the next process finds the old run whole, or one without rows."""
    run = Run.open(small())
    train(run, until=4)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda *_, **__: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Run.open(small(resume=False))
    assert Run.open(small()).reports_done == 0
    assert not list(run.dir.glob(".*.tmp"))


def test_a_failed_run_says_why_and_can_go_on():
    run = Run.open(small())
    train(run, until=4)
    run.fail(ValueError("no"))
    assert (run.status, run.provenance["error"]) == ("failed", "ValueError: no")
    again = Run.open(small())
    assert again.status == "running"
    assert "error" not in again.provenance
    assert again.reports_done == 3 * 4


def test_shards_are_blocks_of_consecutive_seeds_and_stay_whatever_the_next_process_wants():
    for block in (5, 3):
        run = Run.open(small(seeds=12, first_seed=3), block=block)
        assert [shard.seeds for shard in run.shards] == [[3, 4, 5, 6, 7], [8, 9, 10, 11, 12], [13, 14]]
        assert [shard.dir.name for shard in run.shards] == ["3-7", "8-12", "13-14"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"episode": np.array(1)}, "episode 5 comes next, got 1"),
        ({"luck": np.ones((3, 2))}, "luck"),
        ({"return": np.ones(6)}, r"\(6,\)"),
        ({"entropy": np.ones((2, 2))}, "3 seeds"),
    ],
)
def test_a_report_of_wrong_form_or_that_does_not_follow_the_last_checkpoint_is_refused(change, message):
    train(Run.open(small()), until=4)
    shard, report = Run.open(small()).shards[0], FakeTrainer(small()).report() | {"episode": np.array(5)}
    with pytest.raises(ValueError, match=message):
        shard.append(report | change)
    shard.append(report)
    with pytest.raises(ValueError, match=r"state is of episode 3, the last report of 5"):
        shard.checkpoint({"episode": 3})


def test_a_checkpoint_interrupted_after_it_counted_does_not_keep_its_rows_twice(monkeypatch):
    def write_and_be_interrupted(path, content, write=files.write_sealed):
        write(path, content)
        raise KeyboardInterrupt

    shard, trainer = Run.open(small()).shards[0], FakeTrainer(small())
    shard.append(report := next(iter(trainer)))
    report["return"][:] = -1.0  # a trainer may reuse its arrays
    with monkeypatch.context() as patch:
        patch.setattr(files, "write_sealed", write_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            shard.checkpoint(trainer.state_dict())
    shard.checkpoint(trainer.state_dict())
    assert shard.rows()["return"].tolist() == [1, 101, 1001, 1101, 2001, 2101]


def test_training_time_counts_parallel_shards_once_and_pauses_never(tmp_path):
    """The second opening was after a restart of the machine: its clock began anew."""
    both = [Shard(tmp_path, [0]), Shard(tmp_path, [1])]
    told = [[1, 0.0, 10.0], [1, 100.0, 101.0], [2, 5.0, 8.0]], [[1, 5.0, 12.0]]
    for shard, sessions in zip(both, told, strict=True):
        shard.dir.mkdir(parents=True)
        files.write_sealed(shard.dir / "manifest.json", {"sessions": sessions})
    assert seconds_trained(both) == 12.0 + 1.0 + 3.0


def test_a_clock_that_is_set_back_does_not_make_training_fast(monkeypatch):
    back, ahead = iter(range(10**9, 0, -1000)), count()
    monkeypatch.setattr(time, "time", lambda: next(back))
    monkeypatch.setattr(time, "monotonic", lambda: float(next(ahead)))
    run = Run.open(small())
    train(run)
    run.finish()
    assert run.provenance["seconds"] == 3.0  # a look at the clock at the start and with each of three checkpoints


FORKS = multiprocessing.get_context("forkserver")  # a fresh process in milliseconds, its imports done once
FORKS.set_forkserver_preload(["torch", "pyarrow.parquet", "tests.fakes"])


def _die_at(folder: Path, moment: int) -> None:
    """Train until the `moment`-th rename, and die there by SIGKILL."""
    renames, replace = count(1), os.replace

    def replace_or_die(source, target) -> None:
        if next(renames) == moment:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = replace_or_die
    runs.RESULTS = folder
    train(Run.open(small()))


@pytest.mark.parametrize("moment", range(4, 11))
def test_killed_at_any_rename_a_run_agrees_with_itself_and_goes_on(results, moment):
    """Renames 1 and 2 write the settings, a checkpoint then renames state, rows, manifest and the manifest before."""
    process = FORKS.Process(target=_die_at, args=(results, moment))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    run = Run.open(small())
    (shard,) = run.shards
    state = shard.load() or {"episode": 0, "parameters": np.zeros(4)}
    committed = (moment - 2) // 4 * 2  # episodes
    assert state["episode"] == shard.episode == committed
    assert state["parameters"].tolist() == [float(committed)] * 4
    assert shard.rows()["episode"].tolist() == sorted([*range(1, committed + 1)] * 6)
    train(run)
    run.finish()
    assert run.table("episodes").equals(finished(profile="whole").table("episodes"))
    assert not list(run.dir.rglob("*.tmp"))


def test_finish_wants_all_of_each_shard_joins_them_and_records_the_facts():
    run = Run.open(small(), block=2)
    train(run, until=4)
    with pytest.raises(ValueError, match="4 of 6 episodes"):
        run.finish()
    train(run)
    run.shards[0].write_table("evaluation", pd.DataFrame({"seed": [0, 1]}))
    with pytest.raises(ValueError, match=r"1 of 2 shards have a table 'evaluation'"):
        run.finish()
    run.shards[1].write_table("evaluation", pd.DataFrame({"seed": [2]}))
    run.finish()
    assert run.table("evaluation")["seed"].tolist() == [0, 1, 2]
    rows = run.table("episodes")
    assert len(rows) == 3 * 2 * 6
    assert (rows["return"] == 1000 * rows["seed"] + 100 * rows["worker"] + rows["episode"]).all()
    keys = rows[["seed", "worker", "episode"]]
    assert keys.equals(keys.sort_values(list(keys)))
    facts = run.provenance
    assert (facts["norm_layers"], facts["parameter_count"], facts["device"]) == (["core.norm"], 7, "cpu")
    assert facts["env_steps"] == 3 * 2 * 6 * 100
    assert facts["steps_per_second"] > 0
    assert facts["parameters"]["norm"] == "ln"


def test_tables_have_the_columns_of_the_data_dictionary_and_absent_ones_are_told_from_unknown():
    run = finished()
    assert all(set(run.table(name)) <= set(COLUMNS[name]) for name in ("episodes", "curves", "metrics"))
    with pytest.raises(KeyError, match="choose one of episodes"):
        run.table("episode")
    with pytest.raises(FileNotFoundError, match="no table 'diagnostics'"):
        run.table("diagnostics")


def test_curves_average_blocks_end_at_the_last_episode_and_show_a_diverged_learner():
    rows = pd.DataFrame({"seed": 0, "worker": 0, "episode": np.arange(1, 251), "return": np.arange(1.0, 251.0)})
    frame = curves(rows)
    assert len(frame) == 84  # blocks of ceil(250 / 100) = 3 episodes, the last of one
    assert frame.iloc[0].tolist() == [0, 0, 3, 2.0]
    assert frame.iloc[-1].tolist() == [0, 0, 250, 250.0]
    assert frame["return"].dtype == np.float32
    # a learner that diverges shows
    rows = pd.DataFrame({"seed": 0, "worker": 0, "episode": [1, 2], "return": [1.0, np.nan], "alive": [True, False]})
    assert curves(rows)["return"].isna().tolist() == [False, True]
    assert curves(rows)["alive"].tolist() == [1.0, 0.0]


def test_a_study_joins_complete_runs_and_names_their_arm(results):
    finished(norm="none")
    finished(norm="ln")
    Run.open(small(core="ff"))
    study = load(results / "test")
    assert [run.id for run in study.runs] == ["a3c-ff-ln-w2", "a3c-gru-ln-w2", "a3c-gru-none-w2"]
    table = study.table("curves")
    assert list(table.columns[:4]) == ["run", "algorithm", "core", "norm"]
    assert table.groupby("run")["norm"].unique().str[0].to_dict() == {"a3c-gru-ln-w2": "ln", "a3c-gru-none-w2": "none"}
    assert study["a3c-ff-ln-w2"].status == "running"
    with pytest.raises(KeyError, match="a3c-gru-none-w2"):
        study["a3c"]


def test_published_data_reads_like_results_without_the_episodes(results):
    finished()
    target = results.parent / "book" / "test"
    (target / "a3c-gru-ln-w2").mkdir(parents=True)
    (target / "a3c-gru-ln-w2" / "evaluation.parquet").write_text("of an earlier run")
    assert publish(results / "test", target, allow_dirty=True) == ["a3c-gru-ln-w2"]
    published, source = load(target), load(results / "test")
    names = ["config.json", "curves.parquet", "metrics.parquet", "policies.pt", "provenance.json"]
    assert sorted(path.name for path in published.runs[0].dir.iterdir()) == names
    pd.testing.assert_frame_equal(published.table("metrics"), source.table("metrics"), check_dtype=False, rtol=1e-6)
    assert published.runs[0].status == "complete"
    with pytest.raises(FileNotFoundError):
        published.runs[0].table("episodes")


def test_a_run_resumed_with_other_code_names_both_commits(results, monkeypatch):
    for commit, until in (("aaa", 4), ("bbb", None)):
        monkeypatch.setattr(runs.provenance, "source", lambda commit=commit: {"commit": commit, "dirty": False})
        run = Run.open(small())
        train(run, until=until)
    run.finish()
    publish(results / "test", results.parent / "book")
    assert [each["commit"] for each in load(results.parent / "book").runs[0].provenance["sources"]] == ["aaa", "bbb"]
