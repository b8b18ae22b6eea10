"""Publishing: no name leads out of its profile's folder, and whenever it dies the old run or the new one is there."""

import hashlib
import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lnlab import cli, digests, files, paths, runs
from lnlab.config import parse
from lnlab.runs import Run, load, publish
from tests.fakes import train

PAPER = "a3c-gru-ln-w2"
BAD_NAMES = ("../results/smoke", "smoke/../../book/data/paper", "/etc", "..", ".", "", "Paper", "a b", "-x", "ä")
BAD_NAMES += ("smoke\n", "smoke/", "a" * 300, "\x00")
COMMANDS = [["study"], ["study", "--list"], ["runs"], ["runs", "--check"], ["report"]]
COMMANDS += [["publish", "--data-only", "--allow-dirty"]]


def content(folder: Path) -> dict[str, str]:
    """Every file and folder below a folder, with the digest of what it holds."""
    found = sorted(folder.rglob("*"))
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in found
    }


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a run of the profile `smoke` and a published profile `paper`."""
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "book" / "data")
    run = Run.open(parse({"seeds": 1, "episodes": 4, "workers": 2, "profile": "smoke"}))
    train(run)
    run.finish()
    publish(run.dir.parent, tmp_path / "book" / "data" / "paper", allow_dirty=True)
    return tmp_path


# -- names ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_a_name_that_is_no_profile_is_refused_before_anything_is_touched(
    words: list[str], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(place)
    for name in BAD_NAMES:
        assert cli.main([*words, "--", name]) == cli.USAGE, name
        assert len(capsys.readouterr().err.splitlines()) == 1, name
    assert content(place) == before


def test_an_absolute_path_of_a_run_is_no_profile(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = content(place)
    given = str(place / "results" / "smoke")
    assert cli.main(["publish", given, "--data-only", "--allow-dirty"]) == cli.USAGE
    assert content(place) == before
    assert "profile=" in capsys.readouterr().err


@pytest.mark.parametrize("target", ["smoke", ".", "smoke/deeper", f"smoke/{PAPER}", "link"])
def test_runs_are_not_published_into_themselves(target: str, place: Path) -> None:
    results = place / "results"
    (results / "link").symlink_to(results / "smoke")
    before = content(place)
    with pytest.raises(ValueError, match="cannot be published"):
        publish(results / "smoke", results / target, allow_dirty=True)
    assert content(place) == before


def test_publish_wants_a_profile_or_only_the_list(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["publish"]) == cli.USAGE
    assert cli.main(["publish", "paper", "--digests"]) == cli.USAGE
    assert not (place / "book" / digests.LIST).exists()
    assert cli.main(["publish", "--digests"]) == 0
    assert digests.problems(place / "book") == []


# -- death ------------------------------------------------------------------------------------------------------------

STEPS = [(os, name) for name in ("replace", "rename", "mkdir", "unlink", "rmdir")] + [(files, "_exchange")]


class Death(BaseException):
    """After it the process does nothing on the disk any more, not even what stands in a `finally`."""


def publish_and_die(place: Path, moment: int, exchange: bool) -> bool:
    """Publish, and die at the `moment`-th instant before or after a step on the disk; False if it ends before."""
    ticks = itertools.count(1)

    def tick() -> None:
        if next(ticks) >= moment:
            raise Death

    def between_ticks(step: Callable[..., Any]) -> Callable[..., Any]:
        def ticking(*arguments: Any, **options: Any) -> Any:
            tick()
            done = step(*arguments, **options)
            tick()
            return done

        return ticking

    with pytest.MonkeyPatch.context() as patch:
        if not exchange:
            patch.setattr(files, "_exchange", lambda *_: False)
        for module, name in STEPS:
            patch.setattr(module, name, between_ticks(getattr(module, name)))
        try:
            publish(place / "results" / "smoke", place / "book" / "data" / "paper", allow_dirty=True)
        except Death:
            return True
    return False


@pytest.mark.parametrize("exchange", [True, False], ids=["exchange", "two renames"])
def test_killed_at_any_step_the_old_run_or_the_new_one_is_there_whole(exchange: bool, place: Path) -> None:
    results, target = place / "results" / "smoke", place / "book" / "data" / "paper"
    shutil.copytree(target, place / "old")
    Run(results / PAPER).record(told="later")
    publish(results, place / "new", allow_dirty=True)
    old, new = content(place / "old"), content(place / "new")
    assert old != new
    for moment in itertools.count(1):
        died = publish_and_die(place, moment, exchange)
        if exchange or (target / PAPER).exists():
            assert [run.id for run in load(target).runs] == [PAPER]
            assert content(target / PAPER) in (content(place / "old" / PAPER), content(place / "new" / PAPER))
        else:  # the instant between two renames: the next call puts it back
            assert content(target / f".{PAPER}.old.tmp") == content(place / "old" / PAPER)
            files.beside(target / PAPER)
            assert content(target / PAPER) == content(place / "old" / PAPER)
        publish(results, target, allow_dirty=True)
        assert content(target) == new
        if not died:
            break
        shutil.rmtree(target)
        shutil.copytree(place / "old", target)
    assert moment > 20
