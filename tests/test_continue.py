"""A complete run goes on where more episodes or steps are asked, to the bits of one that was so long from the start."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from lnlab import files, inside
from lnlab.cli import main
from lnlab.config import ConfigError, parse
from lnlab.files import DamagedError
from lnlab.inside.actor_critic import MARKS
from lnlab.runs import Run
from tests.fakes import finished, refusal, small, train

CASES: dict[str, tuple[dict[str, Any], str, tuple[int, int]]] = {
    "a3c": ({"core": "gru", "episodes": 0}, "episodes", (3, 12)),
    "individual": ({"algorithm": "individual", "core": "ff", "norm": "batch"}, "episodes", (2, 5)),
    "gym": ({"env": "CartPole-v1", "core": "gru", "obs_norm": True, "reward_norm": True}, "steps", (1500, 4500)),
    "td3": ({"algorithm": "td3", "env": "Pendulum-v1", "eval_every": 300, "batch_size": 16}, "steps", (200, 700)),
    "ddpg": ({"algorithm": "ddpg", "env": "Pendulum-v1", "eval_every": 0, "norm": "rms"}, "steps", (200, 400)),
}


def settings(case: str, length: int, **more: Any) -> Any:
    own, name, _ = CASES[case]
    kind = {"hidden": 8, "seeds": 2, "cores": 1, "profile": "test", "device": "cpu"}
    kind |= {} if case == "gym" else {"eval_episodes": 1}
    kind |= {"learning_starts": 100, "tensorboard": False} if name == "steps" and case != "gym" else {"workers": 2}
    return parse(kind | own | {name: length} | more)


def equal(one: Any, other: Any, where: str = "") -> None:
    """Whatever a trainer's state holds, to the bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for name in one:
            equal(one[name], other[name], f"{where}.{name}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for place, pair in enumerate(zip(one, other, strict=True)):
            equal(*pair, f"{where}[{place}]")
    elif isinstance(one, torch.Tensor):
        torch.testing.assert_close(one, other, rtol=0, atol=0, equal_nan=True, msg=where)
    else:
        assert one == other or (one != one and other != other), where


@pytest.mark.parametrize("case", CASES)
def test_a_longer_run_is_the_one_that_was_that_long_from_the_start(case: str, results: Path) -> None:
    _, name, (short, long) = CASES[case]
    before = inside.run(settings(case, short), progress=False)
    tables = {path.name for path in before.dir.glob("*.parquet")}
    run = inside.run(settings(case, long), progress=False)
    straight = inside.run(settings(case, long, profile="straight"), progress=False)
    assert run.dir == before.dir
    assert run.whole
    assert {path.name for path in run.dir.glob("*.parquet")} == {path.name for path in straight.dir.glob("*.parquet")}
    for table in tables:
        pd.testing.assert_frame_equal(
            *(each.table(table.removesuffix(".parquet")) for each in (run, straight)), check_exact=True
        )
    for one, other in zip(run.shards, straight.shards, strict=True):
        equal(one.state(), other.state())
    assert [(each["setting"], each["from"]) for each in run.provenance["continued"]] == [(name, short)]
    assert straight.provenance["continued"] == []
    for fact in ("env_steps", "diverged", "norm_layers", "parameter_count", "parameters"):
        assert run.provenance[fact] == straight.provenance[fact]


def test_the_cases_end_where_a_longer_run_neither_looks_nor_tests() -> None:
    assert CASES["a3c"][2][0] not in MARKS
    assert CASES["a3c"][2][1] > MARKS[0]
    assert CASES["td3"][2][0] % 300


def test_a_run_is_made_longer_and_given_seeds_at_once_and_says_so(results: Path, capsys: Any) -> None:
    first = finished(episodes=4, seeds=5)
    longer = Run.open(small(episodes=6, seeds=5))
    assert (longer.config.episodes, longer.complete) == (6, False)
    assert longer.table("episodes").episode.max() == 4  # up to the last checkpoint
    train(longer)
    longer.finish()
    assert sorted(longer.table("episodes").episode.unique()) == [1, 2, 3, 4, 5, 6]
    more = Run.open(small(episodes=9, seeds=8))
    train(more)
    more.finish()
    assert more.table("episodes").groupby("seed").episode.max().tolist() == [9] * 8
    assert [each["from"] for each in first.provenance["continued"]] == [4, 6]
    main(["runs"])
    assert "continued from 4 episodes, 6 episodes" in capsys.readouterr().out
    assert Run.open(small(episodes=9)).complete
    with pytest.raises(ConfigError, match="episodes is 9 there, 6 asked"):
        Run.open(small(episodes=6))


def test_a_stopped_run_may_be_asked_to_go_further(results: Path) -> None:
    run = Run.open(small(episodes=4))
    train(run, until=2)
    run.release()
    longer = Run.open(small(episodes=6))
    train(longer)
    longer.finish()
    assert longer.table("episodes").episode.max() == 6
    assert longer.provenance["continued"] == []  # it never was complete


def test_a_kill_before_the_first_new_episode_leaves_both_ways_open(results: Path, monkeypatch: Any) -> None:
    def killed(path: Path, content: Any) -> None:
        if path.name == "config.json":
            raise KeyboardInterrupt
        write_json(path, content)

    write_json = files.write_json
    for asked in (4, 6):
        run = finished(episodes=4, profile=f"to-{asked}")
        with monkeypatch.context() as patch:
            patch.setattr(files, "write_json", killed)
            with pytest.raises(KeyboardInterrupt):
                Run.open(small(episodes=6, profile=f"to-{asked}"))
        assert not run.complete
        again = Run.open(small(episodes=asked, profile=f"to-{asked}"))
        train(again)
        again.finish()
        assert again.table("episodes").episode.max() == asked
        assert [each["from"] for each in again.provenance["continued"]] == ([4] if asked == 6 else [])


def test_without_checkpoints_or_with_damaged_ones_the_complete_run_stays(results: Path, capsys: Any) -> None:
    run = finished(episodes=4)
    (checkpoint,) = run.dir.glob("shards/*/checkpoint-*.pt")
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1])
    with pytest.raises(DamagedError, match=r"checkpoint-.*damaged.*cannot be made longer"):
        Run.open(small(episodes=6))
    assert run.whole
    files.remove_tree(run.dir / "shards", below=run.dir)
    told = refusal(capsys, "train", "seeds=3", "workers=2", "profile=test", "episodes=6")
    assert "keeps no checkpoints to go on from: episodes is 4 there, 6 asked" in told
    assert run.whole
    assert not (run.dir / "shards").exists()


def test_a_new_end_forgets_the_tables_of_the_old_one(results: Path) -> None:
    """Stopped between its old and its new end, a run must not show the tests of the old one as the new one's."""
    config = settings("a3c", 2)
    inside.run(config, progress=False)
    longer = Run.open(settings("a3c", 4))
    (shard,) = longer.shards
    from lnlab.trainers import driver

    assert not driver.train_shard(longer.config, shard, "cpu", lambda _: None, lambda: True)
    assert shard.episode == 3
    assert shard.table("evaluation") is None
    longer.release()
    run = inside.run(settings("a3c", 4), progress=False)
    straight = inside.run(settings("a3c", 4, profile="straight"), progress=False)
    for table in ("episodes", "evaluation", "sweep", "diagnostics"):
        pd.testing.assert_frame_equal(run.table(table), straight.table(table), check_exact=True)
