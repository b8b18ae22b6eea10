"""Tidy tables for an analysis: the scores of every arm, estimates with their intervals, contrasts paired by seed.

    arms = {"LayerNorm": "a3c-gru-ln", "no norm": "a3c-gru-none"}
    found = values(data, {"return": "return_final"}, arms)
    estimates(found)                                                     # a row each measure and arm
    contrasts(found, {"LayerNorm": minus("LayerNorm", "no norm")})       # a row each effect and measure

The seed is the unit of replication: a score is the mean of a seed's learners, episodes and scenarios.
"""

import functools
import itertools
import warnings
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import CensoredData, ecdf
from scipy.stats import t as student

from lnlab.analysis.choice import judged_apart
from lnlab.analysis.stats import Interval, Statistic, contrast, interval, mean, sign_flip_test
from lnlab.book import style, words
from lnlab.claims import judge, ledger
from lnlab.claims import measures as of
from lnlab.claims.evidence import combined, log
from lnlab.claims.evidence import percent as in_percent
from lnlab.claims.pooled import EVERY
from lnlab.claims.studies import CAPACITY, Data, Missing, paired

Names = Mapping[str, str] | Iterable[str]  # label → name, or names that are their own labels
FOUND = list(Interval._fields)  # estimate, low, high, n


def named(*arms: str) -> dict[str, str]:
    """Arms by what readers call them: label → run id.

    >>> named("a3c-gru-ln", "a3c-gru-none")
    {'A3C GRU, LayerNorm': 'a3c-gru-ln', 'A3C GRU, no norm': 'a3c-gru-none'}
    """
    return {words.arm(each): each for each in arms}


def minus(new: str, old: str) -> dict[str, float]:
    """Weights of the contrast new − old."""
    return {new: 1.0, old: -1.0}


def values(
    data: Data, measures: Names, arms: Names, *, optional: bool = False, settings: Sequence[str] = (),
    statistic: Statistic | None = None,
) -> pd.DataFrame:  # fmt: skip
    """One row a measure and arm: measure and arm (their labels), run (its id), norm, scores, statistic, settings.

    Args:
        measures: names of `lnlab.claims.measures`.
        arms: run ids, of another profile as profile/run-id.
        optional: what is not there is left out: an arm that was not run, a state's measure of a feedforward network.
        settings: of the runs, such as "lr", a column each.
        statistic: over seeds, in place of the measure's own, which is mostly the mean: `std`, `worst_decile`.

    Raises:
        ValueError: there is no such measure; the message lists them.
        Missing: a run is not there, or has no such number.
    """
    rows = []
    for (measure, name), (arm, run) in itertools.product(_named(measures), _named(arms)):
        found = of.named(name)
        try:
            config, scores = data.run(run).config, found.values(data, run)
            asked = [getattr(config, each) for each in settings]
            rows.append((measure, arm, run, config.norm, scores, statistic or found.statistic, *asked))
        except Missing:
            if not optional:
                raise
    return pd.DataFrame(rows, columns=["measure", "arm", "run", "norm", "scores", "statistic", *settings])


def over_setting(data: Data, measures: Names, profile: str, setting: str, arms: Iterable[str]) -> pd.DataFrame:
    """The `values` of main arms and of all runs of a profile that vary a setting, which is a column, in rising order.

    Arms go by what readers call them whatever their setting; agent is an arm without its norm.
    """
    runs = [*(f"{profile}/{run.id}" for run in data.study(profile).runs), *arms]
    found = values(data, measures, runs, settings=[setting])
    names = found.run.map(words.arm)
    found = found.assign(arm=names, agent=names.str.partition(",")[0])
    return found.sort_values(setting, kind="stable", ignore_index=True)


