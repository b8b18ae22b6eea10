"""What a user would otherwise take from the shelf, on `lnlab/Offloading-v0`: Stable-Baselines3's A2C and sb3-contrib's
RecurrentPPO.

They are other algorithms with other networks (A2C: feedforward; RecurrentPPO: LSTM), set as near to the study as their
settings allow: 5 environments, 20 steps between updates, width 128, one thread. One process and one seed, as they run.
"""

import time
from typing import Any

import gymnasium
import torch
from tqdm.auto import tqdm

import lnlab.envs  # noqa: F401  registers the environment
from benchmarks.machine import describe, save
from benchmarks.trainers import measure
from lnlab.config import parse

ENVIRONMENTS, ROLLOUT, WIDTH = 5, 20, 128
OURS = {"A2C": {"core": "ff", "norm": "none"}, "RecurrentPPO": {"core": "gru", "norm": "none"}}


def make_model(name: str) -> Any:
    """A peer's model with its policy network of the study's width."""
    from sb3_contrib import RecurrentPPO
    from stable_baselines3 import A2C
    from stable_baselines3.common.env_util import make_vec_env

    envs = make_vec_env(lambda: gymnasium.make("lnlab/Offloading-v0", cloud="refilled"), n_envs=ENVIRONMENTS)
    if name == "A2C":
        kwargs = {"net_arch": [WIDTH, WIDTH]}
        return A2C("MlpPolicy", envs, n_steps=ROLLOUT, policy_kwargs=kwargs, device="cpu", seed=0)
    kwargs = {"net_arch": [WIDTH], "lstm_hidden_size": WIDTH, "enable_critic_lstm": False, "shared_lstm": True}
    batch = ENVIRONMENTS * ROLLOUT
    return RecurrentPPO(
        "MlpLstmPolicy", envs, n_steps=ROLLOUT, batch_size=batch, n_epochs=1, policy_kwargs=kwargs, device="cpu", seed=0
    )


def measure_peer(name: str, seconds: float) -> float:
    """Environment steps per second of one learner, after a warm-up."""
    torch.set_num_threads(1)
    model = make_model(name)
    model.learn(10 * ENVIRONMENTS * ROLLOUT)
    start, steps = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        model.learn(10 * ENVIRONMENTS * ROLLOUT, reset_num_timesteps=False)
        steps += 10 * ENVIRONMENTS * ROLLOUT
    return steps / elapsed


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep steps per second of the peers beside those of one lnlab process of 5 seeds."""
    figures: dict[str, Any] = {}
    print(f"\n{'peer':<14}{'steps/s':>9}{'lnlab':>9}{'ratio':>8}")
    with tqdm(total=len(OURS) * rounds, desc="off the shelf", unit="round", leave=False) as bar:
        for name, settings in OURS.items():
            peer, ours = [], []
            for _ in range(rounds):
                peer.append(measure_peer(name, seconds))
                ours.append(measure(parse(settings), seconds, processes=1))
                bar.update()
            figures[name] = {
                "steps_per_second": describe(peer),
                "lnlab_steps_per_second": describe(ours),
                "ratio": describe([a / b for a, b in zip(ours, peer, strict=True)]),
            }
            row = (figure["median"] for figure in figures[name].values())
            tqdm.write("{:<14}{:>9,.0f}{:>9,.0f}{:>8.1f}".format(name, *row))
    print(save("off_the_shelf", {"rounds": rounds, "seconds": seconds, "peers": figures}))
    return True
