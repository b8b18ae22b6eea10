"""Where a run comes from: code, versions, machine. Written beside its data and shown on its page."""

import functools
import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lnlab import __version__
from lnlab.paths import PACKAGE

PACKAGES = ("torch", "numpy", "pandas", "gymnasium")


def now() -> str:
    """The time, ISO 8601 in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def source(package: Path = PACKAGE) -> dict[str, Any]:
    """Commit of the repository that holds `package`, and whether the package has changes that are not in it.

    Only a repository that tracks the package counts: an installed copy may lie inside another project's repository.
    Other files (pages, data, notes) do not make it dirty, since they do not decide a number.
    """
    git = functools.partial(_output, "git", "-C", str(package))
    if git("ls-files", "--error-unmatch", "config.py") is None:
        return {"commit": "unknown", "dirty": True}
    return {"commit": git("rev-parse", "HEAD") or "unknown", "dirty": git("status", "--porcelain", "--", ".") != ""}


def machine() -> dict[str, Any]:
    """Versions, system, processor and number of usable cores."""
    return {
        "versions": {"lnlab": __version__, "python": platform.python_version()}
        | {each: version(each) for each in PACKAGES},
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "machine_cores": usable_cores(),
    }


def usable_cores() -> int:
    """Cores this process may run on, which a container or a batch system can make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def cpu_model() -> str:
    """Name of the processor, e.g. 'AMD EPYC 7763 64-Core Processor'."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = (line.split(":", 1)[1] for line in info.read_text().splitlines() if line.startswith("model name"))
        return next(names, platform.machine()).strip()
    return _output("sysctl", "-n", "machdep.cpu.brand_string") or platform.processor() or platform.machine()


def _output(*command: str) -> str | None:
    """What a command prints; None if it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
