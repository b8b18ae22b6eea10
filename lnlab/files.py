"""Files that are whole at every instant and noticed when they are not.

A file is written under a temporary name, flushed to the disk, then renamed: a reader sees the old one or the new one,
also after SIGKILL or a power cut. A folder takes another's place the same way. What was written is known by its
SHA-256: a table by the one its run recorded, a sealed JSON file by its own. Checked by killing writers at random
moments and by flipping bits (tests/test_runs.py, tests/test_kills.py, tests/test_damage.py).
"""

import contextlib
import ctypes
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

SEAL = "sha256"  # key of a sealed JSON file: the digest of everything else in it
LEFTOVERS = ".*.tmp"  # what a process that was killed leaves of the files and folders it was writing


class DamagedError(ValueError):
    """A file is not what was written; the message names it."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path to write to; takes the place of `path` when the block ends without an error.

    Raises:
        OSError: the disk is full, the folder cannot be written, …; the message names `path`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:  # a full disk says no name
        raise type(error)(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:
        if not path.is_dir():  # some file systems do not flush folders
            raise
    finally:
        os.close(handle)


def remove_tree(folder: Path, *, below: Path) -> None:
    """Delete a folder with all that is in it; nothing where there is none. No other function of lnlab deletes folders.

    Raises:
        ValueError: `folder` does not lie inside `below`, links resolved: something else would be lost.
    """
    if below.resolve() not in folder.resolve().parents:
        raise ValueError(f"{folder} is not deleted: it does not lie inside {below}")
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def sweep(folder: Path) -> None:
    """Delete what killed processes left in `folder`; for one that has the folder to itself."""
    for path in folder.glob(LEFTOVERS):
        if path.is_dir() and not path.is_symlink():
            remove_tree(path, below=folder)
        else:
            path.unlink(missing_ok=True)


def beside(folder: Path) -> Path:
    """An empty folder next to `folder`, in which to build what shall take its place (`swap`)."""
    fresh, old = _names_beside(folder)
    if old.exists() and not folder.exists():  # killed inside a swap
        os.rename(old, folder)
    remove_tree(fresh, below=folder.parent)
    fresh.mkdir(parents=True)
    return fresh


def swap(fresh: Path, target: Path) -> None:
    """Put the folder `fresh` (`beside`) in the place of `target` at one instant, and delete what was there.

    Where the system cannot exchange two folders there is an instant without `target`; the old one then lies beside it,
    whole, until the next call of `beside` puts it back.
    """
    for path in (fresh, *fresh.rglob("*")):
        _flush(path)
    _, old = _names_beside(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_tree(old, below=target.parent)
    if target.exists() and not _exchange(fresh, target):
        os.rename(target, old)
    if not target.exists():
        os.rename(fresh, target)
    _flush(target.parent)
    for left in (fresh, old):
        remove_tree(left, below=left.parent)


def _names_beside(folder: Path) -> tuple[Path, Path]:
    return folder.with_name(f".{folder.name}.tmp"), folder.with_name(f".{folder.name}.old.tmp")


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step (Linux: renameat2 with RENAME_EXCHANGE); False where that cannot be done."""
    try:
        renameat2 = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return renameat2(here, os.fsencode(one), here, os.fsencode(other), exchange) == 0


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def differing(folder: Path, digests: Mapping[str, str]) -> Iterator[str]:
    """A line for each file of `folder` that is missing or not what `digests` says."""
    for name, digest in digests.items():
        path = folder / name
        if not path.exists():
            yield f"{path} is missing"
        elif sha256(path) != digest:
            yield f"{path} is damaged: its SHA-256 is not the one recorded when it was written"


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """As `write_json`, with the digest of the content as its last entry: reading notices a change."""
    write_json(path, {**content, SEAL: _digest(content)})


def read_json(path: Path, *, sealed: bool = False) -> dict[str, Any]:
    """The content of a JSON file, without its seal; {} where there is no file.

    Raises:
        DamagedError: it is no JSON object, or is not what `write_sealed` wrote where it must be `sealed`.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{path} is damaged: {error}") from None
    if not isinstance(content, dict):
        raise DamagedError(f"{path} is damaged: it holds no JSON object")
    if sealed and content.pop(SEAL, None) != _digest(content):
        raise DamagedError(f"{path} is damaged: its content is not the one that was written")
    return content


def _digest(content: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(content))  # as it will be read: keys are text, tuples lists
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def write_table(path: Path, frame: pd.DataFrame) -> None:
    with replacing(path) as temporary:
        frame.to_parquet(temporary, compression="zstd", index=False)


def write_compact(path: Path, frame: pd.DataFrame) -> None:
    """As `write_table`, less than half the size: floats in single precision, their bytes sorted by significance,
    whole numbers as differences, and neither statistics nor a second schema.
    """
    floats = [name for name, kind in frame.dtypes.items() if kind.kind == "f"]
    whole = [name for name, kind in frame.dtypes.items() if kind.kind in "iu"]
    single = frame.astype(dict.fromkeys(floats, "float32"))
    with replacing(path) as temporary:
        single.to_parquet(
            temporary,
            compression="zstd",
            compression_level=19,
            index=False,
            use_dictionary=[name for name in frame if name not in {*floats, *whole}],
            column_encoding=dict.fromkeys(floats, "BYTE_STREAM_SPLIT") | dict.fromkeys(whole, "DELTA_BINARY_PACKED"),
            write_statistics=False,
            store_schema=False,
        )


def read_table(path: Path, digest: str | None = None) -> pd.DataFrame:
    """A Parquet table, of this SHA-256 where one was recorded.

    Raises:
        DamagedError: it is missing or not what was written.
    """
    for wrong in differing(path.parent, {path.name: digest} if digest else {}):
        raise DamagedError(wrong)
    return pd.read_parquet(path)
