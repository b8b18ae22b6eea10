"""A trained policy at play: returns and lengths of episodes, and what they look like."""

import contextlib
import difflib
import fnmatch
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from tqdm.auto import tqdm

from lnlab.config import EXECUTION, Config, ConfigError, shown
from lnlab.paths import PUBLISHED, RESULTS
from lnlab.policy import Policy
from lnlab.runs import POLICIES, Run, run_folders
from lnlab.trainers.schedule import Purpose

FPS = 30  # of a film, where the environment says none
KINDS = (".mp4", ".gif")
Film = Callable[[np.ndarray], None]  # takes a frame (H, W, 3) uint8


class Episode(NamedTuple):
    score: float  # sum of rewards as the environment gives them
    length: int  # steps


def find(name: str) -> Run:
    """A run by its folder; or by its id, also PROFILE/ID or a pattern that fits one, below results/ or published.

    Raises:
        ConfigError: there is none of this name, or several.
    """
    if Run(Path(name)).begun:
        return Run(Path(name))
    published = [each.parent for each in PUBLISHED.glob(f"[!.]*/*/{POLICIES}")]
    own = [each for folder in RESULTS.glob("[!.]*") for each in run_folders(folder)]
    runs = {f"{each.parent.name}/{each.name}": each for each in [*published, *own]}  # of one name, one's own
    names = {run: (run, run.partition("/")[2]) for run in runs}
    found = [run for run in runs if name in names[run]] or [run for run in runs if fnmatch.filter(names[run], name)]
    if len(found) > 1:
        raise ConfigError(f"{name} is the name of several runs: {', '.join(sorted(found))}")
    if not found:
        near = difflib.get_close_matches(name, runs, n=3, cutoff=0)
        there = f"the nearest are {', '.join(near)}" if runs else "it holds no run"
        raise ConfigError(f"there is no run {shown(name)}, as a folder or in {RESULTS}: {there}")
    return Run(runs[found[0]])


def trained(run: Run, seed: int | None = None, worker: int = 0) -> Policy:
    """The policy of a run, of its first seed unless another is named; a line on stderr says if training had not ended.

    Raises:
        ConfigError: the run keeps no weights, or there is no such seed or worker.
        DamagedError: the run, or its checkpoint, is damaged.
    """
    config = run.config
    try:
        policy = run.policy(config.first_seed if seed is None else seed, worker)
    except FileNotFoundError as error:
        raise ConfigError(f"{error}: large ones are not published; to train it: {command(config)}") from None
    if not run.complete:
        done, all_of_it = (count * config.steps_per_report for count in (policy.reports, config.reports))
        print(f"{run.id} is not complete: its checkpoint of step {done:,} of {all_of_it:,} plays", file=sys.stderr)
    return policy


def command(config: Config) -> str:
    """The line that trains a run."""
    given = {"algorithm": config.algorithm} | config.changed
    return " ".join(["lnlab train", *(f"{name}={value}" for name, value in given.items() if name not in EXECUTION)])


def play(
    policy: Policy, episodes: int, *, sampled: bool = False, video: Path | None = None, render: bool = False
) -> list[Episode]:
    """Play episodes, the same ones for every policy of an environment, and say of each how it went.

    Args:
        sampled: draw actions instead of the greedy ones.
        video: file for a film, .mp4 or .gif; it appears when all episodes are over.
        render: show it: in a window, or as text where the environment has no window.

    Raises:
        ConfigError: the environment cannot be shown so, or the file cannot be written.
    """
    mode = _mode(policy, video, render)
    env = policy.make_env(**({} if mode is None else {"render_mode": mode}))
    try:
        return _episodes(policy, env, episodes, sampled, video, mode)
    except gymnasium.error.DependencyNotInstalled as error:
        raise ConfigError(f"{policy.config.env} cannot be shown here: {error}") from None


