"""Document D5, TD3 with LayerNorm in the CNN: extent, answer, the four arms, their factors and the further arms.

Figures and tables of notebooks/d5.ipynb; `lnlab.report.d5_training`, `d5_readiness` and `d5_mechanism` have the rest.
A report without TD3 runs says so in their place.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, Concatenate, ParamSpec, TypeVar

import numpy as np
import pandas as pd

from lnlab.analysis.claims import Sum
from lnlab.analysis.stats import Interval, interval
from lnlab.paths import PUBLISHED
from lnlab.report import driving_figures, driving_predictions, hypotheses, ledger, output, pages, tables
from lnlab.report.cells import counted
from lnlab.report.driving_data import (
    ARMS,
    LATE,
    MAIN,
    ORIGINAL,
    Driving,
    end,
    feature_growth,
    growth_law,
    inflation,
    late_exponent,
    one_q,
)
from lnlab.report.driving_figures import Panel
from lnlab.report.driving_pieces import more
from lnlab.report.evidence import DRIVING, Data, Missing

P = ParamSpec("P")
Out = TypeVar("Out")
FOUR = (
    Panel("actor_feature_norm_probe", "features of the actor's CNN (L2 norm)", log=True),
    Panel("critic_feature_norm_probe", "features of the critics' CNN (L2 norm)", log=True),
    Panel("actor_q", "|Q that the actor maximises|", log=True),
    Panel("critic_q", "|Q of the same actions, critics' features|", log=True),
)
MEASURES = {"growth": "growth of the actor's features", "inflation": "actor's Q over the critic's"}


def shown(make: Callable[Concatenate[Data, P], Out]) -> Callable[Concatenate[Data, P], Out | output.Text]:
    """A sentence instead of an output where a report lacks the runs for it."""

    @functools.wraps(make)
    def inside(data: Data, *args: P.args, **kwargs: P.kwargs) -> Out | output.Text:
        try:
            return make(data, *args, **kwargs)
        except Missing as missing:
            return output.Text(f"*Not in this report: it {missing}.*")

    return inside


def extent(data: Data) -> output.Text:
    """One sentence: how many arms, seeds and steps the page rests on, and how they differ from D5's run."""
    try:
        runs = Driving.of(data)
    except Missing as missing:
        return output.Text(f"**This report has no run of TD3**: it {missing}. What needs one is left out below.")
    batch, steps, start = runs.extent
    seeds = counted(runs.seeds(arm) for arm in runs.runs)
    return output.Text(
        f"{len(runs.runs)} arms, each over {seeds} seeds of {steps:,} environment steps, {start:,} of them random; "
        f"batches of {batch} where D5 had 256; profile {runs.data.main.dir.name}."
    )


@shown
def answer(data: Data) -> output.Text:
    """What the hypotheses came to, and the two numbers of each main arm they rest on."""
    found = tested(data)
    lines = [
        f"- {hypotheses.SETTLED[_settled(found[each.name])]}: {each.says}." for each in driving_predictions.HYPOTHESES
    ]
    runs = Driving.of(data)
    lines += [_arm_sentence(runs, arm) for arm in runs.arms(MAIN)]
    return output.Text("\n".join(lines))


def _arm_sentence(runs: Driving, arm: str) -> str:
    """How far an arm's features grew, in plain factors; the interval is that of the logarithm."""
    grown = interval(feature_growth(runs, arm))
    return (
        f"- {ARMS[arm].says[0].upper()}{ARMS[arm].says[1:]}: the actor's features grow {factor(grown)} (n = {grown.n})."
    )


def landing(data: Data) -> str:
    """The finding as a sentence and a table for the landing page; "" where a report lacks the four main arms."""
    try:
        runs = Driving.of(data)
        grown = {arm: interval(feature_growth(runs, arm)) for arm in MAIN}
        fooled = {
            arm: "1 by construction" if one_q(arm) else factor(interval(inflation(runs, arm)), "") for arm in MAIN
        }
    except Missing:
        return ""
    rows = [{"arm": ARMS[arm].says, "features": factor(grown[arm]), "Q": fooled[arm]} for arm in MAIN]
    heads = {"features": "the actor's features grow", "Q": "Q that the actor maximises / the critics' Q"}
    n = counted(each.n for each in grown.values())
    return (
        "How far the features of the actor's network grow, last record over the first, and by how much the Q that the "
        f"actor maximises exceeds the critics' Q of the same actions, over the {LATE}. *Leaky*: the actor's loss "
        "reaches the critic through those features, as in the original; *detached*: it does not "
        f"(n = {n}, 95 % intervals).\n\n"
        f"{output.markdown(pd.DataFrame(rows).rename(columns=heads))}"
    )


