"""Publishing: no name leads out of its profile's folder, and whenever it dies the old run or the new one is there."""

import itertools
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lnlab import cli, digests, files, paths
from lnlab.runs import Run, load, publish
from tests.fakes import finished

PAPER = "a3c-gru-ln-w2"
BAD_NAMES = ("../results/smoke", "smoke/../../book", "..", ".", "", "Paper", "-x", "smoke\n", "smoke/", "\x00")
COMMANDS = ["study", "study --list", "runs --check", "report", "publish --data-only --allow-dirty"]


def content(folder: Path) -> dict[str, str]:
    """Every file and folder below a folder, with the digest of what it holds."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): files.sha256(path) if path.is_file() else "" for path in found}


@pytest.fixture
def place(results: Path) -> Path:
    """A repository with a run of the profile `smoke` and a published profile `paper`."""
    run = finished(seeds=1, episodes=4, profile="smoke")
    publish(run.dir.parent, paths.PUBLISHED / "paper", allow_dirty=True)
    return results.parent


@pytest.mark.parametrize("words", COMMANDS)
def test_a_name_that_is_no_profile_is_refused_before_anything_is_touched(words, place, capsys):
    before = content(place)
    for name in (*BAD_NAMES, str(place / "results" / "smoke")):
        assert cli.main([*words.split(), "--", name]) == cli.USAGE, name
        (line,) = capsys.readouterr().err.splitlines()
        assert "profile=" in line or "among the profiles" in line  # of the study file
    assert content(place) == before


@pytest.mark.parametrize("target", ["smoke", ".", f"smoke/{PAPER}", "link"])
def test_runs_are_not_published_into_themselves(target: str, place: Path) -> None:
    results = place / "results"
    (results / "link").symlink_to(results / "smoke")
    before = content(place)
    with pytest.raises(ValueError, match="cannot be published"):
        publish(results / "smoke", results / target, allow_dirty=True)
    assert content(place) == before


def test_publish_wants_a_profile_or_only_the_list(place):
    assert cli.main(["publish"]) == cli.main(["publish", "paper", "--digests"]) == cli.USAGE
    assert not (place / "book" / digests.LIST).exists()
    assert cli.main(["publish", "--digests"]) == 0
    assert digests.problems(place / "book") == []


STEPS = [(os, name) for name in ("replace", "rename", "mkdir", "unlink", "rmdir")] + [(files, "_exchange")]


class Death(BaseException):
    """After it the process does nothing on the disk any more, not even what stands in a `finally`."""


def publish_and_die(place: Path, moment: int, exchange: bool) -> bool:
    """Publish, and die at the `moment`-th step on the disk; False if it ends before."""
    steps = itertools.count(1)

    def deadly(step: Callable[..., Any]) -> Callable[..., Any]:
        def step_or_die(*arguments: Any, **options: Any) -> Any:
            if next(steps) >= moment:
                raise Death
            return step(*arguments, **options)

        return step_or_die

    with pytest.MonkeyPatch.context() as patch:
        if not exchange:
            patch.setattr(files, "_exchange", lambda *_: False)
        for module, name in STEPS:
            patch.setattr(module, name, deadly(getattr(module, name)))
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
    assert moment > 10
