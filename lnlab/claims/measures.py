"""What is measured of an arm, by name: `measure(data, "test.sampled", "a3c-gru-ln")` gives a value each seed.

Of every run, and of a table of scores:

score                      return over the last tenth of training; in a table, what stands there
score_above.100            1 where the score is above a level, else 0: over seeds their share, with an exact interval

A3C and Individual learners:

value_loss_mean, …         a metric of `lnlab.analysis.metrics`; `value_loss_sd@w0` is that of worker 0
steps_to.20                environment steps of a seed until the mean return of 200 episodes has come so many percent of
                           the way from the uniform policy to the best simple rule, at most those of the run;
                           `reaches.20` 1 where it does, else 0
test.greedy, test.sampled  return in the 18 scenarios; `test.greedy.extra` in one group of them; `test_refilled.…` with
                           a cloud that is refilled as in training; `test.vote`, `test.mean` of the learners of a seed
                           of Individual together, by vote and by mean policy, where the run tested them
over_scenarios.greedy, …   SD of the return over the 18 scenarios
sweep.greedy, …            return over all velocities of D2 and D4; `sweep.greedy.75` at one of them, in km/h
constant.greedy, …         share of learners that take one action more than 99 times in 100
inside.state_saturated     a diagnostic of lnlab/quantities.toml at the end of training; `before.…` at its start
through.value_explained    the same, mean over time through training; `through_500.` and `after_500.` in the first 500
                           episodes, in which A3C without norm explodes and recovers, and after them

TD3 and DDPG, from a column of the table `records`:

last.actor_feature_norm_probe   at the last record; also `largest.`, `smallest.`, and `growth.`, last over first
late.saturation            mean of the last quarter of the logged updates; `mean.` and `sd.` of all, `rise.` late over
                           first, `exponent.` of growth, `late_exponent.` in the second half
window.q1_mean             mean of the 29 updates that D5 summarises; `window_sd.`, `window_min.`, `window_max.`, and
                           `relative_sd.` SD over mean
trend.q1_mean              there, last eight over first seven; `ends.` five over five, `fifth.` fifth over first
clipped.actor_cnn          gradient norm after clipping, there; `clipped_sd.` its SD
power_fit.actor_q          R² of a power law of the updates, `exponential_fit.` of an exponential
policy.return              mean over the episodes that the policy drives, `random.return` over those of chance
quarter_mean.1             mean return of the first of the four parts in which D5 cuts a run; `quarter_sd.` its SD,
                           `quarter_policy.` share of its episodes in which the policy chose all actions
check.5000                 return of the greedy test at a step

`100*name` is a hundredfold, as with other whole numbers, `log10.name` a logarithm, `gap.name` how many percent A3C
(the arm) earns over Individual learners of the same core and norm; `cells.sd` and its like pool cells as D2 and D4 do.
The others are in `NAMED`.
"""

import difflib
import functools
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from lnlab.analysis.metrics import EXPLOSION, METRICS
from lnlab.analysis.stats import Statistic
from lnlab.claims import pooled
from lnlab.claims.studies import Array, Data, Missing, defined
from lnlab.columns import COLUMNS, QUANTITIES
from lnlab.config import EPISODE_STEPS
from lnlab.trainers.monitor import RULES, first_fired

Values = Callable[[Data, str], Array]  # of an arm: (n_seeds, ...)
Family = Callable[[Data, str, str], Array]  # of an arm, by what stands behind the dot of the name
Summary = Callable[[Array], Array]  # (n_seeds, n_logs) to (n_seeds,)
ACTIONS = ("local", "offload", "discard")
COLLAPSED = 0.99  # share of one action from which a policy counts as constant
WINDOW = 200  # episodes over which a return is averaged, the last tenth of the documents' 2000
LOGGED, FIRST, LAST = 29, 7, 8  # updates that D5 summarises; those at both ends that its trend compares
LATE = 0.25  # share of the logged updates over which the late values of a run are averaged


class Measure(NamedTuple):
    """The scores of an arm, and the statistic over seeds that the name means."""

    values: Values
    statistic: Statistic = np.mean
    printed: Values | None = None  # of pooled measures: the scores of a cell as its document tested it
    share: bool = False  # 1 or 0 for each seed, and their share has an exact interval


