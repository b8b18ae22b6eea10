"""Greedy episodes before and after training, redrawn from the poses in the table `drives`, side by side.

The simulator is not needed: track and pose give the picture (`lnlab.envs.road`). Nothing is chosen by hand: the first
seed, in full up to `LONGEST`.
"""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from lnlab.envs.road import redraw
from lnlab.report import output
from lnlab.report.d5 import shown
from lnlab.report.driving_data import ARMS, Driving
from lnlab.report.evidence import Data, Missing

MOMENTS = {"before": "before training", "after": "after training"}
RATE = 25  # steps a second
EVERY = 3  # steps between two pictures
LONGEST = 12.0  # seconds that are shown
HOLD = 1.5  # seconds for which the last picture stays
SIZE = (300, 240)  # pixels of one picture
BAR = 24  # pixels of the line below it
COLOURS = 24  # of the palette; the scene is flat
INK, PAPER = (40, 40, 40), (238, 238, 238)


@shown
def film(data: Data, arm: str = "ln-leaky") -> output.FilmOutput:
    """The first seed's greedy episode, untrained and trained, on the training track."""
    runs = Driving.of(data)
    rows = runs.table(arm, "drives")
    seed = int(rows.seed.min())
    drives = {moment: rows[(rows.seed == seed) & (rows.moment == moment)].sort_values("t") for moment in MOMENTS}
    if any(each.empty for each in drives.values()):
        raise Missing(f"needs the drives of {ARMS[arm].says} before and after training")
    pictures = frames(list(drives.values()))
    told = "; ".join(f"{MOMENTS[moment]} {_told(each)}" for moment, each in drives.items())
    caption = (
        f"A greedy episode of {ARMS[arm].says} (seed {seed}) on the training track: {told}. One seed, not chosen; "
        f"of episodes longer than {LONGEST:g} s the beginning is shown."
    )
    table = pd.concat(drives.values())[["seed", "moment", "t", "x", "y", "heading", "speed", "steer", "throttle"]]
    gif = animation(pictures)
    opens = f"Play the animation ({len(pictures) * EVERY / RATE:.0f} s, {len(gif) / 1e6:.1f} MB)"
    alt = f"A car on its road from above, two pictures side by side. {told[0].upper()}{told[1:]}."
    return output.FilmOutput("drive", gif, still(pictures), alt, caption, opens, table)


def _told(drive: pd.DataFrame) -> str:
    """How long an episode was, how far the car came and how fast it was."""
    moved = float(np.hypot(drive.x.diff(), drive.y.diff()).sum())
    return f"it lasts {len(drive) / RATE:.1f} s over {moved:.0f} m at {drive.speed.mean():.1f} m/s"


def frames(drives: Sequence[pd.DataFrame]) -> list[Image.Image]:
    """Pictures of several drives side by side, one each `EVERY` steps; the shorter one stays at its last."""
    count = int(min(LONGEST * RATE, max(map(len, drives))))
    moments = [*range(0, count, EVERY)]
    columns = [_column(drive, moments, title) for drive, title in zip(drives, MOMENTS.values(), strict=True)]
    return [_beside(parts) for parts in zip(*columns, strict=True)]


def _column(drive: pd.DataFrame, moments: Sequence[int], title: str) -> list[Image.Image]:
    """One drive at the given steps, with a line of text below each picture."""
    places = [min(moment, len(drive) - 1) for moment in moments]
    shown_ = drive.iloc[places]
    poses = list(shown_[["x", "y", "heading"]].itertuples(index=False, name=None))
    scenes = redraw(int(drive.track_seed.iloc[0]), poses, SIZE)
    texts = [f"{title}: {(place + 1) / RATE:.1f} s, {speed:.1f} m/s" + (" (end)" if place == len(drive) - 1 else "")
             for place, speed in zip(places, shown_.speed, strict=True)]  # fmt: skip
    return [_captioned(scene, text) for scene, text in zip(scenes, texts, strict=True)]


def _captioned(scene: np.ndarray, text: str) -> Image.Image:
    picture = Image.new("RGB", (SIZE[0], SIZE[1] + BAR), PAPER)
    picture.paste(Image.fromarray(scene), (0, 0))
    ImageDraw.Draw(picture).text((6, SIZE[1] + 4), text, INK, ImageFont.load_default(13))
    return picture


def _beside(parts: Sequence[Image.Image]) -> Image.Image:
    whole = Image.new("RGB", (sum(part.width for part in parts) + 4 * (len(parts) - 1), parts[0].height), PAPER)
    for place, part in enumerate(parts):
        whole.paste(part, (place * (part.width + 4), 0))
    return whole


def animation(pictures: Sequence[Image.Image]) -> bytes:
    """A GIF that loops, with one palette for all pictures."""
    palette = _mosaic(pictures).quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    times = [1000 * EVERY // RATE] * (len(flat) - 1) + [int(1000 * HOLD)]
    buffer = io.BytesIO()
    flat[0].save(buffer, "GIF", save_all=True, append_images=flat[1:], duration=times, loop=0, optimize=False)
    return buffer.getvalue()


def _mosaic(pictures: Sequence[Image.Image]) -> Image.Image:
    """The first, the middle and the last picture, whose colours are those of all."""
    chosen = [pictures[0], pictures[len(pictures) // 2], pictures[-1]]
    whole = Image.new("RGB", (chosen[0].width, chosen[0].height * len(chosen)))
    for place, picture in enumerate(chosen):
        whole.paste(picture, (0, place * picture.height))
    return whole


def still(pictures: Sequence[Image.Image]) -> bytes:
    """The last picture as a PNG."""
    buffer = io.BytesIO()
    pictures[-1].save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
