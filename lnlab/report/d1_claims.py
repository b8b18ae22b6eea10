"""The claims of D1 beside our numbers: each value that D1 prints, next to the same quantity measured over all seeds.

D1 is about the recurrent arms, trained by A3C and by Individual learners, tested greedily with a cloud budget.
`MEASURES` says for each claim how its values are measured again; a claim's text and printed values come from
book/claims.yml.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import yaml

from lnlab.analysis.stats import Interval, interval
from lnlab.paths import BOOK
from lnlab.report import d1, effects, figures, output, tables
from lnlab.runs import Study

ALGORITHM = {"a3c": "a3c", "ind": "individual"}
WHO = {"a3c": "A3C", "ind": "Individual"}
NORM = {"ln": "LayerNorm", "none": "no norm"}
Measured = list[tuple[str, str, Interval]]  # what it is, what D1 prints, our number
Measure = Callable[[Study, dict[str, Any]], Measured]  # the runs, the values D1 prints


def claims(section: str) -> list[dict[str, Any]]:
    """The claims of one section of D1, in order."""
    with (BOOK / "claims.yml").open(encoding="utf-8") as file:
        return [claim for claim in yaml.safe_load(file)["D1"]["claims"] if claim["section"] == section]


def comparison(runs: Study, section: str) -> output.TableOutput:
    """Every number that D1 prints in a section beside ours."""
    rows = []
    for claim in claims(section):
        for what, printed, ours in _measure(runs, claim):
            row = {"claim": claim["id"], "what": what, "D1 (one seed)": printed, "here": tables.words(ours)}
            rows.append(row | ours._asdict())
    data = pd.DataFrame(rows)
    shown = data[["claim", "what", "D1 (one seed)", "here"]]
    caption = (
        f"Section “{section}” of D1 beside this study: recurrent arms, D1's own definitions, "
        f"95 % intervals over n = {data.n.max()} seeds."
    )
    return output.table(f"claims-{section.replace(' ', '-')}", shown, caption=caption, data=data)


def sentences(
    section: str, kinds: tuple[str, ...] = ("measured", "comparison", "arithmetic", "interpretation")
) -> output.Text:
    """The claims of a section as a Markdown list, in our words."""
    chosen = [claim for claim in claims(section) if claim["kind"] in kinds]
    return output.Text("\n".join(f"- **{claim['id']}** ({claim['kind']}): {claim['says']}." for claim in chosen))


def _measure(runs: Study, claim: dict[str, Any]) -> Measured:
    measure = MEASURES.get(claim["id"])
    return measure(runs, claim["values"]) if measure else []


def _seeds(rows: pd.DataFrame, arm: str, value: str) -> np.ndarray:
    """(n_seeds,) means within each seed of one of D1's arms, such as `a3c_ln`; all of them are recurrent."""
    who, norm = arm.split("_")
    mine = rows[(rows.algorithm == ALGORITHM[who]) & (rows.norm == norm) & (rows.core == "gru")]
    return mine.groupby("seed")[value].mean().to_numpy()


def _label(arm: str) -> str:
    who, norm = arm.split("_")
    return f"{WHO[who]}, {NORM[norm]}"


def _change(rows: pd.DataFrame, who: str, value: str) -> Interval:
    """Percent by which LayerNorm raises a value."""
    return effects.percent_change(_seeds(rows, f"{who}_ln", value), _seeds(rows, f"{who}_none", value))


def _metric(runs: Study, name: str) -> pd.DataFrame:
    return d1.metric_rows(runs, {name: name})


def _tests(runs: Study, *groups: str) -> pd.DataFrame:
    rows = d1.test_rows(runs, "greedy", "budget")
    return rows[rows.group.isin(groups)] if groups else rows


def _metric_means(name: str, what: str, printed: Callable[[float], str]) -> Measure:
    """Values keyed by arm: the mean of a metric."""

    def measure(runs: Study, values: dict[str, float]) -> Measured:
        rows = _metric(runs, name)
        return [(f"{what}: {_label(k)}", printed(v), interval(_seeds(rows, k, "value"))) for k, v in values.items()]

    return measure


def _metric_changes(name: str, what: str, *, reduction: bool) -> Measure:
    """Values keyed a3c_…_pct, ind_…_pct: percent by which LayerNorm raises a metric, or reduces it."""

    def measure(runs: Study, values: dict[str, float]) -> Measured:
        rows = _metric(runs, name)
        changes = {key: _change(rows, key.split("_")[0], "value") for key in values}
        found = {key: _reduction(change) if reduction else change for key, change in changes.items()}
        return [(f"{what}, %: {WHO[k.split('_')[0]]}", _number(v), found[k]) for k, v in values.items()]

    return measure


