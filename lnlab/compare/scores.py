"""Scores of runs as a table: task, setting, arm, seed, score. A learning curve counts with its last tenth's mean."""

import io
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from lnlab.analysis.metrics import late
from lnlab.config import ConfigError

COLUMNS = ("arm", "seed", "score")
OPTIONAL = ("task", "setting")
CURVE = ["task", "setting", "arm", "seed", "step", "value"]  # of learning curves
POINTS = 50  # of one
MORE = ("steps_per_second", "parameters", "diverged", "run", "commit")  # of our own runs


def read(path: Path, arms: int = 2) -> pd.DataFrame:
    """Scores from a CSV file or a folder: columns task, setting, arm, seed, score; at least so many arms.

    - CSV with a row a run: arm, seed, score, and if wanted task and setting;
    - CSV that Weights & Biases exports, a column a run, as CleanRL names its runs: ENV__ARM__SEED__TIME;
    - a folder ARM/SEED/…monitor.csv of Stable-Baselines3, ARM/SEED.monitor.csv too.

    A learning curve counts with the mean of its last tenth.

    Raises:
        ConfigError: there is nothing such, a column is missing, a score is not finite, or a run is there twice.
    """
    if not path.exists():
        raise ConfigError(f"there is no file or folder {path}")
    found = _of_monitors(path, arms) if path.is_dir() else _of_table(path)
    return checked(found, str(path), arms)


def checked(found: pd.DataFrame, where: str = "scores", arms: int = 2) -> pd.DataFrame:
    """The scores with all columns, in order.

    Raises:
        ConfigError: as `read`.
    """
    if missing := [name for name in COLUMNS if name not in found]:
        raise ConfigError(
            f"{where} has no column {missing[0]!r}; wanted: arm, seed, score, and if there are several task, setting"
        )
    for name in ("arm", "seed"):
        if (gaps := found[name].isna()).any():
            raise ConfigError(f"{where}: row {int(gaps.to_numpy().argmax()) + 1} of the runs has no {name}")
    found = found.assign(**{name: found.get(name, "") for name in OPTIONAL})
    found = found[[*OPTIONAL, *COLUMNS, *(name for name in found if name in MORE)]]
    blank = [name for name in OPTIONAL if found[name].isna().any()]
    found = found.astype(dict.fromkeys(blank, object)).fillna(dict.fromkeys(blank, ""))
    found = found.astype({"arm": str, "task": str})
    numbers = pd.to_numeric(found.score, errors="coerce")
    if not np.isfinite(numbers).all():
        row = found[~np.isfinite(numbers)].iloc[0]
        raise ConfigError(
            f"{where}: the score of arm {row.arm!r}, seed {row.seed} is {str(row.score)!r}; "
            "give a run that failed the score that it deserves, such as the lowest of the task"
        )
    keys = ["task", "setting", "arm", "seed"]
    if (twice := found.duplicated(keys)).any():
        raise ConfigError(f"{where}: the run {found[twice][keys].iloc[0].to_dict()} is there twice")
    if found.arm.nunique() < arms:
        raise ConfigError(
            f"{where} has one arm, {found.arm.iloc[0]!r}, and two are compared" if len(found) else f"{where} is empty"
        )
    return found.assign(score=numbers.astype(float)).reset_index(drop=True)


def _of_table(path: Path) -> pd.DataFrame:
    try:
        found = pd.read_csv(path)
    except (ValueError, UnicodeDecodeError) as error:  # pandas' parser errors are ValueErrors
        raise ConfigError(f"cannot read {path} as a CSV file: {error}") from error
    if set(COLUMNS) <= set(found) or not (runs := _exported(found)):
        return found
    rows = [(*key, late(found[name].dropna())) for name, key in runs.items()]
    return pd.DataFrame(rows, columns=["task", "arm", "seed", "score"])


def _exported(found: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Task, arm and seed of each column that is a run, as Weights & Biases exports CleanRL's."""
    runs = {}
    for name in found:
        if name.count("__") >= 2 and not re.search(r"__(MIN|MAX)$", name):
            task, *arm, seed, _ = re.split(" - ", name)[0].split("__")
            runs[name] = (task, "__".join(arm), seed)
    return runs


def _of_monitors(folder: Path, arms: int) -> pd.DataFrame:
    rows: dict[tuple[str, str, str], list[float]] = {}
    for key, table in _monitors(folder):
        rows.setdefault(key, []).append(late(table["r"]))  # parallel environments
    found = pd.DataFrame(
        [(*key, float(np.mean(each))) for key, each in rows.items()], columns=["task", "arm", "seed", "score"]
    )
    if arms > 1 and found.arm.str.fullmatch(r"(seed|s|run)?[-_]?\d+").all():
        raise ConfigError(
            f"the folders in {folder} are named like seeds: {', '.join(found.arm.unique())}; "
            "give the folder above them, with a folder for each arm: ARM/SEED/monitor.csv"
        )
    return found


def _monitors(folder: Path) -> Iterator[tuple[tuple[str, str, str], pd.DataFrame]]:
    """Task, arm and seed of each monitor file, and its episodes: r is the return, l the length."""
    files = sorted(folder.rglob("*monitor.csv"))
    if not files:
        raise ConfigError(
            f"{folder} holds no monitor.csv; wanted: ARM/SEED/monitor.csv as Stable-Baselines3 writes them"
        )
    for file in files:
        arm, *rest = file.relative_to(folder).parts
        if not rest:
            raise ConfigError(f"{file} lies in no folder of an arm; wanted: ARM/SEED/monitor.csv")
        seed = rest[0] if len(rest) > 1 else rest[0].removesuffix("monitor.csv").strip("._-") or "0"
        first, _, rows = file.read_text(encoding="utf-8").partition("\n")
        try:
            about, table = json.loads(first.removeprefix("#")), pd.read_csv(io.StringIO(rows))
            table = table[["r", "l"]].astype(float)
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{file} is no monitor file of Stable-Baselines3: {error}") from error
        if table.empty:
            raise ConfigError(f"{file} has no episode that ended: train longer, or leave this run out")
        yield (str(about.get("env_id") or ""), arm, seed), table


def learning(path: Path) -> pd.DataFrame:
    """Learning curves of what `read` reads, with the columns CURVE; no rows where there are only scores.

    Steps are those of the environments, all together where several go side by side.
    """
    parts = []
    if path.is_dir():
        runs = list(_monitors(path))
        beside = Counter(key for key, _ in runs)
        for (task, arm, seed), table in runs:
            steps = table["l"].cumsum() * beside[task, arm, seed]
            parts.append(table.assign(task=task, setting="", arm=arm, seed=seed, step=steps, value=table["r"]))
    else:
        found = pd.read_csv(path)
        for name, (task, arm, seed) in {} if set(COLUMNS) <= set(found) else _exported(found).items():
            part = pd.DataFrame({"step": found.iloc[:, 0], "value": found[name]}).dropna()
            parts.append(part.assign(task=task, setting="", arm=arm, seed=seed))
    return thinned(parts)


def thinned(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Curves joined, each as means of 50 bins of steps, from the first step of its task to the last."""
    if not parts:
        return pd.DataFrame(columns=CURVE)
    rows = pd.concat(parts, ignore_index=True)
    width = rows.groupby("task").step.transform("max") / POINTS
    binned = rows.assign(step=np.ceil(rows.step.clip(lower=1) / width) * width)
    return binned.groupby(CURVE[:-1], sort=False).value.mean().reset_index()
