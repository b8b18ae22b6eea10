"""`lnlab play`: episodes of trained policies, the films of them, and what is refused in one line."""

import re
from pathlib import Path
from typing import Any

import cv2
import gymnasium
import numpy as np
import pytest
from PIL import Image

from lnlab import files, inside, runs
from lnlab.cli import USAGE, main
from lnlab.config import parse
from lnlab.envs import drawing
from lnlab.play import play, trained
from lnlab.runs import Run
from lnlab.trainers import driver
from tests.fakes import refusal

TINY = {"hidden": 8, "seeds": 2, "cores": 1, "profile": "test", "norm": "none"}
CARTPOLE = TINY | {"env": "CartPole-v1", "core": "gru", "steps": 2000, "workers": 2}
PENDULUM = TINY | {"algorithm": "td3", "env": "Pendulum-v1", "steps": 300, "learning_starts": 100, "eval_episodes": 3}
OFFLOADING = TINY | {"algorithm": "individual", "core": "ff", "workers": 2, "episodes": 1, "eval_episodes": 0}
ID = "a3c-gru-none-CartPole-v1-w2-h8"


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Run]:
    """A run of each kind."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", folder)
        kinds = {"cartpole": CARTPOLE, "pendulum": PENDULUM, "offloading": OFFLOADING}
        return {name: inside.run(parse(each), progress=False) for name, each in kinds.items()}


@pytest.fixture(autouse=True)
def _place(there: dict[str, Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lnlab.play.RESULTS", there["cartpole"].dir.parent.parent)
    monkeypatch.setattr("lnlab.play.PUBLISHED", there["cartpole"].dir / "none")


def said(words: list[str], capsys: Any) -> list[str]:
    assert main(["play", *words]) == 0
    return capsys.readouterr().out.splitlines()


def test_each_episode_is_told_and_their_mean(there: dict[str, Run], capsys: Any) -> None:
    lines = said([ID, "--episodes", "3", "--seed", "1"], capsys)
    told = [re.fullmatch(r"episode (\d): return (\d+), (\d+) steps", line) for line in lines[:-1]]
    numbers = [[int(each) for each in match.groups()] for match in told if match]
    assert [row[0] for row in numbers] == [1, 2, 3]
    assert all(score == length for _, score, length in numbers)  # CartPole pays 1 a step
    mean = sum(row[1] for row in numbers) / 3
    assert lines[-1] == f"mean of 3 greedy episodes of seed 1: return {mean:.6g}, {mean:.6g} steps"
    for name in (f"test/{ID}", "a3c*CartPole*", "test/*-gru-*"):
        assert lines == said([name, "--episodes", "3", "--seed", "1"], capsys)
    assert lines == said([str(there["cartpole"].dir), "--episodes", "3", "--seed", "1"], capsys)
    sampled = said([ID, "--sampled", "--episodes", "1"], capsys)
    assert sampled[-1].startswith("mean of 1 sampled episode of seed 0: ")
    assert sampled == said([ID, "--sampled", "--episodes", "1"], capsys)


def test_td3_plays_as_in_its_last_greedy_test(there: dict[str, Run]) -> None:
    checks = there["pendulum"].table("checks")
    for seed in (0, 1):
        last = checks[(checks.seed == seed) & (checks.step == 300)]
        found = play(trained(there["pendulum"], seed), 3)
        assert [each.score for each in found] == pytest.approx(last["return"].tolist(), rel=1e-4)
        assert [each.length for each in found] == last.length.tolist()


def test_the_worker_says_whose_model_drives_how_fast(there: dict[str, Run], capsys: Any) -> None:
    one, other = (said([there["offloading"].id, "--episodes", "2", "--worker", each], capsys) for each in "01")
    assert one != other
    assert [line.rpartition(", ")[2] for line in one] == ["100 steps"] * 3


@pytest.mark.parametrize("kind", ["mp4", "gif"])
def test_a_film_has_a_frame_of_every_step_and_start(kind: str, tmp_path: Path, capsys: Any) -> None:
    path = tmp_path / f"out.{kind}"
    lines = said([ID, "--episodes", "2", "--video", str(path)], capsys)
    assert lines[-1] == f"film: {path}"
    steps = [int(line.split()[-2]) for line in lines[:2]]
    if kind == "mp4":
        film = cv2.VideoCapture(str(path))
        frames = []
        while (frame := film.read())[0]:
            frames.append(frame[1])
        assert film.get(cv2.CAP_PROP_FPS) == 50  # CartPole's own
    else:
        with Image.open(path) as image:
            frames = [np.array(image.convert("RGB")) for at in range(image.n_frames) if image.seek(at) is None]
    assert frames[0].shape == (400, 600, 3)
    assert sum(steps) + 2 >= len(frames) >= (sum(steps) + 2 if kind == "mp4" else 2)  # Pillow joins frames that agree
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_the_offloading_task_is_drawn_and_written(
    there: dict[str, Run], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(drawing, "picture", lambda *_: np.zeros((48, 64, 3), np.uint8))
    said([there["offloading"].id, "--episodes", "1", "--video", str(tmp_path / "out.mp4")], capsys)
    assert cv2.VideoCapture(str(tmp_path / "out.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == 101
    lines = said([there["offloading"].id, "--episodes", "1", "--render"], capsys)
    assert lines[0].startswith("step   0/100   channel ")
    assert sum(line.startswith("step ") for line in lines) == 101


def test_an_unfinished_run_plays_its_last_checkpoint_and_says_so(results: Path, capsys: Any) -> None:
    run = Run.open(parse(OFFLOADING | {"episodes": 4}))
    (shard,) = run.shards
    driver.train_shard(run.config, shard, "cpu", lambda _: None, lambda: True)
    run.release()
    assert main(["play", str(run.dir), "--episodes", "1"]) == 0
    told = capsys.readouterr()
    assert told.err == f"{run.id} is not complete: its checkpoint of step 200 of 800 plays\n"
    assert "episode 1: return" in told.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["a3c-gru-none"], f"there is no run 'a3c-gru-none', as a folder or in .*: the nearest are test/{ID}"),
        (["*"], f"[*] is the name of several runs: .*test/{ID}, "),
        ([ID, "--seed", "2"], "seed=2 is not there: the seeds are 0 to 1"),
        ([ID, "--worker", "2"], "worker=2 is not there: the workers are 0 to 1"),
        ([ID, "--video", "{tmp}/none/out.mp4"], "{tmp}/none/out.mp4 cannot be written: No such file or directory"),
        ([ID, "--video", "{tmp}/out.avi"], "out.avi is no name of a film; end it with .mp4 or .gif"),
        ([ID, "--video", "{tmp}/made.mp4"], "made.mp4 is a folder"),
        ([ID, "--video", "{tmp}/out.gif", "--render"], "give --video or --render, not both"),
    ],
)
def test_what_cannot_be_played_is_one_line_and_leaves_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: Any
) -> None:
    (tmp_path / "made.mp4").mkdir()
    before = sorted(tmp_path.rglob("*"))
    told = refusal(capsys, "play", *(word.format(tmp=tmp_path) for word in words))
    assert re.search(message.format(tmp=tmp_path), told)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["cartpole", "pendulum", "offloading"])
def test_small_policies_are_published_with_their_runs_and_play_alike(
    kind: str, there: dict[str, Run], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    run, target = there[kind], tmp_path / "data" / "test"
    runs.publish(run.dir.parent, target, allow_dirty=True, only=[run.id])
    monkeypatch.setattr("lnlab.play.RESULTS", tmp_path / "none")
    monkeypatch.setattr("lnlab.play.PUBLISHED", target.parent)
    for seed in (0, 1):
        words = [f"test/{run.id}", "--episodes", "2", "--seed", str(seed)]
        alone = [*said(words, capsys)]
        monkeypatch.setattr("lnlab.play.RESULTS", run.dir.parent.parent)
        assert said([str(run.dir), *words[1:]], capsys) == said(words, capsys) == alone  # results/ comes first
        monkeypatch.setattr("lnlab.play.RESULTS", tmp_path / "none")
    (target / run.id / "policies.pt").write_bytes(b"nothing")
    assert main(["play", str(target / run.id)]) == USAGE
    assert "policies.pt is damaged" in capsys.readouterr().err


def test_without_weights_the_line_says_how_to_get_them(
    there: dict[str, Run], tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(runs, "SMALL", 1000)
    target = tmp_path / "data"
    runs.publish(there["pendulum"].dir.parent, target, allow_dirty=True, only=[there["pendulum"].id])
    told = refusal(capsys, "play", str(target / there["pendulum"].id))
    assert "keeps no weights of seed 0: large ones are not published; to train it: lnlab train algorithm=td3 " in told
    assert "steps=300" in told


def test_a_damaged_checkpoint_and_two_runs_of_one_name_are_one_line(
    results: Path, capsys: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr("lnlab.play.RESULTS", results)
    for profile in ("one", "two"):
        inside.run(parse(OFFLOADING | {"profile": profile}), progress=False)
    run = Run.at(parse(OFFLOADING | {"profile": "one"}))
    assert f"{run.id} is the name of several runs: one/{run.id}, two/{run.id}\n" in refusal(capsys, "play", run.id)
    (checkpoint,) = run.dir.glob("shards/*/checkpoint-*.pt")
    checkpoint.write_bytes(b"nothing")
    told = refusal(capsys, "play", f"one/{run.id}")
    assert "checkpoint" in told
    assert "is damaged" in told
    assert files.read_json(run.dir / "provenance.json", sealed=True)["status"] == "complete"


def test_a_film_that_breaks_off_leaves_nothing(there: dict[str, Run], tmp_path: Path) -> None:
    policy = trained(there["cartpole"])
    policy.act = lambda *_, **__: 1 / 0  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        play(policy, 1, video=tmp_path / "out.mp4")
    assert not [*tmp_path.iterdir()]


def test_an_environment_that_cannot_be_drawn_here_is_one_line(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    def render(_: Any) -> None:
        raise gymnasium.error.DependencyNotInstalled("pygame is not installed")

    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.render", render)
    assert main(["play", ID, "--video", str(tmp_path / "out.mp4")]) == USAGE
    assert "CartPole-v1 cannot be shown here: pygame is not installed\n" in capsys.readouterr().err
    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.metadata", {"render_modes": ["rgb_array"]})
    assert main(["play", ID, "--render"]) == USAGE
    assert "CartPole-v1 draws no human or ansi: it has rgb_array; --video films it\n" in capsys.readouterr().err
    monkeypatch.setattr("gymnasium.envs.classic_control.CartPoleEnv.metadata", {"render_modes": ["ansi"]})
    assert main(["play", ID, "--video", str(tmp_path / "out.mp4")]) == USAGE
    assert "CartPole-v1 draws no rgb_array: it has ansi\n" in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]
