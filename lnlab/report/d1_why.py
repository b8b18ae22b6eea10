"""D1's explanations and advice as predictions that the data can oppose, written down from their words.

An explanation of D1 holds here if everything that follows from it does. Advice is good if what it promises holds. The
arms are D1's recurrent ones unless it says *always*. Margins: 10 percent of a value loss, 5
points of a share in percent.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lnlab.analysis.claims import Direction, Evidence
from lnlab.analysis.intervals import Statistic
from lnlab.analysis.stats import Interval, contrast, interval, paired_difference, std
from lnlab.report import tables
from lnlab.report.cells import paired
from lnlab.report.effects import percent_change
from lnlab.report.evidence import Array, Claim, Data, Found, Missing
from lnlab.report.pieces import EARLY, through_training

Values = dict[str, Any]
WHO = {"a3c": "A3C", "individual": "Individual"}
CORES = {"gru": "GRU", "ff": "feedforward"}
ALIKE = 10.0  # percent of a value loss
SHARE = 5.0  # points of a share in percent
SLOW = "lr3e-5"  # the lower learning rate among those that were run


def difference(data: Data, pair: str, measure: Callable[[Data, str], Array]) -> Interval:
    """LayerNorm minus no norm of a pair of arms such as `a3c-gru`."""
    return minus(measure(data, f"{pair}-ln"), measure(data, f"{pair}-none"))


def minus(new: Array, old: Array, statistic: Statistic = np.mean) -> Interval:
    """statistic(new) − statistic(old) over the seeds that both have."""
    new, old = paired(new, old)
    return paired_difference(new, old, statistic)


def change(new: Array, old: Array) -> Interval:
    """Change of the mean in percent over the seeds that both have."""
    new, old = paired(new, old)
    return percent_change(new, old)


def double_ratio(new: Array, old: Array, other_new: Array, other_old: Array) -> Interval:
    """Percent by which mean(new) / mean(old) exceeds mean(other_new) / mean(other_old), all (n_seeds,) and paired."""
    names = ("new", "old", "other_new", "other_old")
    arms = dict(zip(names, paired(new, old, other_new, other_old), strict=True))
    weights = {"new": 1.0, "old": -1.0, "other_new": -1.0, "other_old": 1.0}
    with np.errstate(divide="ignore", invalid="ignore"):
        found = contrast(arms, weights, lambda values, axis=None: np.log(np.mean(values, axis=axis)))
        estimate, low, high = (float(100 * np.expm1(value)) for value in found[:3])
    return Interval(estimate, low, high, found.n)


def correlation(pairs: Array) -> Interval:
    """Pearson's r over all learners, resampling whole seeds: (n_seeds, n_learners, 2)."""

    def pearson(values: Array, axis: int | None = None) -> Array:
        x, y = np.moveaxis(values.reshape(*values.shape[:-1], -1, 2), -1, 0)
        x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((x * y).sum(axis=-1) / np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1)))

    return interval(pairs, pearson)


def _metric(name: str, scale: float = 1.0) -> Callable[[Data, str], Array]:
    return lambda data, arm: scale * data.metric(arm, name)


def _at_end(name: str) -> Callable[[Data, str], Array]:
    return lambda data, arm: data.diagnostic(arm, name)


def _through(name: str, **phase: int) -> Callable[[Data, str], Array]:
    return lambda data, arm: through_training(data, name, **phase)(arm)


def _both(
    data: Data, what: str, measure: Callable[[Data, str], Array], side: Any, who: Sequence[str] = tuple(WHO)
) -> list[Evidence]:
    """LayerNorm minus no norm of a measure, for each algorithm, on the side where the claim puts it."""
    return [Direction(f"{what}: {WHO[each]}", difference(data, f"{each}-gru", measure), side) for each in who]


