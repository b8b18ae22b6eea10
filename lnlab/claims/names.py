"""The arms that rows of a claims file may name, and what readers call the parts of each."""

import difflib
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field

from lnlab.claims.studies import known, labels
from lnlab.config import shown

Parts = Mapping[str, str]  # {"algorithm": "A3C", "core": "GRU", …}: for {algorithm} in the text of a row


@dataclass(frozen=True)
class Names:
    """Arms by name.

    Args:
        known: the parts of each arm.
        where: the arms stand, for messages.
        declared: what readers call the arms that a claims file declares. They are known whether or not there are
            results of them, and so are `TASK/ARM`, `PROFILE/ARM` and `ARM@SETTING`.
    """

    known: Mapping[str, Parts]
    where: str
    declared: Parts = field(default_factory=dict)

    def parts(self, arm: str) -> Parts:
        """What readers call the parts of an arm.

        Raises:
            ValueError: no arm has this name; the message names the nearest.
        """
        arm = plain(arm)
        task, _, name = arm.rpartition("/")
        name, _, setting = name.partition("@")
        for each in (arm, name):
            if each in self.declared:
                return {"task": task, "setting": setting, **self.known.get(arm, {}), "arm": self.declared[each]}
        if arm not in self.known or self.declared:
            near = difflib.get_close_matches(arm, self.declared or self.known, n=5, cutoff=0)
            raise ValueError(f"unknown run id {shown(arm)}; the nearest in {self.where}: {', '.join(near)}")
        return self.known[arm]


def plain(arm: str) -> str:
    """An arm at a setting, a number in the shortest way to write it.

    >>> plain("ppo@1e-3"), plain("ppo@0.0010"), plain("ppo@wide")
    ('ppo@0.001', 'ppo@0.001', 'ppo@wide')
    """
    base, at, setting = arm.rpartition("@")
    try:
        return f"{base}@{float(setting):g}" if at else arm
    except ValueError:
        return arm


@functools.cache
def of_study() -> Names:
    """The arms of study.toml."""
    return Names({arm: labels(arm) for arm in known()}, "study.toml")
