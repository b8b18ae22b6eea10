"""A replay buffer of single frames: stacks of frames are put together again when a batch is drawn.

An observation takes one slot of a ring: its newest frame, its vector, and the action, reward and termination that
followed. A stack shares three of its four frames with the one before it, and next_image shares them with image, so one
frame a step is all there is to keep: 7.3 kB for a frame of 84 × 84 and a vector of 53, against 226 kB in the original
(float32 stacks, twice). The last observation of an episode has a slot of its own, from which nothing follows. Sums of
`n_steps` rewards (Yarats et al. 2021, section 3.1) are made when a batch is drawn, too.

Checked against a buffer that stores whole stacks, over random episodes, truncations and overwriting
(tests/test_replay.py).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from torch import Tensor

from lnlab.envs.images import PAD


class Transitions(NamedTuple):
    """A batch of steps; images are None where the environment shows only a vector, vectors where it has none."""

    image: Tensor | None  # (B, F, H, W) uint8, oldest frame first
    vector: Tensor | None  # (B, V) float32
    action: Tensor  # (B, A) float32, in [-1, 1]
    reward: Tensor  # (B,) float32, discounted sum over the steps up to the next observation
    next_image: Tensor | None  # (B, F, H, W) uint8; shares its memory with `image`
    next_vector: Tensor | None  # (B, V) float32
    discount: Tensor  # (B,) float32, of the next value; 0 where the episode truly ended: a truncated one bootstraps


class Episode(NamedTuple):
    """Steps of the newest episode and all its rewards."""

    transitions: Transitions  # of the chosen steps
    steps: np.ndarray  # (B,) int64, the chosen steps' places in `reward`
    reward: np.ndarray  # (T,) float32, of every step that is kept


class Replay:
    """A ring of observations from which transitions are drawn uniformly, with replacement.

    Args:
        capacity: observations kept, each the start of a transition but for the last of every episode.
        observation_space: "image" (F, H, W) uint8 stacks of the last F frames, "vector" (V,) float32, or both.
        action_space: (A,) float32.
        device: where the arrays lie and the batches appear. Memory is taken as the ring fills.
        gamma: discount per step.
        n_steps: of a transition that is drawn; fewer where the episode ends before, or the newest observation comes
            before, as in Stable-Baselines3.

    Raises:
        ValueError: the observation has neither part, an image that is not a stack of uint8 frames, or the ring cannot
            hold a transition (`least_capacity`).
    """

    def __init__(
        self, capacity: int, observation_space: Dict, action_space: Box, device: torch.device | str = "cpu", *,
        gamma: float = 0.99, n_steps: int = 1,
    ) -> None:  # fmt: skip
        image, vector = _parts(observation_space)
        self.capacity, self.device = capacity, torch.device(device)
        self.n_steps, self.powers = n_steps, powers(gamma, n_steps).to(self.device)
        self.frames = 0 if image is None else image[0]
        least = least_capacity(observation_space)
        if not (isinstance(capacity, int) and capacity >= least):
            raise ValueError(f"capacity={capacity!r} is not allowed: a transition takes {least} slots here")
        self._data = {
            "action": torch.zeros((capacity, *action_space.shape), device=self.device),
            "reward": torch.zeros(capacity, device=self.device),
            "terminated": torch.zeros(capacity, dtype=torch.bool, device=self.device),
        }  # zeros: nothing follows the last observation of an episode, yet its slot is saved with the others
        if image is not None:
            self._data["frame"] = self._empty(image[1:], torch.uint8, extra=1)
            self._data["frame"][capacity] = PAD  # the slot past the ring stands for every frame before an episode
        if vector is not None:
            self._data["vector"] = self._empty(vector, torch.float32)
        self._age = np.zeros(capacity, np.int32)  # steps since the episode's first observation
        self._complete = np.zeros(capacity, bool)  # a transition starts here and none of its frames is overwritten
        self._newest, self._filled, self._count, self._open = -1, 0, 0, False

    def __len__(self) -> int:
        """Transitions that can be drawn."""
        return self._count

    @property
    def bytes_per_transition(self) -> float:
        """Memory of the filled slots, over the transitions in them; NaN where there is none."""
        slot = sum(each[0].nbytes for each in self._data.values()) + self._age.itemsize + self._complete.itemsize
        return slot * self._filled / self._count if self._count else math.nan

    def start(self, obs: dict[str, np.ndarray]) -> None:
        """The first observation of an episode; one that was not ended is left as it stands."""
        self._write(obs, age=0)
        self._open = True

    def add(
        self, action: np.ndarray, reward: float, terminated: bool, obs: dict[str, np.ndarray], *, ended: bool
    ) -> None:
        """One step: what was done in the newest observation, and the observation it led to.

        Args:
            action: (A,), in [-1, 1].
            reward: of the step.
            terminated: the episode truly ended, so nothing is bootstrapped.
            obs: the observation reached.
            ended: terminated or truncated; `start` comes next.

        Raises:
            RuntimeError: no episode was started.
        """
        if not self._open:
            raise RuntimeError("a step without an episode; call start(obs) after reset and after an episode's end")
        at = self._newest
        self._data["action"][at] = torch.as_tensor(action)
        self._data["reward"][at] = float(reward)
        self._data["terminated"][at] = bool(terminated)
        self._write(obs, age=int(self._age[at]) + 1)
        self._complete[at] = True
        self._count += 1
        self._open = not ended

    def sample(self, batch_size: int, rng: np.random.Generator) -> Transitions:
        """Transitions drawn uniformly, with replacement, from all that are complete.

        Raises:
            ValueError: there is none.
        """
        if not self._count:
            raise ValueError("the replay buffer holds no transition yet")
        slots = rng.integers(self._filled, size=batch_size)
        while len(holes := np.flatnonzero(~self._complete[slots])):  # redrawing keeps the rest uniform
            slots[holes] = rng.integers(self._filled, size=len(holes))
        return self._at(slots)

    def last_episode(self, count: int) -> Episode:
        """Up to `count` evenly spaced steps of the newest episode, its first and last among them, and all its rewards.

        Where the ring has overwritten the episode's beginning, it counts from the first step still complete.

        Raises:
            ValueError: the newest episode has no step.
        """
        length = int(self._age[self._newest]) if self._filled else 0
        slots = (self._newest - np.arange(length, 0, -1)[-self.capacity :]) % self.capacity
        slots = slots[self._complete[slots]]
        if not len(slots):
            raise ValueError("the newest episode in the replay buffer has no step")
        steps = np.unique(np.linspace(0, len(slots) - 1, min(count, len(slots))).round().astype(np.int64))
        reward = self._data["reward"][torch.from_numpy(slots)].cpu().numpy()
        return Episode(self._at(slots[steps]), steps, reward)

    def state_dict(self) -> dict[str, Any]:
        """All that `load_state_dict` needs to go on exactly: numbers, and tensors on the CPU, only as far as filled."""
        data = {name: each[: self._filled].cpu().clone() for name, each in self._data.items()}
        books = {"age": self._age, "complete": self._complete}
        copies = {name: torch.tensor(each[: self._filled]) for name, each in books.items()}
        return {"capacity": self.capacity, "newest": self._newest, "open": self._open, "data": data, **copies}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the content of another buffer of the same capacity and spaces.

        Raises:
            ValueError: they differ.
        """
        shapes = {name: tuple(each.shape[1:]) for name, each in self._data.items()}
        theirs = {name: tuple(each.shape[1:]) for name, each in state["data"].items()}
        if (state["capacity"], theirs) != (self.capacity, shapes):
            raise ValueError(
                f"the saved buffer holds {state['capacity']} of {theirs}; this one {self.capacity} of {shapes}"
            )
        self._newest, self._open, self._filled = state["newest"], state["open"], len(state["age"])
        for name, each in state["data"].items():
            self._data[name][: self._filled] = each.to(self.device)
        self._age[: self._filled], self._complete[: self._filled] = state["age"], state["complete"]
        self._complete[self._filled :] = False
        self._count = int(self._complete.sum())

    def _empty(self, shape: tuple[int, ...], dtype: torch.dtype, extra: int = 0) -> Tensor:
        return torch.empty((self.capacity + extra, *shape), dtype=dtype, device=self.device)

    def _write(self, obs: dict[str, np.ndarray], age: int) -> None:
        """Put an observation into the next slot; transitions that needed what was there are gone."""
        at = self._newest = (self._newest + 1) % self.capacity
        for k in range(max(self.frames, 1)):  # stacks that begin here, or reach back to here, within one episode
            slot = (at + k) % self.capacity
            if self._complete[slot] and self._age[slot] >= k:
                self._complete[slot] = False
                self._count -= 1
        if "frame" in self._data:
            self._data["frame"][at] = torch.from_numpy(obs["image"][-1])
        if "vector" in self._data:
            self._data["vector"][at] = torch.from_numpy(obs["vector"])
        self._age[at] = age
        self._filled = max(self._filled, at + 1)

    def _at(self, slots: np.ndarray) -> Transitions:
        """The transitions that start in `slots` (B,)."""
        steps = self._steps(slots)
        window = (slots[:, None] + np.arange(self.n_steps)) % self.capacity  # (B, n)
        inside = torch.from_numpy(np.arange(self.n_steps) < steps[:, None]).to(self.device)
        reward = self._data["reward"][torch.from_numpy(window).to(self.device)] * self.powers[:-1]
        here, last, after = (
            torch.from_numpy(each % self.capacity).to(self.device) for each in (slots, slots + steps - 1, slots + steps)
        )
        discount = self.powers[torch.from_numpy(steps).to(self.device)]
        vector, frames = self._data.get("vector"), self._stacks(slots, steps)
        return Transitions(
            image=None if frames is None else frames[:, : self.frames],
            vector=None if vector is None else vector.index_select(0, here),
            action=self._data["action"].index_select(0, here),
            reward=reward.where(inside, 0.0).sum(1),
            next_image=None if frames is None else frames[:, -self.frames :],
            next_vector=None if vector is None else vector.index_select(0, after),
            discount=discount.masked_fill_(self._data["terminated"].index_select(0, last), 0.0),
        )

    def _steps(self, slots: np.ndarray) -> np.ndarray:
        """How many steps there are from each slot on, up to `n_steps`, in its episode and in the ring (B,)."""
        ahead = np.arange(1, self.n_steps + 1)
        same = self._age[(slots[:, None] + ahead) % self.capacity] == self._age[slots][:, None] + ahead
        return (same & (ahead <= ((self._newest - slots) % self.capacity)[:, None])).sum(1)

    def _stacks(self, slots: np.ndarray, steps: np.ndarray) -> Tensor | None:
        """The frames of the stack of each slot, and of the stack so many steps later: (B, K, H, W).

        The first F are image, the last F next_image. One step later, they share all but one, and K is F + 1; else 2 F.
        """
        if "frame" not in self._data:
            return None
        back = np.arange(1 - self.frames, 1)  # -3 … 0
        later = steps[:, None] if self.n_steps == 1 else steps[:, None] + back
        offsets = np.concatenate([np.broadcast_to(back, (len(slots), self.frames)), later], axis=1)
        places = (slots[:, None] + offsets) % self.capacity
        places[offsets < -self._age[slots][:, None]] = self.capacity
        frame = self._data["frame"]
        flat = frame.index_select(0, torch.from_numpy(places.ravel()).to(self.device))
        return flat.view(*offsets.shape, *frame.shape[1:])


