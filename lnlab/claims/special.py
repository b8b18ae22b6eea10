"""What no row of a claims file can say: functions of the data, and of what the row gives them, to evidence."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Number, Side, Sum, margin_of
from lnlab.analysis.metrics import EXPLOSION
from lnlab.analysis.stats import Interval, clopper_pearson, interval, paired_difference
from lnlab.claims.measures import constant, over_time
from lnlab.claims.studies import Array, Data, Missing, paired

FEW = 3  # moments: with fewer a correlation says nothing


# -- the documents' claims --------------------------------------------------------------------------------------------
def learners_together(data: Data, what: str, arm: str, of: Sequence[str]) -> list[Evidence]:
    """Pearson's r of two numbers over all learners of an arm, resampling whole seeds; a test is given by its mode."""
    columns = [_of_learners(data, arm, each) for each in of]

    def pearson(values: Array, axis: int | None = None) -> Array:
        x, y = np.moveaxis(values.reshape(*values.shape[:-1], -1, 2), -1, 0)
        x, y = x - x.mean(axis=-1, keepdims=True), y - y.mean(axis=-1, keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((x * y).sum(axis=-1) / np.sqrt((x**2).sum(axis=-1) * (y**2).sum(axis=-1)))

    return [Direction(what, interval(np.stack(columns, axis=-1), pearson), "above")]


def _of_learners(data: Data, arm: str, name: str) -> Array:
    """(n_seeds, n_learners)"""
    if name in ("greedy", "sampled"):
        return np.asarray(data.scenarios(arm, mode=name).mean(axis=1))
    return data.worker_metric(arm, name)


def collapsed(data: Data, what: str, arm: str, seeds: int, of: int) -> list[Evidence]:
    """A printed number of seeds with a constant policy: is it as many here, and are they the greater part?"""
    flags = constant(data, arm, "sampled")[:, 0]
    found, printed = clopper_pearson(int(flags.sum()), len(flags)), seeds / of
    return [
        Number(what, printed, found, margin_of(printed)),
        Direction(f"{what}: the greater part", found, "above", 0.5, printed),
    ]


def speed(data: Data, what: str, pairs: Sequence[str]) -> list[Evidence]:
    """Steps per second with a norm against without, in percent, as the published runs logged them; a value a pair."""
    ratios = []
    for pair in pairs:
        ln, none = (
            data.run(pair.replace("{norm}", norm)).provenance.get("steps_per_second") for norm in ("ln", "none")
        )
        if not (ln and none):
            raise Missing(f"needs the speed of {pair}, which was not logged")
        ratios.append(math.log(ln / none))
    found = interval(ratios)
    middle, low, high = (100 * math.expm1(value) for value in found[:3])
    return [Direction(what, Interval(middle, low, high, found.n), "below")]


def from_parts(
    data: Data, sizes: Sequence[int], means: Sequence[float], sds: Sequence[float], mean: float, sd: float
) -> list[Evidence]:
    """Do a printed overall mean and SD follow from those of the parts? To a hundredth."""
    weights = np.array(sizes) / sum(sizes)
    overall = float(weights @ np.array(means))
    square = float(weights @ (np.square(means) + np.square(sds)))
    return [
        Sum("overall mean", "mean of the quarters by their episodes", overall, mean, 0.01),
        Sum("overall SD", "from the quarters' means and SDs", math.sqrt(square - overall**2), sd, 0.01),
    ]


# -- hypotheses on the mechanism --------------------------------------------------------------------------------------
def square(data: Data, arm: str, who: str) -> list[Evidence]:
    """Up to its worst moment the error follows V² in every seed, and then the critic explains next to nothing."""
    worst = max(data.steps(arm), key=lambda step: data.diagnostic(arm, "value_mse_last", step).mean())
    steps = [step for step in data.steps(arm) if 0 < step <= worst]
    if len(steps) < FEW:
        raise Missing(f"needs three diagnostics of {arm} up to its largest error; there are {len(steps)}")
    error, value = (
        np.stack([data.diagnostic(arm, name, step) for step in steps]) for name in ("value_mse_last", "value_mean")
    )
    follows = interval([np.corrcoef(value[:, seed] ** 2, error[:, seed])[0, 1] for seed in range(error.shape[1])])
    explained = interval(data.diagnostic(arm, "value_explained", worst))
    return [
        Direction(
            f"{who}, no norm, correlation of V² and the error, measurements up to its largest", follows, "above", 0.8
        ),
        Direction(f"{who}, no norm, variance explained at the worst moment", explained, "within", 0.1),
    ]


def equal_updates(data: Data, what: str, of: str, shared: str, alone: str, margin: float) -> list[Evidence]:
    """A diagnostic of a shared model and of lone learners after equally many updates, on the mean over time."""
    workers, measured = data.run(shared).config.workers, set(data.steps(alone))
    pairs = [(step, workers * step) for step in data.steps(shared) if step > 0 and workers * step in measured]
    if not pairs:
        raise Missing(f"needs diagnostics of {alone} after {workers} times as many episodes as of {shared}")
    after = " and ".join(", ".join(str(step) for step in steps) for steps in zip(*pairs, strict=True))
    a, b = (
        over_time(steps, np.stack([data.diagnostic(arm, of, step) for step in steps]))
        for arm, steps in zip((shared, alone), zip(*pairs, strict=True), strict=True)
    )
    a, b = paired(a, b)
    found = paired_difference(a, b)
    return [Direction(f"{what}, no norm, A3C minus Individual after {after} episodes", found, "within", margin)]


def half_way(data: Data, what: str, of: str, ln: str, none: str, side: Side, bound: float = 0.0) -> list[Evidence]:
    """A diagnostic half-way through training, LayerNorm minus no norm, where the arm without norm has recovered."""
    half = data.run(none).config.episodes / 2
    step = min(data.steps(none), key=lambda each: abs(each - half))
    episodes, losses = data.curve(none, "value_loss")
    if not losses[:, episodes > step].mean() <= EXPLOSION:
        raise Missing(f"needs {none} to have recovered after {step} episodes")
    a, b = paired(*(data.diagnostic(arm, of, step) for arm in (ln, none)))
    found = paired_difference(a, b)
    return [Direction(f"A3C after {step} episodes, {what}: LayerNorm minus no norm", found, side, bound)]


SPECIAL: dict[str, Callable[..., list[Evidence]]] = {
    "learners_together": learners_together,
    "collapsed": collapsed,
    "speed": speed,
    "from_parts": from_parts,
    "square": square,
    "equal_updates": equal_updates,
    "half_way": half_way,
}
