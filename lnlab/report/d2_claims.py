"""Evidence on the claims of D2: LayerNorm's small effect on the mean, its larger one on the spread and the worst case.

Measured claims use D2's own definitions, as `lnlab.report.matrix` says. Explanations and advice are tested on the
policies that were trained (sampled), on the spread between seeds, and inside the networks.
"""

import numpy as np

from lnlab.analysis.claims import Direction, Evidence
from lnlab.analysis.stats import Interval, contrast, paired_difference, std
from lnlab.report import cells, matrix
from lnlab.report.cells import MATRIX, NAME, arm
from lnlab.report.evidence import Claim, Data, Found, Missing, Untestable
from lnlab.report.matrix import Values, arithmetic, printed
from lnlab.report.pieces import through_training

CELLS_OF = {"ln": "both", "none": "rnn"}  # D2 compares RNN+LN with RNN only
TARGET = "episode_above_70"  # clear of a random policy's 55 in training; the middle one of D3's targets
HARDLY = 10.0  # percent; D2 prints −4.5 for "hardly"


def _configuration(data: Data, cell: str, values: Values) -> list[Evidence]:
    found: list[Evidence] = []
    for who in NAME:
        found += [
            matrix.level(data, who, cell, values[who][0]),
            matrix.spread(data, who, cell, values[who][1]),
        ]
    means = [values[who][0] for who in NAME]
    found.append(arithmetic("gap", "{} − {}", values["gap"], matrix.difference, *means))
    found.append(matrix.gap_sum(cell, values["gap_pct"], *means))
    return [*found, matrix.gap_percent(data, cell, values["gap_pct"])]


def with_ln(data: Data, values: Values) -> Found:
    return _configuration(data, "both", values), ""


def without_ln(data: Data, values: Values) -> Found:
    return _configuration(data, "rnn", values), ""


def means_rise(data: Data, values: Values) -> Found:
    ln, none = printed("D2.1"), printed("D2.2")
    found: list[Evidence] = []
    for who, name in NAME.items():
        value, what = values[f"{who}_pct"], f"change of the mean without LayerNorm, %: {name}"
        found.append(arithmetic(what, "100 ({} / {} − 1)", value, matrix.percent_over, none[who][0], ln[who][0]))
        found.append(matrix.mean_change_number(data, who, "rnn", "both", value))
        found.append(Direction(what, matrix.mean_change(data, who, "rnn", "both"), "above", printed=value))
    return found, ""


def share_of_gap(data: Data, values: Values) -> Found:
    points, what = values["gap_points"], "gap with LayerNorm minus gap without, points"
    ln, none = printed("D2.1")["gap_pct"], printed("D2.2")["gap_pct"]
    share = "LayerNorm's share of the gap, %"
    sums = [
        arithmetic(what, "{} − {}", points, matrix.difference, ln, none),
        arithmetic(share, "100 · {} / {}", values["share_pct"], lambda a, b: 100 * a / b, points, ln),
    ]
    return [*sums, *matrix.gap_points(data, what, points, "both", "rnn")], ""


def cvs(data: Data, values: Values) -> Found:
    found: list[Evidence] = []
    for norm, cell in CELLS_OF.items():
        of = printed("D2.1" if norm == "ln" else "D2.2")
        for who in NAME:
            value, (middle, sd) = values[f"{who}_{norm}"], of[who]
            found.append(arithmetic(f"CV: {matrix.label(who, cell)}", "{} / {}", value, matrix.quotient, sd, middle))
            found.append(matrix.relative_spread(data, who, cell, value))
    return found, ""


def cv_rises(data: Data, values: Values) -> Found:
    of = printed("D2.5")
    found: list[Evidence] = []
    for who, name in NAME.items():
        value, what = values[f"{who}_pct"], f"change of the CV without LayerNorm, %: {name}"
        operands = of[f"{who}_none"], of[f"{who}_ln"]
        found.append(arithmetic(what, "100 ({} / {} − 1)", value, matrix.percent_over, *operands))
        found.append(matrix.cv_change_number(data, who, "rnn", "both", value))
        found.append(Direction(what, matrix.cv_change(data, who, "rnn", "both"), "above", printed=value))
    weights = {("a3c", "rnn"): 1.0, ("a3c", "both"): -1.0, ("ind", "rnn"): -1.0, ("ind", "both"): 1.0}
    more = Direction("rise of log CV without LayerNorm, A3C minus Individual", matrix.log_cv(data, weights), "above")
    return [*found, more], ""


