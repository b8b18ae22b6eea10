"""Updates per second of TD3 against Stable-Baselines3's, and the bytes a transition takes in both replay buffers.

The goal is for the same algorithm on both sides, which the tests hold equal (tests/test_td3.py): critic
step, delayed actor step and targets with CNNs of their own, features of the critic's own CNN in the actor's loss, no
clipping; the same CNN (ours with LeakyReLU), heads of 256, batch, images and one update of the actor for two of the
critics. The wiring of D5's original, also timed, has no target CNNs and so less to do. With our setting `precision` at
bfloat16 theirs, which has no such setting, is timed as it is and once more under torch.autocast. An update begins with
drawing its batch. Both take turns in one process: on a GPU where there is one, else one thread of a CPU, timed by what
that thread computes, so that other work on the machine weighs less. Where the goal is judged, the products of the CNNs
alone take turns too: what no way of writing the same algorithm down can leave out. `shared` is our setting for one
CNN, another algorithm than theirs. On a CPU each case also has its bound, the arithmetic of an update at the speed of
a large product, and the pages of memory that the system maps anew. One case is timed again with memory kept: what
mapping costs is not the same on all machines.
"""

import itertools
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import cv2
import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from torch import nn
from tqdm.auto import tqdm

from benchmarks import convolutions
from benchmarks.machine import describe, median, save
from lnlab.config import TD3Config
from lnlab.models.cnn import CNN
from lnlab.trainers.replay import Replay
from lnlab.trainers.td3 import TD3

IMAGE, VECTOR = Box(0, 255, (4, 84, 84), np.uint8), Box(-np.inf, np.inf, (53,), np.float32)
ACTION = Box(-1, 1, (2,), np.float32)
POLICIES = {"CnnPolicy": Dict(image=IMAGE), "MultiInputPolicy": Dict(image=IMAGE, vector=VECTOR)}
WIRINGS: dict[str, dict[str, Any]] = {
    "same": {"actor_features": "detached", "target_cnn": True},
    "original": {"actor_features": "leaky", "target_cnn": False},
    "shared": {"actor_features": "shared", "target_cnn": True},
}
JUDGED = 256  # batch size, the default of Stable-Baselines3 and the original's; the study on a CPU takes 32
CASES = [("CnnPolicy", "same"), ("MultiInputPolicy", "same"), ("MultiInputPolicy", "original")]
CASES = [(*case, batch, "float32") for batch in (256, 32) for case in CASES] + [
    (policy, "same", 256, "bfloat16") for policy in POLICIES
]
CASES += [("CnnPolicy", "shared", 256, precision) for precision in ("float32", "bfloat16")]
EQUAL = ("same", JUDGED, "float32")  # wiring, batch and precision of the goal
STORED, EPISODE = 2000, 20  # transitions to draw from; steps of an episode
GOALS = {"cpu": 2.0, "cuda": 4.0}  # times the updates per second
GOAL_BYTES = 8000.0
Update = Callable[[], None]


class Step(NamedTuple):
    """A step of random images."""

    obs: dict[str, np.ndarray]
    action: np.ndarray
    reached: dict[str, np.ndarray]
    ended: bool


class Spaces(gymnasium.Env[Any, Any]):
    """Spaces and nothing else: all that a peer's model needs to be made."""

    def __init__(self, observation_space: gymnasium.Space[Any]) -> None:
        self.observation_space, self.action_space = observation_space, ACTION


def experience(space: Dict) -> Iterator[Step]:
    """The steps that both buffers are filled with."""
    space.seed(0)
    rng = np.random.default_rng(0)
    obs: dict[str, np.ndarray] = space.sample()
    for step in range(1, STORED + 1):
        reached: dict[str, np.ndarray] = space.sample()
        ended = step % EPISODE == 0
        yield Step(obs, rng.uniform(-1, 1, 2).astype(np.float32), reached, ended)
        obs = space.sample() if ended else reached


def make_learner(space: Dict, wiring: str, device: str, precision: str = "float32") -> TD3:
    """Our learner, with the CNN of theirs but for the slope of its activations below zero."""
    settings: dict[str, Any] = {"norm": "none", "final_activation": "leaky_relu", "actor_clip": 0, "critic_clip": 0}
    settings |= {"precision": precision} | WIRINGS[wiring]
    return TD3(TD3Config(seeds=1, **settings), space, ACTION, device=device)


def fill_ours(space: Dict, device: str) -> Replay:
    """Our replay buffer with the experience."""
    replay, begins = Replay(2 * STORED, space, ACTION, device=device), True
    for step in experience(space):
        if begins:
            replay.start(step.obs)
        replay.add(step.action, 0.0, step.ended, step.reached, ended=step.ended)
        begins = step.ended
    return replay


