"""Evidence on the claims of D4: the 2×2 matrix of RNN and LayerNorm, what each component contributes to the gap.

Measured claims use D4's own definitions, as `lnlab.report.matrix` says; the gap is A3C over Individual in percent.
Explanations and advice are tested on all four cells, and where D4 argues from greedy returns, on the sampled policies
that were trained.
"""

import numpy as np
from scipy.stats import betabinom

from lnlab.analysis.claims import Direction, Evidence, Number, Sum
from lnlab.analysis.stats import Interval, clopper_pearson, contrast, paired_difference
from lnlab.report import cells, matrix
from lnlab.report.cells import MATRIX, NAME, arm
from lnlab.report.evidence import Claim, Data, Found, Missing
from lnlab.report.matrix import Values, arithmetic, printed

SAME = 5.0  # percent, or points of the gap: within these "equal" and "no contribution" hold; D4 prints 0.02 and 0
EACH = 1 / len(MATRIX)  # weight of a cell in a mean over the matrix


def configuration(cell: str) -> Claim:
    """The claim that prints mean, SD, CV and worst case of both algorithms in one cell of the matrix."""

    def judge(data: Data, values: Values) -> Found:
        found: list[Evidence] = []
        for who in NAME:
            middle, sd, cv, low = values[who]
            found += [
                matrix.level(data, who, cell, middle),
                matrix.spread(data, who, cell, sd),
                arithmetic(f"CV: {matrix.label(who, cell)}", "{} / {}", cv, matrix.quotient, sd, middle),
                matrix.relative_spread(data, who, cell, cv),
                matrix.lowest(data, who, cell, low),
            ]
        found += [
            matrix.gap_sum(cell, values["gap_pct"], values["a3c"][0], values["ind"][0]),
            matrix.gap_percent(data, cell, values["gap_pct"]),
            *_ratio(values),
        ]
        return found, ""

    return judge


def _ratio(values: Values) -> list[Sum]:
    if not np.isfinite(values["ratio"]):
        return []
    worst = values["a3c"][3], values["ind"][3]
    return [arithmetic("robustness ratio", "{} / {}", values["ratio"], matrix.quotient, *worst)]


def neither_is_baseline(data: Data, values: Values) -> Found:
    """Refuted if taking away both components changes a mean or the gap by more than `SAME`."""
    found: list[Evidence] = []
    for who, name in NAME.items():
        what = f"mean of Neither against RNN+LN, % change: {name}"
        theirs = matrix.percent_over(printed("D4.4")[who][0], printed("D4.1")[who][0])
        found.append(Direction(what, matrix.mean_change(data, who, "neither", "both"), "within", SAME, printed=theirs))
    gap = matrix.gap_contrast(data, {"both": 1, "neither": -1})
    found.append(Direction("gap of RNN+LN minus gap of Neither, points", gap, "within", SAME))
    return found, f"“Equal” is taken as within {SAME:g} %; runs of different networks cannot agree to 0.02."


def collapse(data: Data, values: Values) -> Found:
    """A3C's sampled policies: whether one action makes up all but 1 % of what they do."""
    flags = matrix.constant(data, "a3c", "neither", "sampled")[:, 0]
    k, n = int(flags.sum()), len(flags)
    theirs, what = (
        values["collapsed"] / values["of"],
        "share of seeds whose A3C policy, feedforward without norm, is constant",
    )
    low, high = betabinom.ppf([0.025, 0.975], values["of"], k + 0.5, n - k + 0.5) / values["of"]
    found = clopper_pearson(k, n)
    return [
        Number(what, theirs, found, float(low), float(high), values["of"]),
        Direction(f"{what}: the greater part", found, "above", 0.5, printed=theirs),
    ], "Sampled policies, since D4 speaks of probabilities; interval of Clopper and Pearson."


def ln_effect(data: Data, values: Values) -> Found:
    return _component(data, values, "both", "rnn", "with LayerNorm, keeping the RNN"), _BASE


def rnn_effect(data: Data, values: Values) -> Found:
    return _component(data, values, "both", "ln", "with the RNN, keeping LayerNorm"), _BASE


_BASE = (
    "Where a printed percentage does not follow, D4 took the change on removing the component and turned its sign, or "
    "kept it; a fall of a third is not undone by a rise of a third."
)


