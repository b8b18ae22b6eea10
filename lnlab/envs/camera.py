"""The picture of a race from a camera on the car, as in the original: a pinhole at its pose, over flat ground.

The original's camera stood 1.6 m ahead of the car's centre and 1.5 m high, level, with a field of view of 90° across
256 × 144 pixels, which were scaled to 84 × 84 without keeping their aspect (specification, sections 1 and 3). So a
point z metres ahead of the camera, r to the right of it and h high is, in shares of the picture's width and height from
its middle, r / 2z to the right and 16/9 · (1.5 - h) / 2z down. The horizon is at half the height.
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from lnlab.envs.cars import BOX, FRONT, HALF_WIDTH, REAR
from lnlab.envs.road import LAWN, OTHER_HULL, SUBPIXEL, Colour, Painter, Pose, in_frame, on_plane
from lnlab.envs.track import Polygon

AHEAD, EYE = 1.6, 1.5  # m from the car's centre to the camera, and its height
ASPECT = 256 / 144
CAR_HEIGHT = EYE  # m: a car's roof is at the eye's height, where it is a line
NEAR = 0.5  # m ahead of the camera: nothing nearer is in the picture, and what crosses it is cut there
SKY: Colour = (135, 206, 235)
OTHER_SIDE: Colour = (64, 64, 204)  # of the other cars, lighter than front and rear

# The faces of a car's box by their corners, and whether a point right and forward of its centre sees them.
FACES = (
    ((0, 1), lambda right, forward: right > HALF_WIDTH, OTHER_SIDE),
    ((1, 2), lambda right, forward: forward < REAR, OTHER_HULL),
    ((2, 3), lambda right, forward: right < -HALF_WIDTH, OTHER_SIDE),
    ((3, 0), lambda right, forward: forward > FRONT, OTHER_HULL),
)


class Camera(Painter):
    """Pictures of one track by the camera, at one size; arguments and methods are the painter's."""

    LARGE = (512, 288)

    def __init__(
        self,
        scenery: Sequence[tuple[Polygon, Colour]],
        size: tuple[int, int],
        *,
        coloured: bool = False,
        halvings: int = 2,
    ) -> None:
        super().__init__(scenery, size, coloured=coloured, halvings=halvings)
        height, width = self._empty.shape[:2]
        self._empty[:] = self._ink(SKY)
        self._empty[height // 2 :] = self._ink(LAWN)  # which ends nowhere: stock's lawn is left out
        self._corners, self._colours = self._corners[1:], self._colours[1:]
        self._across, self._down = width / 2 * (1 << SUBPIXEL), height / 2 * ASPECT * (1 << SUBPIXEL)
        self._middle = np.array([width / 2 - 0.5, height / 2 - 0.5]) * (1 << SUBPIXEL)

    def _polygons(self, pose: Pose, others: Iterable[Pose]) -> Iterator[tuple[np.ndarray, Colour | int]]:
        x, y, heading = pose
        eye = x - AHEAD * math.sin(heading), y + AHEAD * math.cos(heading), heading
        corners = in_frame(self._corners, eye)  # (P, 4, 2) right, forward
        right, forward = corners[..., 0], corners[..., 1]
        in_view = (forward > EYE * ASPECT).any(1) & (right < forward).any(1) & (right > -forward).any(1)
        seen = np.flatnonzero(in_view)
        solid = np.insert(corners[seen], 1, EYE, axis=2)  # (seen, 4, 3) right, down, forward
        whole = solid[..., 2].min(1) >= NEAR
        pixels = self._pixels3(np.maximum(solid, (-np.inf, -np.inf, NEAR)))
        for index, kept, flat, points in zip(seen, whole, pixels, solid, strict=True):
            yield flat if kept else self._pixels3(before_the_camera(points)), self._colours[index]
        for other in sorted(others, key=lambda each: -math.dist(each[:2], eye[:2])):  # the farthest is painted first
            yield from self._box(other, eye)

    def _box(self, other: Pose, eye: Pose) -> Iterator[tuple[np.ndarray, Colour | int]]:
        """The sides of a car that face the camera, at most two."""
        corners = in_frame(on_plane(BOX, other), eye)
        seen_from = in_frame(np.array(eye[:2]), other)
        for (a, b), faces, colour in FACES:
            if faces(*seen_from):
                foot, head = corners[[a, b]], corners[[b, a]]
                face = np.vstack([np.insert(foot, 1, EYE, axis=1), np.insert(head, 1, EYE - CAR_HEIGHT, axis=1)])
                if len(face := before_the_camera(face)):
                    yield self._pixels3(face), self._ink(colour)

    def _pixels3(self, solid: np.ndarray) -> np.ndarray:
        """Points (..., 3) right, down and forward of the camera in OpenCV's coordinates (..., 2)."""
        flat = solid[..., :2] / solid[..., 2:] * (self._across, self._down) + self._middle
        return np.rint(flat).astype(np.int32)


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