def measure(data: Data, name: str, arm: str) -> Array:
    """(n_seeds,) by name; of pooled measures (n_seeds, k), what their statistic wants.

    Raises:
        ValueError: no measure has this name.
        Missing: the run or the number is not there.
    """
    return named(name).values(data, arm)


@functools.cache
def named(name: str) -> Measure:
    """A measure by its name.

    Raises:
        ValueError: there is none; the message lists what there is.
    """
    head, _, tail = name.partition(".")
    quantity, _, worker = name.partition("@w")
    factor, _, times = name.partition("*")
    if times and factor.isdigit():
        return _of(times, lambda values: int(factor) * values)
    if head == "log10":
        inner = named(tail)
        if inner.printed is None:
            return _of(tail, _log10)
        return inner._replace(statistic=lambda values, axis=None: np.log10(inner.statistic(values, axis=axis)))
    if head == "gap":
        return Measure(pooled.both(named(tail).values), pooled.gap)
    if name == "cells.gap":
        return Measure(pooled.both(_mean_cell(pooled.common)), pooled.gap, pooled.both(_mean_cell(pooled.as_printed)))
    if head == "cells" and tail in pooled.STATISTICS:
        return Measure(pooled.common, pooled.STATISTICS[tail], pooled.as_printed)
    if name in NAMED:
        return Measure(NAMED[name])
    if quantity in METRICS and (worker.isdigit() or not worker):
        return Measure(lambda data, arm: data.metric(arm, quantity, int(worker or -1)))
    if head in FAMILIES and FAMILIES[head][1](tail):
        return Measure(lambda data, arm: FAMILIES[head][0](data, arm, tail), share=head == "score_above")
    near = ", ".join(difflib.get_close_matches(name, [*METRICS, *NAMED, *FAMILIES], n=3, cutoff=0))
    every = [*METRICS, *NAMED, *(f"{family}.…" for family in FAMILIES), "cells.…", "gap.…", "log10.…", "100*…"]
    raise ValueError(f"unknown measure {name!r}; the nearest: {near}; there are {', '.join(every)}")


def _mean_cell(cells: Values) -> Values:
    return lambda data, arm: cells(data, arm)[:, 0]


def _log10(values: Array) -> Array:
    if not (values > 0).all():
        raise Missing("needs numbers above zero, to take their logarithm")
    return np.log10(values)


def _of(name: str, function: Summary) -> Measure:
    inner = named(name)
    return inner._replace(values=lambda data, arm: function(inner.values(data, arm)))


def _single_scores(data: Data, arm: str) -> Array:
    data.seed_by_seed(arm)
    return data.score(arm)


def _setting(data: Data, arm: str, name: str) -> Any:
    if not hasattr(config := data.run(arm).config, name):
        raise Missing(f"needs a run with the setting {name}, which {arm} has not")
    return getattr(config, name)


# -- A3C and Individual learners ------------------------------------------------------------------------------------
def _test(data: Data, arm: str, rest: str, cloud: str = "budget") -> Array:
    mode, _, group = rest.partition(".")
    return data.test(arm, (group,) if group else (), mode, cloud)


def _velocities(data: Data, arm: str, rest: str) -> Array:
    """(n_seeds, n_velocities, n_learners) by `mode`, `mode.cloud` or `mode.velocity`."""
    mode, _, option = rest.partition(".")
    velocities = (int(option),) if option.isdigit() else pooled.EVERY
    return data.sweep(arm, velocities, mode, "refilled" if option == "refilled" else "budget")


def constant(data: Data, arm: str, mode: str) -> Array:
    """(n_seeds, n_learners) 1 where one action makes up more than 99 % of a policy's actions, else 0."""
    shares = [data.sweep(arm, pooled.EVERY, mode, value=f"share_{action}").mean(axis=1) for action in ACTIONS]
    return (np.max(shares, axis=0) > COLLAPSED).astype(float)


def _through(
    data: Data, arm: str, quantity: str, *, start: int = 0, end: int | None = None, empty: float | None = None
) -> Array:
    """Mean over time of a diagnostic from one measurement to another; `empty` stands for what is not defined."""
    measured = data.steps(arm)
    last = measured[-1] if end is None else end
    if lacking := {start, last} - set(measured):
        raise Missing(f"needs diagnostics of {arm} after {min(lacking)} episodes; there are some after {measured}")
    steps = [step for step in measured if start <= step <= last]
    return over_time(steps, np.stack([data.diagnostic(arm, quantity, step, empty=empty) for step in steps]))


