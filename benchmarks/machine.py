"""What a figure was measured on, and how figures are kept: medians of repeated rounds, every ratio within one round."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lnlab import provenance

RESULTS = Path(__file__).parent / "results"


def median(values: Sequence[float]) -> float:
    return float(np.median(values))


def describe(values: Sequence[float]) -> dict[str, float | int]:
    """Median, extremes and number of rounds."""
    return {"median": median(values), "low": float(min(values)), "high": float(max(values)), "rounds": len(values)}


def save(name: str, content: dict[str, Any]) -> Path:
    """Write benchmarks/results/<name>.json with the code and the machine behind the figures."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    content = {"machine": provenance.machine(), "code": provenance.source()} | content
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    return path
