"""The replay buffer against a naive one that keeps whole stacks, and against what the environment showed."""

from collections import Counter, deque
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

from lnlab.envs.images import PAD
from lnlab.trainers.replay import Replay, Transitions

FRAMES, SIDE, VECTOR = 4, 3, 2
GAMMA = 0.5  # of eighths, float32 has the sums to the bit
IMAGE = Box(0, 255, (FRAMES, SIDE, SIDE), np.uint8)
VECTORS = Box(-np.inf, np.inf, (VECTOR,), np.float32)
BOTH = Dict(image=IMAGE, vector=VECTORS)
ACTION = Box(-1, 1, (2,), np.float32)


class Step(NamedTuple):
    """One transition as a naive buffer keeps it, whole; `written` is when its first frame and its last came in."""

    obs: dict[str, np.ndarray]
    action: np.ndarray
    reward: float
    terminated: bool
    next_obs: dict[str, np.ndarray]
    ended: bool
    written: tuple[int, int]


class Filled:
    """A buffer after random episodes, and every step it was given."""

    def __init__(self, capacity: int, episodes: int, seed: int, longest: int = 12, n_steps: int = 1) -> None:
        self.replay = Replay(capacity, BOTH, ACTION, gamma=GAMMA, n_steps=n_steps)
        self.rng = np.random.default_rng(seed)
        self.steps: list[Step] = []
        self.observations = 0
        for _ in range(episodes):
            self.episode(int(self.rng.integers(1, longest + 1)))

    def episode(self, length: int, *, under_way: bool = False) -> None:
        pad = np.full((SIDE, SIDE), PAD, np.uint8)
        stack = deque([pad] * FRAMES, maxlen=FRAMES)
        obs, first = self._observe(stack), self.observations
        self.replay.start(obs)
        for t in range(length):
            action, reward = self.rng.uniform(-1, 1, 2).astype(np.float32), int(self.rng.integers(-8, 9)) / 8
            ended = t == length - 1 and not under_way
            terminated = ended and bool(self.rng.random() < 0.5)
            reached = self._observe(stack)
            oldest = max(first, first + t - FRAMES + 1)
            self.steps.append(Step(obs, action, reward, terminated, reached, ended, (oldest, self.observations)))
            self.replay.add(action, reward, terminated, reached, ended=ended)
            obs = reached

    def _observe(self, stack: deque[np.ndarray]) -> dict[str, np.ndarray]:
        stack.append(self.rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8))
        self.observations += 1
        return {"image": np.stack(stack), "vector": self.rng.normal(size=VECTOR).astype(np.float32)}

    @property
    def kept(self) -> list[Step]:
        """Transitions whose every frame is among the last `capacity` observations."""
        return [step for step in self.steps if step.written[0] > self.observations - self.replay.capacity]


def numbers(batch: Transitions, row: int) -> bytes:
    """Everything of one transition, to be compared and counted."""
    return b"".join(part[row].contiguous().numpy().tobytes() for part in batch if part is not None)


def as_bytes(*steps: Step) -> bytes:
    """The transition over these steps."""
    first, last = steps[0], steps[-1]
    reward = sum(GAMMA**t * step.reward for t, step in enumerate(steps))
    discount = GAMMA ** len(steps) * (1 - last.terminated)
    parts: list[Any] = [first.obs["image"], first.obs["vector"], first.action, np.float32(reward)]
    parts += [last.next_obs["image"], last.next_obs["vector"], np.float32(discount)]
    return b"".join(part.tobytes() for part in parts)


def drawn(replay: Replay, size: int, seed: int = 0) -> list[bytes]:
    batch = replay.sample(size, np.random.default_rng(seed))
    return [numbers(batch, row) for row in range(size)]


@pytest.mark.parametrize(("capacity", "longest"), [(400, 12), (97, 12), (31, 12), (31, 1), (12, 40), (5, 9)])
def test_it_holds_the_transitions_a_naive_buffer_holds_and_no_other(capacity: int, longest: int) -> None:
    filled = Filled(capacity, 25, 0, longest)
    expected = {as_bytes(step) for step in filled.kept}
    assert len(filled.replay) == len(expected)
    assert set(drawn(filled.replay, 30 * capacity)) == expected  # each is missed with a chance under e⁻³⁰


