"""The rows of a seed as TensorBoard event files: the tag of a number is <table>/<column>, as in the published tables.

Checked by reading the events back (tests/test_tensorboard.py). TensorBoard is loaded when a writer is made.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PLACE = ("seed", "step")  # where a row stands, not what it says


class EventWriter:
    """Writes rows of one seed to event files.

    Args:
        folder: of the seed's event files; those of an earlier, stopped run stay and are continued.
        resumed_at: step of the checkpoint the seed goes on from, None where it starts. Of what an earlier run wrote,
            TensorBoard shows nothing past it.
    """

    def __init__(self, folder: Path, resumed_at: int | None = None) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=0 if resumed_at is None else resumed_at + 1)

    def add(self, table: str, row: Mapping[str, Any]) -> None:
        """Write the numbers of a row at its step; words and missing numbers have no place in a chart."""
        for column, value in row.items():
            if column not in PLACE and not isinstance(value, str) and not math.isnan(value):
                self._writer.add_scalar(f"{table}/{column}", float(value), int(row["step"]))

    def flush(self) -> None:
        """Put all rows so far on the disk: with each checkpoint, so that a run that is killed loses none before it."""
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