def over_time(episodes: Sequence[int], values: Array) -> Array:
    """(n_seeds,) mean over time of values (n_moments, n_seeds), taken as straight lines from moment to moment.

    Moments of measurement lie ever further apart, so that their plain mean is one of the beginning.

    >>> over_time([0, 10, 100], np.array([[4.0], [4.0], [0.0]])).tolist()  # (40 + 180) / 100; the plain mean is 2.7
    [2.2]
    """
    if len(values) == 1:
        return values[0]
    return np.asarray(np.trapezoid(values, episodes, axis=0) / (episodes[-1] - episodes[0]))


def _own_velocity(data: Data, arm: str, mode: str) -> Array:
    """Return of each Individual learner at the velocity it trained at, minus that at the others'.

    The Seen scenarios are the velocities of the workers, in their order.
    """
    cells = data.scenarios(arm, ("seen",), mode)  # (n_seeds, velocity, learner)
    own = np.trace(cells, axis1=1, axis2=2)
    workers = cells.shape[1]
    return np.asarray(own / workers - (cells.sum(axis=(1, 2)) - own) / (workers * (workers - 1)))


def extra_minus_seen(data: Data, arm: str, mode: str = "greedy") -> Array:
    """(n_seeds, n_learners) return on Extra minus that on Seen."""
    seen, extra = (data.scenarios(arm, (group,), mode).mean(axis=1) for group in ("seen", "extra"))
    return np.asarray(extra - seen)


def _of_learner(data: Data, arm: str, rest: str) -> Array:
    mode, _, learner = rest.partition(".")
    return extra_minus_seen(data, arm, mode)[:, int(learner)]


def _over_scenarios(data: Data, arm: str, mode: str) -> Array:
    """Sample SD over the scenarios of all learners, 18 (A3C) or 90 (Individual)."""
    scores = data.scenarios(arm, mode=mode)
    return np.asarray(scores.reshape(len(scores), -1).std(axis=1, ddof=1))


def _row_above(data: Data, arm: str, threshold: str) -> Array:
    """First row above a return; D3's program gives the number of rows where there is none."""
    rows = _setting(data, arm, "episodes") * _setting(data, arm, "workers")
    return data.metric(arm, f"row_above_{threshold}", empty=float(rows))


def _episodes_to_70(data: Data, arm: str) -> Array:
    """First episode with the mean of the last 100 above 70; a run without one counts as its length."""
    length = float(_setting(data, arm, "episodes"))
    return np.minimum(data.metric(arm, "episode_above_70", empty=length), length)


@functools.cache
def _chance_and_best(workers: int, cloud: str) -> tuple[float, float]:
    """Return in training of the uniform policy, and of the best simple rule."""
    from lnlab.evaluation import policies_in_training

    returns = policies_in_training(500, workers=workers, cloud=cloud).set_index("policy").return_mean
    return float(returns["uniform"]), float(returns.max())


def _on_the_way(data: Data, arm: str, percent: str) -> tuple[Array, Array]:
    """First episode (n_seeds,) by which the mean return of 200 has come so far, and 1 where it ever does, else 0."""
    config, (episodes, values) = data.run(arm).config, data.curve(arm, "return")
    blocks = WINDOW // int(episodes[0])  # a point of the curve is the mean of a block
    if not 0 < blocks <= len(episodes):
        raise Missing(f"needs the return of {arm} over {WINDOW} episodes, in blocks that are shorter")
    chance, best = _chance_and_best(config.workers, config.cloud)
    mean = np.lib.stride_tricks.sliding_window_view(values, blocks, axis=1).mean(axis=2)
    above = mean > chance + int(percent) / 100 * (best - chance)
    return np.where(above.any(axis=1), episodes[blocks - 1 :][above.argmax(axis=1)], episodes[-1]), above.any(axis=1)


def _steps_to(data: Data, arm: str, percent: str) -> Array:
    first, _ = _on_the_way(data, arm, percent)
    return np.asarray(first * _setting(data, arm, "workers") * EPISODE_STEPS, dtype=float)


