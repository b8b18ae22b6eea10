"""Locks: one holder at a time, on one machine and over many; the dead lose theirs, and who was replaced notices."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lnlab import locks
from tests.fakes import wait_until

HOLD = "import sys, pathlib, lnlab.locks; lnlab.locks.lock(pathlib.Path(sys.argv[1])); print('held', flush=True); "
COUNT = """
import pathlib, sys, time
from lnlab import locks
folder, taken = pathlib.Path(sys.argv[1]), 0
while taken < 15:
    try:
        locks.lock(folder)
    except RuntimeError:
        time.sleep(0.001)
        continue
    (folder / "inside").touch(exist_ok=False)
    (folder / "count").write_text(str(int((folder / "count").read_text()) + 1))
    (folder / "inside").unlink()
    locks.unlock(folder)
    taken += 1
"""


def elsewhere(folder: Path, silent: float) -> Path:
    """The lock of `folder`, as held by a process of another machine that touched it `silent` seconds ago."""
    place = folder / ".lock"
    place.mkdir(exist_ok=True)
    own = place / "7"
    own.write_text(json.dumps({"host": "node3", "machine": "another", "pid": os.getpid(), "born": "1"}))
    os.utime(own, (time.time() - silent,) * 2)
    return own


def test_many_processes_take_turns_and_no_two_are_inside_at_once(tmp_path):
    (tmp_path / "count").write_text("0")
    workers = [subprocess.Popen([sys.executable, "-c", COUNT, tmp_path], stderr=subprocess.PIPE) for _ in range(4)]
    assert [worker.communicate(timeout=120)[1] for worker in workers] == [b""] * 4
    assert (tmp_path / "count").read_text() == "60"
    assert len(list((tmp_path / ".lock").iterdir())) == 1


@pytest.mark.parametrize("reaped", [True, False], ids=["gone", "zombie"])
def test_a_dead_process_loses_its_lock_at_once_and_a_stopped_one_keeps_it(tmp_path, reaped):
    with subprocess.Popen([sys.executable, "-c", HOLD + "input()", tmp_path], stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"held\n"
        os.utime(tmp_path / ".lock" / "1", (0, 0))  # silent: but its process is here, and alive
        other.send_signal(signal.SIGSTOP)
        assert locks.holder(tmp_path)[1] == other.pid
        with pytest.raises(RuntimeError, match="another process"):
            locks.lock(tmp_path)
        other.kill()
        if reaped:
            other.wait()
        wait_until(lambda: not locks.locked(tmp_path), 5)
        assert locks.lock(tmp_path)
    locks.unlock(tmp_path)
    assert not locks.locked(tmp_path)


def test_another_machine_holds_its_lock_while_it_is_heard_and_loses_it_in_silence(tmp_path):
    elsewhere(tmp_path, silent=locks.STALE - 20)
    found = locks.holder(tmp_path)
    assert (found.host, round(found.silent)) == ("node3", locks.STALE - 20)
    with pytest.raises(RuntimeError, match="another process"):
        locks.lock(tmp_path)
    elsewhere(tmp_path, silent=locks.STALE + 5)
    assert locks.holder(tmp_path) is None
    assert locks.lock(tmp_path)
    assert [path.name for path in (tmp_path / ".lock").iterdir()] == ["8"]  # numbers never fall
    locks.unlock(tmp_path)


def test_who_was_replaced_notices_and_does_not_take_the_lock_back(tmp_path):
    assert locks.lock(tmp_path)
    assert not locks.lock(tmp_path)  # it is held already
    (tmp_path / ".lock" / "1").unlink()
    own = elsewhere(tmp_path, silent=0)
    with pytest.raises(RuntimeError, match="taken over"):
        locks.lock(tmp_path)
    with pytest.raises(RuntimeError, match="another process"):
        locks.lock(tmp_path)
    locks.unlock(tmp_path)
    assert json.loads(own.read_text())["host"] == "node3"


def test_a_number_that_was_taken_and_given_back_is_not_taken_for_the_stale_one_before_it(tmp_path, monkeypatch):
    """A slow process saw number 7 silent; since then 8 was taken, given back and followed by 9."""
    elsewhere(tmp_path, silent=locks.STALE + 5)
    place, numbers = tmp_path / ".lock", iter([7, 9])
    monkeypatch.setattr(locks, "_last", lambda place: next(numbers))
    assert locks._take(place) is None
    assert [path.name for path in place.iterdir()] == ["7"]


def test_a_process_that_lives_is_heard(tmp_path):
    code = f"import lnlab.locks; lnlab.locks.BEAT = 0.05; {HOLD} input()"
    with subprocess.Popen([sys.executable, "-c", code, tmp_path], stdin=-1, stdout=-1) as other:
        assert other.stdout.readline() == b"held\n"
        os.utime(tmp_path / ".lock" / "1", (0, 0))
        wait_until(lambda: locks.holder(tmp_path).silent < 5, 20)
        other.communicate(b"\n")
    assert (tmp_path / ".lock" / "1").read_text() == locks.FREE  # other machines need not wait


def test_a_child_keeps_the_lock_that_it_is_handed(tmp_path):
    locks.lock(tmp_path, ".job")
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1)
    locks.hand_over(tmp_path, ".job", child.pid)
    assert locks.holder(tmp_path, ".job").pid == child.pid
    with pytest.raises(RuntimeError):
        locks.lock(tmp_path, ".job")
    child.communicate(b"\n")
    assert not locks.locked(tmp_path, ".job")


def test_locks_of_an_earlier_version_are_files_and_links_are_refused(tmp_path):
    (tmp_path / ".lock").write_text("")
    assert locks.lock(tmp_path)
    locks.unlock(tmp_path)
    (tmp_path / ".job").symlink_to(tmp_path)
    with pytest.raises(OSError, match="symbolic link"):
        locks.lock(tmp_path, ".job")