def factor(log: Interval, unit: str = "-fold") -> str:
    """A logarithm to base 10 as a factor with its interval.

    >>> factor(Interval(2.0, 1.0, 3.0, 5))
    '100-fold [10,\\xa01,000]'
    """
    middle, low, high = (_power(value) for value in log[:3])
    return f"{middle}{unit} [{low},\N{NO-BREAK SPACE}{high}]"


def _power(log: float) -> str:
    if not np.isfinite(log):
        return "n/a"
    if log >= 4:
        return f"{10**log:.1e}".replace("e+", "e").replace("e0", "e")
    return tables.number(10**log, 0 if log >= 1 else 1 if log > 0.3 else 2)


def tested(data: Data) -> hypotheses.Tested:
    """Each hypothesis by name: its predictions beside the data, or why they could not be made."""
    found: hypotheses.Tested = {}
    for hypothesis in driving_predictions.HYPOTHESES:
        try:
            found[hypothesis.name] = hypothesis.predictions(data)
        except Missing as missing:
            found[hypothesis.name] = str(missing)
    return found


def _settled(directions: object) -> str:
    return "not tested" if isinstance(directions, str) else hypotheses.verdict(directions)  # type: ignore[arg-type]


@shown
def predictions(data: Data) -> output.TableOutput:
    """Every prediction with our number and how it came out."""
    says = (
        "What each hypothesis predicts, first written before the runs, and what was found: differences of arms are "
        "paired by seed, logarithms are to base 10, intervals of 95 %"
    )
    return hypotheses.table(tested(data), says=says)


# -- the four arms -----------------------------------------------------------------------------------------------------
@shown
def four_arms(data: Data) -> output.FigureOutput:
    """Where the explosion is and where it is not: features and Q over updates, on logarithmic axes."""
    runs = Driving.of(data)
    arms = runs.arms(MAIN)
    rows = driving_figures.bands(runs, arms, FOUR)
    last = rows.groupby(["quantity", "arm"], sort=False).tail(1)
    ends = "; ".join(f"{row.arm} {row.mean:.2g}" for row in last[last.quantity == FOUR[0].column].itertuples())
    caption = (
        "The 2×2 of norm and wiring. Norms of the 512 features on 64 fixed observations, and the Q that the actor's "
        "loss maximises beside the critics' Q of the same actions on the same batch; seeds thin, geometric means "
        f"thick, pointwise 95 % intervals shaded; n = {counted(rows.n)} seeds an arm."
    )
    alt = f"Four panels over updates, logarithmic. Actor's feature norm at the last record: {ends}."
    return output.figure(
        "four-arms", driving_figures.grid(runs, arms, FOUR, share="row"), alt=alt, caption=caption, data=rows
    )


@shown
def factorial_table(data: Data) -> output.TableOutput:
    """What LayerNorm does, what cutting the leak does, and whether one depends on the other."""
    runs, alone = Driving.of(data), "LayerNorm, leaky arms"
    found = [(effect, "growth", each) for effect, each in driving_predictions.factorial_effects(data).items()]
    for measure, of in (("growth", feature_growth), ("inflation", inflation)):
        found.append((alone, measure, more(*(of(runs, arm) for arm in reversed(ORIGINAL)))))
    table = pd.DataFrame([{"effect": effect, "on": MEASURES[on], **each._asdict()} for effect, on, each in found])
    cells = table.assign(words=[tables.words(row, 2) for row in table.itertuples()])
    shown = cells.pivot(index="effect", columns="on", values="words").fillna("by construction")
    shown = shown.loc[table.effect.unique(), list(MEASURES.values())].rename_axis(columns=None).reset_index()
    caption = (
        "Effects in decades (logarithm to base 10) on the growth of the actor's features, last record over first, and "
        f"on the actor's Q over the critic's, {LATE}. Main effects are averaged over the other factor; the interaction "
        "is the effect of one with the other minus that without. In detached arms the two Qs are one and the same, so "
        "on their ratio only the effect in the leaky arms is a finding. Paired by seed, 95 % intervals, "
        f"n = {counted(table.n)} seeds."
    )
    return output.table("factorial", shown, caption=caption, data=table)


@shown
def arm_table(data: Data) -> output.TableOutput:
    """All arms by the measures of the plan; what an arm lacks is n/a."""
    runs = Driving.of(data)
    rows = [row for arm in runs.arms() for row in _measured(runs, arm)]
    table = pd.DataFrame(rows)
    wide = table.assign(words=[_measured_words(row) for row in table.itertuples()])
    wide = wide.pivot(index="arm", columns="what", values="words")
    wide = wide.loc[list(dict.fromkeys(table.arm)), list(COLUMNS)].reset_index().rename_axis(columns=None)
    caption = (
        "Every arm by the same measures. Growth: log10 of the actor's feature norm, last record over first. "
        "Exponent: of updates, all logged ones and their second half. Inflation: log10 of the actor's Q over the "
        f"critic's; saturated: share of actions beyond ±0.99; both over the {LATE}. 95 % intervals over "
        f"n = {counted(table.n)} seeds."
    )
    return output.table("arms", wide, caption=caption, data=table)


