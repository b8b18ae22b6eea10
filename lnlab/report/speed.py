"""Speed as a page: the figures that `make bench` keeps in benchmarks/results, as tables and curves."""

import functools
import json
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.paths import ROOT
from lnlab.report import output, style

RESULTS = ROOT / "benchmarks" / "results"
LIBRARY = {"A2C": "Stable-Baselines3 A2C", "RecurrentPPO": "sb3-contrib RecurrentPPO"}
AXIS_LABEL = {"seeds": "seeds in a stack", "workers": "workers", "hidden": "width", "processes": "processes"}


@functools.cache
def result(name: str) -> dict[str, Any]:
    """What a benchmark kept.

    Raises:
        FileNotFoundError: it was never run here; the message names the command.
    """
    path = RESULTS / f"{name}.json"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing; make it with: python -m benchmarks {name}")
    return json.loads(path.read_text(encoding="utf-8"))


def machine() -> output.Text:
    """Where and with what the figures were measured, in a sentence."""
    facts, code = result("trainers")["machine"], result("trainers")["code"]
    rounds = [result(name)["rounds"] for name in ("trainers", "off_the_shelf", "scaling", "roofline")]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if name != "lnlab")
    return output.Text(
        f"Measured on {facts['machine_cores']} cores of {facts['cpu']} ({facts['platform']}) with {versions}; "
        f"code `{code['commit'][:8]}`. Timings on a shared machine are noisy: each figure is the median of "
        f"{min(rounds)} to {max(rounds)} rounds, and a ratio is taken within a round."
    )


def trainers() -> output.TableOutput:
    """Steps per second and ratios against the plain control and against the original."""
    found = result("trainers")
    rows = [
        {
            "arm": name,
            "lnlab, steps/s": f"{arm['steps_per_second']['median']:,.0f}",
            "plain PyTorch": f"{arm['plain_steps_per_second']['median']:,.0f}",
            "× plain": ratio_words(arm["ratio_plain"]),
            "original": f"{arm['original_steps_per_second']:,}",
            "× original": f"{arm['ratio_original']:.0f}",
        }
        for name, arm in found["arms"].items()
    ]
    data = pd.json_normalize([{"arm": name, **arm} for name, arm in found["arms"].items()], sep="_")
    caption = (
        f"Environment steps per second on two cores, {found['seeds']} seeds in 2 processes of one thread. Plain: "
        "one process, module and observation a worker, in the same round (lowest and highest round in brackets). "
        "Original: the published code of the documents, timed on two cores of another machine."
    )
    return output.table("trainers", pd.DataFrame(rows), caption=caption, data=data)


def off_the_shelf() -> output.TableOutput:
    """One process of lnlab against the libraries a user would otherwise take."""
    peers = result("off_the_shelf")["peers"]
    rows = [
        {
            "library": LIBRARY[name],
            "steps/s": f"{peer['steps_per_second']['median']:,.0f}",
            "lnlab, steps/s": f"{peer['lnlab_steps_per_second']['median']:,.0f}",
            "ratio": ratio_words(peer["ratio"]),
        }
        for name, peer in peers.items()
    ]
    caption = (
        "One process of one thread. The libraries train one seed with their own algorithm and network (A2C: "
        "feedforward; RecurrentPPO: LSTM) at the study's width; lnlab trains five seeds at once (feedforward; GRU)."
    )
    return output.table("off-the-shelf", pd.DataFrame(rows), caption=caption)


def scaling() -> output.FigureOutput:
    """Steps per second and memory along each axis."""
    points = pd.DataFrame(result("scaling")["points"])
    alt = "Four pairs of panels: steps per second and peak memory against seeds, workers, width and processes."
    caption = (
        "A3C with GRU and LayerNorm, five seeds unless they are the axis, one process of one thread unless processes "
        f"are; medians of {result('scaling')['rounds']} rounds. Above: steps per second, all seeds and processes "
        "together. Below: largest peak memory of a process."
    )
    return output.figure("scaling", _draw_scaling(points), alt=alt, caption=caption, data=points)


