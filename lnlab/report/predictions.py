"""What LayerNorm does inside these networks: hypotheses, and what each predicts that the data can oppose.

Where the arms compared differ in the norm alone, their difference is caused by it. That one thing inside a network
causes another is what the hypotheses suggest, and only an intervention could show.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from lnlab.analysis.claims import Direction, Side
from lnlab.analysis.metrics import EXPLOSION
from lnlab.analysis.stats import interval
from lnlab.report import effects
from lnlab.report.cells import paired
from lnlab.report.evidence import Array, Data, Missing
from lnlab.report.pieces import EARLY, Measure, more, over_time, through_training, with_ln

GRU = {"A3C": "a3c-gru-{}", "Individual": "individual-gru-{}"}
FF = {"A3C": "a3c-ff-{}", "Individual": "individual-ff-{}"}
SAME = 0.1  # cosines that differ by less are alike; between unrelated directions of this many weights it is 0.003
Predictions = Callable[[Data], list[Direction]]


class Hypothesis(NamedTuple):
    """A sentence on the mechanism, and what it predicts."""

    name: str
    says: str
    predictions: Predictions


def _ln(what: str, quantity: str, side: Side, arms: dict[str, str] = GRU, *, empty: float | None = None) -> Predictions:
    """LayerNorm raises (above) or lowers (below) a diagnostic through training, for each algorithm."""
    return lambda data: [
        with_ln(f"{who}, {what} through training", through_training(data, quantity, empty=empty), pattern, side)
        for who, pattern in arms.items()
    ]


def _early(what: str, quantity: str, side: Side) -> Predictions:
    """The same for A3C in its first episodes alone."""
    return lambda data: [
        with_ln(f"A3C, first {EARLY} episodes, {what}", through_training(data, quantity, end=EARLY), GRU["A3C"], side)
    ]


def _late(what: str, quantity: str, side: Side) -> Predictions:
    """The same for A3C after them."""
    return lambda data: [
        with_ln(f"A3C, after its first {EARLY} episodes, {what}", through_training(data, quantity, start=EARLY),
                GRU["A3C"], side)
    ]  # fmt: skip


def _all(*every: Predictions) -> Predictions:
    return lambda data: [each for predictions in every for each in predictions(data)]


def _overwritten(data: Data) -> list[Direction]:
    """Without norm gates that overwrite the state are more than those that keep it."""
    shut, kept = through_training(data, "update_shut"), through_training(data, "update_open")
    arms = {who: pattern.format("none") for who, pattern in GRU.items()}
    what = "no norm, gates that overwrite minus gates that keep, through training"
    return [more(f"{who}, {what}", shut(arm), kept(arm)) for who, arm in arms.items()]


def _square(data: Data) -> list[Direction]:
    """Up to its worst moment the error follows V² in every seed, and then the critic explains next to nothing."""
    found = []
    for who, pattern in GRU.items():
        arm = pattern.format("none")
        worst = _worst(data, arm)
        steps = [step for step in data.steps(arm) if 0 < step <= worst]
        if len(steps) < 3:
            raise Missing(f"needs three diagnostics of {arm} up to its largest error; there are {len(steps)}")
        error, value = (np.stack([data.diagnostic(arm, name, step) for step in steps]) for name in _ERROR_AND_VALUE)
        follows = interval([np.corrcoef(value[:, seed] ** 2, error[:, seed])[0, 1] for seed in range(error.shape[1])])
        explained = interval(data.diagnostic(arm, "value_explained", worst))
        what = f"{who}, no norm, correlation of V² and the error, measurements up to its largest"
        found.append(Direction(what, follows, "above", 0.8))
        found.append(Direction(f"{who}, no norm, variance explained at the worst moment", explained, "within", SAME))
    return found


_ERROR_AND_VALUE = ("value_mse_last", "value_mean")


def _worst(data: Data, arm: str) -> int:
    """The moment of training with the largest squared error at the end of an episode."""
    return max(data.steps(arm), key=lambda step: data.diagnostic(arm, "value_mse_last", step).mean())


def _noise(data: Data) -> list[Direction]:
    """Two workers of A3C disagree as much as two episodes of one worker do."""
    workers, alike = (through_training(data, f"grad_cosine_{of}") for of in ("workers", "episodes"))
    arms = {norm: GRU["A3C"].format(norm) for norm in ("none", "ln")}
    what = "A3C, cosine of two workers' gradients minus that of two episodes', through training"
    return [more(f"{what}, {norm}", workers(arm), alike(arm), "within", SAME) for norm, arm in arms.items()]


def _recovery(data: Data) -> list[Direction]:
    """A3C explodes without norm and is calm at the end; Individual learners are not."""
    a3c, individual = (GRU[who].format("none") for who in GRU)
    peak = interval(_blocks(data, a3c).max(axis=1))
    ends = {arm: _last_tenth(data, arm) for arm in (a3c, individual)}
    return [
        Direction("A3C, no norm, value loss of the worst block of episodes", peak, "above", EXPLOSION),
        Direction("A3C, no norm, value loss in the last tenth", interval(ends[a3c]), "below", EXPLOSION),
        Direction("Individual, no norm, value loss in the last tenth", interval(ends[individual]), "above", EXPLOSION),
    ]


def _blocks(data: Data, arm: str) -> Array:
    return data.curve(arm, "value_loss")[1]


def _equal_updates(data: Data) -> list[Direction]:
    """After equally many updates a shared model and a lone learner are in the same state, on the mean over time."""
    a3c, individual = (GRU[who].format("none") for who in GRU)
    workers, measured = data.run(a3c).config.workers, set(data.steps(individual))
    pairs = [(step, workers * step) for step in data.steps(a3c) if step > 0 and workers * step in measured]
    if not pairs:
        raise Missing(f"needs diagnostics of {individual} after {workers} times as many episodes as of {a3c}")
    after = " and ".join(", ".join(str(step) for step in steps) for steps in zip(*pairs, strict=True))
    found = []
    for quantity, (words, margin) in _ALIKE.items():
        shared, alone = (
            over_time(steps, np.stack([data.diagnostic(arm, quantity, step) for step in steps]))
            for arm, steps in zip((a3c, individual), zip(*pairs, strict=True), strict=True)
        )
        found.append(
            more(f"{words}, no norm, A3C minus Individual after {after} episodes", shared, alone, "within", margin)
        )
    return found


_ALIKE = {"state_saturated": ("share of saturated units", 0.2), "value_mean": ("mean V", 3.0)}  # and the margins


def _clock(data: Data) -> list[Direction]:
    """Feedforward networks, which recover in time in both algorithms, do so after as many updates."""
    times = {who: _recovery_time(data, pattern.format("none")) for who, pattern in FF.items()}
    workers = data.run(FF["A3C"].format("none")).config.workers
    found = effects.percent_change(*paired(times["Individual"], workers * times["A3C"]))
    return [Direction("feedforward, no norm, updates to recovery, Individual over A3C, %", found, "within", 20.0)]


def _recovery_time(data: Data, arm: str) -> Array:
    """(n_seeds,) episodes to the end of the last block with a value loss above 100."""
    episodes, losses = data.curve(arm, "value_loss")
    above = ~(losses <= EXPLOSION)
    if above[:, -1].any() or not above.any(axis=1).all():
        raise Missing(f"needs every seed of {arm} to explode and to recover before the end of training")
    return episodes[above.shape[1] - 1 - above[:, ::-1].argmax(axis=1)].astype(float)


def _longer(data: Data) -> list[Direction]:
    """In the longer runs Individual learners without norm are calm at the end."""
    long, arm = data.of("long"), GRU["Individual"].format("none")
    last = interval(_last_tenth(long, arm))
    what = f"Individual, no norm, value loss in the last tenth of {long.run(arm).config.episodes} episodes"
    return [Direction(what, last, "below", EXPLOSION)]


def _last_tenth(data: Data, arm: str) -> Array:
    """(n_seeds,) value loss of the last tenth of the blocks of episodes."""
    losses = _blocks(data, arm)
    return np.asarray(losses[:, -max(1, losses.shape[1] // 10) :].mean(axis=1))


def _without_recurrence(data: Data) -> list[Direction]:
    """The feedforward networks explode without norm too, and have recovered at the end."""
    found = []
    for who, pattern in FF.items():
        arm = pattern.format("none")
        worst, last = interval(_blocks(data, arm).max(axis=1)), interval(_last_tenth(data, arm))
        found.append(
            Direction(f"{who}, feedforward, no norm, value loss of the worst block", worst, "above", EXPLOSION)
        )
        found.append(Direction(f"{who}, feedforward, no norm, value loss in the last tenth", last, "below", EXPLOSION))
    return found


def _afterwards(data: Data) -> list[Direction]:
    """Half-way, when A3C has recovered, the critics are alike; the features and the policy are not, nor the end."""
    without = GRU["A3C"].format("none")
    half = data.run(without).config.episodes / 2
    step = min(data.steps(without), key=lambda each: abs(each - half))
    episodes, losses = data.curve(without, "value_loss")
    if not losses[:, episodes > step].mean() <= EXPLOSION:
        raise Missing(f"needs {without} to have recovered after {step} episodes")
    found = []
    for quantity, (words, side, threshold) in _HALF_WAY.items():
        measure = partial(_diagnostic, data, quantity, step)
        found.append(with_ln(f"A3C after {step} episodes, {words}", measure, GRU["A3C"], side, threshold))
    last = partial(_final_return, data)
    return [*found, with_ln("A3C, return in the last tenth", last, GRU["A3C"], "above")]


def _final_return(data: Data, arm: str) -> Array:
    return data.metric(arm, "return_final")


def _diagnostic(data: Data, quantity: str, step: int, arm: str) -> Array:
    return data.diagnostic(arm, quantity, step)


_HALF_WAY: dict[str, tuple[str, Side, float]] = {  # what it is, and where LayerNorm minus no norm should lie
    "value_explained": ("variance explained", "within", SAME),
    "core_rank_effective": ("effective rank", "above", 0.0),
    "policy_information": ("information of the policy on observations", "above", 0.0),
}


def _return(data: Data) -> list[Direction]:
    """LayerNorm raises what is earned, in training and in the tests of the sampled policy."""
    measures: dict[str, Measure] = {
        "return in the last tenth": partial(_final_return, data),
        "sampled test return": lambda arm: data.test(arm, mode="sampled"),
    }
    return [
        with_ln(f"{who}, {what}", measure, pattern, "above")
        for what, measure in measures.items()
        for who, pattern in GRU.items()
    ]


HYPOTHESES = [
    Hypothesis(
        "features",
        "Features do not explode without LayerNorm: they are smaller than with it",
        _ln("largest feature norm after the embedding", "embed_norm_max", "above"),
    ),
    Hypothesis(
        "saturation",
        f"Without LayerNorm the state of the GRU saturates and stands still: in A3C's first {EARLY} episodes, and "
        "through the training of Individual learners",
        _all(
            _early("share of saturated units", "state_saturated", "below"),
            _early("SD of h over time", "state_spread", "above"),
            _ln("share of saturated units", "state_saturated", "below"),
            _ln("SD of h over time", "state_spread", "above"),
        ),
    ),
    Hypothesis(
        "later",
        f"After its first {EARLY} episodes A3C's state is more saturated with LayerNorm than without",
        _all(
            _late("share of saturated units", "state_saturated", "above"),
            _late("share of saturated candidates", "new_saturated", "above"),
        ),
    ),
    Hypothesis(
        "candidate",
        "While it is saturated the state is not held by its gates: it is overwritten at every step by the same "
        "saturated candidate",
        _all(
            _early("share of saturated candidates", "new_saturated", "below"),
            _ln("share of saturated candidates", "new_saturated", "below"),
            _overwritten,
        ),
    ),
    Hypothesis(
        "collapse",
        "The features at the heads then collapse to one direction, the same in every state",
        _all(
            _ln("effective rank", "core_rank_effective", "above"),
            _ln("cosine of two states' features", "core_cosine", "below"),
        ),
    ),
    Hypothesis(
        "critic",
        "So the critic becomes a constant that does not see the episode end",
        _all(
            _ln("SD of V", "value_sd", "above"),
            _ln("correlation of V and the steps left", "value_time_correlation", "above", empty=0.0),
        ),
    ),
    Hypothesis(
        "square",
        "The explosion is the square of that constant: nothing diverges",
        _square,
    ),
    Hypothesis(
        "gradients",
        "Gradients into the embedding do not explode without LayerNorm: they vanish behind saturated units",
        _ln("gradient norm of the embedding", "grad_norm.embed", "above"),
    ),
    Hypothesis(
        "steps",
        "LayerNorm lowers the effective learning rate",
        _ln("size of a step, |ΔW| / |W|", "step", "below"),
    ),
    Hypothesis(
        "direction",
        "Without LayerNorm the value's gradients of different episodes are more alike: they all ask for another level",
        _ln("cosine of two episodes' value gradients", "grad_cosine_episodes.value", "below"),
    ),
    Hypothesis(
        "policy",
        "With a collapsed network the policy cannot see its observation; LayerNorm lets it",
        _ln("information of the policy on observations", "policy_information", "above"),
    ),
    Hypothesis(
        "recovery",
        "A3C passes through the explosion and recovers; Individual learners are still in it at the end of training",
        _recovery,
    ),
    Hypothesis(
        "updates",
        "Recovery takes updates, not workers: after equally many, a shared model and a lone learner are alike",
        _equal_updates,
    ),
    Hypothesis(
        "clock",
        "Where both recover in time, they do so after as many updates",
        _clock,
    ),
    Hypothesis(
        "noise",
        "Workers of A3C disagree no more than two episodes of one worker do: noise, not different environments",
        _noise,
    ),
    Hypothesis(
        "longer",
        "Given 5000 episodes, Individual learners recover as well",
        _longer,
    ),
    Hypothesis(
        "feedforward",
        "Recurrence is not needed for an explosion: feedforward networks pass through one too",
        _without_recurrence,
    ),
    Hypothesis(
        "afterwards",
        "The explosion is not what costs A3C its return: once it is over the critics are alike, but without LayerNorm "
        "the features stay narrow and the policy nearly blind",
        _afterwards,
    ),
    Hypothesis(
        "return",
        "LayerNorm is worth return, in training and in the tests",
        _return,
    ),
]