def _averaging(data: Data, values: Values) -> Found:
    """D1.7. Here no gradient is averaged, so averaging can make no A3C more stable than Individual learners."""
    loss = {run: data.metric(run, "value_loss_all_mean") for who in WHO for run in (f"{who}-gru-ln", f"{who}-gru-none")}
    without = change(loss["a3c-gru-none"], loss["individual-gru-none"])
    needs = double_ratio(*(loss[f"{who}-gru-{norm}"] for who in ("individual", "a3c") for norm in ("ln", "none")))
    note = (
        "A3C, as it is run here and as D1 ran it, averages no gradients. If the averaging were the stabiliser, A3C "
        "without LayerNorm could not have a lower value loss than Individual learners."
    )
    return [
        Direction(
            "value loss without LayerNorm, A3C without averaging against Individual, %", without, "above", -ALIKE
        ),
        Direction("what LayerNorm leaves of the value loss, Individual against A3C, %", needs, "below"),
    ], note


def _chain(data: Data, values: Values) -> Found:
    """D1.8: features amplify, the state grows without bound, the value loss passes 1000."""
    arm = "individual-gru-none"
    first = data.steps(arm)[0]
    growth = change(data.diagnostic(arm, "embed_norm_mean"), data.diagnostic(arm, "embed_norm_mean", first))
    norm = _through("embed_norm_mean")
    against = change(norm(data, arm), norm(data, "individual-gru-ln"))
    state = interval(data.diagnostic(arm, "state_abs_max"))
    worst = interval(data.metric(arm, "value_loss_max"))
    what = "Individual without LayerNorm"
    note = "The state of a GRU mixes earlier states with a hyperbolic tangent, so it cannot leave (−1, 1)."
    return [
        Direction(f"growth of the features' norm, from before training to its end, %: {what}", growth, "above"),
        Direction("features' norm through training without LayerNorm against with it, %: Individual", against, "above"),
        Direction(f"largest |h| of the GRU at the end: {what}", state, "above", 1.0),
        Direction(f"maximum value loss: {what}", worst, "above", 1000.0),
    ], note


def _two_points(data: Data, values: Values) -> Found:
    """D1.9: smaller features after the embedding and after the GRU, fewer saturated units, fewer explosions."""
    return [
        *_both(data, "features' norm after the embedding, through training", _through("embed_norm_mean"), "below"),
        *_both(data, "features' norm at the heads' input, through training", _through("core_norm_mean"), "below"),
        *_both(data, "saturated units of the GRU's state, through training", _through("state_saturated"), "below"),
        *_both(data, "episodes above 100, %", _metric("explosion_episodes", 100), "below"),
    ], _saturation_by_phase(data)


def _saturation_by_phase(data: Data) -> str:
    """When A3C's state is the less saturated with LayerNorm; "" where the diagnostics do not tell the phases."""
    try:
        early, late = (
            difference(data, "a3c-gru", _through("state_saturated", **phase))
            for phase in ({"end": EARLY}, {"start": EARLY})
        )
    except Missing:
        return ""
    return (
        f"LayerNorm changes the share of saturated units of A3C by {tables.words(early, 2)} in its first {EARLY} "
        f"episodes, by {tables.words(late, 2)} after them."
    )


def _trade_off(data: Data, values: Values) -> Found:
    """D1.19: a lower value loss, a smaller capacity (rank), and less of the return on Seen kept on Extra."""
    kept = []
    for who, name in WHO.items():
        seen, extra = (
            [data.test(f"{who}-gru-{norm}", (group,)) for norm in ("ln", "none")] for group in ("seen", "extra")
        )
        found = double_ratio(*extra, *seen)
        kept.append(Direction(f"change of Extra over Seen, greedy, %: {name}", found, "below"))
    return [
        *_both(data, "value loss, all rollouts", _metric("value_loss_all_mean"), "below"),
        *_both(data, "effective rank at the heads' input, through training", _through("core_rank_effective"), "below"),
        *kept,
    ], "Every competent policy keeps less on Extra, which has a smaller local capacity; a constant one may keep all."


def _regularisation(data: Data, values: Values) -> Found:
    """D1.20: among Individual learners without LayerNorm, those that explode more explore more and test better."""
    arm = "individual-gru-none"
    exploded = data.worker_metric(arm, "explosion_rows")
    with_entropy = np.stack([exploded, data.worker_metric(arm, "entropy_mean")], axis=-1)
    found: list[Evidence] = [
        Direction("correlation of explosions and entropy over the learners", correlation(with_entropy), "above")
    ]
    for mode in ("greedy", "sampled"):
        tests = data.scenario_scores(arm, mode=mode, per_worker=True).mean(axis=1)
        of_tests = correlation(np.stack([exploded, tests], axis=-1))
        found.append(Direction(f"correlation of explosions and test return, {mode}", of_tests, "above"))
    return found, "A correlation between learners: it can refute the explanation, not prove it."