@style.styled
def _draw_scaling(points: pd.DataFrame) -> Figure:
    figure, panels = style.axes(2, len(AXIS_LABEL), width=8.0, height=2.2)
    for column, (axis, label) in enumerate(AXIS_LABEL.items()):
        rows = points[points.axis == axis]
        _curve(panels[column], rows, "steps_per_second")
        _curve(panels[len(AXIS_LABEL) + column], rows, "peak_mib")
        panels[len(AXIS_LABEL) + column].set_xlabel(label)
    panels[0].set_ylabel("steps per second")
    panels[len(AXIS_LABEL)].set_ylabel("memory, MiB")
    return figure


def _curve(panel: Axes, rows: pd.DataFrame, quantity: str) -> None:
    panel.plot(rows.value, rows[quantity], "o-", color=style.NORM_COLOUR["ln"], markersize=4)
    panel.set_xscale("log", base=2)
    panel.set_xticks(rows.value, [str(value) for value in rows.value], rotation=60)
    panel.set_ylim(0, 1.15 * rows[quantity].max())
    panel.minorticks_off()


def scaling_summary() -> output.Text:
    """Where the cost of a seed is lowest, in a sentence computed from the curve."""
    points = pd.DataFrame(result("scaling")["points"])
    rows = points[points.axis == "seeds"]
    speed = dict(zip(rows.value.tolist(), rows.steps_per_second.tolist(), strict=True))
    best, last = max(speed, key=lambda seeds: speed[seeds]), max(speed)
    return output.Text(
        f"One process is fastest with {best} seeds in a stack ({speed[best]:,.0f} steps per second, "
        f"{speed[best] / speed[1]:.1f} times one seed alone); at {last} seeds it keeps {speed[last] / speed[best]:.0%}."
    )


def roofline() -> output.TableOutput:
    """Work and traffic of a step, and the share of the processor's limits that training reaches."""
    found = result("roofline")
    rows = [
        {
            "arm": name,
            "steps/s": f"{arm['steps_per_second']['median']:,.0f}",
            "kFLOP a step": f"{arm['flop_per_step'] / 1e3:.0f}",
            "kB a step": f"{arm['bytes_per_step'] / 1e3:.0f}",
            "GFLOP/s": f"{arm['gflops']:.0f} ({arm['share_of_gflops']:.0%})",
            "GB/s": f"{arm['gb_per_second']:.1f} ({arm['share_of_bandwidth']:.0%})",
        }
        for name, arm in found["arms"].items()
    ]
    limits = found["limits"]
    caption = (
        "One core, five seeds. In brackets the share of what the core reached in the same rounds: "
        f"{limits['gflops']:.0f} GFLOP/s in matrix products of the study's shapes, {limits['bandwidth_gb']:.0f} GB/s "
        "reading 256 MiB. Traffic that the caches serve can exceed the latter."
    )
    data = pd.json_normalize([{"arm": name, **arm} for name, arm in found["arms"].items()], sep="_")
    return output.table("roofline", pd.DataFrame(rows), caption=caption, data=data)


def testing() -> output.Text:
    """The time of the whole test matrix, in a sentence."""
    found = result("evaluation")
    total, goal = found["seconds_for_all"], found["goal_seconds"]
    span = f"{total['median']:.0f} s [{total['low']:.0f}, {total['high']:.0f}]"
    return output.Text(
        "Testing 240 learners (8 arms of 30 seeds) on 18 scenarios with 100 episodes each, one mode, one cloud: "
        f"{span} on all cores; the goal is {goal:.0f} s."
    )


def ratio_words(found: dict[str, float], digits: int = 1) -> str:
    """Median with the lowest and highest round."""
    median, low, high = (f"{found[name]:.{digits}f}" for name in ("median", "low", "high"))
    return f"{median} [{low}, {high}]"