def _episodes(
    policy: Policy, env: Any, episodes: int, sampled: bool, video: Path | None, mode: str | None
) -> list[Episode]:
    rng = np.random.default_rng([policy.seed, Purpose.TEST_ACTION]) if sampled else None
    found = []
    bar = tqdm(unit="step", delay=2, leave=False, mininterval=0.5)
    with contextlib.closing(env), film(video, env.metadata.get("render_fps") or FPS) as add, bar:
        for number in range(episodes):
            bar.set_description(f"episode {number + 1} of {episodes}", refresh=False)
            found.append(_episode(policy, env, number, rng, _show(env, mode, add), bar))
            if bar.last_print_n:  # else it was not shown yet, and `bar.write` would show it
                bar.clear()
            print(f"episode {number + 1}: return {found[-1].score:.6g}, {found[-1].length} steps", flush=True)
    return found


def _mode(policy: Policy, video: Path | None, render: bool) -> str | None:
    """How the environment is to be drawn."""
    wanted = ("rgb_array",) if video else ("human", "ansi") if render else ()
    with contextlib.closing(policy.make_env()) as env:
        there = env.metadata.get("render_modes") or []
    mode = next((each for each in wanted if each in there), None)
    if wanted and mode is None:
        has = f"it has {', '.join(there)}" if there else "it has none"
        has += "; --video films it" if render and "rgb_array" in there else ""
        raise ConfigError(f"{policy.config.env} draws no {' or '.join(wanted)}: {has}")
    return mode


def _episode(
    policy: Policy, env: Any, number: int, rng: np.random.Generator | None, show: Callable[[], None], bar: tqdm
) -> Episode:
    """Starts are those of the greedy tests of TD3."""
    start = int(np.random.default_rng([Purpose.TEST_EPISODE, number]).integers(2**31))
    observation, _ = env.reset(seed=start)
    state, rewards, ended = None, list[float](), False
    show()
    while not ended:
        action, state = policy.act(observation, state, greedy=rng is None, rng=rng)
        observation, reward, terminated, truncated, _ = env.step(action)
        rewards.append(float(reward))
        ended = terminated or truncated
        bar.update()
        show()
    return Episode(float(np.sum(rewards)), len(rewards))


def _show(env: Any, mode: str | None, add: Film) -> Callable[[], None]:
    """What is done after a step; a window draws by itself."""
    if mode == "ansi":
        return lambda: print(env.render(), end="\n\n")
    return (lambda: add(env.render())) if mode == "rgb_array" else (lambda: None)


@contextlib.contextmanager
def film(path: Path | None, fps: float) -> Iterator[Film]:
    """A file of the frames that are given, put in its place when all of them are there; without a path, nothing.

    Raises:
        ConfigError: the file cannot be written, or its name ends in none of `KINDS`.
    """
    if path is None:
        yield lambda frame: None
        return
    if path.suffix not in KINDS:
        raise ConfigError(f"{path} is no name of a film; end it with {' or '.join(KINDS)}")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        temporary.touch()
        with (_mp4 if path.suffix == ".mp4" else _gif)(temporary, fps) as add:
            yield add
        os.replace(temporary, path)
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _mp4(path: Path, fps: float) -> Iterator[Film]:
    import cv2

    writers: list[Any] = []

    def add(frame: np.ndarray) -> None:
        if not writers:
            size = frame.shape[1], frame.shape[0]
            writers.append(cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), fps, size))
            if not writers[0].isOpened():
                raise OSError("OpenCV writes no MP4 here; choose .gif")
        writers[0].write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))

    try:
        yield add
    finally:
        for writer in writers:
            writer.release()


@contextlib.contextmanager
def _gif(path: Path, fps: float) -> Iterator[Film]:
    from PIL import Image

    frames: list[Image.Image] = []  # of 256 colours, a third of the memory
    yield lambda frame: frames.append(Image.fromarray(frame).quantize())
    first, *others = frames
    first.save(path, save_all=True, append_images=others, duration=1000 / fps, loop=0)
