"""An offloading episode to watch, by agents with and without LayerNorm, at moments of their training.

    python -m benchmarks.replay

It trains the first seed of two published runs again, which takes minutes, and writes book/replay.json: the choices of
both at each moment, greedy, on the same tasks, which training never saw. The returns in training are held against the
published curves, so that these are the agents of those runs.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch

from lnlab.config import RunConfig
from lnlab.envs.rules import DISCARD, LOCAL, OFFLOAD, STEPS
from lnlab.envs.scalar import Pool, Script, Vehicle
from lnlab.evaluation import TEST_EPISODE
from lnlab.files import write_json
from lnlab.paths import BOOK, PUBLISHED
from lnlab.provenance import source
from lnlab.runs import Run
from lnlab.trainers import make_trainer

RUNS = ("rates/a3c-ff-none-lr3e-4", "rates/a3c-ff-ln-lr3e-4")
MOMENTS = (0, 500, 1000, 2000)  # episodes per worker
CAPACITY, VELOCITY = 200, 15  # as in training, where vehicles drive 5 … 25 km/h
LETTER = {LOCAL: "L", OFFLOAD: "O", DISCARD: "D"}


def script(seed: int = 0) -> Script:
    """The tasks and the channel of one test episode."""
    return Script.draw(np.random.default_rng([seed, TEST_EPISODE]), CAPACITY)


def choices(trainer: Any, episode: Script) -> dict[str, Any]:
    """One greedy episode of a trainer's first learner: a letter a step, small where the task was refused."""
    vehicle = Vehicle(CAPACITY, VELOCITY, Pool(refill=False))
    vehicle.reset(episode)
    views, tape = trainer.net.layout.views(trainer.parameters.detach()[:1]), trainer.net.tape(1, 1, 1)
    letters, earned = "", 0.0
    for _ in range(STEPS):
        tape.obs[0].copy_(torch.from_numpy(vehicle.observation()))
        action = int(trainer.net.step(views, tape, 0)[..., :-1].argmax())
        tape.state[0].copy_(tape.state[1])
        earned += vehicle.step(action)
        letters += LETTER[action] if vehicle.accepted or action == DISCARD else LETTER[action].lower()
    return {"choices": letters, "return": round(earned, 2)}


def recorded(run: Run, episode: Script) -> Iterator[dict[str, Any]]:
    """The episode at each moment of the training of a run's first seed.

    Raises:
        RuntimeError: the returns in training are not those of the run.
    """
    config: RunConfig = run.config.model_copy(update={"seeds": 1, "cores": 1, "device": "cpu"})
    trainer, returns = make_trainer(config, "cpu"), list[float]()
    yield {"trained": 0} | choices(trainer, episode)
    for row in trainer:
        returns.append(float(row["return"].mean()))
        if len(returns) in MOMENTS:
            _require_same(run, returns)
            yield {"trained": len(returns)} | choices(trainer, episode)


def _require_same(run: Run, returns: list[float]) -> None:
    rows = run.table("curves")
    rows = rows[(rows.seed == run.config.first_seed) & (rows.episode <= len(returns))]
    published = rows.groupby("episode")["return"].mean()
    here = np.reshape(returns, (len(published), -1)).mean(axis=1)  # the curves have the means of blocks of episodes
    if not np.allclose(here, published, atol=1e-3):
        raise RuntimeError(f"{run.id}, trained again, differs by up to {np.abs(here - published).max():.3g} in return")


def main() -> None:
    """Write book/replay.json."""
    torch.set_num_threads(1)
    episode, kept = script(), dict[str, Mapping[str, Any]]()
    for name in RUNS:
        run = Run(PUBLISHED / name)
        kept[name] = {"norm": run.config.norm, "episodes": list(recorded(run, episode))}
    tasks = {"units": episode.units, "duration": episode.duration, "channel": _channel(episode)}
    facts = {"commit": source()["commit"], "seed": 0, "capacity": CAPACITY, "velocity": VELOCITY, "cloud": "budget"}
    write_json(BOOK / "replay.json", facts | tasks | {"runs": kept})


def _channel(episode: Script) -> list[bool]:
    """Whether the channel is good at each step, which no choice changes."""
    vehicle = Vehicle(CAPACITY, VELOCITY, Pool(refill=False))
    vehicle.reset(episode)
    states = [vehicle.channel]
    for _ in range(STEPS):
        vehicle.step(DISCARD)
        states.append(vehicle.channel)
    return states


if __name__ == "__main__":
    main()
