"""Settings of TD3 in the libraries that D5 compares itself with, each with the version it was read from.

All are written down, so that a report says the same wherever it is made. Tests compare Stable-Baselines3's with the
library where it is installed. Spinning Up (PyTorch) and the authors' code are not developed any more.
"""

from typing import Any, NamedTuple


class Reference(NamedTuple):
    """A library's defaults by our names of the settings; None where it has no such thing."""

    source: str
    settings: dict[str, Any]


_SHARED = {"gamma": 0.99, "tau": 0.005, "policy_delay": 2, "target_noise": 0.2, "noise_clip": 0.5, "clip": None}
STABLE_BASELINES3 = Reference(
    "Stable-Baselines3 2.9.2",
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
