"""The picture of a race from a camera on the car, as in the original: a pinhole at its pose, over flat ground.

The original's camera stood 1.6 m ahead of the car's centre and 1.5 m high, level, with a field of view of 90° across
256 × 144 pixels, which were scaled to 84 × 84 without keeping their aspect (specification, sections 1 and 3). So a
point z metres ahead of the camera, r to the right of it and h high is, in shares of the picture's width and height from
its middle, r / 2z to the right and 16/9 · (1.5 - h) / 2z down. The horizon is at half the height.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from lnlab.envs.cars import BOX, FRONT
from lnlab.envs.images import SIDE
from lnlab.envs.road import LAWN, OTHER_HULL, SUBPIXEL, Colour, Painter, Pose, in_frame

AHEAD, EYE = 1.6, 1.5  # m from the car's centre to the camera, and its height
ASPECT = 256 / 144
CAR_HEIGHT = EYE  # m: a car's roof is at the eye's height, where it is a line
NEAR = 0.5  # m ahead of the camera: nothing nearer is in the picture, and what crosses it is cut there
FAR = EYE * ASPECT * SIDE / 2  # m, 112: what is farther off is left out; it would lie in the row below the horizon
RADIUS = 12.0  # m from the centre of a polygon to its corners, at most: the squares of grass
SKY: Colour = (135, 206, 235)
OTHER_SIDE: Colour = (64, 64, 204)  # of the other cars, lighter than front and rear


class Camera(Painter):
    """Pictures of one track by the camera, at one size; arguments and methods are the painter's."""

    LARGE = (512, 288)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        height, width = self._empty.shape[:2]
        self._empty[:] = self._ink(SKY)
        self._empty[height // 2 :] = self._ink(LAWN)  # which ends nowhere: stock's lawn is left out
        self._corners, self._centres, self._colours = self._corners[1:], self._centres[:, 1:], self._colours[1:]
        self._side_inks = [self._ink(colour) for colour in (OTHER_SIDE, OTHER_HULL) * 2]
        self._across, self._down = width / 2 * (1 << SUBPIXEL), height / 2 * ASPECT * (1 << SUBPIXEL)
        self._middle = np.array([width / 2 - 0.5, height / 2 - 0.5]) * (1 << SUBPIXEL)

    def _polygons(self, pose: Pose, others: Sequence[Pose]) -> Iterator[tuple[np.ndarray, Colour | int]]:
        x, y, heading = pose
        eye = x - AHEAD * math.sin(heading), y + AHEAD * math.cos(heading), heading
        seen = np.flatnonzero(_in_view(in_frame(self._centres.T, eye), RADIUS))
        solid, inks = _standing(in_frame(self._corners[seen], eye), EYE), [self._colours[index] for index in seen]
        if others:
            faces, sides = _faces(np.array(others), eye)
            solid = np.concatenate([solid, faces])
            inks += [self._side_inks[side] for side in sides]
        whole = solid[..., 2].min(1) >= NEAR
        pixels = self._projected(np.maximum(solid, (-np.inf, -np.inf, NEAR)))
        for kept, flat, points, ink in zip(whole, pixels, solid, inks, strict=True):
            if kept:
                yield flat, ink
            elif len(cut := before_the_camera(points)):
                yield self._projected(cut), ink

    def _projected(self, solid: np.ndarray) -> np.ndarray:
        """Points (..., 3) right, down and forward of the camera in OpenCV's coordinates (..., 2)."""
        flat = solid[..., :2] / solid[..., 2:] * (self._across, self._down) + self._middle
        return np.rint(flat).astype(np.int32)


def _in_view(centres: np.ndarray, radius: float) -> np.ndarray:
    """Which discs around points (P, 2), right and forward of the camera, may be in the picture, (P,)."""
    right, forward = centres.T
    return (forward > -radius) & (forward < FAR + radius) & (np.abs(right) < forward + 2 * radius)


def _standing(corners: np.ndarray, down: float) -> np.ndarray:
    """Points (..., 2), right and forward, at a depth below the camera: (..., 3) right, down, forward; m."""
    return np.stack([corners[..., 0], np.full(corners.shape[:-1], down), corners[..., 1]], axis=-1)


def _faces(others: np.ndarray, eye: Pose) -> tuple[np.ndarray, np.ndarray]:
    """Sides of cars (N, 3) that face the camera, (F, 4, 3), those of the farthest car first; and which side, (F,)."""
    centres = in_frame(others[:, :2], eye)  # (N, 2) right, forward
    near = _in_view(centres, FRONT)
    centres, turn = centres[near], others[near, 2] - eye[2]
    order = np.argsort(-np.hypot(*centres.T), kind="stable")
    cosine, sine = np.cos(turn[order]), np.sin(turn[order])
    turned = BOX @ np.stack([np.stack([cosine, sine], -1), np.stack([-sine, cosine], -1)], -2)  # (N, 4, 2)
    start = centres[order, None] + turned
    end = np.roll(start, -1, axis=1)
    # The corners run clockwise: from the camera, a side that faces it runs from right to left.
    car, side = np.nonzero(start[..., 0] * end[..., 1] > start[..., 1] * end[..., 0])
    foot, head = (_standing(np.stack([start, end], 2)[car, side], down) for down in (EYE, EYE - CAR_HEIGHT))
    return np.concatenate([foot, head[:, ::-1]], axis=1), side


def before_the_camera(polygon: np.ndarray) -> np.ndarray:
    """A convex polygon (V, 3) cut off at `NEAR` (Sutherland and Hodgman 1974); it may be left without a corner."""
    kept, corners = [], polygon.tolist()
    for start, end in zip(corners, corners[1:] + corners[:1], strict=True):
        if start[2] >= NEAR:
            kept.append(start)
        if (start[2] >= NEAR) != (end[2] >= NEAR):
            share = (NEAR - start[2]) / (end[2] - start[2])
            kept.append([*(a + share * (b - a) for a, b in zip(start[:2], end[:2], strict=True)), NEAR])
    return np.array(kept).reshape(-1, 3)
