"""Environment steps per second of TD3 on a vector, summed over seeds, against Stable-Baselines3's; and a roofline.

Both train on Pendulum-v1 with one update a step: the same networks, batch, delay of the actor and noise. Ours are the
five seeds that a process trains as one stack, theirs one seed; they take turns in one process of one thread, timed by
what that thread computes. Ten seeds on two cores are two such processes, on both sides. The roofline is what the core
makes of the matrix products of an update alone, ours over five seeds and theirs over one.
"""

from collections.abc import Callable
from typing import Any

import torch
from tqdm.auto import tqdm

from benchmarks.machine import describe, save
from benchmarks.td3 import per_second
from lnlab.config import TD3Config
from lnlab.trainers.stacked_td3 import StackedTrainer

CASES = {(64, 64): 5.0, (256, 256): 1.2}  # hidden, batch: times theirs
SEEDS, CHUNK = 5, 100  # of a process; steps of a seed in one call
V, A = 3, 1  # of Pendulum-v1
Update = Callable[[], None]


def make_ours(hidden: int, batch: int) -> Update:
    """100 steps of all seeds."""
    settings: dict[str, Any] = {"env": "Pendulum-v1", "norm": "none", "actor_clip": 0, "critic_clip": 0}
    settings |= {"hidden": hidden, "batch_size": batch, "learning_starts": CHUNK, "eval_every": 0, "eval_episodes": 0}
    reports = iter(StackedTrainer(TD3Config(seeds=SEEDS, steps=10**8, **settings)))
    next(reports)
    return lambda: (next(reports), None)[1]


def make_theirs(hidden: int, batch: int) -> Update:
    """100 steps of one seed."""
    import gymnasium
    from stable_baselines3 import TD3 as Peer
    from stable_baselines3.common.logger import configure
    from stable_baselines3.common.noise import NormalActionNoise

    sizes: dict[str, Any] = {"batch_size": batch, "policy_kwargs": {"net_arch": [hidden, hidden]}}
    noise = NormalActionNoise([0.0] * A, [0.1] * A)
    model = Peer(
        "MlpPolicy", gymnasium.make("Pendulum-v1"), learning_starts=CHUNK, action_noise=noise, device="cpu", **sizes
    )
    model.set_logger(configure(None, []))
    model.learn(2 * CHUNK)
    return lambda: model.learn(CHUNK, reset_num_timesteps=False) and None


def products(hidden: int, batch: int, seeds: int) -> tuple[Update, float]:
    """The matrix products of a critic step and half an actor step of `seeds` learners, and their operations."""
    shapes = [(V + A, hidden), (hidden, hidden), (hidden, 1)]
    actor = [(V, hidden), (hidden, hidden), (hidden, A)]
    passes = [(2, shapes, 4), (1, actor, 1)]  # networks, layers, passes: targets, forward, back by weights and inputs
    passes += [(1, actor, 1.5), (1, shapes, 1.0)]  # in every second update: the actor's three, the critic's two
    work = []
    for networks, layers, times in passes:
        for inputs, outputs in layers:
            rows = networks * seeds
            given = (
                torch.randn(rows, batch, inputs),
                torch.randn(rows, inputs, outputs),
                torch.empty(rows, batch, outputs),
            )
            work.append((given, times, 2 * rows * batch * inputs * outputs))

    def twice() -> None:
        for (x, weight, out), times, _ in work:
            for _ in range(int(2 * times)):
                torch.bmm(x, weight, out=out)

    return twice, sum(times * operations for _, times, operations in work)


def compare(hidden: int, batch: int, rounds: int, seconds: float) -> dict[str, Any]:
    """Both in turn, `rounds` times, each first in every other round; ratios within a round, in steps of a seed."""
    ours, theirs = make_ours(hidden, batch), make_theirs(hidden, batch)
    (stacked, operations), (alone, _) = products(hidden, batch, SEEDS), products(hidden, batch, 1)
    steps: dict[Update, int] = {ours: SEEDS * CHUNK, theirs: CHUNK, stacked: 2 * SEEDS, alone: 2}
    speeds: dict[Update, list[float]] = {each: [] for each in steps}
    for index in range(rounds):
        for each in [*steps][:: 1 if index % 2 == 0 else -1]:
            speeds[each].append(steps[each] * per_second(each, seconds, "cpu"))
    named = {"steps_per_second": ours, "sb3_steps_per_second": theirs}
    named |= {"products_per_second": stacked, "products_per_second_alone": alone}
    found: dict[str, Any] = {name: describe(speeds[each]) for name, each in named.items()}
    ratios = [a / b for a, b in zip(speeds[ours], speeds[theirs], strict=True)]
    return found | {"hidden": hidden, "batch": batch, "ratio": describe(ratios), "operations": operations / SEEDS}


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the figures; True if the ratios reach their goals."""
    torch.set_num_threads(1)
    figures, reached = [], True
    heads = ("steps/s", "SB3", "ratio", "goal", "products", "alone", "GFLOP/s")
    print(f"\n{'hidden':>6}{'batch':>7}" + "".join(f"{head:>10}" for head in heads))
    for (hidden, batch), goal in tqdm(CASES.items(), desc="stacked TD3", unit="case", leave=False):
        figures.append(found := compare(hidden, batch, rounds, seconds) | {"goal": goal})
        names = (
            "steps_per_second",
            "sb3_steps_per_second",
            "ratio",
            "products_per_second",
            "products_per_second_alone",
        )
        ours, theirs, ratio, stacked, alone = (found[name]["median"] for name in names)
        done = found["operations"] * ours / 1e9
        row = f"{ours:>10.0f}{theirs:>10.0f}{ratio:>10.2f}{goal:>10.1f}{stacked:>10.0f}{alone:>10.0f}{done:>10.1f}"
        tqdm.write(f"{hidden:>6}{batch:>7}{row}")
        reached &= ratio >= goal
    print(
        f"one core, {SEEDS} seeds a stack; medians of {rounds} rounds; products: the matrix products of updates alone"
    )
    print(save("stacked_td3", {"rounds": rounds, "seconds": seconds, "seeds": SEEDS, "cases": figures}))
    return reached
