"""The picture of a race from the poses of its cars alone: transform the polygons, leave out what is not in view, fill.

The view is that of CarRacing-v3's `state_pixels` after its first second, when its zoom has settled: the car fixed at
the lower middle, forward up, 62 m wide and 49 m high, whatever the size in pixels. Stock's row of indicators is left
out, since it writes the return so far into the observation, and the world goes on below it; so are the steering of the
front wheels and the repainting of tiles the car has touched: track and poses alone give the picture. What is left
agrees with stock's own picture to about half a grey level of 255 on average (`tests/test_driving.py`).
"""

import math
from collections.abc import Iterable, Iterator, Sequence

import cv2
import numpy as np
from gymnasium.envs.box2d.car_dynamics import (
    HULL_POLY1,
    HULL_POLY2,
    HULL_POLY3,
    HULL_POLY4,
    SIZE,
    WHEEL_R,
    WHEEL_W,
    WHEELPOS,
)
from gymnasium.envs.box2d.car_racing import GRASS_DIM, PLAYFIELD, SCALE, WINDOW_H, WINDOW_W, ZOOM

from lnlab.envs.track import Polygon, race_at_start

WIDTH, HEIGHT = WINDOW_W / (ZOOM * SCALE), WINDOW_H / (ZOOM * SCALE)  # of the view, m: 61.7 × 49.4
BEHIND = HEIGHT / 4  # of the view that lies behind the car, m
REACH = math.hypot(WIDTH / 2, HEIGHT / 2)  # from the middle of the view to its corners, m
DARKENED = 2  # stock scales its drawing down with pygame's smoothscale, which takes 2 off every channel
CAR_REACH = 3.0  # m from a car's centre to its corners, at most
SUBPIXEL = 6  # bits after the point in OpenCV's coordinates

Colour = tuple[int, int, int]
LAWN: Colour = (102, 204, 102)
GRASS: Colour = (102, 230, 102)
HULL: Colour = (204, 0, 0)
WHEEL: Colour = (0, 0, 0)
OTHER_HULL: Colour = (0, 0, 204)  # of the other cars

Pose = tuple[float, float, float]  # x, y in m; heading in rad, 0 along +y, anticlockwise


def ground() -> list[tuple[Polygon, Colour]]:
    """The lawn and the squares of lighter grass on it, as stock lays them."""
    far, d = PLAYFIELD, GRASS_DIM
    lawn = [(far, far), (far, -far), (-far, -far), (-far, far)]
    corners = [(d * i, d * j) for i in range(-20, 20, 2) for j in range(-20, 20, 2)]
    squares = [[(x + d, y), (x, y), (x, y + d), (x + d, y + d)] for x, y in corners]
    return [(lawn, LAWN), *((square, GRASS) for square in squares)]


def car(colour: Colour = HULL) -> list[tuple[Polygon, Colour]]:
    """Wheels, straight ahead, and hull, in the car's frame (m to the right, m forward)."""
    w, r = WHEEL_W, WHEEL_R
    wheels = [[(x - w, y + r), (x + w, y + r), (x + w, y - r), (x - w, y - r)] for x, y in WHEELPOS]
    hull = [HULL_POLY1, HULL_POLY2, HULL_POLY3, HULL_POLY4]
    parts = [*((part, WHEEL) for part in wheels), *((part, colour) for part in hull)]
    return [([(x * SIZE, y * SIZE) for x, y in part], paint) for part, paint in parts]


def in_frame(points: np.ndarray, pose: Pose) -> np.ndarray:
    """Points (..., 2) of the plane as a car sees them: m to the right, m forward."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    return (points - pose[:2]) @ np.array([[cosine, -sine], [sine, cosine]])


def on_plane(points: np.ndarray, pose: Pose) -> np.ndarray:
    """The inverse of `in_frame`: points (..., 2) right and forward of a car, in the plane."""
    cosine, sine = math.cos(pose[2]), math.sin(pose[2])
    return points @ np.array([[cosine, sine], [-sine, cosine]]) + pose[:2]


def grey(colour: Colour) -> int:
    """Luma of an RGB colour (ITU-R BT.601), as OpenCV's RGB2GRAY."""
    return round(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2])