def shared(found: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """The `values` over the seeds that all rows with the same columns `by` have."""
    fewest = found.scores.map(len).groupby([found[name] for name in by]).transform("min")
    return found.assign(scores=[scores[:n] for scores, n in zip(found.scores, fewest, strict=True)])


def at_best(found: pd.DataFrame, setting: str, by: Sequence[str] = ("measure", "arm", "norm")) -> pd.DataFrame:
    """The `values` of each arm at its own best value of a setting, chosen on other seeds: a row each `by`.

    Scores are those of `judged_apart`, for means and contrasts of means. Adds best (over all seeds) and edge (it lies
    at an end of those tried).
    """
    rows = []
    for key, part in shared(found, by).sort_values(setting).groupby(list(by), sort=False):
        scores = np.column_stack(part.scores.to_list())
        best = part[setting].iloc[scores.mean(axis=0).argmax()]
        edge = best in (part[setting].min(), part[setting].max())
        rows.append((*key, judged_apart(scores), part.statistic.iloc[0], best, edge))
    return pd.DataFrame(rows, columns=[*by, "scores", "statistic", "best", "edge"])


def _named(names: Names) -> list[tuple[str, str]]:
    return list(names.items()) if isinstance(names, Mapping) else [(each, each) for each in names]


def estimates(found: pd.DataFrame, *, positive: bool = False) -> pd.DataFrame:
    """The `values` as measure, arm, run, norm, estimate, low, high (95 %, over seeds) and n (seeds).

    `positive` takes the interval of the logarithm, for an SD or a CV: no bound lies below zero.
    """
    pairs = list(zip(found.scores, found.statistic, strict=True))
    if positive:
        rows = [_exp(combined([scores], [1.0], log(statistic))) for scores, statistic in pairs]
    else:
        rows = [interval(scores, statistic) for scores, statistic in pairs]
    return _beside(found.drop(columns=["scores", "statistic"]), rows)


def _exp(of: Interval) -> Interval:
    """Of a logarithm; without bounds where one of them is infinite, as of few seeds that are equal."""
    middle, low, high = np.exp(of[:3]).tolist()
    known = np.isfinite(of[1:3]).all()
    return Interval(middle, low if known else np.nan, high if known else np.nan, of.n)


def contrasts(
    found: pd.DataFrame, effects: Mapping[str, Mapping[str, float]], *, percent: bool = False, test: bool = False
) -> pd.DataFrame:
    """Weighted sums over arms, over the seeds that all of them have: effect, measure, estimate, low, high, n.

    Args:
        found: of `values`.
        effects: label → arm → weight; the weights add up to zero (`minus`).
        percent: of two arms, the percent by which the mean of the first lies above the second's.
        test: adds p of the paired sign-flip test, which asks whether two arms are alike; NaN for pooled measures.
    """
    keys, rows, tests = [], [], []
    for effect, weights in effects.items():
        for measure, part in found.groupby("measure", sort=False):
            by_arm = part.set_index("arm")
            if set(weights) - set(by_arm.index):  # the measure is optional, and one of the arms has none
                continue
            scores = dict(zip(weights, paired(*by_arm.scores[list(weights)]), strict=True))
            statistic = by_arm.statistic.iloc[0]
            keys.append((effect, measure))
            change = contrast(scores, weights, log(statistic) if percent else statistic)
            rows.append(in_percent(change) if percent else change)
            first, second, *_ = scores.values()
            tests.append(sign_flip_test(first, second) if test and statistic in (np.mean, mean) else np.nan)
    table = _beside(pd.DataFrame(keys, columns=["effect", "measure"]), rows)
    return table.assign(p=tests) if test else table


def printed(data: Data, document: str, claims: Sequence[str]) -> pd.DataFrame:
    """Numbers that a document prints in some claims: claim, measure, of, source, estimate, low, high, n, outcome.

    Two rows each: source is printed, with the margin within which ours must lie to agree, or here (our seeds by its
    definitions).

    Raises:
        Missing: the data have none of them.
    """
    rows = ledger.evidence_rows(each for each in judge.entries(data, document) if each.id in claims)
    rows = rows[rows.type == "number"].drop_duplicates("what", ignore_index=True)
    if rows.empty:
        raise Missing(f"needs the numbers of {', '.join(claims)} beside the runs, of which there are none")
    rows[["measure", "of"]] = rows.what.str.split(": ", n=1, expand=True)
    ends = {"low": rows.printed - rows.margin, "high": rows.printed + rows.margin}
    theirs = rows.assign(source="printed", estimate=rows.printed, n=np.nan, **ends)
    found = pd.concat([theirs, rows.assign(source="here")], ignore_index=True)
    return found[["claim", "measure", "of", "source", *FOUND, "outcome"]]


def seeds(found: pd.DataFrame) -> pd.DataFrame:
    """The `values` of plain measures, a row a seed: measure, arm, run, norm, seed (its place), value."""
    rows = found.drop(columns="statistic").assign(seed=[range(len(each)) for each in found.scores])
    return (
        rows.explode(["scores", "seed"], ignore_index=True).rename(columns={"scores": "value"}).astype({"value": float})
    )


@functools.cache
def references(sweep: bool = False) -> pd.DataFrame:
    """Test returns of policies that learn nothing, a row each policy, cloud and scenario, mean of 50 episodes.

    Columns policy (what readers call it), cloud, scenario, group, capacity, velocity, return_mean. `sweep` is of all
    velocities of D2 and D4, each once. The standard error is below 0.4 in a group of scenarios.
    """
    from lnlab.evaluation import SCENARIOS, SWEEP, evaluate_policies

    slow = {"slow": [pair for pair in ((CAPACITY, each) for each in EVERY) if pair not in SWEEP["sweep"]]}
    rows = pd.concat([evaluate_policies(50, groups=each) for each in ([slow, SWEEP] if sweep else [SCENARIOS])])
    rows = rows.assign(policy=rows.policy.map(style.POLICY_LABEL))
    return rows[["policy", "cloud", "scenario", "group", "capacity", "velocity", "return_mean"]]


def _beside(keys: pd.DataFrame, rows: Sequence[Interval]) -> pd.DataFrame:
    return pd.concat([keys.reset_index(drop=True), pd.DataFrame(rows, columns=FOUND)], axis=1)


# -- through training -------------------------------------------------------------------------------------------------
def curves(data: Data, quantities: Names, arms: Names, *, table: str = "curves") -> pd.DataFrame:
    """Learning curves, a row a seed and block of episodes: quantity, arm, run, norm, seed, episode, value.

    A seed is the mean of its workers. Quantities are columns of the table.
    """
    parts = []
    for arm, run in _named(arms):
        rows, names = data.table(run, table), dict(_named(quantities))
        wide = rows.groupby(["seed", "episode"])[list(names.values())].mean().reset_index()
        long = wide.rename(columns={name: label for label, name in names.items()})
        long = long.melt(["seed", "episode"], list(names), "quantity", "value")
        parts.append(long.assign(arm=arm, run=run, norm=data.run(run).config.norm))
    return pd.concat(parts, ignore_index=True)[["quantity", "arm", "run", "norm", "seed", "episode", "value"]]


def through_training(data: Data, quantities: Names, arms: Names) -> pd.DataFrame:
    """Diagnostics (lnlab/quantities.toml) at every moment they were taken: columns as of `curves`.

    A learner for which one is not defined is left out of its seed's mean: a constant critic correlates with nothing.
    Arms that have none of a quantity have no rows of it.
    """
    labels = {name: label for label, name in _named(quantities)}
    parts = []
    for arm, run in _named(arms):
        rows = data.table(run, "diagnostics")
        rows = rows[rows.quantity.isin(labels)].assign(quantity=lambda each: each.quantity.map(labels))
        mean = rows.groupby(["quantity", "seed", "step"]).value.mean().reset_index().rename(columns={"step": "episode"})
        parts.append(mean.assign(arm=arm, run=run, norm=data.run(run).config.norm))
    found = pd.concat(parts, ignore_index=True)[["quantity", "arm", "run", "norm", "seed", "episode", "value"]]
    order = {label: place for place, label in enumerate(labels.values())}
    return found.sort_values("quantity", key=lambda names: names.map(order), kind="stable", ignore_index=True)


def through_records(data: Data, columns: Names, arms: Names) -> pd.DataFrame:
    """Columns of the table `records` of TD3, a row a seed and record: columns as of `curves`, with updates for episode.

    All records before the first update are one moment, that of zero updates.
    """
    parts = []
    for (label, column), (arm, run) in itertools.product(_named(columns), _named(arms)):
        updates, found = of.records(data, run, column)
        start = max(np.count_nonzero(updates == 0) - 1, 0)
        wide = pd.DataFrame(found[:, start:], columns=updates[start:]).rename_axis("seed").reset_index()
        long = wide.melt("seed", var_name="updates").astype({"updates": float})
        parts.append(long.assign(quantity=label, arm=arm, run=run, norm=data.run(run).config.norm))
    return pd.concat(parts, ignore_index=True)[["quantity", "arm", "run", "norm", "seed", "updates", "value"]]


def bands(rows: pd.DataFrame, x: str = "episode", geometric: Sequence[str] = ()) -> pd.DataFrame:
    """Mean over seeds with a pointwise 95 % Student-t interval: quantity, arm, run, norm, x, mean, low, high, n.

    The quantities in `geometric` are averaged as logarithms of their absolute values, which are then taken back.
    """
    by = ["quantity", "arm", "run", "norm", x]
    sizes = np.log10(rows.value.abs().clip(lower=1e-12))
    rows = rows.assign(value=sizes.where(rows.quantity.isin(geometric), rows.value))
    found = rows.groupby(by, sort=False).value.agg(["mean", "sem", "count"]).reset_index()
    half = student.ppf(0.975, np.maximum(found["count"] - 1, 1)) * found["sem"]
    found = found.assign(low=found["mean"] - half, high=found["mean"] + half, n=found["count"])
    taken, ends = found.quantity.isin(geometric), ["mean", "low", "high"]
    found.loc[taken, ends] = 10 ** found.loc[taken, ends]
    return found.drop(columns=["sem", "count"])


def survival(time: ArrayLike, happened: ArrayLike) -> pd.DataFrame:
    """Share of seeds without an event after each time, by Kaplan and Meier: time, share, low, high (pointwise 95 %).

    `time` (n_seeds,) is that of the event, or of the end of the run where `happened` (n_seeds,) is false. The interval
    is Greenwood's on log(-log share): without width before the first event, undefined where no seed is left.

    >>> survival([10, 20, 30, 30], [True, True, False, False]).share.tolist()
    [1.0, 0.75, 0.5, 0.5]
    """
    share = ecdf(CensoredData.right_censored(time, ~np.asarray(happened, dtype=bool))).sf
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The confidence interval is undefined", RuntimeWarning)
        ends = share.confidence_interval(method="log-log")
    rows = {"time": share.quantiles, "share": share.probabilities}
    rows |= {"low": ends.low.probabilities, "high": ends.high.probabilities}
    table = pd.DataFrame({name: np.append(0.0 if name == "time" else 1.0, each) for name, each in rows.items()})
    return table.mask(table.share == 1, table.fillna(1.0))
