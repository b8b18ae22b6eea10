"""lnlab: controlled experiments on layer normalisation in reinforcement-learning agents.

The public names are imported when they are first used, so that `import lnlab` and the command line start at once.
Where gymnasium is loaded already, `lnlab/Offloading-v0` is registered too; else `import lnlab.envs` does it.
"""

import importlib
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lnlab.config import ConfigError, RunConfig, parse
    from lnlab.evaluation import evaluate
    from lnlab.inside import run
    from lnlab.runs import Run, Study, load
    from lnlab.trainers import make_trainer

__version__ = "0.1.0"
__all__ = [
    "ConfigError",
    "Run",
    "RunConfig",
    "Study",
    "__version__",
    "evaluate",
    "load",
    "make_trainer",
    "parse",
    "run",
]

_HOME = {
    "ConfigError": "lnlab.config",
    "RunConfig": "lnlab.config",
    "parse": "lnlab.config",
    "Run": "lnlab.runs",
    "Study": "lnlab.runs",
    "load": "lnlab.runs",
    "evaluate": "lnlab.evaluation",
    "make_trainer": "lnlab.trainers",
    "run": "lnlab.inside",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lnlab' has no attribute {name!r}; public names: {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if "gymnasium" in sys.modules:  # whoever uses it pays nothing more; the command line does without
    importlib.import_module("lnlab.envs")