def _part_of_training(start: float, end: float, data: Data, arm: str) -> Array:
    """Mean return over a part of training, given as shares of its length."""
    episodes, values = data.curve(arm, "return")
    share = episodes / episodes[-1]
    return np.asarray(values[:, (share > start) & (share <= end)].mean(axis=1))


def _return_after(data: Data, arm: str, updates: str) -> Array:
    """Return of the last 200 episodes up to so many updates of a model."""
    config = data.run(arm).config
    ends, values = data.curve(arm, "return")
    last = int(updates) // (_workers_a_model(config) * EPISODE_STEPS // config.rollout)
    inside = (ends > last - WINDOW) & (ends <= last)
    if ends[-1] < last or not inside.any():
        raise Missing(f"needs {arm} trained for {int(updates):,} updates; it ends after {ends[-1]} of {last} episodes")
    return np.asarray(values[:, inside].mean(axis=1))


def _updates_to_recovery(data: Data, arm: str) -> Array:
    """Episodes that a model learned from to the end of the last block of them with a value loss above 100."""
    episodes, losses = data.curve(arm, "value_loss")
    above = ~(losses <= EXPLOSION)  # NaN is above
    if above[:, -1].any() or not above.any(axis=1).all():
        raise Missing(f"needs every seed of {arm} to explode and to recover before the end of training")
    last = episodes[above.shape[1] - 1 - above[:, ::-1].argmax(axis=1)].astype(float)
    return np.asarray(_workers_a_model(data.run(arm).config) * last)


def _workers_a_model(config: object) -> int:
    return config.workers // config.learners_per_seed  # type: ignore[attr-defined]