def a3c_steadier(data: Data, values: Values) -> Found:
    of = printed("D2.5")
    found: list[Evidence] = []
    for norm, cell in CELLS_OF.items():
        value = values[f"{norm}_pct"]
        what = f"A3C's CV below Individual's, %: {MATRIX[cell].name}"
        for each in value if isinstance(value, list) else [value]:
            operands = of[f"a3c_{norm}"], of[f"ind_{norm}"]
            found.append(arithmetic(what, "100 (1 − {} / {})", each, lambda a, b: 100 * (1 - a / b), *operands))
        lower = matrix.log_cv(data, {("ind", cell): 1.0, ("a3c", cell): -1.0})
        found.append(Direction(f"log CV, Individual minus A3C: {MATRIX[cell].name}", lower, "above"))
    return found, "D2 prints both 32 and 34; its own CVs give the first."


def rnn_or_ln(data: Data, values: Values) -> Found:
    of, without_rnn = printed("D2.5"), printed("D4.3")
    found: list[Evidence] = []
    for component, cell in (("rnn", "ln"), ("ln", "rnn")):
        for value, (who, name) in zip(values[component], NAME.items(), strict=True):
            removed = {"rnn": "RNN", "ln": "LayerNorm"}[component]
            what = f"change of the CV without the {removed}, %: {name}"
            new = without_rnn[who][2] if component == "rnn" else of[f"{who}_none"]
            operands = new, of[f"{who}_ln"]
            found.append(arithmetic(what, "100 ({} / {} − 1)", value, matrix.percent_over, *operands))
            found.append(matrix.cv_change_number(data, who, cell, "both", value))
            change = matrix.cv_change(data, who, cell, "both")
            found.append(Direction(what, change, "above" if value > 0 else "below", printed=value))
    return found, ""


def worst_cases(data: Data, values: Values) -> Found:
    found: list[Evidence] = []
    for norm, cell in CELLS_OF.items():
        found += [matrix.lowest(data, who, cell, values[f"{who}_{norm}"]) for who in NAME]
        if np.isfinite(ratio := values[f"ratio_{norm}"]):
            operands = values[f"a3c_{norm}"], values[f"ind_{norm}"]
            found.append(arithmetic("robustness ratio", "{} / {}", ratio, matrix.quotient, *operands))
    return found, (
        "The minimum of 225 cells of Individual is set beside that of 45 of A3C, and a ratio over a minimum of zero is "
        "infinite whatever the other number."
    )


def keeps_from_collapse(data: Data, values: Values) -> Found:
    of, value = printed("D2.9"), values["a3c_pct"]
    fall = arithmetic(
        "A3C's worst case, %", "100 ({} / {} − 1)", value, matrix.percent_over, of["a3c_none"], of["a3c_ln"]
    )
    saved = matrix.worst_difference(data, "ind", "both", "rnn")
    same = matrix.worst_change(data, "a3c", "rnn", "both")
    return [
        fall,
        Direction("Individual learner's worst velocity: with LayerNorm minus without", saved, "above"),
        matrix.fewer_constant(data, "ind", "both", "rnn"),
        Direction("A3C's worst velocity without LayerNorm, % change", same, "within", HARDLY, printed=value),
    ], f"“Hardly” is taken as less than {HARDLY:g} %."


def gradient_diversity(data: Data, values: Values) -> Found:
    """Refuted if workers' gradients are no more diverse than one worker's own, or A3C gains no more than Individual."""
    run = arm("a3c", "rnn")
    alike, between = (through_training(data, f"grad_cosine_{of}")(run) for of in ("episodes", "workers"))
    what = "gradient cosine through training without LayerNorm: one worker's two episodes minus two workers"
    found: list[Evidence] = [
        Direction(what, paired_difference(alike, between), "above"),
        Direction("gain by LayerNorm, sampled test return: A3C minus Individual", _gain_difference(data), "above"),
    ]
    try:
        found.append(Direction("gain by LayerNorm of A3C: 10 workers minus 3", _more_workers(data), "above"))
    except Missing:
        return found, "Whether the gain grows with the number of workers is asked where these runs are there."
    return found, ""


def _gain_difference(data: Data) -> Interval:
    keys = [(who, cell) for who in NAME for cell in ("both", "rnn")]
    means = cells.paired(*(cells.seed_means(data, *key) for key in keys))
    scores = {"-".join(key): values for key, values in zip(keys, means, strict=True)}
    return contrast(scores, {"a3c-both": 1, "a3c-rnn": -1, "ind-both": -1, "ind-rnn": 1})


def _more_workers(data: Data) -> Interval:
    others = data.of("workers")
    scores = {f"{n}-{w}": others.test(f"a3c-gru-{n}-w{w}", mode="sampled") for n in ("ln", "none") for w in (3, 10)}
    return contrast(scores, {"ln-10": 1, "none-10": -1, "ln-3": -1, "none-3": 1})