@pytest.mark.parametrize(
    ("capacity", "longest", "n_steps"), [(400, 12, 3), (97, 12, 5), (97, 4, 20), (31, 1, 2), (12, 40, 3), (5, 9, 20)]
)
@pytest.mark.parametrize("under_way", [0, 1, 4])  # steps of the newest episode, which has no end yet
def test_transitions_of_several_steps_are_those_of_a_naive_loop(
    capacity: int, longest: int, n_steps: int, under_way: int
) -> None:
    filled = Filled(capacity, 25, 3, longest, n_steps)
    if under_way:
        filled.episode(under_way, under_way=True)
    expected = set()
    for first in range(len(filled.steps) - len(filled.kept), len(filled.steps)):
        steps = [filled.steps[first]]
        while len(steps) < n_steps and not steps[-1].ended and first + len(steps) < len(filled.steps):
            steps.append(filled.steps[first + len(steps)])
        expected.add(as_bytes(*steps))
    assert set(drawn(filled.replay, 30 * capacity)) == expected


@pytest.mark.parametrize("terminated", [True, False])
def test_a_sum_of_three_rewards_by_hand(terminated: bool) -> None:
    """Rewards 1, 2, 4, 8, halved at each step; the episode ends within the window of the third and the fourth."""
    replay = Replay(10, Dict(vector=VECTORS), ACTION, gamma=0.5, n_steps=3)
    replay.start({"vector": np.zeros(VECTOR)})
    for t, reward in enumerate((1.0, 2.0, 4.0, 8.0), start=1):
        ended = t == 4
        replay.add(np.zeros(2), reward, terminated and ended, {"vector": np.full(VECTOR, t)}, ended=ended)
    replay.start({"vector": np.full(VECTOR, 100)})
    replay.add(np.zeros(2), 1000.0, False, {"vector": np.full(VECTOR, 101)}, ended=False)
    batch = replay.sample(100, np.random.default_rng(0))
    assert batch.vector is not None
    assert batch.next_vector is not None
    columns = (batch.vector[:, 0], batch.reward, batch.next_vector[:, 0], batch.discount)
    found = set(zip(*(each.tolist() for each in columns), strict=True))
    ends = [0.0, 0.0, 0.0] if terminated else [0.125, 0.25, 0.5]
    assert found == {
        (0, 3, 3, 0.125),
        (1, 6, 4, ends[0]),
        (2, 8, 4, ends[1]),
        (3, 8, 4, ends[2]),
        (100, 1000, 101, 0.5),
    }


def test_every_transition_is_as_likely_as_any_other() -> None:
    filled = Filled(60, 30, seed=1, longest=6)
    draws, kinds = 10_000, len(filled.replay)
    counts = np.array(list(Counter(drawn(filled.replay, draws)).values()))
    chi_square = ((counts - draws / kinds) ** 2 / (draws / kinds)).sum()
    assert len(counts) == kinds
    assert abs(chi_square - (kinds - 1)) < 4 * (2 * (kinds - 1)) ** 0.5  # mean and spread of the chi-square law


@pytest.mark.parametrize("episodes", [2, 30])  # before and after the ring has come round
def test_a_restored_buffer_goes_on_exactly_in_the_middle_of_an_episode(episodes: int) -> None:
    filled = Filled(60, episodes, seed=2, n_steps=3)
    copy = Replay(60, BOTH, ACTION, gamma=GAMMA, n_steps=3)
    obs = filled._observe(deque([np.zeros((SIDE, SIDE), np.uint8)] * FRAMES, maxlen=FRAMES))
    filled.replay.start(obs)
    filled.replay.add(np.zeros(2), 1.0, False, obs, ended=False)
    copy.load_state_dict(filled.replay.state_dict())
    assert drawn(copy, 200) == drawn(filled.replay, 200)
    for t in range(9):
        reached = filled._observe(deque([np.zeros((SIDE, SIDE), np.uint8)] * FRAMES, maxlen=FRAMES))
        for replay in (copy, filled.replay):
            replay.add(np.ones(2), 2.0, t == 8, reached, ended=t == 8)
    assert len(copy) == len(filled.replay)
    assert drawn(copy, 200) == drawn(filled.replay, 200)


def test_a_transition_of_the_driving_task_takes_under_8_kilobytes() -> None:
    space = Dict(image=Box(0, 255, (4, 84, 84), np.uint8), vector=Box(-np.inf, np.inf, (53,), np.float32))
    replay, obs = Replay(100, space, ACTION), space.sample()
    replay.start(obs)
    for t in range(20):
        replay.add(np.zeros(2), 0.0, False, obs, ended=t == 19)
    slot = 84 * 84 + 4 * 53 + 4 * 2 + 4 + 1 + 4 + 1  # frame, vector, action, reward, terminated, age, complete
    assert replay.bytes_per_transition == pytest.approx(slot * 21 / 20)
    assert replay.bytes_per_transition < 8000


