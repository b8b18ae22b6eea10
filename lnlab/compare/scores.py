"""Scores of runs as a table: task, setting, arm, seed, score. A learning curve counts with its last tenth's mean."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pandas as pd

from lnlab.analysis.metrics import late
from lnlab.config import ConfigError

COLUMNS = ("arm", "seed", "score")
OPTIONAL = ("task", "setting")
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
    found = _of_monitors(path) if path.is_dir() else _of_table(path)
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
    runs = [name for name in found if name.count("__") >= 2 and not re.search(r"__(MIN|MAX)$", name)]
    if set(COLUMNS) <= set(found) or not runs:
        return found
    rows = []
    for name in runs:
        task, *arm, seed, _ = re.split(" - ", name)[0].split("__")
        rows.append({"task": task, "arm": "__".join(arm), "seed": seed, "score": late(found[name].dropna())})
    return pd.DataFrame(rows)


def _of_monitors(folder: Path) -> pd.DataFrame:
    files = sorted(folder.rglob("*monitor.csv"))
    if not files:
        raise ConfigError(
            f"{folder} holds no monitor.csv; wanted: ARM/SEED/monitor.csv as Stable-Baselines3 writes them"
        )
    rows: dict[tuple[str, str, str], list[float]] = {}
    for file in files:
        arm, *rest = file.relative_to(folder).parts
        if not rest:
            raise ConfigError(f"{file} lies in no folder of an arm; wanted: ARM/SEED/monitor.csv")
        seed = rest[0] if len(rest) > 1 else rest[0].removesuffix("monitor.csv").strip("._-") or "0"
        first, _, table = file.read_text(encoding="utf-8").partition("\n")
        try:
            about = json.loads(first.removeprefix("#"))
            returns = pd.read_csv(io.StringIO(table))["r"]
        except (ValueError, KeyError) as error:
            raise ConfigError(f"{file} is no monitor file of Stable-Baselines3: {error}") from error
        rows.setdefault((str(about.get("env_id", "")), arm, seed), []).append(late(returns))  # parallel environments
    return pd.DataFrame(
        [(*key, float(np.mean(each))) for key, each in rows.items()], columns=["task", "arm", "seed", "score"]
    )