class Painter:
    """Pictures of one track at one size, from above.

    Args:
        scenery: the road's polygons (four corners each) and their colours, in the order of drawing.
        size: (width, height) in pixels.
        coloured: pictures (H, W, 3) RGB instead of (H, W) grey.
        halvings: how often the drawing is scaled down by two; a pixel is the mean of 4^halvings points.
    """

    LARGE = (500, 400)  # pixels, of a picture for people

    def __init__(
        self,
        scenery: Sequence[tuple[Polygon, Colour]],
        size: tuple[int, int],
        *,
        coloured: bool = False,
        halvings: int = 2,
    ) -> None:
        self.coloured, self._halvings = coloured, halvings
        width, height = size[0] << halvings, size[1] << halvings
        self._empty: np.ndarray = np.zeros((height, width, 3) if coloured else (height, width), np.uint8)
        everything = [*ground(), *scenery]
        self._colours = [self._ink(colour) for _, colour in everything]
        self._corners = np.array([corners for corners, _ in everything])  # (P, 4, 2) m
        centres = self._corners.mean(axis=1)
        self._centres = np.ascontiguousarray(centres.T)  # (2, P)
        reach = np.linalg.norm(self._corners - centres[:, None], axis=2).max(axis=1) + REACH
        self._reach = reach**2  # (P,) m², between a polygon in view and the middle of the view
        # From metres right and forward of the car to OpenCV's coordinates, in which a pixel's centre is a whole number.
        self._scale = np.array([width / WIDTH, -height / HEIGHT]) * (1 << SUBPIXEL)
        self._car_at = np.array([width / 2 - 0.5, height * 0.75 - 0.5]) * (1 << SUBPIXEL)
        self._car = [(self._pixels(np.array(corners)), self._ink(colour)) for corners, colour in car()]
        others, colours = zip(*car(OTHER_HULL), strict=True)
        self._other, self._other_inks = np.concatenate(others), [self._ink(colour) for colour in colours]
        self._other_parts = np.cumsum([len(corners) for corners in others])[:-1]

    @classmethod
    def large(cls, scenery: Sequence[tuple[Polygon, Colour]], size: tuple[int, int] | None = None) -> "Painter":
        """Of coloured pictures of a size for people."""
        return cls(scenery, size or cls.LARGE, coloured=True, halvings=1)

    def draw(self, x: float, y: float, heading: float, others: Sequence[Pose] = ()) -> np.ndarray:
        """The picture around a car among others, uint8 (H, W) or (H, W, 3)."""
        canvas = self._empty.copy()
        for corners, ink in self._polygons((x, y, heading), others):
            cv2.fillConvexPoly(canvas, corners, ink, shift=SUBPIXEL)
        for _ in range(self._halvings):  # each of them vectorised in OpenCV, which one step by four is not
            canvas = cv2.resize(canvas, (canvas.shape[1] // 2, canvas.shape[0] // 2), interpolation=cv2.INTER_AREA)
        return canvas

    def _polygons(self, pose: Pose, others: Sequence[Pose]) -> Iterator[tuple[np.ndarray, Colour | int]]:
        """Corners (V, 2) in OpenCV's coordinates, and ink, in the order of drawing."""
        x, y, heading = pose
        forward = HEIGHT / 2 - BEHIND
        middle = x - math.sin(heading) * forward, y + math.cos(heading) * forward
        seen = self._seen(*middle)
        pixels = self._pixels(in_frame(self._corners[seen], pose))  # (seen, 4, 2)
        yield from zip(pixels, [self._colours[index] for index in seen], strict=True)
        for other in others:
            if math.dist(other[:2], middle) < REACH + CAR_REACH:
                pixels = self._pixels(in_frame(on_plane(self._other, other), pose))
                yield from zip(np.split(pixels, self._other_parts), self._other_inks, strict=True)
        yield from self._car

    def _seen(self, x: float, y: float) -> np.ndarray:
        """Indices of the polygons that a view around (x, y) may show, in the order of drawing."""
        dx, dy = self._centres[0] - x, self._centres[1] - y
        return np.flatnonzero(dx * dx + dy * dy < self._reach)

    def _pixels(self, metres: np.ndarray) -> np.ndarray:
        return np.rint(metres * self._scale + self._car_at).astype(np.int32)

    def _ink(self, colour: Colour) -> Colour | int:
        red, green, blue = (max(value - DARKENED, 0) for value in colour)
        return (red, green, blue) if self.coloured else grey((red, green, blue))


def redraw(track_seed: int, poses: Iterable[Pose], size: tuple[int, int] = Painter.LARGE) -> list[np.ndarray]:
    """Coloured pictures of a drive without other cars, from above, (H, W, 3) uint8, from its poses alone.

    Args:
        track_seed: as in the environment's `info`.
        poses: x, y and heading of the car, as in the environment's `info`.
        size: (width, height) in pixels; the view itself is 5 : 4.
    """
    painter = Painter.large(race_at_start(track_seed).scenery, size)
    return [painter.draw(*pose) for pose in poses]