def _component(data: Data, values: Values, new: str, old: str, how: str) -> list[Evidence]:
    """Printed changes of mean and CV on adding a component: arithmetic, number and direction of each."""
    theirs = {"both": printed("D4.1"), "rnn": printed("D4.2"), "ln": printed("D4.3")}
    found: list[Evidence] = []
    for place, (who, name) in enumerate(NAME.items()):
        for index, quantity, key in ((0, "mean", "mean_pct"), (2, "CV", "cv_pct")):
            value, what = values[key][place], f"change of the {quantity} {how}, %: {name}"
            operands = theirs[new][who][index], theirs[old][who][index]
            number = matrix.mean_change_number if quantity == "mean" else matrix.cv_change_number
            change = matrix.mean_change if quantity == "mean" else matrix.cv_change
            found += [
                arithmetic(what, "100 ({} / {} − 1)", value, matrix.percent_over, *operands),
                number(data, who, new, old, value),
                Direction(what, change(data, who, new, old), "above" if value > 0 else "below", printed=value),
            ]
    return found


def first_reading(data: Data, values: Values) -> Found:
    found: list[Evidence] = []
    whole = printed("D4.1")["gap_pct"]
    for name, key, cell, claim in (("RNN", "rnn_points", "ln", "D4.3"), ("LayerNorm", "ln_points", "rnn", "D4.2")):
        what = f"gap of RNN+LN minus gap without the {name}, points"
        found.append(arithmetic(what, "{} − {}", values[key], matrix.difference, whole, printed(claim)["gap_pct"]))
        found += matrix.gap_points(data, what, values[key], "both", cell)
    more = matrix.gap_contrast(data, {"rnn": 1, "ln": -1})
    return [*found, Direction("contribution of the RNN minus that of LayerNorm, points", more, "above")], ""


def final_reading(data: Data, values: Values) -> Found:
    """Refuted if a component or the number of workers moves the gap, or if there is no gap on average."""
    points = values["algorithm_points"]
    rnn = matrix.gap_contrast(data, {"both": 0.5, "rnn": 0.5, "ln": -0.5, "neither": -0.5})
    ln = matrix.gap_contrast(data, {"both": 0.5, "ln": 0.5, "rnn": -0.5, "neither": -0.5})
    whole = matrix.gap_contrast(data, dict.fromkeys(MATRIX, EACH))
    found: list[Evidence] = [
        Direction("effect of the RNN on the gap, points", rnn, "within", SAME, printed=0.0),
        Direction("effect of LayerNorm on the gap, points", ln, "within", SAME, printed=0.0),
        Direction("gap, mean of the four configurations, %", whole, "above", printed=points),
        matrix.gap_percent(data, "neither", points),
    ]
    note = f"“No contribution” is taken as within {SAME:g} points of the gap."
    try:
        found.append(
            Direction("gap with 5 workers minus gap with 3, points", _workers(data), "within", SAME, printed=0.0)
        )
    except Missing:
        note += " The number of workers is asked where runs with 3 are there."
    return found, note


def worker_diversity(data: Data, values: Values) -> Found:
    points, what = values["points"], "gap with 5 workers minus gap with 3, points"
    ours = _workers(data)
    return [Direction(what, ours, "above", printed=points)], (
        "RNN+LN, greedy, on the 18 scenarios; as many seeds as the runs with 3 workers have."
    )


def _workers(data: Data) -> Interval:
    """Gap in percent with 5 workers minus with 3, of GRU with LayerNorm, greedy."""
    few = data.of("workers")
    pairs = [data.test(arm(who, "both")) for who in NAME] + [few.test(f"{arm(who, 'both')}-w3") for who in NAME]
    summaries = [cells.summary(values[:, None]) for values in pairs]
    return cells.found(lambda a, b, c, d: cells.gap(a, b) - cells.gap(c, d), *summaries)


def prediction(data: Data, values: Values) -> Found:
    """The fourth cell as predicted, beside the true one; D4 never tested it."""
    low, high = values["gap_pct"]
    middle = (low + high) / 2
    gap = arithmetic("predicted gap, %", "100 ({} / {} − 1)", middle, matrix.percent_over, values["a3c"], values["ind"])
    return [
        Sum(gap.what, gap.formula, gap.computed, middle, (high - low) / 2 + gap.rounding),
        *(matrix.level(data, who, "neither", values[who]) for who in NAME),
        matrix.gap_percent(data, "neither", middle),
        Direction("gap of Neither, %", matrix.gap_contrast(data, {"neither": 1.0}), "above", printed=middle),
    ], f"The middle of the predicted {low:g} to {high:g} % stands for the range."


