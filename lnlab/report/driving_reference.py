"""Settings of TD3 in the libraries that D5 compares itself with, each with the version it was read from.

Stable-Baselines3's are read from the installed package; where there is none, those of version 2.7.0 stand, as checked
in its source. Spinning Up's (PyTorch) and the authors' are fixed, since neither is developed any more.
"""

import functools
import importlib.util
import inspect
from importlib.metadata import version
from typing import Any, NamedTuple

SB3 = "stable_baselines3"


class Reference(NamedTuple):
    """A library's defaults by our names of the settings; None where it has no such thing."""

    source: str
    settings: dict[str, Any]


_SHARED = {"gamma": 0.99, "tau": 0.005, "policy_delay": 2, "target_noise": 0.2, "noise_clip": 0.5, "clip": None}
_LATEST_CHECKED = Reference(
    "Stable-Baselines3 2.7.0",
    _SHARED
    | {
        "learning_starts": 100,
        "batch_size": 256,
        "lr": 1e-3,
        "exploration": None,
        "capacity": 1_000_000,
        "updates": "1 per step",
    },
)
SPINNING_UP = Reference(
    "Spinning Up (PyTorch)",
    _SHARED
    | {
        "learning_starts": 1_000,
        "random_steps": 10_000,
        "batch_size": 100,
        "lr": 1e-3,
        "exploration": 0.1,
        "capacity": 1_000_000,
        "updates": "50 each 50 steps",
    },
)
AUTHORS = Reference(
    "Fujimoto et al.",
    _SHARED
    | {
        "learning_starts": 25_000,
        "batch_size": 256,
        "lr": 3e-4,
        "exploration": 0.1,
        "capacity": 1_000_000,
        "updates": "1 per step",
    },
)


@functools.cache
def stable_baselines3() -> Reference:
    """Its TD3's defaults: of the installed version, else the last one that was checked."""
    if importlib.util.find_spec(SB3) is None:
        return _LATEST_CHECKED
    from stable_baselines3 import TD3

    defaults = {name: each.default for name, each in inspect.signature(TD3.__init__).parameters.items()}
    names = {
        "learning_starts": "learning_starts",
        "batch_size": "batch_size",
        "lr": "learning_rate",
        "gamma": "gamma",
        "tau": "tau",
        "policy_delay": "policy_delay",
        "target_noise": "target_policy_noise",
        "noise_clip": "target_noise_clip",
        "exploration": "action_noise",
        "capacity": "buffer_size",
    }
    read = {ours: defaults[theirs] for ours, theirs in names.items()}
    updates = f"{defaults['gradient_steps']} per step" if defaults["train_freq"] == 1 else "as many as steps"
    return Reference(f"Stable-Baselines3 {version(SB3)}", read | {"updates": updates, "clip": None})
