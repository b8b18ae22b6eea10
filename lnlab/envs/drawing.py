"""Pictures of one offloading vehicle, as pixels and as text."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from lnlab.envs.rules import CLOUD_UNITS, STEPS, TASK_DURATION
from lnlab.envs.scalar import Vehicle

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TEXT_WIDTH = 50  # characters of a bar
INCHES, DPI = (6.4, 4.8), 100
GOOD, BAD = "#d9f0d3", "#f4d6d2"  # backgrounds while the channel is good, bad


class Moment(NamedTuple):
    """What one step showed."""

    action: str
    accepted: bool
    channel: bool  # after the step
    reward: float


def text(vehicle: Vehicle, history: Sequence[Moment]) -> str:
    """Five lines: the step and the channel, the task, both queues with the units they hold, and the return so far.

    A task in a queue reads `units:remaining steps`.
    """
    units, duration = vehicle.task
    last = history[-1] if history else None
    done = f"{last.action} ({'accepted' if last.accepted else 'not accepted'})" if last else "none yet"
    return "\n".join(
        [
            f"step {vehicle.t:3d}/{STEPS}   channel {'good' if vehicle.channel else 'bad'}   last action: {done}",
            f"task   {units:g} units for {duration:g} steps",
            f"local  {_bar(vehicle.local, vehicle.capacity)}   {_tasks(vehicle.local)}",
            f"cloud  {_bar(vehicle.cloud, CLOUD_UNITS)}, {vehicle.pool.units:g} unspent   {_tasks(vehicle.cloud)}",
            f"reward {last.reward if last else 0:.2f}   return {sum(m.reward for m in history):.2f}",
        ]
    )


def _bar(queue: Sequence[tuple[float, float]], most: float) -> str:
    used = sum(units for units, _ in queue)
    filled = round(TEXT_WIDTH * used / most)
    return f"[{'#' * filled}{'.' * (TEXT_WIDTH - filled)}] {used:g}/{most:g}"


def _tasks(queue: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{units:g}:{left:g}" for units, left in queue) or "-"


def picture(vehicle: Vehicle, history: Sequence[Moment]) -> np.ndarray:
    """Pixels (480, 640, 3) uint8: both queues as stacked bars, and the return over time with the channel behind it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, dpi=DPI, layout="constrained")
    canvas = FigureCanvasAgg(figure)
    local, cloud, returns = figure.subplots(3, height_ratios=[1, 1, 3])
    units, duration = vehicle.task
    figure.suptitle(
        f"step {vehicle.t}   task: {units:g} units, {duration:g} steps   channel {'good' if vehicle.channel else 'bad'}"
    )
    _stack(local, vehicle.local, vehicle.capacity, "local units (steps left)")
    _stack(cloud, vehicle.cloud, CLOUD_UNITS, f"cloud units (steps left), {vehicle.pool.units:g} unspent")
    _returns(returns, history)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _stack(ax: "Axes", queue: Sequence[tuple[float, float]], most: float, title: str) -> None:
    """Tasks side by side, as wide as their units; the darker, the longer they will stay."""
    start = 0.0
    for units, left in queue:
        ax.barh(0, units, left=start, color=_shade(left), edgecolor="black", linewidth=0.5)
        ax.text(start + units / 2, 0, f"{left:g}", ha="center", va="center", fontsize=7)
        start += units
    ax.set(xlim=(0, most), yticks=[])
    ax.set_title(title, fontsize=9, loc="left")


def _shade(left: float) -> tuple[float, float, float]:
    weight = 0.2 + 0.6 * left / TASK_DURATION
    return 1 - 0.9 * weight, 1 - 0.6 * weight, 1 - 0.2 * weight


def _returns(ax: "Axes", history: Sequence[Moment]) -> None:
    for t, moment in enumerate(history):
        ax.axvspan(t, t + 1, color=GOOD if moment.channel else BAD, linewidth=0)
    ax.step(range(1, len(history) + 1), np.cumsum([m.reward for m in history]), where="post", color="black")
    ax.set(xlim=(0, STEPS), xlabel="step", ylabel="return")
    ax.set_title("return so far; background: channel good (green) or bad (red)", fontsize=9, loc="left")
