"""Missing norm or leaking gradient: hypotheses on D5's explosion, and what each predicts that the data can oppose.

The design is 2×2, {no norm, LayerNorm} × {leaky, detached}. Leaky, as in the original: the actor's loss sees the
critic's value of the actor CNN's features, so its gradient can raise that value by moving the features. Detached: the
critic's own features stand there, without gradient. Further arms change one thing each. Written before the
published arms were started; the numbers rest on theory (four linear layers that Adam moves in proportion to the
updates give features that grow with their fourth power) and on a trial of 400 updates with made images.
"""

import numpy as np

from lnlab.analysis.claims import Direction
from lnlab.analysis.stats import Interval, contrast, factorial_weights, interval
from lnlab.report.cells import paired
from lnlab.report.driving_data import (
    ARMS,
    LATE,
    LEVELS,
    MAIN,
    Driving,
    end,
    feature_growth,
    growth_law,
    inflation,
    late_exponent,
)
from lnlab.report.driving_pieces import more
from lnlab.report.evidence import Data
from lnlab.report.predictions import Hypothesis

DOUBLE, TENFOLD = float(np.log10(2)), 1.0
DECADES = 3.0  # of difference between two arms, from which on one has exploded and the other has not
STEEP = 3.0  # growth exponent of an explosion; four layers give 4
CALM = 0.5  # growth exponent over the second half of training below which features have come to rest
SATURATED = 0.9  # share of actions beyond ±0.99 of a policy that no longer learns
GROWTH, INFLATION = "log10 growth of the actor's features", f"log10 of the actor's Q over the critic's, {LATE}"


def leak(data: Data) -> list[Direction]:
    runs = Driving.of(data)
    law = growth_law(runs.logged("none-leaky", "actor_feature_norm_probe"))
    mlp, whole = (runs.logged("none-leaky", f"actor_{part}").values for part in ("mlp_grad_norm", "grad_norm"))
    return [
        Direction("growth exponent, no norm, leaky", interval(law.exponent), "above", STEEP),
        Direction(f"share of the actor's gradient in its own layers, {LATE}, no norm, leaky",
                  interval(end(mlp / whole)), "below", 0.01),
        Direction(f"{INFLATION}, no norm, leaky", interval(inflation(runs, "none-leaky")), "above", DOUBLE),
        Direction(f"{GROWTH}, no norm: detached minus leaky", more(feature_growth(runs, "none-detached"),
                  feature_growth(runs, "none-leaky")), "below", -DECADES),
        Direction("growth exponent over the second half, no norm, detached",
                  interval(late_exponent(runs, "none-detached")), "below", CALM),
    ]  # fmt: skip


def missing_norm(data: Data) -> list[Direction]:
    runs = Driving.of(data)
    alike = more(feature_growth(runs, "none-detached"), feature_growth(runs, "none-leaky"))
    return [
        Direction(f"{GROWTH}, no norm: detached minus leaky", alike, "within", TENFOLD),
        Direction(f"{INFLATION}, LayerNorm, leaky", interval(inflation(runs, "ln-leaky")), "within", DOUBLE),
    ]


def symptom(data: Data) -> list[Direction]:
    runs = Driving.of(data)
    return [
        Direction(f"{GROWTH}, LayerNorm, leaky", interval(feature_growth(runs, "ln-leaky")), "below", TENFOLD),
        Direction(f"{INFLATION}, LayerNorm, leaky", interval(inflation(runs, "ln-leaky")), "above", DOUBLE),
    ]


def saturation(data: Data) -> list[Direction]:
    runs = Driving.of(data)
    return [_saturated(runs, arm, "above", SATURATED) for arm in MAIN]


def gentle(data: Data) -> list[Direction]:
    runs = Driving.of(data)
    return [_saturated(runs, arm, "below", 0.5) for arm in ("none-slow", "ln-slow", "small-init")]


def _saturated(runs: Driving, arm: str, side: str, bound: float) -> Direction:
    found = interval(end(runs.logged(arm, "saturation").values))
    return Direction(f"share of saturated actions, {LATE}, {ARMS[arm].says}", found, side, bound)  # type: ignore[arg-type]


def activation(data: Data) -> list[Direction]:
    runs = Driving.of(data)
    pairs = {"no norm": ("activation", "none-leaky", TENFOLD), "LayerNorm": ("ln-leaky", "norm-only", DOUBLE)}
    return [
        Direction(
            f"{GROWTH}, {norm}, leaky: leaky ReLU minus linear output",
            more(feature_growth(runs, a), feature_growth(runs, b)),
            "within",
            margin,
        )
        for norm, (a, b, margin) in pairs.items()
    ]


def output_only(data: Data) -> list[Direction]:
    runs = Driving.of(data)
    same = more(feature_growth(runs, "output"), feature_growth(runs, "ln-leaky"))
    return [
        Direction(
            f"{GROWTH}, LayerNorm on the output only", interval(feature_growth(runs, "output")), "below", TENFOLD
        ),
        Direction(f"{GROWTH}: on the output only minus everywhere", same, "within", DOUBLE),
    ]


HYPOTHESES = [
    Hypothesis(
        "the leak",
        "The actor's features explode because its loss reaches the critic's value through them, not because a norm is "
        "missing",
        leak,
    ),
    Hypothesis(
        "the missing norm",
        "The actor's features explode because a norm is missing; with one nothing is left to cure",
        missing_norm,
    ),
    Hypothesis(
        "symptom",
        "LayerNorm bounds the features and leaves the leak: the actor still maximises a value that the critics do not "
        "hold",
        symptom,
    ),
    Hypothesis("saturation", "The tanh of the policy saturates in all four arms, which is another fault", saturation),
    Hypothesis("gentle", "A lower learning rate or small final weights keep the policy from saturating", gentle),
    Hypothesis("activation", "The final activation that came along with LayerNorm does not matter", activation),
    Hypothesis("output only", "One LayerNorm on the CNN's output does what four do", output_only),
]


def factorial_effects(data: Data) -> dict[str, Interval]:
    """Main effects of LayerNorm and of detaching, and their interaction, on the growth of the actor's features, in
    decades, over the seeds that all four main arms have."""
    runs = Driving.of(data)
    scores = dict(zip(MAIN, paired(*(feature_growth(runs, arm) for arm in MAIN)), strict=True))
    effects = {"LayerNorm": [0], "detaching": [1], "interaction": [0, 1]}
    return {name: contrast(scores, factorial_weights(LEVELS, factors)) for name, factors in effects.items()}
