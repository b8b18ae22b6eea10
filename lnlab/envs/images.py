"""One observation layout for every environment with a continuous action, and the stack of frames in it.

Observations become a Dict with "image", the last four grey frames, "vector", or both; actions lie in [-1, 1].
"""

import difflib
import functools
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

import lnlab.envs  # noqa: F401  (registers the environments)
from lnlab.config import ConfigError

FRAMES, SIDE = 4, 84
PAD = 128  # grey of the frames before an episode's first: the zero of the original's [-1, 1]

Observation = dict[str, np.ndarray]


def image_space() -> Box:
    """Four grey frames of 84 × 84, oldest first."""
    return Box(0, 255, (FRAMES, SIDE, SIDE), np.uint8)


class FrameStack:
    """The last four frames of an episode, (4, 84, 84) uint8, oldest first; PAD where there was none yet."""

    def __init__(self) -> None:
        self._frames = np.full((FRAMES, SIDE, SIDE), PAD, np.uint8)

    def start(self, frame: np.ndarray) -> np.ndarray:
        """The stack of an episode's first frame, (84, 84) uint8."""
        self._frames = np.full((FRAMES, SIDE, SIDE), PAD, np.uint8)
        self._frames[-1] = frame
        return self._frames

    def push(self, frame: np.ndarray) -> np.ndarray:
        """The stack with a further frame; a new array, so that observations kept by the caller stay as they were."""
        frames = np.empty_like(self._frames)
        frames[:-1] = self._frames[1:]
        frames[-1] = frame
        self._frames = frames
        return frames


class ImageView(gymnasium.Wrapper[Any, Any, Any, Any]):
    """An environment of pictures, (H, W, 3) or (H, W) uint8: made grey, scaled to 84 × 84 by area, stacked."""

    def __init__(self, env: gymnasium.Env[np.ndarray, Any]) -> None:
        import cv2  # only environments of pictures need OpenCV

        super().__init__(env)
        self._cv2 = cv2
        self._stack = FrameStack()
        self.observation_space = Dict(image=image_space())

    def reset(self, **options: Any) -> tuple[Observation, dict[str, Any]]:
        """Start an episode."""
        picture, info = self.env.reset(**options)
        return {"image": self._stack.start(self._frame(picture))}, info

    def step(self, action: Any) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """One step of the environment."""
        picture, reward, terminated, truncated, info = self.env.step(action)
        return {"image": self._stack.push(self._frame(picture))}, reward, terminated, truncated, info

    def _frame(self, picture: np.ndarray) -> np.ndarray:
        grey = picture if picture.ndim == 2 else self._cv2.cvtColor(picture, self._cv2.COLOR_RGB2GRAY)
        return self._cv2.resize(grey, (SIDE, SIDE), interpolation=self._cv2.INTER_AREA)


class VectorView(gymnasium.ObservationWrapper[Any, Any, Any]):
    """An environment of number lists, (V,): as float32 under the name "vector"."""

    def __init__(self, env: gymnasium.Env[np.ndarray, Any]) -> None:
        super().__init__(env)
        space = env.observation_space
        assert isinstance(space, Box)
        low, high = space.low.astype(np.float32), space.high.astype(np.float32)
        self.observation_space = Dict(vector=Box(low, high, dtype=np.float32))

    def observation(self, observation: np.ndarray) -> Observation:
        """The numbers by name."""
        return {"vector": np.asarray(observation, np.float32)}


def make_env(name: str, **options: Any) -> gymnasium.Env[Observation, np.ndarray]:
    """An environment by its Gymnasium id, in the layout of this module.

    Args:
        name: such as "lnlab/Driving-v0", "CarRacing-v3" or "Pendulum-v1".
        options: passed on to the environment.

    Returns:
        observations {"image": (4, 84, 84) uint8 and/or "vector": (V,) float32}; actions (A,) float32 in [-1, 1].

    Raises:
        ConfigError: Gymnasium does not know the id or cannot make the environment here, the observation is neither a
            picture nor a list of numbers, or the action is not a bounded Box.
    """
    return _with_unit_action(name, _with_named_observation(name, made(name, options)))


@functools.cache
def has_images(name: str) -> bool:
    """Whether an environment shows images, alone or beside a vector.

    Raises:
        ConfigError: as `make_env`.
    """
    env = make_env(name)
    env.close()
    return "image" in env.observation_space.spaces  # type: ignore[attr-defined]


def made(name: str, options: dict[str, Any]) -> gymnasium.Env[Any, Any]:
    """An environment by its Gymnasium id, as it is.

    Raises:
        ConfigError: Gymnasium does not know the id (the nearest are named), or cannot make the environment here.
    """
    if name not in gymnasium.registry and ":" not in name:  # a module before a colon registers its own when imported
        ids = {each.lower(): each for each in gymnasium.registry}
        near = [ids[each] for each in difflib.get_close_matches(name.lower(), ids, n=3, cutoff=0)]
        raise ConfigError(f"env={name!r} is not allowed: no such environment; the nearest ids: {', '.join(near)}")
    try:
        return gymnasium.make(name, **options)
    except (gymnasium.error.Error, ImportError) as error:
        reason = str(error).partition("\n")[0]
        raise ConfigError(f"env={name!r} is not allowed: it cannot be made here: {reason}") from error


def _with_named_observation(name: str, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    space = env.observation_space
    if isinstance(space, Dict) and _is_named(space):
        return env
    if isinstance(space, Box) and space.dtype == np.uint8 and (len(space.shape) == 2 or space.shape[2:] == (3,)):
        return ImageView(env)
    if isinstance(space, Box) and len(space.shape) == 1:
        return VectorView(env)
    raise ConfigError(
        f"env={name!r} is not allowed: it observes {space}; needed: a Box of pictures (H, W, 3) or (H, W) of uint8, "
        f'a Box (V,), or a Dict of "image" {(FRAMES, SIDE, SIDE)} uint8 and "vector" (V,) float32'
    )


def _is_named(space: Dict) -> bool:
    image, vector = space.spaces.get("image"), space.spaces.get("vector")
    return (
        bool(space.spaces)
        and set(space.spaces) <= {"image", "vector"}
        and (image is None or image == image_space())
        and (vector is None or (isinstance(vector, Box) and len(vector.shape) == 1 and vector.dtype == np.float32))
    )


def _with_unit_action(name: str, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    space = env.action_space
    if not (isinstance(space, Box) and len(space.shape) == 1 and np.isfinite([space.low, space.high]).all()):
        raise ConfigError(f"env={name!r} is not allowed: it acts by {space}; needed: a Box (A,) with finite bounds")
    if np.array_equal(space.low, -np.ones(space.shape)) and np.array_equal(space.high, np.ones(space.shape)):
        return env
    return gymnasium.wrappers.RescaleAction(env, np.float32(-1.0), np.float32(1.0))