def make_model(policy: str, space: Dict, device: str) -> Any:
    """Their model, with networks of our size; CnnPolicy takes the image alone."""
    from stable_baselines3 import TD3 as Peer
    from stable_baselines3.common.logger import configure

    only = policy == "CnnPolicy"
    extractor = {} if only else {"cnn_output_dim": 512}
    kwargs = {"net_arch": [256, 256], "features_extractor_kwargs": extractor}
    env = Spaces(space["image"] if only else space)
    model = Peer(policy, env, buffer_size=STORED, policy_kwargs=kwargs, device=device, seed=0)
    model.set_logger(configure(None, []))
    return model


def fill_theirs(model: Any, space: Dict) -> Any:
    """Their replay buffer with the experience that ours has."""
    only = isinstance(model.observation_space, Box)
    for step in experience(space):
        obs, reached = ((each["image"] if only else each) for each in (step.obs, step.reached))
        model.replay_buffer.add(obs, reached, step.action[None], np.zeros(1), np.array([step.ended]), [{}])
    return model.replay_buffer


def make_products(batch: int, device: str) -> Update:
    """The CNNs' layers in an update, without activations, heads and steps of the optimiser.

    Forward for the targets of actor and critics, forth and back for the critics; in every second update also forth and
    back for the actor, and forward for the critics.
    """
    shape = IMAGE.shape
    layers = CNN((shape[0], shape[1], shape[2]), "none", "linear").layers
    net = nn.Sequential(*(layers[f"conv{index}"] for index in (1, 2, 3)), nn.Flatten(), layers["fc"]).to(device)
    image = torch.randn(batch, *shape, device=device).contiguous(memory_format=torch.channels_last)
    back, turns = torch.randn_like(net(image)), itertools.cycle(((2, 1), (3, 2)))

    def update() -> None:
        forward, both = next(turns)
        with torch.no_grad():
            for _ in range(forward):
                net(image)
        for _ in range(both):
            net.zero_grad()
            net(image).backward(back)

    return update


def per_second(update: Update, seconds: float, device: str) -> float:
    """Updates per second; pairs of updates, since the actor steps in every second."""
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if device == "cuda" else (lambda: None, time.process_time)
    wait()
    start, updates = clock(), 0
    while (elapsed := clock() - start) < seconds:
        update()
        update()
        wait()
        updates += 2
    return updates / elapsed


def their_bytes(buffer: Any) -> float:
    """Bytes of all arrays of their buffer, over its transitions."""
    parts = [getattr(buffer, name) for name in ("observations", "next_observations", "actions", "rewards", "dones")]
    arrays = [array for part in parts for array in (part.values() if isinstance(part, dict) else [part])]
    return sum(array.nbytes for array in (*arrays, buffer.timeouts)) / STORED


def compare(
    policy: str, wiring: str, batch: int, precision: str, rounds: int, seconds: float, device: str
) -> dict[str, Any]:
    """Both in turn, `rounds` times, each first in every other round; ratios within a round."""
    space, rng = POLICIES[policy], np.random.default_rng(0)
    learner, replay = make_learner(space, wiring, device, precision), fill_ours(space, device)
    model = make_model(policy, space, device)
    buffer = fill_theirs(model, space)

    def ours() -> None:
        noise = torch.from_numpy(rng.standard_normal((batch, 2), dtype=np.float32))
        learner.update(replay.sample(batch, rng), noise)

    def theirs() -> None:
        model.train(gradient_steps=1, batch_size=batch)

    def theirs_coarse() -> None:
        with torch.autocast(device, torch.bfloat16):
            theirs()

    speeds: dict[Update, list[float]] = {ours: [], theirs: []} | ({theirs_coarse: []} if precision != "float32" else {})
    products = make_products(batch, device)
    speeds |= {products: []} if (wiring, batch, precision) == EQUAL else {}
    for each in speeds:
        per_second(each, 0.2 * seconds, device)  # warm-up
    for index in range(rounds):
        for each in [*speeds][:: 1 if index % 2 == 0 else -1]:
            speeds[each].append(per_second(each, seconds, device))
    facts: dict[str, Any] = {}
    if device == "cpu":
        facts["operations"] = convolutions.operations(ours)
        for name, each in (("", ours), ("sb3_", theirs)):
            ran = convolutions.kernels(each)
            facts |= {f"{name}{key}": value for key, value in convolutions.paging(each).items()}
            facts[f"{name}instruction_sets"] = ", ".join(convolutions.instruction_sets(ran))
            facts[f"{name}reorders"] = sum(count for kernel, count in ran.items() if kernel.startswith("reorder"))
    autocast = {"sb3_autocast_updates_per_second": describe(speeds[theirs_coarse])} if theirs_coarse in speeds else {}
    alone = {"products_per_second": describe(speeds[products])} if products in speeds else {}
    return (
        autocast
        | alone
        | facts
        | {
            "policy": policy,
            "wiring": wiring,
            "batch": batch,
            "precision": precision,
            "updates_per_second": describe(speeds[ours]),
            "sb3_updates_per_second": describe(speeds[theirs]),
            "ratio": describe([a / b for a, b in zip(speeds[ours], speeds[theirs], strict=True)]),
            "bytes_per_transition": replay.bytes_per_transition,
            "sb3_bytes_per_transition": their_bytes(buffer),
        }
    )