NORM_COLUMN = "actor_feature_norm_probe"
COLUMNS: dict[str, tuple[Callable[[Driving, str], np.ndarray], int]] = {
    "growth": (feature_growth, 1),
    "exponent": (lambda runs, arm: growth_law(runs.logged(arm, NORM_COLUMN)).exponent, 2),
    "second half": (late_exponent, 2),
    "inflation": (inflation, 1),
    "saturated": (lambda runs, arm: end(runs.logged(arm, "saturation").values), 2),
}


def _measured(runs: Driving, arm: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    for what, (measure, _) in COLUMNS.items():
        known = what == "inflation" and one_q(arm)
        try:
            found = Interval(0.0, 0.0, 0.0, runs.seeds(arm)) if known else interval(measure(runs, arm))
        except Missing:
            found = Interval(np.nan, np.nan, np.nan, runs.seeds(arm))
        rows.append({"arm": ARMS[arm].says, "what": what, **found._asdict(), "by_construction": known})
    return rows


def _measured_words(row: Any) -> str:
    return "0 by construction" if row.by_construction else tables.words(row, COLUMNS[row.what][1])


@shown
def run_list(data: Data) -> output.Text:
    """The runs behind the page: extent, time, machine, commit, and their tables to download where the book has them."""
    runs = Driving.of(data)
    rows = [_run_row(data, runs, arm) for arm in runs.arms()]
    return output.Text(output.markdown(pd.DataFrame(rows)))


def _run_row(data: Data, runs: Driving, arm: str) -> dict[str, str]:
    run, place = runs.run(arm), _place(data, runs)
    facts = run.provenance
    name = f"{{doc}}`{run.id} </runs/{run.id}>`" if run.id in data.paged.values() else f"`{run.id}`"
    files = [each for each in FILES if (run.dir / each).exists()] if place else []
    row = {
        "arm": ARMS[arm].says,
        "run": name,
        "seeds": str(runs.seeds(arm)),
        "minutes": f"{facts['seconds'] / 60:.0f}",
        "machine": pages.machine(facts),
        "commit": f"`{facts['commit'][:10]}`" + (" and changes" if facts["dirty"] else ""),
    }
    links = " · ".join(f"{{download}}`{each.split('.')[0]} </{place}/{run.id}/{each}>`" for each in files)
    return row | {"data": links or "not in this book"}


def _place(data: Data, runs: Driving) -> str:
    """Folder of the runs' tables below the book; "" where a report has them from a study beside it."""
    if runs.data.main.dir == data.main.dir:
        return f"data/{data.main.dir.name}"
    return f"data/{DRIVING}" if data.main.dir.parent == PUBLISHED else ""


FILES = ("config.json", "provenance.json", "records.parquet", "returns.parquet", "checks.parquet", "drives.parquet")


# -- the document's numbers ------------------------------------------------------------------------------------------
def evidence(found: Sequence[ledger.Entry], claims: Sequence[str], name: str) -> output.TableOutput | output.Text:
    """What the document prints in some claims, each beside ours and what is expected of it."""
    chosen = [entry for entry in found if entry.id in claims]
    data = ledger.evidence_rows(chosen)
    data = data[data.outcome != "right"].reset_index(drop=True)  # sums that are right stand with the claims below
    if data.empty:
        return output.Text(f"*This report lacks what is needed for {', '.join(claims)}; the claims below say which.*")
    shown = pd.DataFrame(
        {
            "claim": data.claim,
            "what": data.what,
            "D5 printed": ["" if np.isnan(value) else f"{value:.4g}".replace("-", "−") for value in data.printed],
            "here": [ledger.interval_words(*row) for row in data[["estimate", "low", "high"]].itertuples(index=False)],
            "expected": data.rule,
            "outcome": data.outcome,
        }
    )
    n = max(
        (each.found.n for entry in chosen for each in entry.verdict.evidence if not isinstance(each, Sum)), default=0
    )
    seeds = f"95 % intervals over n = {n} seeds" if n else "no run is behind a sum"
    caption = (
        f"What D5 prints beside the same quantity here, {seeds}. A number is expected where one new seed would lie in "
        "95 of 100 repetitions, an effect on one side of a threshold. Sums that are right are left to the claims below."
    )
    return output.table(name, shown, caption=caption, data=data)
