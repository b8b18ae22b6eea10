"""One look for every figure: readable on light and dark pages, same bytes from the same data.

Backgrounds are transparent, text and axes mid-grey, text stays text. No one grey has a contrast of 4.5:1 both on white
and on the dark page, so the dark page brightens its figures (`_static/lnlab.css`).
"""

import functools
import io
import zlib
from collections.abc import Callable
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.book.svg import compact
from lnlab.models.norms import NORMS

P = ParamSpec("P")

GREY = "#737373"  # 4.7 : 1 on white; brightened, 7 : 1 on the dark page
FAINT = f"{GREY}40"
OTHERS = ("#a05ab4", "#2a9d8f", "#c8553d", "#5b8e2f", "#8a6d3b", "#4f7cac")  # of lines that are no norm
COLOUR = {
    "sampled": "#2a9d8f", "greedy": "#a05ab4", "here": "#2a9d8f", "printed": "#c8553d",
    "again-1": "#2a9d8f", "again-2": "#a05ab4",
}  # fmt: skip
NORM_COLOUR = {name: norm.colour for name, norm in NORMS.items()}
NORM_LABEL = {name: norm.label for name, norm in NORMS.items()}
ALGORITHM_LABEL = {"a3c": "A3C", "individual": "Individual", "td3": "TD3", "ddpg": "DDPG"}
FEATURES_LABEL = {"leaky": "leaky", "detached": "detached", "shared": "shared"}
CORE_LABEL = {"gru": "GRU", "ff": "feedforward"}
POLICY_LABEL = {  # reference policies, which learn nothing
    "uniform": "uniform random",
    "local": "always LOCAL",
    "offload": "always OFFLOAD",
    "discard": "always DISCARD",
    "fit": "LOCAL if it fits, else OFFLOAD",
    "t12": "T12: LOCAL if short and it fits, else OFFLOAD",
    "accept20": "only tasks of at most 20 steps",
}
GROUP_LABEL = {"seen": "Seen", "intra": "Intra", "extra": "Extra"}

RC: dict[Any, Any] = {
    "svg.hashsalt": "lnlab",  # element ids from content, not from chance
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "text.color": GREY,
    "axes.labelcolor": GREY,
    "axes.edgecolor": GREY,
    "axes.titlecolor": GREY,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "legend.frameon": False,
    "legend.labelcolor": GREY,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.transparent": True,
    "path.simplify": True,
}


def label(hue: str) -> str:
    """What readers call the value of a hue: a norm by its label, all else by its name."""
    return NORM_LABEL.get(hue, hue)


def colour(hue: str) -> str:
    """The colour of a norm, by its name or label, or of another known hue; else one of OTHERS by a hash of its name."""
    by_label = {norm.label: norm.colour for norm in NORMS.values()}
    return (
        COLOUR.get(hue) or NORM_COLOUR.get(hue) or by_label.get(hue) or OTHERS[zlib.crc32(hue.encode()) % len(OTHERS)]
    )


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """A figure function in this style: Matplotlib reads most settings when an artist is made."""

    @functools.wraps(draw)
    def inside(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with mpl.rc_context(RC):
            return draw(*args, **kwargs)

    return inside


def axes(
    rows: int = 1, columns: int = 1, *, width: float = 6.6, height: float = 2.6, **options: Any
) -> tuple[Figure, list[Axes]]:
    """A figure of rows × columns panels, `height` inches a row, without global state (no pyplot)."""
    figure = Figure(figsize=(width, height * rows), layout="constrained")
    return figure, list(figure.subplots(rows, columns, squeeze=False, **options).flat)


def svg(figure: Figure) -> str:
    """The figure as compact SVG text: no date, fixed ids."""
    buffer = io.StringIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format="svg", dpi=110, metadata={"Date": None, "Creator": "lnlab"})
    return compact(buffer.getvalue())
