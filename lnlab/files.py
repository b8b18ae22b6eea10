"""Files that are whole at every instant, and a lock that dies with its process.

A file is written under a temporary name, flushed to the disk, then renamed: a reader sees the old one or the new one,
also after SIGKILL or a power cut. Checked by killing a writer at random moments (tests/test_runs.py).
"""

import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pandas as pd

_held: dict[Path, IO[str]] = {}  # locks of this process, so that it may open a run twice


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; takes the place of `path` when the block ends without an error."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    with contextlib.suppress(OSError):  # Windows cannot open a folder; there the rename is flushed by the system
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_json(path: Path, content: dict[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """The content of a JSON file; {} where there is none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}


def write_table(path: Path, frame: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary, compression="zstd", index=False)


def write_compact(path: Path, frame: pd.DataFrame) -> None:
    """As `write_table`, about half the size: floats in single precision, their bytes sorted by significance."""
    floats = [name for name, kind in frame.dtypes.items() if kind.kind == "f"]
    single = frame.astype(dict.fromkeys(floats, "float32"))
    with replacing(path) as temporary:
        single.to_parquet(
            temporary,
            compression="zstd",
            compression_level=15,
            index=False,
            use_dictionary=[name for name in frame if name not in floats],
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT"),
        )


def lock(folder: Path) -> None:
    """Be the only process that writes to `folder`, until `unlock` or the end of this process, however it ends.

    Raises:
        RuntimeError: another process holds it.
    """
    if folder in _held:
        return
    file = (folder / ".lock").open("w")
    for _ in range(10):  # a look by `locked` holds it for an instant
        if _try_lock(file):
            _held[folder] = file
            return
        time.sleep(0.02)
    file.close()
    raise RuntimeError(f"{folder} is being trained by another process; wait for it or stop it")


def unlock(folder: Path) -> None:
    """Give back the locks of this process on `folder` and all below it."""
    for held in [path for path in _held if path.is_relative_to(folder)]:
        _held.pop(held).close()


def locked(folder: Path) -> bool:
    """Whether some process, this one included, holds the lock of `folder`."""
    if folder in _held:
        return True
    if not (folder / ".lock").exists():
        return False
    with (folder / ".lock").open() as file:
        return not _try_lock(file)


def _try_lock(file: IO[str]) -> bool:
    try:
        import fcntl
    except ImportError:  # not a POSIX system: no lock
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
