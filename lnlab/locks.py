"""Locks on folders, for processes on one machine and on many that share a disk.

The lock of a folder is a folder `.lock` in it with numbered files, of which the highest tells who has it. Taking it is
creating the next number, which one process alone can do, on NFS too; giving it back is writing "free" into the file.
So the number never falls, and a slow process cannot take for stale what was taken anew.

A holder on this machine is asked for by its process id, and a dead one loses the lock at once. One elsewhere touches
its file every `BEAT` seconds; after `STALE` seconds of silence the next may take over, and the first, should it wake
up, finds its own file gone and stops.
"""

import atexit
import contextlib
import errno
import functools
import json
import os
import socket
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

BEAT, STALE = 5.0, 60.0  # seconds
FREE = "free"
_held: dict[Path, Path] = {}  # of this process: the folder `.lock` and its file in it


class HeldError(RuntimeError):
    """Another process has the lock."""


class Holder(NamedTuple):
    """Who has a lock."""

    host: str
    pid: int
    silent: float  # seconds since it was last heard


def lock(folder: Path, name: str = ".lock") -> bool:
    """Be the only process that writes to `folder`, until `unlock` or the end of this process, however it ends; returns
    whether the lock is new, rather than held by this process already.

    Raises:
        HeldError: another process holds it, or took it over when this one had been silent for too long.
        OSError: it cannot be written, or is a link: its target would be somebody else's folder.
    """
    place = folder.resolve() / name
    if own := _held.get(place):
        if _mine(own):
            return False
        del _held[place]
        if place.exists():
            raise HeldError(f"{folder} was taken over by another process, since this one was not heard of")
    if place.is_symlink():
        raise OSError(errno.ELOOP, "a lock must not be a symbolic link; delete the link", str(place))
    if place.is_file():  # the lock of an earlier version
        place.unlink()
    place.mkdir(exist_ok=True)
    if (taken := _take(place)) is None:
        raise HeldError(f"{folder} is being trained by another process; wait for it or stop it")
    _keep(place, taken)
    return True


def keep(folder: Path, name: str) -> None:
    """Hold from now on a lock that the parent of this process hands over, and free it at the end."""
    place = folder.resolve() / name
    _keep(place, place / str(_last(place)))


def _keep(place: Path, own: Path) -> None:
    if not any(thread.name == __name__ for thread in threading.enumerate()):
        threading.Thread(target=_beat, name=__name__, daemon=True).start()
        atexit.register(unlock, Path(place.anchor))
    _held[place] = own


def unlock(folder: Path) -> None:
    """Give back the locks of this process on `folder` and all below it."""
    for place in [each for each in _held if each.is_relative_to(folder.resolve())]:
        own = _held.pop(place)
        with contextlib.suppress(OSError):  # deleted, with its folder
            if _mine(own):
                own.write_text(FREE)


def hand_over(folder: Path, name: str, pid: int) -> None:
    """Give a lock of this process to its child `pid`, which has to `keep` it."""
    own = _held.pop(folder.resolve() / name)
    own.write_text(json.dumps(_identity(pid)))


def holder(folder: Path, name: str = ".lock") -> Holder | None:
    """Who holds the lock of `folder`; None where it is free or what had it is dead."""
    place = folder.resolve() / name
    while last := _last(place):
        with contextlib.suppress(FileNotFoundError):  # the next one has taken it meanwhile
            if _is_free(own := place / str(last)):
                return None
            told = _owner(own)
            return Holder(told.get("host", "?"), told.get("pid", 0), silence(own))
    return None


def locked(folder: Path, name: str = ".lock") -> bool:
    """Whether some process, this one included, holds the lock of `folder`."""
    return holder(folder, name) is not None


def _take(place: Path) -> Path | None:
    last = _last(place)
    try:
        if last and not _is_free(place / str(last)):
            return None
    except FileNotFoundError:
        return None
    own = place / str(last + 1)
    try:
        file = os.open(own, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    except FileExistsError:
        return None
    with os.fdopen(file, "w") as opened:
        json.dump(_identity(os.getpid()), opened)
    if _last(place) > last + 1:  # `last` was an old number, and the next is taken and gone
        own.unlink(missing_ok=True)
        return None
    for number in _numbers(place):
        if number <= last:
            (place / str(number)).unlink(missing_ok=True)
    return own


def _numbers(place: Path) -> list[int]:
    try:
        return [int(name) for name in os.listdir(place) if name.isdecimal()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _last(place: Path) -> int:
    return max(_numbers(place), default=0)


def _is_free(own: Path) -> bool:
    """Whether nobody holds the lock any more.

    Raises:
        FileNotFoundError: the file has gone: the next one has the lock.
    """
    if own.read_text() == FREE:
        return True
    told = _owner(own)
    if told.get("machine") == machine():
        return told["born"] is None or told["born"] != _born(told["pid"])
    return silence(own) > STALE


def _owner(own: Path) -> dict[str, Any]:
    """What the holder wrote; {} while it is writing, or where the file has gone."""
    try:
        told = json.loads(own.read_text())
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def _mine(own: Path) -> bool:
    told, me = _owner(own), _identity(os.getpid())
    return all(told.get(name) == me[name] for name in ("machine", "pid", "born"))


def silence(own: Path) -> float:
    """Seconds by the clock of the disk, where this process may ask it: clocks of machines differ."""
    try:
        with tempfile.TemporaryFile(dir=own.parent) as now:
            clock = os.fstat(now.fileno()).st_mtime
    except OSError:
        clock = time.time()
    return clock - own.stat().st_mtime


def _beat() -> None:
    while True:
        time.sleep(BEAT)
        for own in list(_held.values()):
            with contextlib.suppress(OSError):
                os.utime(own)


def _identity(pid: int) -> dict[str, Any]:
    """What tells a process from all others; `born` is None of one that is dead."""
    return {"host": socket.gethostname(), "machine": machine(), "pid": pid, "born": _born(pid)}


@functools.cache
def machine() -> str:
    """Equal for processes that see each other's ids: not for two containers of one machine, nor after a restart."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return socket.gethostname()


def _born(pid: int) -> str | None:
    """When a process began, since ids are used again; None where it is dead, or was and waits for its parent."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else rest[18]
    except OSError:
        pass
    if os.name != "posix" or Path("/proc/self").exists():
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass
    return "?"