def components_interact(data: Data, values: Values) -> Found:
    found: list[Evidence] = []
    for cell, claim in (("rnn", "D4.2"), ("ln", "D4.3")):
        what = f"gap of RNN+LN minus gap of {MATRIX[cell].name}, points"
        theirs = printed("D4.1")["gap_pct"] - printed(claim)["gap_pct"]
        found.append(Direction(what, matrix.gap_contrast(data, {"both": 1, cell: -1}), "above", printed=theirs))
    both = matrix.gap_contrast(data, {"both": 1, "rnn": -1, "ln": -1, "neither": 1})
    found.append(Direction("interaction of RNN and LayerNorm in the gap, points", both, "above"))
    return found, (
        "That one gap exceeds two others shows no interaction: it may be the sum of both effects. The contrast of all "
        "four cells tells."
    )


def rnn_and_ln_roles(data: Data, values: Values) -> Found:
    """Refuted if the RNN does not widen the spread, hurts Individual no more than A3C, or LayerNorm saves none."""
    cvs = printed("D4.8")["cv_pct"]
    found: list[Evidence] = [
        arithmetic("ratio of the printed changes of the CV", "{1} / {0}", values["ratio"], lambda a, b: b / a, *cvs)
    ]
    for who, name in NAME.items():
        wider = matrix.cv_change(data, who, "both", "ln")
        found.append(Direction(f"change of the CV with the RNN (with LayerNorm), %: {name}", wider, "above"))
    keys = [(who, cell) for who in NAME for cell in ("both", "ln")]
    means = cells.paired(*(cells.seed_means(data, *key) for key in keys))
    scores = {"-".join(key): values for key, values in zip(keys, means, strict=True)}
    harm = contrast(scores, {"ind-both": 1, "ind-ln": -1, "a3c-both": -1, "a3c-ln": 1})
    return [
        *found,
        Direction("effect of the RNN on Individual (with LayerNorm), sampled return",
                  matrix.mean_difference(data, "ind", "both", "ln"), "below"),
        Direction("the same minus its effect on A3C", harm, "below"),
        matrix.fewer_constant(data, "ind", "both", "rnn"),
    ], ""  # fmt: skip


def origin_of_the_gap(data: Data, values: Values) -> Found:
    """Sharing must pay at equal data per model, and the shared model must vary less between seeds."""
    a3c, ind = cells.paired(*(data.test(arm(who, "both"), mode="sampled") for who in NAME))
    fifth, same = cells.paired(data.of("equal-data").test(arm("a3c", "both"), mode="sampled"), ind)
    spread = cells.percent(cells.std, *(cells.summary(values[:, None]) for values in (a3c, ind)))
    what = "sampled test return, RNN+LN: A3C minus Individual"
    return [
        Direction(what, paired_difference(a3c, ind), "above"),
        Direction(f"{what}, with as many steps a model", paired_difference(fifth, same), "above"),
        Direction("SD between seeds, A3C against Individual, %", spread, "below"),
    ], (
        "A gap that goes when each model sees as many steps comes from data, not from sharing. Asynchrony as such "
        "would need arms with synchronous updates."
    )


def advice(data: Data, values: Values) -> Found:
    """Good advice if RNN+LN has the better worst seeds, feedforward+LN the higher mean, Neither the lowest of all."""
    found: list[Evidence] = []
    for who, name in NAME.items():
        lowest = contrast(matrix.four_means(data, who), {"neither": 1, "both": -1 / 3, "rnn": -1 / 3, "ln": -1 / 3})
        found += [
            Direction(f"worst tenth of the seeds, RNN+LN minus LN only, sampled: {name}",
                      matrix.worst_decile_difference(data, who, "both", "ln"), "above"),
            Direction(f"mean, LN only minus RNN+LN, sampled: {name}",
                      matrix.mean_difference(data, who, "ln", "both"), "above"),
            Direction(f"mean, Neither minus the other three, sampled: {name}", lowest, "below"),
        ]  # fmt: skip
    return found, ""


CLAIMS: dict[str, Claim] = {
    "D4.1": configuration("both"),
    "D4.2": configuration("rnn"),
    "D4.3": configuration("ln"),
    "D4.4": configuration("neither"),
    "D4.5": neither_is_baseline,
    "D4.6": collapse,
    "D4.7": ln_effect,
    "D4.8": rnn_effect,
    "D4.9": first_reading,
    "D4.10": final_reading,
    "D4.11": worker_diversity,
    "D4.12": prediction,
    "D4.13": components_interact,
    "D4.14": rnn_and_ln_roles,
    "D4.15": origin_of_the_gap,
    "D4.16": advice,
}
