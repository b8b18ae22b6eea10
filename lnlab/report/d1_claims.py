"""The claims of D1 as evidence: what D1 prints beside the same number over all seeds, and what would refute the rest.

D1 is about the recurrent arms, trained once each by A3C and by Individual learners, tested greedily with a cloud
budget. Its levels are measured again by its own definitions. A change in percent becomes a direction, and a number: for
training the change of single pairs of seeds, for tests the change in points, since a greedy policy may earn nothing to
be divided by. Explanations and advice are in `lnlab.report.d1_why`. A claim's text and printed values come from
book/claims.yml.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Side, Sum, number
from lnlab.analysis.stats import Interval
from lnlab.report import d1_why, effects, tables
from lnlab.report.cells import paired
from lnlab.report.evidence import Array, Claim, Data, Found, Missing, printed

Values = dict[str, Any]
WHO = {"a3c": "A3C", "ind": "Individual"}
RUN = {"a3c": "a3c-gru", "ind": "individual-gru"}
NORM = {"ln": "LayerNorm", "none": "no norm"}
EPISODES = 5000  # of which D1 counts explosions; its runs had 2000
GROUPS = ("seen", "intra", "extra")


def run_id(arm: str) -> str:
    """The run of one of D1's arms.

    >>> run_id("ind_none")
    'individual-gru-none'
    """
    who, norm = arm.split("_")
    return f"{RUN[who]}-{norm}"


def label(arm: str) -> str:
    """Name of one of D1's arms for readers, from `a3c_ln`."""
    who, norm = arm.split("_")
    return f"{WHO[who]}, {NORM[norm]}"


def reduction(change: Interval) -> Interval:
    """A fall in percent from a change in percent."""
    return Interval(-change.estimate, -change.high, -change.low, change.n)


def _levels(what: str, measure: Callable[[Data, str], Array], value: Callable[[float], float] = float) -> Claim:
    """Printed values keyed by arm, each beside `measure` of that arm."""

    def judge(data: Data, values: Values) -> Found:
        return [number(f"{what}: {label(k)}", value(v), measure(data, run_id(k))) for k, v in values.items()], ""

    return judge


def _metric(name: str, scale: float = 1.0) -> Callable[[Data, str], Array]:
    return lambda data, arm: scale * data.metric(arm, name)


def _tests(group: str) -> Callable[[Data, str], Array]:
    return lambda data, arm: data.test(arm, (group,))


def _pair(data: Data, who: str, measure: Callable[[Data, str], Array]) -> tuple[Array, Array]:
    """A measure of one algorithm with LayerNorm and without, paired by seed."""
    ln, none = paired(measure(data, f"{RUN[who]}-ln"), measure(data, f"{RUN[who]}-none"))
    return ln, none


def _fall(new: Array, old: Array) -> Array:
    """Reduction in percent of each pair of seeds. Raises Missing where there was nothing to reduce."""
    if not (old > 0).all():
        raise Missing("needs a reduction in percent for every seed; some have nothing to reduce")
    return np.asarray(100 * (1 - new / old))


def _changed(what: str, found: Interval, side: Side, size: float) -> Direction:
    return Direction(what, found, side, printed=size)


def _value_loss(data: Data, values: Values) -> Found:
    """D1.4: lower for both, and by more for Individual."""
    pairs = {who: _pair(data, who, _metric("value_loss_mean")) for who in WHO}
    what = "reduction of the mean value loss, %"
    found: list[Evidence] = []
    for who, (ln, none) in pairs.items():
        size = values[f"{who}_reduction_pct"]
        found += [
            _changed(f"{what}: {WHO[who]}", reduction(effects.percent_change(ln, none)), "above", size),
            number(f"{what}, of one run: {WHO[who]}", size, _fall(ln, none)),
        ]
    more = d1_why.double_ratio(*pairs["ind"], *pairs["a3c"])
    return [*found, Direction("what LayerNorm leaves of it, Individual against A3C, %", more, "below")], ""


