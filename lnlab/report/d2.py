"""Document D2: what LayerNorm does to the mean, the spread and the worst case over velocities.

Tables of notebooks/d2.ipynb; its figures are those of `lnlab.report.d2_figures`. D2's own numbers are measured again as
it defined them and set beside the sound ones: spread between seeds instead of over cells, the same number of cells for
every worst case, the policy that was trained (sampled) beside the arg-max one (greedy), a refilled cloud beside a
budget.
"""

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd

from lnlab.analysis.claims import Number
from lnlab.analysis.stats import Interval, cv, interval, min_max_ipr90, std, worst_decile
from lnlab.report import cells, output, tables
from lnlab.report.cells import MATRIX, NAME, Array, arm
from lnlab.report.evidence import CAPACITY, Data
from lnlab.report.ledger import Entry, evidence_rows, interval_words

ARMS = [(who, cell) for who in NAME for cell in MATRIX]
PARTS = ("between seeds", "between learners of a seed", "between velocities of a learner")
DECILE_FROM = 30  # seeds; below, no interval of a worst decile holds
EPISODES = 20  # of each reference policy in training: fast, and close enough for a scale


def extent(data: Data) -> output.Text:
    """One sentence: how many arms, seeds and cells the page rests on."""
    configs = [data.run(arm(who, cell)).config for who, cell in ARMS]
    sizes = sorted({(config.seeds, config.episodes) for config in configs})
    each = " or ".join(f"{seeds} seeds of {episodes} episodes per worker" for seeds, episodes in sizes)
    return output.Text(
        f"{len(configs)} arms, each over {each}, tested at {len(cells.EVERY)} velocities; profile {data.main.dir.name}."
    )


def name_of(who: str, cell: str) -> str:
    return tables.arm(cells.WHO[who], MATRIX[cell].core, MATRIX[cell].norm)


def rows(**columns: Interval) -> dict[str, float]:
    """Intervals as columns of a download: name, name_low, name_high."""
    found: dict[str, float] = {}
    for name, value in columns.items():
        found |= {name: value.estimate, f"{name}_low": value.low, f"{name}_high": value.high}
    return found


# -- the document's numbers -----------------------------------------------------------------------------------
def beside(entries: Sequence[Entry], claims: Sequence[str], name: str) -> output.TableOutput | output.Text:
    """The numbers that a document prints in some claims, each beside ours and what a repetition would give."""
    found = [
        (entry, each)
        for entry in entries
        if entry.id in claims
        for each in entry.verdict.evidence
        if isinstance(each, Number)
    ]
    if not found:
        return _nothing(claims)
    document, data = found[0][0].document, pd.DataFrame([_number_row(entry, each) for entry, each in found])
    shown = pd.DataFrame(
        {
            "claim": data.claim,
            "what": data.what,
            f"{document} printed": [f"{value:g}".replace("-", "−") for value in data.printed],
            "here": [interval_words(*row) for row in data[["estimate", "low", "high"]].itertuples(index=False)],
            "five new seeds": [
                _between(*row) for row in data[["expected_low", "expected_high"]].itertuples(index=False)
            ],
            "agrees": data.outcome.map({"agrees": "yes", "differs": "no"}),
        }
    )
    caption = (
        f"What {document} prints beside the same quantity here, by its own definitions: greedy, cloud budget, C = 200, "
        f"its velocities; 95 % intervals over n = {cells.counted(data.n)} seeds. Fourth column: what five new "
        "seeds would give in 95 of 100 repetitions."
    )
    return output.table(name, shown, caption=caption, data=data)


def tested(entries: Sequence[Entry], claims: Sequence[str], name: str) -> output.TableOutput | output.Text:
    """The effects on which some claims are judged, each with where the claim puts it."""
    rows = evidence_rows([entry for entry in entries if entry.id in claims])
    data = rows[rows.type == "direction"].reset_index(drop=True)
    if data.empty:
        return _nothing(claims)
    here = [interval_words(*row) for row in data[["estimate", "low", "high"]].itertuples(index=False)]
    shown = pd.DataFrame({"claim": data.claim, "what": data.what, "claimed": data.rule, "here": here})
    shown["outcome"] = data.outcome
    caption = (
        f"What would have to hold, beside what was found: 95 % intervals over n = {cells.counted(data.n)} seeds. An "
        "effect holds, or opposes, if its whole interval lies on one side."
    )
    return output.table(name, shown, caption=caption, data=data)


def _nothing(claims: Sequence[str]) -> output.Text:
    return output.Text(f"*This report lacks what {', '.join(claims)} need; the claims below say which.*")


def _number_row(entry: Entry, each: Number) -> dict[str, object]:
    expected = {"expected_low": each.low, "expected_high": each.high, "outcome": each.outcome}
    return {"claim": entry.id, "what": each.what, "printed": each.printed, **each.found._asdict(), **expected}


def _between(low: float, high: float) -> str:
    """A range with as many digits as its width asks for."""
    digits = min(3, max(0, 1 - int(np.floor(np.log10(high - low))))) if high > low else 2
    return f"{tables.number(low, digits)} to {tables.number(high, digits)}"


