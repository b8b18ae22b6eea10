"""What a figure was measured on, and how figures are kept: medians of repeated rounds, every ratio within one round."""

import contextlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty
from typing import Any

import numpy as np

from lnlab import files, provenance
from lnlab.trainers.driver import one_thread

RESULTS = Path(__file__).parent / "results"


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


def describe(values: Sequence[float]) -> dict[str, float | int]:
    """Median, extremes and number of rounds."""
    return {"median": median(values), "low": float(min(values)), "high": float(max(values)), "rounds": len(values)}


def side_by_side(measure: Callable[..., None], arguments: Sequence[tuple[Any, ...]]) -> list[Any]:
    """Run `measure(*arguments[i], ready, queue)` in one fresh process each, of one thread; what they put in the queue.

    `ready` is a barrier: work before it, such as a warm-up, is done by all before any starts its clock.
    """
    context = multiprocessing.get_context("spawn")
    ready, queue = context.Barrier(len(arguments)), context.Queue()
    with one_thread():
        workers = [context.Process(target=measure, args=(*each, ready, queue), daemon=True) for each in arguments]
        for worker in workers:
            worker.start()
    results: list[Any] = []
    while len(results) < len(workers):
        with contextlib.suppress(Empty):
            results.append(queue.get(timeout=1.0))
        if any(worker.exitcode for worker in workers):
            raise RuntimeError("a measuring process died; its error is above")
    for worker in workers:
        worker.join()
    return results


def save(name: str, content: dict[str, Any], folder: Path | None = None) -> Path:
    """Write <name>.json, below benchmarks/results unless told otherwise, with the code and the machine behind the
    figures; whole or not at all."""
    folder = folder or RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.json"
    content = {"machine": provenance.machine(), "code": provenance.source()} | content
    with files.replacing(path) as fresh:
        fresh.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
