"""Greedy episodes before and after training, redrawn from the poses in the table `drives`, side by side.

The simulator is not needed: track and pose give the picture (`lnlab.envs.road`). Nothing is chosen by hand: the first
seed, in full up to `LONGEST`.
"""

import io
from collections.abc import Sequence

import numpy as np
import pandas as pd
from PIL import Image, ImageDraw, ImageFont

from lnlab.book import output
from lnlab.claims.studies import Data, Missing
from lnlab.envs.road import redraw

MOMENTS = {"before": "before training", "after": "after training"}
RATE = 25  # steps a second
EVERY = 3  # steps between two pictures
LONGEST = 12.0  # seconds that are shown
HOLD = 1.5  # seconds for which the last picture stays
WIDTH, HEIGHT, BAR, GAP = 300, 240, 24, 4  # pixels of one picture, of the line below it, between two
COLOURS = 24  # of the palette; the scene is flat
INK, PAPER = (40, 40, 40), (238, 238, 238)


def film(data: Data, run: str, arm: str) -> output.FilmOutput:
    """The first seed's greedy episode of a run, untrained and trained, on the training track; `arm` is its name.

    Raises:
        Missing: the drives are not there.
    """
    rows = data.table(run, "drives")
    seed = int(rows.seed.min())
    drives = {moment: rows[(rows.seed == seed) & (rows.moment == moment)].sort_values("t") for moment in MOMENTS}
    if any(each.empty for each in drives.values()):
        raise Missing(f"needs the drives of {run} before and after training")
    pictures = frames(list(drives.values()))
    told = "; ".join(f"{MOMENTS[moment]} {_told(each)}" for moment, each in drives.items())
    table = pd.concat(drives.values())[["seed", "moment", "t", "x", "y", "heading", "speed", "steer", "throttle"]]
    gif, still = animation(pictures), io.BytesIO()
    pictures[-1].save(still, "PNG", optimize=True)
    return output.FilmOutput(
        "drive",
        gif,
        still.getvalue(),
        alt=f"A car on its road from above, two pictures side by side. {told[0].upper()}{told[1:]}.",
        caption=f"A greedy episode of {arm} (seed {seed}) on the training track: {told}. One seed, not chosen; of "
        f"episodes longer than {LONGEST:g} s the beginning is shown.",
        opens=f"Play the animation ({len(pictures) * EVERY / RATE:.0f} s, {len(gif) / 1e6:.1f} MB)",
        data=table,
    )


def _told(drive: pd.DataFrame) -> str:
    """How long an episode was, how far the car came and how fast it was."""
    moved = float(np.hypot(drive.x.diff(), drive.y.diff()).sum())
    return f"it lasts {len(drive) / RATE:.1f} s over {moved:.0f} m at {drive.speed.mean():.1f} m/s"


def frames(drives: Sequence[pd.DataFrame]) -> list[Image.Image]:
    """Pictures of two drives side by side, one each `EVERY` steps; the shorter one stays at its last."""
    moments = range(0, int(min(LONGEST * RATE, max(map(len, drives)))), EVERY)
    columns = [_column(drive, moments, title) for drive, title in zip(drives, MOMENTS.values(), strict=True)]
    whole = [Image.new("RGB", (2 * WIDTH + GAP, HEIGHT + BAR), PAPER) for _ in moments]
    for picture, left, right in zip(whole, *columns, strict=True):
        picture.paste(left, (0, 0))
        picture.paste(right, (WIDTH + GAP, 0))
    return whole


def _column(drive: pd.DataFrame, moments: Sequence[int], title: str) -> list[Image.Image]:
    """One drive at the given steps, with a line of text below each picture."""
    places = [min(moment, len(drive) - 1) for moment in moments]
    poses = list(drive.iloc[places][["x", "y", "heading"]].itertuples(index=False, name=None))
    pictures = []
    for place, scene in zip(places, redraw(int(drive.track_seed.iloc[0]), poses, (WIDTH, HEIGHT)), strict=True):
        end = " (end)" if place == len(drive) - 1 else ""
        text = f"{title}: {(place + 1) / RATE:.1f} s, {drive.speed.iloc[place]:.1f} m/s{end}"
        picture = Image.new("RGB", (WIDTH, HEIGHT + BAR), PAPER)
        picture.paste(Image.fromarray(scene), (0, 0))
        ImageDraw.Draw(picture).text((6, HEIGHT + 4), text, INK, ImageFont.load_default(13))
        pictures.append(picture)
    return pictures


def animation(pictures: Sequence[Image.Image]) -> bytes:
    """A GIF that loops, with one palette, that of the first, the middle and the last picture."""
    chosen = [np.asarray(each) for each in (pictures[0], pictures[len(pictures) // 2], pictures[-1])]
    palette = Image.fromarray(np.concatenate(chosen)).quantize(COLOURS, dither=Image.Dither.NONE)
    flat = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture in pictures]
    times = [1000 * EVERY // RATE] * (len(flat) - 1) + [int(1000 * HOLD)]
    buffer = io.BytesIO()
    flat[0].save(buffer, "GIF", save_all=True, append_images=flat[1:], duration=times, loop=0, optimize=False)
    return buffer.getvalue()
