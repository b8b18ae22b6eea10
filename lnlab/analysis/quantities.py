"""The numbers that the diagnostics take of a learner: lnlab/quantities.toml, by name.

A diagnostic describes; causes need a comparison of arms.
"""

import tomllib

from lnlab.columns import Column
from lnlab.paths import PACKAGE

_rows = tomllib.loads((PACKAGE / "quantities.toml").read_text(encoding="utf-8"))
QUANTITIES = {name: Column(unit, meaning) for name, (unit, meaning) in _rows.items()}
