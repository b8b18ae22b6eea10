"""CartPole-v1, ten seeds on two cores: lnlab's stack beside Stable-Baselines3's A2C and sb3-contrib's RecurrentPPO.

Steps are environment steps, summed over seeds. lnlab trains five seeds in each of two processes; the peers train a seed
a process, two at a time, as ten runs would be. Both have four environments a seed, 64 steps between updates and width
64; A2C is feedforward as A3C's `ff`, RecurrentPPO has an LSTM, and one epoch over its data as A3C has.
"""

import time
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import describe, save, side_by_side
from benchmarks.trainers import measure
from lnlab.config import parse

ENV, PROCESSES = "CartPole-v1", 2
SIZES = {"workers": 4, "rollout": 64, "hidden": 64}
CORES = {"A2C": "ff", "RecurrentPPO": "gru"}
GOALS = {"A2C": 5.0, "RecurrentPPO": 3.0}  # times as many steps a second


def make_peer(name: str) -> Any:
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import A2C
    from stable_baselines3.common.env_util import make_vec_env

    steps, width = SIZES["rollout"], SIZES["hidden"]
    shared: dict[str, Any] = {"env": make_vec_env(ENV, n_envs=SIZES["workers"]), "n_steps": steps, "device": "cpu"}
    if name == "A2C":
        return A2C("MlpPolicy", policy_kwargs={"net_arch": [width, width]}, **shared)
    kwargs = {"net_arch": [width], "lstm_hidden_size": width, "enable_critic_lstm": False, "shared_lstm": True}
    batch = steps * SIZES["workers"]
    return RecurrentPPO("MlpLstmPolicy", batch_size=batch, n_epochs=1, policy_kwargs=kwargs, **shared)


def time_peer(name: str, seconds: float, ready: Any, queue: Any) -> None:
    """Steps per second of one seed, after a warm-up, to the queue."""
    torch.set_num_threads(1)
    model, some = make_peer(name), 4 * SIZES["rollout"] * SIZES["workers"]
    model.learn(some)
    ready.wait()
    start, steps = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        model.learn(some, reset_num_timesteps=False)
        steps += some
    queue.put(steps / elapsed)


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the summed steps per second and their ratios; True if these reach the goals."""
    figures: dict[str, Any] = {}
    print(f"\n{'peer':<14}{'steps/s':>9}{'lnlab':>9}{'ratio':>8}{'goal':>7}")
    with tqdm(total=len(CORES) * rounds, desc="anywhere", unit="round", leave=False) as bar:
        for name, core in CORES.items():
            config, peers, ours = (
                parse({"env": ENV, "core": core, "norm": "none", **SIZES}),
                list[float](),
                list[float](),
            )
            for _ in range(rounds):
                peers.append(sum(side_by_side(time_peer, [(name, seconds)] * PROCESSES)))
                ours.append(measure(config, seconds, processes=PROCESSES))
                bar.update()
            figures[name] = {
                "steps_per_second": describe(peers),
                "lnlab_steps_per_second": describe(ours),
                "ratio": describe([a / b for a, b in zip(ours, peers, strict=True)]),
            }
            row = (figure["median"] for figure in figures[name].values())
            tqdm.write("{:<14}{:>9,.0f}{:>9,.0f}{:>8.1f}{:>7.0f}".format(name, *row, GOALS[name]))
    print(save("anywhere", {"rounds": rounds, "seconds": seconds, "sizes": SIZES, "goals": GOALS, "peers": figures}))
    return all(figures[name]["ratio"]["median"] >= goal for name, goal in GOALS.items())
