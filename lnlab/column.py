"""One entry of the data dictionary."""

from typing import NamedTuple


class Column(NamedTuple):
    unit: str
    meaning: str
