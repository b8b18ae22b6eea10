"""What the alternatives to LayerNorm cost: training speed of Individual learners by compiled code, against none.

All ways of a network take turns within a round, in the same two processes; a ratio is that of one round.
"""

from typing import Any

from tqdm.auto import tqdm

from benchmarks.machine import describe, save
from benchmarks.norms import measure
from lnlab.config import RunConfig, parse
from lnlab.runs import BLOCK

CORES = ("gru", "ff")
WAYS: dict[str, dict[str, Any]] = {
    "no norm": {},
    "LayerNorm": {"norm": "ln"},
    "scaled returns": {"return_scale": True},
    "Huber loss": {"value_huber": 1.0},
    "limit at a percentile": {"clip_percentile": 10},
    "no limit": {"clip_norm": 0},
}


def arms(core: str) -> dict[str, RunConfig]:
    """Settings by way, that without a norm first."""
    fixed = {"algorithm": "individual", "core": core, "norm": "none", "backend": "native"}
    found: dict[str, Any] = {way: parse(fixed | given) for way, given in WAYS.items()}
    return found


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the figures; there is no goal."""
    figures: list[dict[str, Any]] = []
    print(f"\n{'arm':<40}{'steps/s':>9}{'of none':>9}")
    with tqdm(total=rounds * len(CORES), desc="instead", unit="round", leave=False) as bar:
        for core in CORES:
            configs = arms(core)
            speeds: dict[str, list[float]] = {way: [] for way in configs}
            for _ in range(rounds):
                for way, once in zip(configs, measure([*configs.values()], seconds), strict=True):
                    speeds[way].append(once)
                bar.update()
            for way, found in speeds.items():
                share = describe([a / b for a, b in zip(found, speeds["no norm"], strict=True)])
                figures.append({"core": core, "way": way, "share": share, "steps_per_second": describe(found)})
                tqdm.write(
                    f"{f'individual-{core}, {way}':<40}{describe(found)['median']:>9,.0f}{share['median']:>9.2f}"
                )
    print(save("instead", {"rounds": rounds, "seconds": seconds, "seeds": 2 * BLOCK, "arms": figures}))
    return True
