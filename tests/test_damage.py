"""Damage is named, never trained on or shown: files of a run that are changed by a bit, cut off, gone or of another."""

import json
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnlab import cli, files, locks, runs
from lnlab.files import DamagedError
from lnlab.runs import Run, load, publish
from tests.fakes import small, train

ROWS = 3 * 2 * 6  # seeds, workers, episodes
FLIPS = 60 if os.environ.get("LNLAB_LONG_TESTS") else 4  # in each kind of file
pytestmark = pytest.mark.usefixtures("results")


def stopped(until: int = 4, **settings: object) -> Run:
    """A run with a checkpoint every second episode, left after episode `until`, and a table of its one shard."""
    run = Run.open(small(**settings))
    run.shards[0].write_table("diagnostics", pd.DataFrame({"seed": [0, 1, 2], "step": 0}))
    train(run, until=until)
    run.release()
    return run


def finished(**settings: object) -> Run:
    stopped(until=6, **settings)
    run = Run.open(small(**settings))
    run.finish()
    return run


def resumed(run: Run) -> Run:
    again = Run.open(run.config)
    if not again.complete:
        train(again)
        again.finish()
    return again


def newest(run: Run, pattern: str) -> Path:
    return max(run.shards[0].dir.glob(pattern), key=lambda path: path.name)


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def same(one: Run, other: Run) -> bool:
    return all(one.table(name).equals(other.table(name)) for name in ("episodes", "metrics", "diagnostics"))


@pytest.mark.parametrize("pattern", ["checkpoint-*", "episodes-*", "diagnostics-*", "manifest.json"])
def test_no_changed_bit_changes_a_result(pattern, tmp_path, capsys):
    """Training goes back a checkpoint and says so, is refused by name, or is the same: the bit was one of a space."""
    whole, original = finished(profile="whole"), stopped()
    shutil.copytree(original.dir, tmp_path / "keep")
    rng, seen = np.random.default_rng(0), 0
    for _ in range(FLIPS):
        path = newest(original, pattern)
        flip(path, int(rng.integers(8 * path.stat().st_size)))
        noticed = bool(original.shards[0].damage())
        try:
            assert same(whole, resumed(original))
            said = capsys.readouterr().err
        except DamagedError as error:
            said = str(error)
        assert (str(path) in said) == noticed
        seen += noticed
        locks.unlock(original.dir)
        shutil.rmtree(original.dir)
        shutil.copytree(tmp_path / "keep", original.dir)
    assert seen >= (FLIPS // 2 if pattern == "manifest.json" else FLIPS)


@pytest.mark.parametrize(
    ("pattern", "harm"), [("checkpoint-*", cut), ("episodes-*", Path.unlink), ("manifest.json", Path.unlink)]
)
def test_the_checkpoint_before_is_used_with_a_notice(pattern, harm, capsys):
    run = stopped()
    path = newest(run, pattern)
    harm(path)
    assert Run.open(small()).shards[0].load() is not None
    said = capsys.readouterr().err
    assert str(path) in said
    assert "going back to the checkpoint of episode 2" in said
    assert same(finished(profile="whole"), resumed(run))


def test_a_table_that_a_stopped_run_has_lost_is_refused_by_name():
    """It would be completed with the later half of the rows."""
    run = stopped()
    (path := newest(run, "diagnostics-*")).unlink()
    with pytest.raises(DamagedError, match=f"{path} is missing"):
        resumed(run)


def test_both_checkpoints_damaged_are_refused_by_name_and_the_rest_is_left(results):
    run = stopped()
    for path in run.shards[0].dir.glob("checkpoint-*"):
        cut(path)
    before = sorted(path for path in results.rglob("*") if path.parent.name != ".lock")
    with pytest.raises(DamagedError, match=r"checkpoint-000004-.*delete .*shards/0-2"):
        resumed(run)
    assert sorted(path for path in results.rglob("*") if path.parent.name != ".lock") == before


@pytest.mark.parametrize("setting", [{"lr": 3e-3}, {"first_seed": 7}])
def test_a_checkpoint_of_other_settings_is_refused(setting):
    run, other = stopped(), stopped(profile="other", **setting)
    shutil.rmtree(run.shards[0].dir)
    shutil.copytree(other.shards[0].dir, run.shards[0].dir)
    with pytest.raises(DamagedError, match=r"checkpoint-000004.*made with other settings: (lr is 0.003|seeds is \[7)"):
        resumed(run)


def test_another_length_is_no_other_setting_of_a_checkpoint():
    longer = stopped()
    (longer.dir / "config.json").write_text(json.dumps(small(episodes=8).model_dump()))
    assert Run.open(small(episodes=8)).shards[0].load() == {"episode": 4, "parameters": pytest.approx([4.0] * 4)}


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: flip(path, 999)], ids=["gone", "bit"])
def test_a_damaged_table_is_found_not_read_and_made_again(harm, results, capsys):
    run, whole = finished(), finished(profile="whole")
    path = run.dir / "metrics.parquet"
    harm(path)
    assert cli.main(["runs", "test", "--check"]) == cli.ERROR
    assert str(path) in capsys.readouterr().out
    study, book = load(results / "test"), results.parent / "book"
    for read in (run.table, study.table, lambda _: publish(study.dir, book, allow_dirty=True)):
        with pytest.raises(DamagedError, match=str(path)):
            read("metrics")
    assert not book.exists()
    assert same(whole, resumed(run))
    assert f"{path}" in capsys.readouterr().err
    assert cli.main(["runs", "--check"]) == 0