def _last_blocks(data: Data, arm: str) -> Array:
    """Value loss of the last tenth of the blocks of episodes."""
    losses = data.curve(arm, "value_loss")[1]
    return np.asarray(losses[:, -max(1, losses.shape[1] // 10) :].mean(axis=1))


# -- TD3 and DDPG ---------------------------------------------------------------------------------------------------
def records(data: Data, arm: str, column: str) -> tuple[Array, Array]:
    """Critic updates (n_records,) and a column (n_seeds, n_records) of the records, from the first one that has it.

    Raises:
        Missing: it was not recorded, or is not finite for every seed.
    """
    rows = data.table(arm, "records")
    if column not in rows or rows[column].isna().all():
        raise Missing(f"needs {column} of {arm}, which was not recorded")
    wide = rows.pivot(index="seed", columns="step", values=column).sort_index(axis=1)
    wide = wide.loc[:, wide.notna().any()]
    updates = rows.groupby("step").updates.max().fillna(0).loc[wide.columns]
    return updates.to_numpy(float), defined(wide.to_numpy(float), f"{column} of {arm}")


def logged(data: Data, arm: str, column: str) -> tuple[Array, Array]:
    """The same at the updates that were logged, all after learning began."""
    updates, values = records(data, arm, column)
    if not (updates > 0).any():
        raise Missing(f"needs {column} of {arm} after an update; the run ended before learning")
    return updates[updates > 0], values[:, updates > 0]


def _records(data: Data, arm: str, column: str) -> Array:
    return records(data, arm, column)[1]


def _logged(data: Data, arm: str, column: str) -> Array:
    return logged(data, arm, column)[1]


def window(data: Data, arm: str, column: str) -> Array:
    """(n_seeds, n_logs) at the updates that D5 summarises, at least its first seven and last eight."""
    values = _logged(data, arm, column)[:, :LOGGED]
    if values.shape[1] < FIRST + LAST:
        raise Missing(f"needs {FIRST + LAST} logged updates of {arm}; there are {values.shape[1]}")
    return values


def after_clipping(data: Data, arm: str, name: str) -> Array:
    """(n_seeds, n_logs) gradient norm of `actor_cnn`, `critic_cnn`, `critic`, … after clipping, in the same window."""
    return window(data, arm, f"{name}_grad_norm") * window(data, arm, f"{name.partition('_')[0]}_clip_scale")


def late(values: Array) -> Array:
    """(n_seeds,) mean over the last quarter of the logged updates (n_seeds, n_logs), at least one."""
    return np.asarray(values[:, -max(1, round(LATE * values.shape[1])) :].mean(axis=1))


def _over(last: int, first: int, values: Array) -> Array:
    """Mean of the last over mean of the first; of what is above zero throughout."""
    if not (values > 0).all():
        raise Missing("needs a number above zero throughout training, to say how many times it grew")
    return np.asarray(values[:, -last:].mean(axis=1) / values[:, :first].mean(axis=1))


OF_COLUMN: dict[str, tuple[Callable[[Data, str, str], Array], Summary]] = {  # what is read of a column, its summary
    "last": (_records, lambda values: values[:, -1]),
    "largest": (_records, lambda values: values.max(axis=1)),
    "smallest": (_records, lambda values: values.min(axis=1)),
    "growth": (_records, lambda values: values[:, -1] / values[:, 0]),
    "late": (_logged, late),
    "mean": (_logged, lambda values: values.mean(axis=1)),
    "sd": (_logged, lambda values: values.std(axis=1)),
    "rise": (_logged, lambda values: late(values) / values[:, 0]),
    "relative_sd": (window, lambda values: values.std(axis=1) / values.mean(axis=1)),
    "window": (window, lambda values: values.mean(axis=1)),
    "window_sd": (window, lambda values: values.std(axis=1)),
    "window_min": (window, lambda values: values.min(axis=1)),
    "window_max": (window, lambda values: values.max(axis=1)),
    "trend": (window, partial(_over, LAST, FIRST)),
    "ends": (window, partial(_over, 5, 5)),
    "fifth": (window, lambda values: values[:, 4] / values[:, 0]),
}


def _of_column(read: Callable[[Data, str, str], Array], summary: Summary) -> Family:
    return lambda data, arm, column: np.asarray(summary(read(data, arm, column)))


def _exponent(data: Data, arm: str, column: str, start: float = 0.0) -> Array:
    """Growth exponent: least-squares slope of log10 |value| on log10 updates, from a share of the last update on."""
    updates, values = logged(data, arm, column)
    chosen = updates > start * updates[-1]
    updates, values = updates[chosen], np.abs(values[:, chosen])
    if len(updates) < 2 or not (values > 0).all():
        raise Missing("needs a growth exponent: two logged updates or more, none of them with a value of zero")
    x = np.log10(updates) - np.log10(updates).mean()
    return np.asarray(np.log10(values) @ x / (x @ x))


def _fit(data: Data, arm: str, column: str, law: Callable[[Array], Array]) -> Array:
    updates, values = logged(data, arm, column)
    sizes = np.log10(np.abs(values))
    if not sizes.std(axis=1).all():
        raise Missing("needs a number that changes, to say how well a law fits it")
    return np.array([np.corrcoef(law(updates), each)[0, 1] ** 2 for each in sizes])


def _inflation(data: Data, arm: str) -> Array:
    """|the Q that the actor maximises| over |Q of the same actions on the critic's features|, late in training."""
    if _setting(data, arm, "actor_features") == "detached":
        raise ValueError(f"{arm}: the actor's Q is the critic's by construction, which no run can tell")
    actor, critic = (np.abs(_logged(data, arm, f"{who}_q")) for who in ("actor", "critic"))
    return late(actor) / late(critic)


def _own_layers(data: Data, arm: str) -> Array:
    """Share of the actor's gradient in its own layers, late in training."""
    own, whole = (_logged(data, arm, f"actor_{part}grad_norm") for part in ("mlp_", ""))
    return late(own / whole)


def _twins_apart(data: Data, arm: str) -> Array:
    """|Q1 − Q2| over the SD of Q in a batch, late in training."""
    first, second, spread = (late(_logged(data, arm, name)) for name in ("q1_mean", "q2_mean", "q1_std"))
    return np.asarray(np.abs(first - second) / spread)


def _episodes(phase: str) -> Family:
    """Mean over the training episodes of a phase; `sd` is the SD (ddof 0) of their returns, `rate` return per step."""

    def values(data: Data, arm: str, column: str) -> Array:
        if column == "rate":
            return np.asarray(values(data, arm, "return") / values(data, arm, "length"))
        rows = data.table(arm, "returns")
        mine = rows[rows.phase == phase]
        if column == "sd":
            found = mine["return"].astype(float).groupby(mine.seed).std(ddof=0)
        else:
            found = mine.groupby("seed")[column].mean()
        by_seed = found.reindex(sorted(rows.seed.unique())).to_numpy(float)
        return defined(by_seed, f"episodes of phase {phase!r} of {arm}")

    return values


def quarters(data: Data, arm: str, column: str = "return") -> tuple[Array, Array]:
    """Mean and SD (ddof 0) of the returns in D5's four slices of the training episodes: two (n_seeds, 4).

    A slice is [int(n k / 4) : int(n (k + 1) / 4)]. Column `policy` is 1 where the policy chose all actions.
    """
    rows = data.table(arm, "returns").sort_values(["seed", "episode"])
    rows = rows.assign(policy=rows.phase == "policy")
    seeds = [each.to_numpy(float) for _, each in rows.groupby("seed")[column]]
    if min(map(len, seeds)) < 4:
        raise Missing("needs four training episodes of every seed; there are fewer")
    parts = [np.split(each, [len(each) * k // 4 for k in (1, 2, 3)]) for each in seeds]
    means, sds = (np.array([[getattr(part, name)() for part in seed] for seed in parts]) for name in ("mean", "std"))
    return defined(means, f"returns of {arm}"), sds


def _quarter(column: str, moment: int) -> Family:
    return lambda data, arm, number: quarters(data, arm, column)[moment][:, int(number) - 1]


def _alerted(data: Data, arm: str) -> Array:
    """1 where an alert that D5 asks for fires at any time, else 0."""
    fired = first_fired(data.table(arm, "records"), data.table(arm, "returns"))
    published = fired[fired.rule.map(lambda name: RULES[name].published)]
    return np.asarray(published.step.notna().groupby(published.seed).any().sort_index(), dtype=float)


def _last_episodes(data: Data, arm: str, number: str) -> Array:
    """Return of the last so many episodes of a seed, or of all that it has."""
    last = data.table(arm, "finished").groupby("seed").tail(int(number))
    return np.asarray(last.groupby("seed")["return"].mean().sort_index(), dtype=float)


def _late_checks(data: Data, arm: str, column: str) -> Array:
    """Mean over the greedy tests in the last quarter of training."""
    rows = data.table(arm, "checks")
    late = rows[rows.step > 0.75 * data.run(arm).config.steps]
    if column not in late or late.empty:
        raise Missing(f"needs {column} of greedy tests of {arm} in the last quarter of training")
    return np.asarray(late.groupby("seed")[column].mean().sort_index(), dtype=float)


def _check(data: Data, arm: str, step: str) -> Array:
    rows = data.table(arm, "checks")
    rows = rows[rows.step == int(step)]
    if rows.empty:
        raise Missing(f"needs a greedy test of {arm} at step {int(step):,}")
    return np.asarray(rows.groupby("seed")["return"].mean().sort_index(), dtype=float)


# -- names ----------------------------------------------------------------------------------------------------------
_MODE = {"greedy", "sampled"}.__contains__
_MODES = ("greedy", "sampled", "vote", "mean")
_TEST = {f"{mode}{group}" for mode in _MODES for group in ("", ".seen", ".intra", ".extra")}.__contains__
_SWEEP = re.compile(rf"(greedy|sampled)(\.refilled|\.({'|'.join(map(str, pooled.EVERY))}))?").fullmatch
_INSIDE, _COLUMN = QUANTITIES.__contains__, COLUMNS["records"].__contains__
_EPISODES, _FOURTH = {*COLUMNS["returns"], "sd", "rate"}.__contains__, set("1234").__contains__
_PERCENT = re.compile(r"[1-9]\d?").fullmatch
_GRADIENT = {"actor", "actor_cnn", "actor_mlp", "critic", "critic_cnn", "critic_mlp"}.__contains__

FAMILIES: dict[str, tuple[Family, Callable[[str], object]]] = {  # beginning of a name: values, what may follow its dot
    "score_above": (
        lambda data, arm, level: (_single_scores(data, arm) > float(level)).astype(float),
        re.compile(r"-?\d+(\.\d+)?").fullmatch,
    ),
    "test": (_test, _TEST),
    "test_refilled": (partial(_test, cloud="refilled"), _TEST),
    "sweep": (lambda data, arm, rest: _velocities(data, arm, rest).mean(axis=(1, 2)), _SWEEP),
    "constant": (lambda data, arm, mode: constant(data, arm, mode).mean(axis=1), _MODE),
    # the lowest velocity of a learner, mean over a seed's learners: the same number of cells for every arm
    "worst_velocity": (lambda data, arm, rest: _velocities(data, arm, rest).min(axis=1).mean(axis=1), _SWEEP),
    "own_velocity": (_own_velocity, _MODE),
    "extra_minus_seen": (_of_learner, re.compile(r"(greedy|sampled)\.\d+").fullmatch),
    "over_scenarios": (_over_scenarios, _MODE),
    "inside": (lambda data, arm, quantity: data.diagnostic(arm, quantity), _INSIDE),
    "before": (lambda data, arm, quantity: data.diagnostic(arm, quantity, data.steps(arm)[0]), _INSIDE),
    "through": (_through, _INSIDE),
    "through_500": (partial(_through, end=500), _INSIDE),
    "after_500": (partial(_through, start=500), _INSIDE),
    # 1 where the mean return over 100 episodes and all workers passes a level, else 0
    "passes": (
        lambda data, arm, level: (data.metric(arm, f"episode_above_{level}", empty=0.0) > 0).astype(float),
        {"50", "70", "90"}.__contains__,
    ),
    "steps_to": (_steps_to, _PERCENT),
    "reaches": (lambda data, arm, percent: _on_the_way(data, arm, percent)[1].astype(float), _PERCENT),
    "first_row_above": (_row_above, {"50", "70", "90"}.__contains__),
    "return_after": (_return_after, str.isdigit),
    **{name: (_of_column(*each), _COLUMN) for name, each in OF_COLUMN.items()},
    "clipped": (lambda data, arm, name: after_clipping(data, arm, name).mean(axis=1), _GRADIENT),
    "clipped_sd": (lambda data, arm, name: after_clipping(data, arm, name).std(axis=1), _GRADIENT),
    "exponent": (_exponent, _COLUMN),
    "late_exponent": (partial(_exponent, start=0.5), _COLUMN),
    # R² of the least-squares line of log10 |value| on log10 updates, and on updates
    "power_fit": (partial(_fit, law=np.log10), _COLUMN),
    "exponential_fit": (partial(_fit, law=np.asarray), _COLUMN),
    "policy": (_episodes("policy"), _EPISODES),
    "random": (_episodes("random"), _EPISODES),
    "quarter_mean": (_quarter("return", 0), _FOURTH),
    "quarter_sd": (_quarter("return", 1), _FOURTH),
    "quarter_policy": (_quarter("policy", 0), _FOURTH),
    "check": (_check, str.isdigit),
    "late_checks": (_late_checks, {"return", "length", "off_lane", "goal", "route_left"}.__contains__),
    "last_episodes": (_last_episodes, str.isdigit),
}
NAMED: dict[str, Values] = {
    "score": lambda data, arm: data.score(arm),
    # D1's overall return: the mean of the three groups' means, not of the 18 scenarios
    "test_by_group": lambda data, arm: np.mean(
        [data.test(arm, (each,)) for each in ("seen", "intra", "extra")], axis=0
    ),
    "workers_not_below_seen": lambda data, arm: (extra_minus_seen(data, arm) >= 0).sum(axis=1),
    "workers_return_sd": lambda data, arm: data.worker_metric(arm, "return_sd_last_1000").mean(axis=1),
    "policy_loss_change": lambda data, arm: np.abs(
        data.metric(arm, "policy_loss_late") - data.metric(arm, "policy_loss_early")
    ),
    "episodes_to_70": _episodes_to_70,
    "return_first_quarter": partial(_part_of_training, 0, 0.25),
    "return_middle": partial(_part_of_training, 0.45, 0.55),
    "value_time_correlation": partial(_through, quantity="value_time_correlation", empty=0.0),
    "value_loss_worst_block": lambda data, arm: data.curve(arm, "value_loss")[1].max(axis=1),
    "value_loss_last_blocks": _last_blocks,
    "updates_to_recovery": _updates_to_recovery,
    "inflation": _inflation,
    "actor_own_layers": _own_layers,
    "twins_apart": _twins_apart,
    "quarter_mean_fall": lambda data, arm: quarters(data, arm)[0][:, 0] - quarters(data, arm)[0][:, 1:].mean(axis=1),
    "quarter_sd_fall": lambda data, arm: quarters(data, arm)[1][:, 0] - quarters(data, arm)[1][:, 1:].mean(axis=1),
    "quarter_trend": lambda data, arm: _over(1, 1, quarters(data, arm)[0]),
    "alerted": _alerted,
}
