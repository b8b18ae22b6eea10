"""TD3 beside an environment that gives what is no number: told as divergence, and nothing is lost."""

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

import lnlab
from lnlab import diverged
from lnlab.config import parse
from lnlab.trainers.stacked_td3 import StackedTrainer
from lnlab.trainers.td3 import OffPolicyTrainer

IMAGE, VECTOR = Box(0, 255, (4, 36, 36), np.uint8), Box(-np.inf, np.inf, (3,), np.float32)
ILL, EPISODE = 130, 20  # step of the environment that is broken, counted over all episodes; steps of an episode


class Ill(gymnasium.Env):
    """Gives NaN at one step, and refuses an action that is none of its own."""

    def __init__(self, what: str, *, images: bool) -> None:
        self.what, self.images, self.total = what, images, 0
        self.action_space = Box(-1, 1, (2,), np.float32)
        self.observation_space = Dict(image=IMAGE, vector=VECTOR) if images else Dict(vector=VECTOR)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self._seen(np.zeros(3)), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        self.t, self.total = self.t + 1, self.total + 1
        broken = self.total == ILL
        vector = np.full(3, np.nan if broken and self.what == "observation" else self.t / EPISODE)
        reward = np.nan if broken and self.what == "reward" else float(action[0])
        return self._seen(vector), reward, False, self.t == EPISODE, {}

    def _seen(self, vector):
        vector = {"vector": vector.astype(np.float32)}
        return vector | {"image": np.full((4, 36, 36), self.t, np.uint8)} if self.images else vector


for what in ("observation", "reward", "nothing"):
    for images in (True, False):
        name = f"Ill{what.capitalize()}{'Pictures' if images else 'Vector'}-v0"
        gymnasium.register(name, entry_point=Ill, kwargs={"what": what, "images": images}, disable_env_checker=True)

SETTINGS = {"algorithm": "td3", "norm": "none", "batch_size": 4, "hidden": 8, "learning_starts": 110, "steps": 300}
SETTINGS |= {"eval_episodes": 0, "tensorboard": False, "cores": 1, "seeds": 1}


@pytest.mark.parametrize("seen", ["Pictures", "Vector"])
@pytest.mark.parametrize("what", ["observation", "reward"])
def test_what_is_no_number_is_told_as_divergence_and_nothing_is_lost(what, seen, capsys):
    run = lnlab.run(parse(SETTINGS | {"env": f"Ill{what.capitalize()}{seen}-v0"}))
    assert run.complete
    assert diverged.sentence(run) == f"seed 0, episode {(ILL - 1) // EPISODE} (step {ILL}): {what} not finite"
    records, returns = run.table("records"), run.table("returns")
    assert records.alive.tolist() == [True, False, False]
    assert len(returns) == 300 // EPISODE
    lost = returns["return"].isna()
    assert lost.tolist() == [what == "reward" and row == (ILL - 1) // EPISODE for row in range(len(returns))]
    assert capsys.readouterr().err.count("alert diverged") == 1


@pytest.mark.parametrize(("seen", "trainer"), [("Pictures", OffPolicyTrainer), ("Vector", StackedTrainer)])
def test_a_policy_without_numbers_acts_by_zeros_and_is_named(seen, trainer):
    """`Ill` refuses a NaN."""
    made = trainer(parse(SETTINGS | {"env": f"IllNothing{seen}-v0"}))
    reports = iter(made)
    next(reports)
    actor = made.learner.actor.parameters
    with torch.no_grad():
        (actor[-1] if isinstance(actor, list) else actor).fill_(np.nan)
    list(reports)
    assert (made.done, [each["what"] for each in made.diverged]) == (True, ["actor loss"])
    assert len(made.table("returns")) == 300 // EPISODE