def test_tables_that_the_shards_cannot_give_back_are_not_replaced():
    run = finished()
    cut(run.dir / "metrics.parquet")
    shutil.rmtree(run.dir / "shards")
    with pytest.raises(DamagedError, match=r"metrics\.parquet.*resume=false"):
        Run.open(small())
    assert run.complete
    assert len(run.table("episodes")) == ROWS


def test_seeds_that_a_bit_added_are_noticed():
    run = finished()
    path = run.dir / "config.json"
    path.write_text(path.read_text().replace('"seeds": 3', '"seeds": 7'))
    assert Run(run.dir).damage() == [f"{path} is damaged: seeds is 7 there, 3 in provenance.json"]


def test_killed_while_seeds_are_added_a_run_is_not_complete(monkeypatch):
    """Between the two files that then change: config.json has the new number of seeds, the tables have not."""
    finished(seeds=5)
    with monkeypatch.context() as patch:
        patch.setattr(Run, "_begin", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Run.open(small(seeds=10))
    assert not Run.at(small()).complete


def test_checkpoints_without_provenance_are_not_deleted():
    run = stopped()
    (run.dir / "provenance.json").unlink()
    with pytest.raises(DamagedError, match=r"provenance\.json is missing"):
        Run.open(small())
    assert list(run.dir.glob("shards/*/checkpoint-*"))
    assert Run.open(small(resume=False)).reports_done == 0


def test_a_run_without_its_settings_is_listed_and_read_by_nobody(results):
    run = finished()
    (run.dir / "config.json").unlink()
    assert [each.status for each in load(results / "test").runs] == ["damaged"]
    with pytest.raises(DamagedError, match=r"config\.json is missing"):
        publish(results / "test", results.parent / "book", allow_dirty=True)


def test_a_full_disk_is_one_line_with_the_file_and_what_was_written_stays(capsys):
    """A file must not grow beyond 20 kB here, which the first checkpoint of a hidden layer of 64 does."""
    words = "train seeds=1 episodes=2 core=ff hidden=64 cores=1 device=cpu eval-episodes=0"
    most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, most[1]))
    try:
        assert cli.main(words.split()) == cli.ERROR
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, most)
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("lnlab train: [Errno 27] File too large: ")
    assert "checkpoint-000002" in last
    (run,) = load(runs.RESULTS / "scratch").runs
    assert not list(run.dir.rglob(".*.tmp"))
    assert (run.status, run.reports_done) == ("failed", 0)


def test_a_folder_that_cannot_be_written_is_one_line(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "file")  # root may write to every folder, but not below a file
    assert cli.main(["train", "seeds=1", "episodes=1"]) == cli.ERROR
    (line,) = capsys.readouterr().err.splitlines()
    assert str(tmp_path / "file") in line


def test_a_lock_that_is_a_link_is_refused_and_its_target_left(tmp_path):
    run = stopped()
    precious = tmp_path / "precious.txt"
    precious.write_text("all my work")
    shutil.rmtree(run.dir / ".lock")
    (run.dir / ".lock").symlink_to(precious)
    with pytest.raises(OSError, match=r"symbolic link.*\.lock"):
        Run.open(small())
    assert precious.read_text() == "all my work"
    (run.dir / ".lock").unlink()
    os.link(precious, run.dir / ".lock")
    Run.open(small())
    assert precious.read_text() == "all my work"


def test_a_lock_is_one_whatever_the_spelling_of_its_folder_and_goes_with_it(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    for _ in range(2):
        folder.mkdir()
        monkeypatch.chdir(folder)
        assert locks.lock(folder)
        assert locks.locked(Path())
        assert not locks.lock(Path("../run"))
        shutil.rmtree(folder)
    locks.unlock(folder)


@pytest.mark.parametrize("name", [".", "inside/../../other", "link"])
def test_nothing_outside_its_place_is_ever_deleted(name, tmp_path):
    for folder in ("other/folder", "root/inside"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "root" / "link").symlink_to(tmp_path / "other")
    with pytest.raises(ValueError, match="does not lie inside"):
        files.remove_tree(tmp_path / "root" / name, below=tmp_path / "root")
    assert (tmp_path / "other" / "folder").exists()
    assert (tmp_path / "root" / "inside").exists()
