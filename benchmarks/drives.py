"""Drives to watch, of published policies that learned and that did not: `python -m benchmarks.drives`, seconds.

It writes book/drives.json: where the car is at every third step of a greedy episode, for three seeds of each run. They
are kept because a policy that is replayed elsewhere may leave the same road a little later.
"""

import numpy as np

from lnlab.files import write_json
from lnlab.paths import BOOK, PUBLISHED
from lnlab.policy import Policy
from lnlab.provenance import source
from lnlab.runs import Run

LEARNS = "b128-rs0.01-n5-init-small-lr3e-4-gamma0.98-aclip0-cclip0-explore0.4-end0.4-uniform-h64"
RUNS = (
    f"driving-goal/td3-none-leaky-lnlab~DrivingVector-v0-{LEARNS}",
    f"driving-goal/td3-ln-leaky-lnlab~DrivingVector-v0-norm-critic-{LEARNS}",
    "driving-undone/td3-none-leaky-lnlab~DrivingVector-v0-b128-h64",
)
SEEDS, EVERY = 3, 3


def drive(policy: Policy) -> dict[str, object]:
    """One greedy episode: x and y in m, heading in rad, speed in m/s, every third step and the last."""
    env = policy.make_env()
    observation, info = env.reset(seed=0)
    poses, ended = [[*info["pose"], info["speed"]]], False
    while not ended:
        observation, _, terminated, truncated, info = env.step(policy.act(observation)[0])
        ended = terminated or truncated
        poses.append([*info["pose"], info["speed"]])
    kept = np.round(poses, 2)[[*range(0, len(poses) - 1, EVERY), -1]]
    return {"goal": info["goal"], "steps": len(poses) - 1, "track_seed": info["track_seed"], "poses": kept.tolist()}


def main() -> None:
    drives = {name: [drive(Run(PUBLISHED / name).policy(seed)) for seed in range(SEEDS)] for name in RUNS}
    write_json(BOOK / "drives.json", {"commit": source()["commit"], "every": EVERY, "drives": drives})


if __name__ == "__main__":
    main()
