"""How far the shards of a study are, and where they are trained: read from its folder, by any machine that sees it."""

import time
from collections.abc import Iterator, Sequence

from lnlab import locks
from lnlab.runs import Run
from lnlab.shards import NEWEST, Shard

LINE = "{:40}{:>9}  {:24}{:>6}{:>10}{:>9}{:>9}".format
SECONDS = 5.0


def table(runs: Sequence[Run]) -> Iterator[str]:
    """A line for each shard that is not trained, and one for each run of which all are."""
    yield LINE("run", "seeds", "where", "done", "steps/s", "heard", "left")
    for run in runs:
        if not run.begun:
            yield LINE(run.id, "", "new", "", "", "", "").rstrip()
            continue
        try:
            left = [] if run.complete else [shard for shard in run.shards if not run.trained(shard)]
            lines = [_line(run, shard) for shard in left]
        except (OSError, ValueError) as error:
            yield f"{LINE(run.id, '', 'damaged', '', '', '', '').rstrip()}  {error}"
            continue
        yield from lines or [LINE(run.id, "", "complete" if run.complete else "to gather", "100%", "", "", "").rstrip()]


def _line(run: Run, shard: Shard) -> str:
    manifest, path = shard.manifest, shard.dir / NEWEST
    who = locks.holder(shard.dir)
    steps = run.config.steps_per_report * len(shard.seeds)
    seconds = sum(end - start for _, start, end in manifest["sessions"])
    speed = shard.episode * steps / seconds if seconds else 0.0
    left = (run.config.reports - shard.episode) * steps / speed if speed and who else None
    where = f"{who.host[:16]}:{who.pid}" if who else "failed" if run.status == "failed" else "waits"
    return LINE(
        run.id,
        f"{shard.seeds[0]}-{shard.seeds[-1]}",
        where,
        f"{shard.episode / run.config.reports:.0%}",
        f"{speed:,.0f}" if speed else "",
        _ago(locks.silence(path)) if path.exists() else "",
        _ago(left) if left is not None else "",
    ).rstrip()


def _ago(seconds: float) -> str:
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds < 6000
        else f"{seconds / 3600:.0f} h"
    )


def watch(runs: Sequence[Run], *, clear: bool) -> None:
    """Print the table every few seconds, until all runs are complete.

    Args:
        clear: the screen before each; else they follow one another.
    """
    while True:
        print("\033[H\033[2J" * clear + "\n".join(table(runs)), flush=True)
        if all(run.begun and run.complete for run in runs):
            return
        time.sleep(SECONDS)
