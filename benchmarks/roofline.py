"""How near the training is to what the processor allows: work and traffic per environment step against measured limits.

Work is that of the matrix products (checked against torch's own count in tests/test_a3c.py). Traffic is the least a
step must move if no set of weights stays in a private cache between uses: acting reads the weights, the backward pass
reads the recurrent weights once a step, and every update writes and reads gradients, moments, parameters and snapshot.
"""

import time
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import describe, median, save
from benchmarks.trainers import measure
from lnlab.config import RunConfig, parse
from lnlab.runs import BLOCK
from lnlab.trainers import make_trainer

FLOAT = 4  # bytes
ARMS = [{"algorithm": a, "core": c, "norm": "ln"} for a in ("a3c", "individual") for c in ("gru", "ff")]


def work_per_step(config: RunConfig) -> float:
    """Floating-point operations of the matrix products per environment step."""
    h = config.hidden
    core = 6 * h * h if config.core == "gru" else h * h
    embed, heads = 48 * h, 4 * h
    forward = (1 + 1 / config.rollout) * (embed + core + heads)  # one bootstrap value a rollout
    return 2 * (forward + (embed + core + heads) + (core + heads))


def bytes_per_step(config: RunConfig) -> float:
    """Least memory traffic per environment step, with T = rollout steps between updates."""
    parameters = make_trainer(config.with_seeds([0])).net.layout.count * FLOAT
    recurrent = 3 * config.hidden**2 * FLOAT if config.core == "gru" else 0
    acting, backward = parameters, recurrent + 2 * parameters / config.rollout
    passes = (
        13 if config.algorithm == "a3c" else 10
    )  # norm 1, clip 2, Adam 7; A3C also gathers (2) and takes a snapshot (1)
    return acting + backward + passes * parameters / config.rollout


def measure_limits(seconds: float = 1.0) -> dict[str, float]:
    """One core's matrix products at the study's shapes (GFLOP/s) and its streaming read of 256 MiB (GB/s)."""
    torch.set_num_threads(1)
    x, w = torch.randn(BLOCK * 5, 20, 384), torch.randn(BLOCK * 5, 384, 128)
    out = torch.empty(BLOCK * 5, 20, 128)
    flops = _rate(lambda: torch.bmm(x, w, out=out), seconds) * 2 * x.numel() * 128
    big = torch.randn(64 * 2**20)
    return {"gflops": flops / 1e9, "bandwidth_gb": _rate(lambda: big.sum(), seconds) * big.numel() * FLOAT / 1e9}


def _rate(call: Any, seconds: float) -> float:
    call()
    start, calls = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        call()
        calls += 1
    return calls / elapsed


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep, per arm on one core: steps per second, work, traffic, and the share of both limits."""
    arms, limits = {}, []
    for settings in tqdm(ARMS, desc="roofline", unit="arm"):
        config, speeds = parse(settings), []
        for _ in range(rounds):
            limits.append(measure_limits())
            speeds.append(measure(config, seconds / 2, processes=1))
        arms[config.run_id] = {
            "steps_per_second": describe(speeds),
            "flop_per_step": work_per_step(config),
            "bytes_per_step": bytes_per_step(config),
        }
    limit = {key: median([each[key] for each in limits]) for key in limits[0]}
    limits_found = f"{limit['gflops']:.0f} GFLOP/s in matrix products, {limit['bandwidth_gb']:.1f} GB/s from memory"
    print(f"\none core: {limits_found}")
    print(f"{'arm':<20}{'steps/s':>9}{'kFLOP':>8}{'kB':>7}{'GFLOP/s':>9}{'share':>7}{'GB/s':>7}{'share':>7}")
    for name, arm in arms.items():
        speed = arm["steps_per_second"]["median"]
        arm["gflops"] = speed * arm["flop_per_step"] / 1e9
        arm["gb_per_second"] = speed * arm["bytes_per_step"] / 1e9
        arm["share_of_gflops"] = arm["gflops"] / limit["gflops"]
        arm["share_of_bandwidth"] = arm["gb_per_second"] / limit["bandwidth_gb"]
        print(
            f"{name:<20}{speed:>9,.0f}{arm['flop_per_step'] / 1e3:>8.0f}{arm['bytes_per_step'] / 1e3:>7.0f}"
            f"{arm['gflops']:>9.1f}{arm['share_of_gflops']:>7.0%}"
            f"{arm['gb_per_second']:>7.1f}{arm['share_of_bandwidth']:>7.0%}"
        )
    print(save("roofline", {"rounds": rounds, "limits": limit, "arms": arms}))
    return True
