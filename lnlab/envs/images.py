"""One observation layout for every environment with a continuous action.

Observations become a Dict with "image", the last four grey frames, "vector", or both; actions lie in [-1, 1].
"""

import difflib
import functools
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.wrappers import FrameStackObservation, RescaleAction, TransformObservation

import lnlab.envs  # noqa: F401  (registers the environments)
from lnlab.config import ConfigError

FRAMES, SIDE = 4, 84
LEAST = 36  # pixels a side, of the smallest picture that the CNN takes
PAD = 128  # grey of the frames before an episode's first: the zero of the original's [-1, 1]

Observation = dict[str, np.ndarray]


def image_space(side: int = SIDE) -> Box:
    """Four grey frames, oldest first, `side` pixels wide and high."""
    return Box(0, 255, (FRAMES, side, side), np.uint8)


def make_env(name: str, **options: Any) -> gymnasium.Env[Observation, np.ndarray]:
    """An environment by its Gymnasium id, in the layout of this module.

    Args:
        name: such as "lnlab/Driving-v0", "CarRacing-v3" or "Pendulum-v1".
        options: passed on to the environment.

    Returns:
        observations {"image": (4, S, S) uint8 and/or "vector": (V,) float32}; actions (A,) float32 in [-1, 1]. S is 84
        but where the environment itself observes a Dict.

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
        return _stacked(env)
    if isinstance(space, Box) and len(space.shape) == 1:
        vector = Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
        return TransformObservation(env, lambda each: {"vector": np.asarray(each, np.float32)}, Dict(vector=vector))
    raise ConfigError(
        f"env={name!r} is not allowed: it observes {space}; needed: a Box of pictures (H, W, 3) or (H, W) of uint8, "
        f'a Box (V,), or a Dict of "image" ({FRAMES}, S, S) uint8, S {LEAST} or more, and "vector" (V,) float32'
    )


def _stacked(env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    """Pictures (H, W, 3) or (H, W): made grey, scaled to 84 × 84 by area, stacked."""
    import cv2  # only environments of pictures need OpenCV

    def frame(picture: np.ndarray) -> np.ndarray:
        grey = picture if picture.ndim == 2 else cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
        return cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA)

    frames = TransformObservation(env, frame, Box(0, 255, (SIDE, SIDE), np.uint8))
    stack = FrameStackObservation(frames, FRAMES, padding_type=np.full((SIDE, SIDE), PAD, np.uint8))
    return TransformObservation(stack, lambda images: {"image": images}, Dict(image=image_space()))


def _is_named(space: Dict) -> bool:
    image, vector = space.spaces.get("image"), space.spaces.get("vector")
    return (
        bool(space.spaces)
        and set(space.spaces) <= {"image", "vector"}
        and (image is None or _is_stack(image))
        and (vector is None or (isinstance(vector, Box) and len(vector.shape) == 1 and vector.dtype == np.float32))
    )


def _is_stack(space: Space[Any]) -> bool:
    side = space.shape[-1] if space.shape else 0
    return side >= LEAST and space == image_space(side)


def _with_unit_action(name: str, env: gymnasium.Env[Any, Any]) -> gymnasium.Env[Any, Any]:
    space = env.action_space
    if not (isinstance(space, Box) and len(space.shape) == 1 and np.isfinite([space.low, space.high]).all()):
        raise ConfigError(f"env={name!r} is not allowed: it acts by {space}; needed: a Box (A,) with finite bounds")
    if np.array_equal(space.low, -np.ones(space.shape)) and np.array_equal(space.high, np.ones(space.shape)):
        return env
    return RescaleAction(env, np.float32(-1.0), np.float32(1.0))
