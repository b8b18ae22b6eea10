"""The data dictionary: the columns of every table of a run (lnlab/columns.toml) and the quantities of its diagnostics
(lnlab/quantities.toml), with their units and meanings.

It lies in the package, as an installed lnlab needs it to write and check tables.
"""

import tomllib
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

FILE = Path(__file__).with_suffix(".toml")


class Column(NamedTuple):
    unit: str  # empty: none
    meaning: Annotated[str, StringConstraints(min_length=1)]


class Dictionary(BaseModel):
    """The file: a table is the union of some groups of columns."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tables: dict[str, Annotated[list[str], Field(min_length=1)]]
    groups: dict[str, dict[str, Column]]

    @model_validator(mode="after")
    def _every_group_is_used(self) -> "Dictionary":
        used = {name for names in self.tables.values() for name in names}
        if wrong := used ^ self.groups.keys():
            raise ValueError(f"groups that are not defined, or not used: {', '.join(sorted(wrong))}")
        return self

    def table(self, name: str) -> dict[str, Column]:
        """Columns of a table by name, in their order."""
        return {column: each for group in self.tables[name] for column, each in self.groups[group].items()}


def read(path: Path = FILE) -> Dictionary:
    """A data dictionary, checked.

    Raises:
        ValueError: the file is not TOML or has another structure; the message names what is wrong.
    """
    return Dictionary.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))


_dictionary = read()
COLUMNS = {name: _dictionary.table(name) for name in _dictionary.tables}  # column by name, by table
_rows = tomllib.loads(FILE.with_name("quantities.toml").read_text(encoding="utf-8"))
QUANTITIES = {name: Column(*row) for name, row in _rows.items()}  # of the diagnostics: they describe, causes need arms
UPDATE = tuple(_dictionary.groups["update"])  # of `records`, measured at an update
