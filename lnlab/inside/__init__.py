"""Probes of the networks in training, and `run`, which trains with them.

`actor_critic` looks into A3C and Individual at a few of their episodes and keeps the table `diagnostics`; `cnn` adds
columns to the reports of TD3 and DDPG.
"""

from typing import Any

from lnlab.config import Config, RunConfig, TD3Config
from lnlab.runs import Run
from lnlab.trainers import driver
from lnlab.trainers.watchers import LateWatcher

PROBES = (
    LateWatcher("lnlab.inside.cnn", "CNNProbe", TD3Config),
    LateWatcher("lnlab.inside.actor_critic", "Diagnostics", RunConfig),
)
WATCHERS = (*PROBES, *driver.WATCHERS)


def run(config: Config, **options: Any) -> Run:
    """`lnlab.trainers.driver.run` with the probes: every table of a run comes of it."""
    return driver.run(config, watchers=WATCHERS, **options)