def _explosions_cut(data: Data, values: Values) -> Found:
    """D1.5: the printed reductions from the printed counts, and the reductions of ours."""
    counts = printed("D1.3")
    found: list[Evidence] = []
    for who in WHO:
        ln, none, size = counts[f"{who}_ln"], counts[f"{who}_none"], values[f"{who}_reduction_pct"]
        what = f"reduction of episodes above 100, %: {WHO[who]}"
        found.append(Sum(f"{what}, from D1's counts", f"100 × (1 − {ln} / {none})", 100 * (1 - ln / none), size, 0.05))
        shares = _pair(data, who, _metric("explosion_episodes"))
        found.append(_changed(what, reduction(effects.percent_change(*shares)), "above", size))
        found.append(number(f"{what}, of one run", size, _fall(*shares)))
    return found, ""


def _explosion_share(data: Data, values: Values) -> Found:
    """D1.6: two shares for one number, in the text and, by its own count, in the table."""
    ours = 100 * data.metric("individual-gru-none", "explosion_episodes")
    count = printed("D1.3")["ind_none"]
    what = "episodes above 100, %: Individual, no norm"
    share = 100 * count / EPISODES
    return [
        Sum(f"{what}, from D1's count", f"100 × {count} / {EPISODES}", share, values["ind_none_pct"], 0.05),
        number(f"{what} (text)", values["ind_none_pct"], ours),
        number(f"{what} (table)", values["table_pct"], ours),
    ], ""


def _training_return(data: Data, values: Values) -> Found:
    """D1.11: higher for both, and by more for A3C."""
    pairs = {who: _pair(data, who, _metric("return_mean")) for who in WHO}
    what = "change of the training return, %"
    found: list[Evidence] = []
    for who, (ln, none) in pairs.items():
        size = values[f"{who}_pct"]
        found += [
            _changed(f"{what}: {WHO[who]}", effects.percent_change(ln, none), "above", size),
            number(f"{what}, of one run: {WHO[who]}", size, 100 * (ln / none - 1)),
        ]
    more = d1_why.double_ratio(*pairs["a3c"], *pairs["ind"])
    return [*found, Direction("gain of A3C over that of Individual, %", more, "above")], ""


def _overall(data: Data, arm: str) -> Array:
    """D1's overall return: the mean of the three types' means, not of the 18 scenarios."""
    return np.mean([data.test(arm, (group,)) for group in GROUPS], axis=0)


def _generalisation(data: Data, values: Values) -> Found:
    """D1.13: A3C gains, Individual loses; D1's change in percent is over the 18 scenarios."""
    levels = printed("D1.12")
    sides: dict[str, Side] = {"a3c": "above", "ind": "below"}
    found: list[Evidence] = []
    for who, side in sides.items():
        ln, none = _pair(data, who, Data.test)
        what = f"overall change with LayerNorm, %: {WHO[who]}"
        found.append(_changed(what, effects.percent_change(ln, none), side, values[f"{who}_pct"]))
        points = levels[f"{who}_ln"] - levels[f"{who}_none"]
        ln, none = _pair(data, who, _overall)
        found.append(number(f"the same in points, of one run: {WHO[who]}", round(points, 2), ln - none))
    return found, _sampled(data)


def _sampled(data: Data) -> str:
    """The overall change of the policies as they were trained."""
    parts = []
    for who in WHO:
        change = effects.percent_change(*_pair(data, who, lambda each, arm: each.test(arm, mode="sampled")))
        parts.append(f"{WHO[who]} {tables.words(change)} %")
    return f"Sampled, as trained, instead of greedily: {', '.join(parts)}."


def _by_group(who: str) -> Claim:
    """Values keyed seen_ln, seen_none, …: test returns of A3C or Individual by environment type."""

    def judge(data: Data, values: Values) -> Found:
        found = []
        for key, value in values.items():
            group, norm = key.split("_")
            what = f"{tables.TYPE_LABEL[group]}: {WHO[who]}, {NORM[norm]}"
            found.append(number(what, value, data.test(f"{RUN[who]}-{norm}", (group,))))
        return found, ""

    return judge