@pytest.mark.parametrize(("length", "count", "steps"), [(9, 5, [0, 2, 4, 6, 8]), (3, 8, [0, 1, 2]), (8, 3, [0, 4, 7])])
def test_the_last_episode_comes_evenly_spaced_with_all_its_rewards(length: int, count: int, steps: list[int]) -> None:
    filled = Filled(40, 6, seed=4)
    filled.episode(length)
    episode, given = filled.replay.last_episode(count), filled.steps[-length:]
    assert episode.steps.tolist() == steps
    assert episode.reward.tolist() == [step.reward for step in given]
    rows = [numbers(episode.transitions, row) for row in range(len(steps))]
    assert rows == [as_bytes(given[step]) for step in steps]


def test_an_episode_longer_than_the_ring_counts_from_what_is_left() -> None:
    filled = Filled(10, 2, seed=5)
    filled.episode(30)
    episode = filled.replay.last_episode(100)
    assert len(episode.reward) == len(filled.replay) == 10 - FRAMES  # the oldest frames serve the next stacks
    assert episode.reward.tolist() == [step.reward for step in filled.steps[-len(episode.reward) :]]


@pytest.mark.parametrize(("space", "least"), [(BOTH, 5), (Dict(image=IMAGE), 5), (Dict(vector=VECTORS), 2)])
def test_the_smallest_ring_holds_the_newest_transition_after_every_step(space: Dict, least: int) -> None:
    replay, rng, steps = Replay(least, space, ACTION), np.random.default_rng(0), 0
    for length in (1, 2, 7, 1, 3):
        obs = space.sample()
        replay.start(obs)
        for t in range(length):
            reached, steps = space.sample(), steps + 1
            replay.add(np.zeros(2), steps, False, reached, ended=t == length - 1)
            batch = replay.sample(40, rng)
            newest = batch.reward == steps
            assert newest.any()
            if batch.vector is not None:
                np.testing.assert_array_equal(batch.vector[newest][0], obs["vector"])
                np.testing.assert_array_equal(batch.next_vector[newest][0], reached["vector"])
            obs = reached


def test_nothing_that_was_never_written_is_saved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Fresh memory holds anything; here a NaN, or all bits set, so that it shows."""
    empty = torch.empty
    filling = {torch.uint8: 255}
    monkeypatch.setattr(
        torch, "empty", lambda *a, dtype=None, **k: empty(*a, dtype=dtype, **k).fill_(filling.get(dtype, torch.nan))
    )
    replay, rng = Replay(3000, BOTH, ACTION), np.random.default_rng(0)
    for length in (1, 4, 2):  # the last slot of each episode has an observation and no action
        replay.start(BOTH.sample())
        for t in range(length):
            replay.add(rng.uniform(-1, 1, 2), 1.0, False, BOTH.sample(), ended=t == length - 1)
    data = replay.state_dict()["data"]
    assert all(each.isfinite().all() for each in data.values())
    for name in ("action", "reward", "terminated"):
        assert not data[name][[1, 6, 9]].any()
    torch.save(replay.state_dict(), tmp_path / "state.pt")
    assert (tmp_path / "state.pt").stat().st_size < 10_000  # what is saved grows with what is kept


def test_wrong_calls_are_answered() -> None:
    replay = Replay(10, BOTH, ACTION)
    obs = BOTH.sample()
    with pytest.raises(ValueError, match=r"holds 10 of .* this one 11"):
        Replay(11, BOTH, ACTION).load_state_dict(replay.state_dict())
    with pytest.raises(ValueError, match="no transition yet"):
        replay.sample(1, np.random.default_rng(0))
    with pytest.raises(ValueError, match="no step"):
        replay.last_episode(8)
    with pytest.raises(RuntimeError, match="without an episode"):
        replay.add(np.zeros(2), 0.0, False, obs, ended=False)


@pytest.mark.parametrize(
    ("space", "capacity", "message"),
    [
        (Dict(camera=IMAGE), 10, r"image, vector or both; got \['camera'\]"),
        (Dict(image=Box(0, 1, (4, 3, 3), np.float32)), 10, r"uint8 frames; got \(4, 3, 3\) float32"),
        (BOTH, 4, "capacity=4 is not allowed: a transition takes 5 slots here"),
        (Dict(vector=VECTORS), 1, "capacity=1 is not allowed: a transition takes 2 slots here"),
    ],
)
def test_wrong_spaces_are_answered(space: Dict, capacity: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Replay(capacity, space, ACTION)
