"""Where a learner of A3C or Individual diverged first: a look at each report, on numbers that are on hand.

A run's provenance holds under `diverged` one entry for each learner that did not stay finite, and an empty list where
all did:

    {"seed": 3, "worker": 1, "episode": 812, "what": "gradient"}

seed, worker, episode: the first rollout that shows it, as in the table `episodes`; worker −1 where only the parameters
of a shared model tell. what: "parameter", "loss" (a loss or the entropy) or "gradient"; where several were not finite,
the first of these words.

An entry of TD3 or DDPG has worker −1 and says "critic loss", "actor gradient" and the like; its episode is the training
episode under way, numbered as in the table `returns`, and "step", a fifth key, the environment step. Runs made before
there were such entries have no key `diverged`.
"""

from typing import Any

import numpy as np

from lnlab.trainers.a3c import ActorCriticTrainer, Report

LOSSES = ("policy_loss", "value_loss", "value_loss_all", "entropy")


def first_divergences(trainer: ActorCriticTrainer, report: Report, known: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Entries for the learners that are not finite as of `report`, the trainer's newest, and have none in `known`."""
    loss = ~np.isfinite([report[name] for name in LOSSES]).all(0)
    gradient = ~np.isfinite(report["grad_norm"])
    last = trainer.episode == trainer.config.episodes
    if report["alive"].all() and not loss.any() and not gradient.any() and not last:
        return []
    parameter = ~trainer.parameters.isfinite().all(1).cpu().numpy()
    rows = {"loss": loss, "gradient": gradient, "dead": ~report["alive"]}
    by_learner = {name: each.reshape(trainer.learners, trainer.members) for name, each in rows.items()}
    wrong = parameter | np.logical_or.reduce([each.any(1) for each in by_learner.values()])
    found = []
    for learner in np.flatnonzero(wrong):
        seed, own = divmod(int(learner) * trainer.members, trainer.workers)  # own: the learner's first worker
        told = [entry["worker"] for entry in known if entry["seed"] == trainer.seeds[seed]]
        if own in told or (told and trainer.members > 1):
            continue
        kinds = [name for name in ("loss", "gradient") if by_learner[name][learner].any()]
        worker = own + int(by_learner[kinds[0]][learner].argmax()) if kinds else (own if trainer.members == 1 else -1)
        what = "parameter" if parameter[learner] or not kinds else kinds[0]
        found.append({"seed": trainer.seeds[seed], "worker": worker, "episode": trainer.episode, "what": what})
    return found