def _harm_by_group(data: Data, values: Values) -> Found:
    """D1.16: Individual loses on Extra, and more than on Seen and on Intra."""
    levels = printed("D1.15")
    found: list[Evidence] = []
    pairs = {group: _pair(data, "ind", _tests(group)) for group in GROUPS}
    change = effects.percent_change(*pairs["extra"])
    found.append(_changed("change with LayerNorm, %: Individual, Extra", change, "below", values["extra_pct"]))
    for group in ("seen", "intra"):
        what = f"what it leaves on Extra, against {tables.TYPE_LABEL[group]}, %"
        found.append(Direction(what, d1_why.double_ratio(*pairs["extra"], *pairs[group]), "below"))
    for group, (ln, none) in pairs.items():
        points = round(levels[f"{group}_ln"] - levels[f"{group}_none"], 2)
        found.append(number(f"change in points, of one run: {tables.TYPE_LABEL[group]}", points, ln - none))
    return found, ""


def worker_gaps(data: Data, norm: str) -> Array:
    """(n_seeds, n_workers) Extra minus Seen of each Individual worker, greedy."""
    seen, extra = (
        data.scenario_scores(run_id(f"ind_{norm}"), (group,), per_worker=True).mean(axis=1)
        for group in ("seen", "extra")
    )
    return extra - seen


def _worker_gaps(data: Data, values: dict[str, list[float]]) -> Found:
    """D1.17: values keyed by worker, with LayerNorm and without."""
    gaps = {norm: worker_gaps(data, norm) for norm in NORM}
    return [
        number(f"Extra minus Seen: {worker.upper()}, {NORM[norm]}", value, gaps[norm][:, int(worker[1:])])
        for worker, pair in values.items()
        for norm, value in zip(NORM, pair, strict=True)
    ], ""


def _generalising_workers(data: Data, values: Values) -> Found:
    """D1.18: workers whose return on Extra is not below that on Seen; D1 counts two and names three."""
    named, what = values["named"], "workers of 5 with Extra not below Seen"
    count = Sum("workers said to generalise without LayerNorm", ", ".join(named), len(named), values["none"], 0)
    found = [number(f"{what}: {NORM[norm]}", values[norm], (worker_gaps(data, norm) >= 0).sum(axis=1)) for norm in NORM]
    return [count, *found], ""


def _spread(data: Data, arm: str) -> Array:
    """(n_seeds,) D1.21: sample SD over the scenarios of all learners, 18 (A3C) or 90 (Individual)."""
    scores = data.scenario_scores(arm, per_worker=True)
    return scores.reshape(len(scores), -1).std(axis=1, ddof=1)


def _percent(count: float) -> float:
    """D1's count of exploded episodes as a share."""
    return 100 * count / EPISODES


CLAIMS: dict[str, Claim] = {
    "D1.1": _levels("mean value loss", _metric("value_loss_mean")),
    "D1.2": _levels("maximum value loss", _metric("value_loss_max")),
    "D1.3": _levels("episodes above 100, %", _metric("explosion_episodes", 100), _percent),
    "D1.4": _value_loss,
    "D1.5": _explosions_cut,
    "D1.6": _explosion_share,
    "D1.10": _levels("training return", _metric("return_mean")),
    "D1.11": _training_return,
    "D1.12": _levels("overall test return", _overall),
    "D1.13": _generalisation,
    "D1.14": _by_group("a3c"),
    "D1.15": _by_group("ind"),
    "D1.16": _harm_by_group,
    "D1.17": _worker_gaps,
    "D1.18": _generalising_workers,
    "D1.21": _levels("SD of the return across scenarios", _spread),
    **d1_why.CLAIMS,
}