def powers(gamma: float, n_steps: int) -> Tensor:
    """Discounts of 0 to n steps, (n + 1,) float32.

    >>> powers(0.5, 2).tolist()
    [1.0, 0.5, 0.25]
    """
    return torch.from_numpy((gamma ** np.arange(n_steps + 1)).astype(np.float32))


def least_capacity(space: Dict) -> int:
    """Slots that one transition takes: those of all frames that it shows, and never less than two observations.

    >>> least_capacity(Dict(vector=Box(-1, 1, (3,), np.float32)))
    2
    """
    image, _ = _parts(space)
    return 2 if image is None else image[0] + 1


def _parts(space: Dict) -> tuple[tuple[int, ...] | None, tuple[int, ...] | None]:
    """Shapes of "image" and "vector", None where absent."""
    parts = dict(space.spaces)
    image, vector = parts.pop("image", None), parts.pop("vector", None)
    if parts or (image is None and vector is None):
        raise ValueError(f"observations must be a Dict of image, vector or both; got {sorted(space.spaces)}")
    if isinstance(image, Box) and (len(image.shape) != 3 or image.dtype != np.uint8):
        raise ValueError(f"an image must be a stack (F, H, W) of uint8 frames; got {image.shape} {image.dtype}")
    return getattr(image, "shape", None), getattr(vector, "shape", None)
