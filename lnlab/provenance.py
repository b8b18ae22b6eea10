"""Where a run comes from: code, versions, machine. Written beside its data and shown on its page."""

import functools
import hashlib
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lnlab import __version__
from lnlab.paths import PACKAGE

PACKAGES = ("torch", "numpy", "pandas", "gymnasium")
IN_CLONE = PACKAGE.parent / "constraints.txt"
PINS = IN_CLONE if IN_CLONE.exists() else PACKAGE / "constraints.txt"


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
    versions = {each: version(each) for each in PACKAGES}
    return {
        "versions": {"lnlab": __version__, "python": platform.python_version()} | versions,
        "other_versions": other_versions(versions),
        "platform": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_model(),
        "machine_cores": usable_cores(),
    }


def other_versions(versions: Mapping[str, str], pins: Path = PINS) -> list[str]:
    """The packages that are not of the pinned versions, with which alone runs repeat to the bit.

    A local tag counts for nothing: 2.13.0+cpu is 2.13.0.

    Args:
        pins: lines NAME==VERSION.

    >>> other_versions({"torch": "2.6.0"})
    ['torch 2.6.0, not 2.13.0']
    """
    if not pins.exists():  # a copy of the modules alone
        return [f"no {pins.name} to tell"]
    lines = pins.read_text(encoding="utf-8").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    found = [(each, used, pinned.get(each, used)) for each, used in versions.items()]
    return [f"{each} {used}, not {wanted}" for each, used, wanted in found if used.split("+")[0] != wanted]


def fingerprint() -> dict[str, str]:
    """What two machines must have alike to train to the same bits: the package's code, by digest, and versions."""
    code = hashlib.sha256()
    for path in sorted(each for each in PACKAGE.rglob("*") if each.suffix in (".py", ".toml", ".cpp")):
        if not {"book", "claims", "compare", "executors", "cli.py"} & {*path.relative_to(PACKAGE).parts}:  # no numbers
            code.update(path.read_bytes())
    return {"code": code.hexdigest()[:12], **machine()["versions"]}


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