def main(rounds: int = 3, seconds: float = 6.0) -> bool:
    """Print and keep the figures; True if the judged ratios and the bytes of a transition reach their goals."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    figures: list[dict[str, Any]] = []
    heads = f"{'updates/s':>11}{'SB3':>8}{'ratio':>7}{'bytes':>8}{'SB3':>8}"
    print(f"\n{'policy':<18}{'wiring':<10}{'batch':>5}{'precision':>11}{heads}")
    for case in tqdm(CASES, desc="TD3", unit="case", leave=False):
        figures.append(compare(*case, rounds, seconds, device))
        tqdm.write(_row(figures[-1]))
    limits = _limits(figures, rounds, seconds) if device == "cpu" else {}
    goals = {"goal_ratio": GOALS[device], "goal_batch": JUDGED, "goal_bytes": GOAL_BYTES}
    goal = f"{GOALS[device]:.0f}× the updates of the same algorithm at batch {JUDGED}, {GOAL_BYTES:,.0f} bytes"
    print(f"{device}; medians of {rounds} rounds; goals: {goal}")
    content = {"rounds": rounds, "seconds": seconds, "device": device, **goals, "cases": figures, **limits}
    print(save("td3", content))
    judged = [each for each in figures if (each["wiring"], each["batch"], each["precision"]) == EQUAL]
    fast = all(each["ratio"]["median"] >= GOALS[device] for each in judged)
    return fast and all(each["bytes_per_transition"] <= GOAL_BYTES for each in figures)


def _limits(figures: list[dict[str, Any]], rounds: int, seconds: float) -> dict[str, Any]:
    """Print and give what bounds the cases on a CPU; each takes its bound.

    Last, since it changes the process: the first case again with memory kept.
    """
    space, rng = POLICIES["CnnPolicy"], np.random.default_rng(0)
    learner, replay = make_learner(space, "same", "cpu"), fill_ours(space, "cpu")
    noise = torch.zeros(JUDGED, 2)
    found = convolutions.compare_candidates(
        JUDGED, max(5, rounds), seconds, lambda: learner.update(replay.sample(JUDGED, rng), noise)
    )
    limit = median([convolutions.limit(seconds / 10) for _ in range(max(5, rounds))])
    capability = torch.backends.cpu.get_cpu_capability()
    print(
        f"\noneDNN ran {figures[0]['instruction_sets']}, torch {capability}; a large product {limit / 1e9:.0f} GFLOP/s"
    )
    print(f"{'policy':<18}{'wiring':<10}{'batch':>5}{'of it':>8}{'bound':>8}{'paging':>8}{'SB3':>8}")
    for case in figures:
        if case["precision"] != "float32":
            continue  # whose limit is another
        case["bound_per_second"] = limit / case["operations"]
        share = case["updates_per_second"]["median"] / case["bound_per_second"]
        case["ratio_bound"] = case["bound_per_second"] / case["sb3_updates_per_second"]["median"]
        numbers = (
            f"{share:>8.0%}{case['ratio_bound']:>8.2f}{case['system_share']:>8.1%}{case['sb3_system_share']:>8.1%}"
        )
        print(f"{case['policy']:<18}{case['wiring']:<10}{case['batch']:>5}{numbers}")
    for each in found:
        print(f"{each['candidate']:<40}{each['ratio']['median']:>7.2f}{each['saved']['median']:>8.1%} of an update")
    content = {"cpu_capability": capability, "limit": limit, "candidates": found}
    if convolutions.keep_memory():
        content["memory_kept"] = compare(*CASES[0], rounds, seconds, "cpu")
        print(f"memory kept: {_row(content['memory_kept'])}")
    return content


def _row(case: dict[str, Any]) -> str:
    speeds = (case[name]["median"] for name in ("updates_per_second", "sb3_updates_per_second", "ratio"))
    numbers = "{:>11.1f}{:>8.1f}{:>7.2f}".format(*speeds)
    sizes = f"{case['bytes_per_transition']:>8,.0f}{case['sb3_bytes_per_transition']:>8,.0f}"
    return f"{case['policy']:<18}{case['wiring']:<10}{case['batch']:>5}{case['precision']:>11}{numbers}{sizes}"