def spread_sources(data: Data, mode: str = "greedy", cloud: str = "budget") -> output.TableOutput:
    """Where the spread over cells comes from: seeds, learners of a seed, velocities."""
    found = [
        {"arm": name_of(*each), **variance_shares(cells.cells(data, *each, mode=mode, cloud=cloud))} for each in ARMS
    ]
    table = pd.DataFrame(found)
    shown = pd.DataFrame({"arm": table.arm, "SD over cells": [tables.number(v) for v in table["SD over cells"]]})
    for name in PARTS:
        shown[f"{name}, %"] = [tables.number(100 * share, 0) for share in table[name]]
    caption = (
        f"The variance of all cells of an arm ({mode}, one list of {len(cells.EVERY)} velocities) divided into that "
        f"between seeds, between the learners of a seed, and between the velocities of a learner; "
        f"n = {cells.counted(table.n)} seeds. A description of these seeds, without intervals."
    )
    return output.table(f"spread-sources-{mode}", shown, caption=caption, data=table)


def variance_shares(values: Array) -> dict[str, float]:
    """Shares of the variance (ddof 0) of cells (n_seeds, n_velocities, n_learners), which add up to one."""
    total = values.var()
    learners = values.mean(axis=1)  # (n_seeds, n_learners)
    parts = learners.mean(axis=1).var(), learners.var(axis=1).mean(), values.var(axis=1).mean()
    shares = {name: float(part / total) if total > 0 else np.nan for name, part in zip(PARTS, parts, strict=True)}
    return {"SD over cells": float(np.sqrt(total)), **shares, "n": len(values)}


# -- the sound numbers ----------------------------------------------------------------------------------------
def spread_table(data: Data, mode: str = "sampled", cloud: str = "budget") -> output.TableOutput:
    """Mean, spread between seeds and bad cases of every arm, with the reference policies below."""
    found = [_spread_row(data, who, cell, mode, cloud) for who, cell in ARMS]
    fixed = [
        {"arm": tables.POLICY_LABEL[name], "mean": value, "mean_low": np.nan, "mean_high": np.nan, "n": 1}
        for name, value in references(cloud).items()
    ]
    seeds, table = cells.counted(pd.DataFrame(found).n), pd.DataFrame(found + fixed)
    words = {
        "mean": "mean",
        "sd": "SD between seeds",
        "cv": "CV between seeds",
        "worst_velocity": "worst velocity",
        "worst_decile": "worst tenth of seeds",
        "ipr90": "IPR-90, %",
    }
    shown = pd.DataFrame({"arm": table.arm})
    for name, title in words.items():
        shown[title] = [_words(row, name) for _, row in table.iterrows()]
    caption = (
        f"Test return of the {mode} policies at C = 200, {len(cells.EVERY)} velocities, cloud "
        f"{tables.CLOUD_LABEL[cloud]}; 95 % intervals over n = {seeds} seeds. Worst velocity: the lowest of a "
        "learner, mean over learners, as many cells for every arm. IPR-90: range of the middle 90 % of the seeds' mean "
        "training returns, in percent of what the best rule earns in training; it has no interval. Last, policies that "
        "learn nothing."
    )
    return output.table(f"spread-{mode}-{cloud}", shown, caption=caption, data=table)


def _spread_row(data: Data, who: str, cell: str, mode: str, cloud: str) -> dict[str, object]:
    values = cells.cells(data, who, cell, mode=mode, cloud=cloud)
    seeds = values.mean(axis=(1, 2))
    tail = interval(seeds, worst_decile)
    tail = tail if tail.n >= DECILE_FROM else cells.alone(tail.estimate, tail.n)
    spread = {"mean": interval(seeds), "sd": cells.positive(seeds, std), "cv": cells.positive(seeds, cv)}
    worst = interval(cells.worst_learner_cells(values))
    curve = data.metric(arm(who, cell), "return_mean")
    ipr = float(min_max_ipr90(curve, lowest=0.0, highest=best_in_training()))
    return {
        "arm": name_of(who, cell),
        **rows(**spread, worst_velocity=worst, worst_decile=tail),
        "ipr90": ipr,
        "n": len(seeds),
    }


def _words(row: pd.Series, name: str) -> str:
    if not np.isfinite(row[name]):
        return ""
    low, high = row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
    return tables.words(Interval(row[name], low, high, 0), 2 if name == "cv" else 1)


@functools.cache
def _reference_cells() -> pd.DataFrame:
    from lnlab.evaluation import SWEEP, evaluate_policies

    every = pd.concat([evaluate_policies(tables.REFERENCE_EPISODES, groups=groups) for groups in _groups(SWEEP)])
    return every.drop_duplicates(["policy", "cloud", "velocity"])


def _groups(sweep: dict[str, list[tuple[int, int]]]) -> list[dict[str, list[tuple[int, int]]]]:
    slow = [(CAPACITY, velocity) for velocity in cells.EVERY if (CAPACITY, velocity) not in sweep["sweep"]]
    return [{"slow": slow}, sweep]


def references(cloud: str = "budget") -> dict[str, float]:
    """Mean return of the policies that learn nothing over the same velocities, by name."""
    mine = _reference_cells().query("cloud == @cloud")
    return {str(name): float(value) for name, value in mine.groupby("policy", sort=False).return_mean.mean().items()}


@functools.cache
def best_in_training() -> float:
    """What the best of the rules that learn nothing earns in training: the scale of a range of returns."""
    from lnlab.evaluation import policies_in_training

    return float(policies_in_training(EPISODES).return_mean.max())
