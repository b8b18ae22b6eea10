"""Made TD3 runs for tests of D5: every column of every table, from a few numbers a test can reckon with by hand."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from lnlab.claims.studies import known
from lnlab.columns import COLUMNS
from lnlab.config import TD3Config
from lnlab.files import write_json, write_sealed, write_table

LENGTHS = {"random": 50, "policy": 20}  # steps of an episode
RETURNS = {"random": 100.0, "policy": 20.0}


@dataclass
class Fake:
    """What a made run shows, on the mean over seeds or in the first; equal scores of few seeds would decide nothing."""

    exponent: float = 0.0  # of the actor's feature norm, which is `start` before learning
    start: float = 16.0
    inflation: float = 1.0  # actor_q over critic_q
    saturation: float = 0.999
    mlp_gradient: float = 1e-6
    clip_scale: float = 0.5
    gradient_growth: float = 1.0  # of both gradients, from the first logged update to the last
    moments: tuple[float, float] = (1.0, 3.0)  # critic loss, TD errors, Q and gradient: first and last logged update
    returns: dict[str, float] = field(default_factory=lambda: dict(RETURNS))


def study(folder: Path, fakes: dict[str, Fake], **extent: Any) -> Path:
    """Write made runs, by the run ids of the published ones, into `folder`."""
    for arm, fake in fakes.items():
        write(folder, arm, fake, **extent)
    return folder


def write(
    folder: Path, arm: str, fake: Fake, *, seeds: int = 3, steps: int = 5000, start: int = 1000, **more: Any
) -> None:
    """One complete run of an arm; `more` are further settings."""
    extent = {"seeds": seeds, "steps": steps, "learning_starts": start, "profile": folder.name}
    config = TD3Config(**known()[arm].model_dump() | extent | more)
    run = folder / config.run_id
    run.mkdir(parents=True)
    write_json(run / "config.json", config.model_dump())
    facts = {"status": "complete", "commit": "0" * 40, "dirty": False, "cores": 1, "cpu": "a CPU", "seconds": 60.0}
    facts |= {"sources": [{"commit": "0" * 40, "dirty": False}], "block": 1, "parameters": config.science}
    write_sealed(run / "provenance.json", facts)
    tables = {"records": records, "returns": returns, "checks": checks, "drives": drives}
    for name, make in tables.items():
        frame = pd.concat([make(fake, config, seed) for seed in range(seeds)], ignore_index=True)
        write_table(run / f"{name}.parquet", whole(frame, name))


def whole(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """All columns of a table, in their order; those not made are NaN."""
    return frame.reindex(columns=list(COLUMNS[name]))


def differs(config: TD3Config, seed: int) -> float:
    """About 1e-4, another number for each arm and seed, 0 on the mean over the seeds of an arm."""
    drawn = np.random.default_rng([*config.run_id.encode()]).normal(0, 1e-4, config.seeds)
    return float(drawn[seed] - drawn.mean())


def records(fake: Fake, config: TD3Config, seed: int) -> pd.DataFrame:
    step = np.arange(100, config.steps + 1, 100)
    updates = np.maximum(0, step - config.learning_starts)
    apart = differs(config, seed)
    learning, scale = updates > 0, 1 + 0.01 * seed
    rising = np.interp(updates, [updates[learning][0], updates[-1]], fake.moments) * scale
    norm = np.where(learning, fake.start * np.maximum(updates, 1.0) ** (fake.exponent + apart), fake.start) * scale
    phase = np.where(step < config.learning_starts, "random", np.where(learning, "policy", "mixed"))
    rows = {"seed": seed, "step": step, "updates": updates, "alive": True, "phase": phase}
    rows |= {"actor_feature_norm_probe": norm, "critic_feature_norm_probe": 16.0 * scale}
    seen = dict.fromkeys(("critic_loss", "td_error_1", "td_error_2", "q1_mean", "q2_mean", "critic_q"), rising)
    seen |= {
        "q1_std": 1.0,
        "actor_q": rising * fake.inflation * (1 + apart),
        "actor_feature_norm": norm,
        "pretanh": 5.0,
    }
    seen |= {"saturation": fake.saturation * (1 + apart), "actor_mlp_grad_norm": fake.mlp_gradient * (1 + apart)}
    grown = np.zeros(len(step))
    grown[learning] = np.linspace(0, 1, learning.sum())
    for who, limit in (("actor", 1.0), ("critic", 10.0)):
        norm_ = limit / fake.clip_scale * (fake.gradient_growth * (1 + apart)) ** grown
        seen |= {f"{who}_grad_norm": norm_, f"{who}_clip_scale": limit / norm_}
        seen |= {f"{who}_cnn_grad_norm": (0.9 if who == "critic" else 1.0) * norm_}
    known = {"reward": 1.0, "speed": 2.0, "steer": 0.5, "throttle": 0.9, "actor_conv1_rms": 1.0}
    made = {name: np.where(learning, value, np.nan) for name, value in seen.items()}
    return pd.DataFrame(rows | known | made)


def returns(fake: Fake, config: TD3Config, seed: int) -> pd.DataFrame:
    """Random episodes of 50 steps up to learning, then the policy's of 20; returns alternate by ±10."""
    rows, step = [], 0
    while step < config.steps:
        phase = "random" if step < config.learning_starts else "policy"
        step += LENGTHS[phase]
        value = fake.returns[phase] * (1 + 0.01 * seed) + (10 if len(rows) % 2 else -10)
        bias = np.nan if phase == "random" else fake.inflation - 1.5
        rows.append({"episode": len(rows), "step": step, "length": LENGTHS[phase], "return": value, "phase": phase}
                    | {"q_bias": bias, "terminated": True, "off_lane": True, "goal": False}
                    | {"reward_safety": -62.0, "reward_progress": value + 62.0})  # fmt: skip
    return pd.DataFrame(rows).assign(seed=seed).fillna({"steer": 0.5}).assign(steer=0.5, throttle=0.9)


def checks(fake: Fake, config: TD3Config, seed: int) -> pd.DataFrame:
    rows = [{"step": step, "episode": number, "return": fake.returns["policy"] + seed, "length": 20}
            for step in (0, config.steps) for number in range(2)]  # fmt: skip
    return pd.DataFrame(rows).assign(seed=seed, terminated=True, off_lane=True, goal=False)


def drives(fake: Fake, config: TD3Config, seed: int) -> pd.DataFrame:
    parts = []
    for moment, length in (("before", 12), ("after", 8)):
        t = np.arange(1, length + 1)
        parts.append(pd.DataFrame({"moment": moment, "t": t, "track_seed": 0, "x": 0.2 * t, "y": 0.5 * t,
                                   "heading": 0.01 * t, "speed": 5.0, "steer": 0.1, "throttle": 0.5}))  # fmt: skip
    return pd.concat(parts).assign(seed=seed)