def _adaptive(data: Data, values: Values) -> Found:
    """D1.22: with LayerNorm the spread is higher, actions follow the observation more, and seeds differ no more."""

    def spread(each: Data, arm: str) -> Array:
        scores = each.scenario_scores(arm, per_worker=True)
        return scores.reshape(len(scores), -1).std(axis=1, ddof=1)

    pairs = {who: [data.test(f"{who}-gru-{norm}") for norm in ("ln", "none")] for who in WHO}
    between: list[Evidence] = [
        Direction(f"SD of the test return between seeds: {WHO[who]}", minus(ln, none, std), "below")
        for who, (ln, none) in pairs.items()
    ]
    return [
        *_both(data, "SD of the return across scenarios", spread, "above"),
        *_both(data, "how much actions depend on the observation at the end of training, nats",
               _at_end("policy_information"), "above"),
        *between,
    ], ""  # fmt: skip


def _always(data: Data, values: Values) -> Found:
    """D1.23: A3C gains in training and in tests, greedy and sampled, with either network."""
    found: list[Evidence] = []
    for core, name in CORES.items():
        measures: dict[str, Callable[[Data, str], Array]] = {
            "return at the end of training": _metric("return_final"),
            "test return, greedy": Data.test,
            "test return, sampled": _sampled,
        }
        for what, measure in measures.items():
            found.append(Direction(f"{what}: A3C {name}", difference(data, f"a3c-{core}", measure), "above"))
    return found, ""


def _sampled(data: Data, arm: str) -> Array:
    return data.test(arm, mode="sampled")


def _never(data: Data, values: Values) -> Found:
    """D1.24: LayerNorm lowers the test return of Individual learners, on all scenarios and on Extra alone."""
    found: list[Evidence] = []
    for mode in ("greedy", "sampled"):
        for groups, where in (((), "all 18 scenarios"), (("extra",), "Extra")):
            ln, none = (data.test(f"individual-gru-{norm}", groups, mode=mode) for norm in ("ln", "none"))
            what = f"test return, {mode}, {where}: Individual"
            found.append(Direction(what, minus(ln, none), "below"))
    exploded = interval(100 * data.metric("individual-gru-none", "explosion_episodes"))
    return found, (
        f"The exception, more than 90 percent of episodes exploding, asks for {exploded.estimate:.1f} percent here "
        f"[{exploded.low:.1f}, {exploded.high:.1f}] without LayerNorm."
    )


def _alternatives(data: Data, values: Values) -> Found:
    """D1.25: clipping gradients, or a lower learning rate, avoids explosions as well as LayerNorm does."""
    with_ln = 100 * data.metric("individual-gru-ln", "explosion_episodes")
    clipped = minus(100 * data.metric("individual-gru-none", "explosion_episodes"), with_ln)
    what = "episodes above 100, in points more than with LayerNorm: Individual without it"
    found: list[Evidence] = [Direction(f"{what}, gradients clipped at 2", clipped, "below", SHARE)]
    try:
        slow = 100 * data.of("rates").metric(f"individual-gru-none-{SLOW}", "explosion_episodes")
        lower = minus(slow, with_ln)
        found.append(Direction(f"{what}, learning rate 3e-5", lower, "below", SHARE))
        untested = "Clipping the value loss and ensembles are not tested."
    except Missing:
        untested = "Other learning rates, clipping the value loss, and ensembles are not tested."
    return found, f"Gradients are clipped in all arms, as they were in D1's own runs. {untested}"


CLAIMS: dict[str, Claim] = {
    "D1.7": _averaging,
    "D1.8": _chain,
    "D1.9": _two_points,
    "D1.19": _trade_off,
    "D1.20": _regularisation,
    "D1.22": _adaptive,
    "D1.23": _always,
    "D1.24": _never,
    "D1.25": _alternatives,
}