def _reduction(change: Interval) -> Interval:
    return Interval(-change.estimate, -change.high, -change.low, change.n)


def _explosions(runs: Study, values: dict[str, float]) -> Measured:
    """D1 prints two shares for one number: in its text and, by its own count, in its table."""
    ours = interval(_seeds(_metric(runs, "explosion_episodes"), "ind_none", "value"))
    printed = f"{_number(values['ind_none_pct'])} (text), {_number(values['table_pct'])} (table)"
    return [(f"episodes above 100, %: {_label('ind_none')}", printed, ours)]


def _overall(runs: Study, values: dict[str, float]) -> Measured:
    """D1's overall mean: the mean of the three group means, not of the 18 scenarios."""
    groups = tables.per_seed(_tests(runs), [*figures.ARM, "group"], "return_mean")
    return [
        (f"overall test return: {_label(k)}", _number(v), interval(_seeds(groups, k, "value")))
        for k, v in values.items()
    ]


def _overall_changes(runs: Study, values: dict[str, float]) -> Measured:
    """D1's overall change, which unlike its overall mean is over the 18 scenarios."""
    rows, what = _tests(runs), "overall change with LayerNorm, %"
    short = {key.removesuffix("_pct"): printed for key, printed in values.items()}
    return [(f"{what}: {WHO[who]}", _number(v), _change(rows, who, "return_mean")) for who, v in short.items()]


def _by_group(who: str) -> Measure:
    """Values keyed seen_ln, seen_none, …: test returns of A3C or Individual by environment type."""

    def measure(runs: Study, values: dict[str, float]) -> Measured:
        found = []
        for key, printed in values.items():
            group, norm = key.split("_")
            ours = interval(_seeds(_tests(runs, group), f"{who}_{norm}", "return_mean"))
            found.append((f"{tables.TYPE_LABEL[group]}: {_label(f'{who}_{norm}')}", _number(printed), ours))
        return found

    return measure


def _group_changes(runs: Study, values: dict[str, float]) -> Measured:
    found = []
    for key, printed in values.items():
        group = key.removesuffix("_pct")
        what = f"change with LayerNorm, %: Individual, {tables.TYPE_LABEL[group]}"
        found.append((what, _number(printed), _change(_tests(runs, group), "ind", "return_mean")))
    return found


def _worker_gaps(runs: Study, values: dict[str, list[float]]) -> Measured:
    """Values keyed by worker: Extra minus Seen with LayerNorm and without."""
    gaps, found = _recurrent_gaps(runs), []
    for worker, pair in values.items():
        for norm, printed in zip(("ln", "none"), pair, strict=True):
            mine = gaps[(gaps.worker == int(worker[1:])) & (gaps.norm == norm)].sort_values("seed")
            what = f"Extra minus Seen: {worker.upper()}, {NORM[norm]}"
            found.append((what, _number(printed), interval(mine.gap.to_numpy())))
    return found


def _generalising_workers(runs: Study, values: dict[str, Any]) -> Measured:
    """Workers of a seed whose return on Extra is not below that on Seen."""
    gaps = _recurrent_gaps(runs)
    counts = gaps.assign(good=gaps.gap >= 0).groupby(["norm", "seed"])["good"].sum().astype(float)
    what = "workers of 5 with Extra not below Seen"
    return [(f"{what}: {NORM[norm]}", str(values[norm]), interval(counts[norm].to_numpy())) for norm in NORM]


def _recurrent_gaps(runs: Study) -> pd.DataFrame:
    gaps = d1.gaps(runs, "greedy", "budget")
    return gaps[gaps.core == "gru"]


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _share(count: float) -> str:
    return f"{100 * count / 5000:.1f} ({count:g} of 5000)"


MEASURES: dict[str, Measure] = {
    "D1.1": _metric_means("value_loss_mean", "mean value loss", _number),
    "D1.2": _metric_means("value_loss_max", "maximum value loss", _number),
    "D1.3": _metric_means("explosion_episodes", "episodes above 100, %", _share),
    "D1.4": _metric_changes("value_loss_mean", "reduction of the mean value loss", reduction=True),
    "D1.5": _metric_changes("explosion_episodes", "reduction of episodes above 100", reduction=True),
    "D1.6": _explosions,
    "D1.10": _metric_means("return_mean", "training return", _number),
    "D1.11": _metric_changes("return_mean", "change of the training return", reduction=False),
    "D1.12": _overall,
    "D1.13": _overall_changes,
    "D1.14": _by_group("a3c"),
    "D1.15": _by_group("ind"),
    "D1.16": _group_changes,
    "D1.17": _worker_gaps,
    "D1.18": _generalising_workers,
}