def roles(data: Data, values: Values) -> Found:
    """Refuted if the RNN does not lower Individual's return, LN does not help or steady A3C, or no synergy shows."""
    none, ln = cells.paired(*(data.metric(arm("a3c", cell), "explosion_episodes_all") for cell in ("rnn", "both")))
    return [
        Direction("effect of the RNN on Individual (with LayerNorm), sampled return",
                  matrix.mean_difference(data, "ind", "both", "ln"), "below"),
        Direction("effect of LayerNorm on A3C (with the RNN), sampled return",
                  matrix.mean_difference(data, "a3c", "both", "rnn"), "above"),
        Direction("share of A3C's episodes with a mean value loss above 100: without LayerNorm minus with",
                  paired_difference(none, ln), "above"),
        Direction("synergy in A3C's sampled return: effect of LayerNorm with the RNN minus without",
                  matrix.interaction(data, "a3c"), "above"),
    ], ""  # fmt: skip


def synergy(data: Data, values: Values) -> Found:
    """The printed order of three CVs, and whether effects add up, which needs the fourth cell."""
    theirs = {cell: printed(claim)["a3c"][2] for claim, cell in (("D4.1", "both"), ("D4.2", "rnn"), ("D4.3", "ln"))}
    found: list[Evidence] = [matrix.relative_spread(data, "a3c", cell, value) for cell, value in theirs.items()]
    for low, high in (("both", "rnn"), ("rnn", "ln")):
        what = f"log CV of A3C: {MATRIX[high].name} minus {MATRIX[low].name}"
        found.append(Direction(what, matrix.log_cv(data, {("a3c", high): 1.0, ("a3c", low): -1.0}), "above"))
    margin = min(theirs["rnn"], theirs["ln"]) - theirs["both"]  # the smaller of the two effects
    four = (matrix.common(data, "a3c", cell) for cell in ("both", "rnn", "ln", "neither"))
    interaction = cells.found(lambda a, b, c, d: cells.cv(a) - cells.cv(b) - cells.cv(c) + cells.cv(d), *four)
    found.append(Direction("interaction in the CV of A3C, all four cells", interaction, "within", margin))
    return found, (
        "Effects on the CV are additive if LayerNorm lowers it by as much with the RNN as without. With the fourth "
        f"cell that can be tested; the margin, {margin:.3g}, is the smaller of the two effects that D2 prints."
    )


def converges_faster(data: Data, values: Values) -> Found:
    """Asked by D2 and not measured; read as: LayerNorm reaches a target sooner, and the seeds' curves lie closer."""
    found: list[Evidence] = []
    for who, name in NAME.items():
        ln, none = cells.paired(*(times_to_target(data, arm(who, cell)) for cell in ("both", "rnn")))
        sooner = f"episodes to a return of 70 (at most the length of a run), {name}: without LayerNorm minus with"
        found.append(Direction(sooner, paired_difference(none, ln), "above"))
        a, b = cells.paired(*(data.metric(arm(who, cell), "return_mean") for cell in ("both", "rnn")))
        closer = f"SD between seeds of the curves' mean, {name}: with LayerNorm minus without"
        found.append(Direction(closer, paired_difference(a, b, std), "below"))
    return found, "D2 asks and does not answer: the verdict is on the answer yes."


def times_to_target(data: Data, run: str) -> np.ndarray:
    """(n_seeds,) first episode with the mean of the last 100 above 70; a run without one counts as its length."""
    length = data.run(run).config.episodes
    return np.minimum(data.metric(run, TARGET, empty=length), length)


def batch_norm(data: Data, values: Values) -> Found:
    return Untestable(
        "needs arms with batch normalisation, which this study has not; as to its reason, an update sees the 20 steps "
        "of a rollout, not a single sample"
    )


def advice(data: Data, values: Values) -> Found:
    """Good advice if the spread falls, fewer policies collapse, and the mean falls by no more than D2 says."""
    cost = printed("D2.3")["a3c_pct"]
    found: list[Evidence] = []
    for who, name in NAME.items():
        found.append(
            Direction(f"SD between seeds with LayerNorm, sampled, % change: {name}",
                      matrix.seed_spread_change(data, who, "both", "rnn"), "below")
        )  # fmt: skip
        found.append(matrix.fewer_constant(data, who, "both", "rnn"))
        found.append(
            Direction(f"mean with LayerNorm, sampled, % change: {name}",
                      matrix.mean_change(data, who, "both", "rnn", "sampled"), "above", -cost)
        )  # fmt: skip
    return found, f"Judged on sampled policies; the cost allowed is the {cost:g} % that D2 names."


CLAIMS: dict[str, Claim] = {
    "D2.1": with_ln,
    "D2.2": without_ln,
    "D2.3": means_rise,
    "D2.4": share_of_gap,
    "D2.5": cvs,
    "D2.6": cv_rises,
    "D2.7": a3c_steadier,
    "D2.8": rnn_or_ln,
    "D2.9": worst_cases,
    "D2.10": keeps_from_collapse,
    "D2.11": gradient_diversity,
    "D2.12": roles,
    "D2.13": synergy,
    "D2.14": converges_faster,
    "D2.15": batch_norm,
    "D2.16": advice,
}
