"""Evidence on the claims of D5: TD3 with a CNN on images, before and after LayerNorm was put into the CNN.

D5 drove a car in CARLA with batches of 256; the runs here drive in CarRacing, with the original's reward adapted to it
and with smaller batches. So levels of returns, Q, errors and losses are not set beside each other; what they say about
each other within a run is: directions, and ratios such as D5's "+145 percent". Feature norms and clipped gradients have
no unit of reward; their levels are compared where the runs are as long as D5's. "Before" is the arm without norm and
with a linear output, "after" the one with LayerNorm, both with the original's wiring (`lnlab.report.driving_data`).

These rules were first written before the published runs were started; what changed after that, unseen, is in the
methods of the book.
"""

import math
from typing import Any

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Sum, number
from lnlab.analysis.stats import interval
from lnlab.report import driving_reference
from lnlab.report.cells import positive
from lnlab.report.driving_data import (
    FIRST,
    LAST,
    LATE,
    ORIGINAL,
    Driving,
    end,
    feature_growth,
    inflation,
    late_exponent,
    quarter_moments,
    trend,
)
from lnlab.report.driving_pieces import alerted, bias, clipped, greedy_at, more, phase_returns, relative_spread, rise
from lnlab.report.evidence import Claim, Data, Found, Missing, Untestable, printed

Values = dict[str, Any]
BEFORE, AFTER = ORIGINAL
NAME = {BEFORE: "no norm", AFTER: "LayerNorm"}
LONGER = "driving-long"  # profile of runs that reach D5's first validation point
DOUBLE = math.log10(2)  # values further apart than a factor of two are not the same
TENFOLD = 1.0  # of a logarithm to base 10: features that grow less have not exploded
FLAT = 0.1  # growth exponent below which a quantity no longer grows
HUNDREDFOLD = 2.0  # the same of gradients: those that grow more have exploded
ROUNDED = {"ln": 5.0, "low": 0.5}  # half a unit of "about 30" and of "15"
ELSEWHERE = "Another simulator and another scale of returns: levels are not compared, only what they say of each other."


def feature_norm(data: Data, values: Values) -> Found:
    """Levels at a step can be compared at that step only."""
    runs = Driving.of(data)
    if not runs.as_printed:
        raise Missing(f"needs runs of 5000 steps, 1000 of them random; those here have {runs.extent.steps:,}")
    none, ln = (runs.whole(arm, "actor_feature_norm_probe").values for arm in ORIGINAL)
    low, high = values["range"]
    fall = more(np.log10(none[:, -1]), np.log10(ln[:, -1]))
    theirs = math.log10(values["none"] / values["ln"])
    most, least, last = interval(ln.max(axis=1)), interval(ln.min(axis=1)), np.log10(none[:, -1])
    return [
        Direction("log10 of the feature norm at step 5000, no norm minus LayerNorm", fall, "above", printed=theirs),
        Direction("largest feature norm with LayerNorm", most, "below", high + ROUNDED["ln"], high),
        Direction("smallest feature norm with LayerNorm", least, "above", low - ROUNDED["low"], low),
        number("log10 of the feature norm at step 5000, no norm", math.log10(values["none"]), last),
        number("feature norm at step 5000, LayerNorm", values["ln"], ln[:, -1]),
    ], "Mean over 64 fixed observations; D5's is of one. Adam's steps do not depend on the scale of returns."


def improvement(data: Data, values: Values) -> Found:
    factor = values["none"] / values["ln"]
    slack = values["none"] / (values["ln"] - ROUNDED["ln"]) - factor
    return [Sum("improvement factor", "7.36e12 / 30", factor, values["printed"], float(f"{slack:.2g}"))], (
        "The rounding allows for 25 to 35 where about 30 is printed."
    )


def gradients(data: Data, values: Values) -> Found:
    """Norms after clipping have the clip's own scale; the rise before clipping is a ratio."""
    runs = Driving.of(data)
    actor, critic, whole = (
        clipped(runs, AFTER, *part) for part in (("actor", "_cnn"), ("critic", "_cnn"), ("critic", ""))
    )
    before = runs.window(AFTER, "critic_grad_norm")
    mean, sd = values["critic_cnn"]
    return [
        Direction("actor CNN's gradient after clipping", interval(actor.mean(axis=1)), "above", 0.95,
                  values["actor_cnn"]),
        Direction("critics' gradient after clipping", interval(whole.mean(axis=1)), "above", 9.95,
                  values["critic_after"]),
        number("critic CNN's gradient after clipping", mean, critic.mean(axis=1)),
        number("the same, SD over logged updates", sd, critic.std(axis=1)),
        *rise("critics' gradient before clipping", trend(before), values["critic_before"][2]),
    ], (
        "A norm after clipping says no more than that the limit, 1 for the actor and 10 for the critics, was passed. "
        "The level before clipping has the scale of the returns and is not compared."
    )  # fmt: skip


def explosions(data: Data, values: Values) -> Found:
    """Refuted if gradients do not explode without LayerNorm, or still do with it, before clipping."""
    runs = Driving.of(data)
    found: list[Evidence] = []
    for who in ("actor", "critic"):
        for arm, side, bound in ((BEFORE, "above", HUNDREDFOLD), (AFTER, "below", TENFOLD)):
            seen = runs.logged(arm, f"{who}_grad_norm").values
            what = f"log10 of the {who}'s gradient, {LATE} over the first of them, {NAME[arm]}"
            found.append(Direction(what, interval(np.log10(end(seen) / seen[:, 0])), side, bound))  # type: ignore[arg-type]
    return found, (
        "Before clipping; after it no explosion can be seen in any arm. A gradient has exploded if it grows a "
        "hundredfold, and has not if less than tenfold: its size itself has the unit of the reward."
    )


def schedule(data: Data, values: Values) -> Found:
    start, steps = values["learning_starts"], values["steps"]
    return [Sum("training updates", f"{steps} − {start}, one a step", steps - start, values["updates"], 0.5)], (
        "The number of episodes depends on the simulator and is not compared."
    )


def returns_by_quarter(data: Data, values: Values) -> Found:
    parts, sizes = [values[f"q{k}"] for k in range(1, 5)], (46, 47, 47, 47)
    mean = sum(n * m for n, (m, _) in zip(sizes, parts, strict=True)) / values["episodes"]
    square = sum(n * (m**2 + s**2) for n, (m, s) in zip(sizes, parts, strict=True)) / values["episodes"]
    means, sds = quarter_moments(Driving.of(data).episodes(AFTER))
    found: list[Evidence] = [
        Sum("overall mean", "mean of the quarters by their episodes", mean, values["overall"][0], 0.01),
        Sum("overall SD", "from the quarters' means and SDs", math.sqrt(square - mean**2), values["overall"][1], 0.01),
    ]
    for what, ours, place in (("return", means, 0), ("SD", sds, 1)):
        theirs = parts[0][place] - float(np.mean([part[place] for part in parts[1:]]))
        gap = interval(ours[:, 0] - ours[:, 1:].mean(axis=1))
        found.append(Direction(f"{what} of the first quarter minus the rest", gap, "above", printed=theirs))
    if (means > 0).all():
        fall = 100 * (parts[3][0] / parts[0][0] - 1)
        found += rise("return, last quarter over the first", means[:, 3] / means[:, 0], fall)
    return found, ELSEWHERE


def end_of_exploration(data: Data, values: Values) -> Found:
    """Refuted if the policy earns less than random actions did, on the same road, an episode or a step."""
    runs = Driving.of(data)
    policy, random = (runs.by_phase(AFTER, phase) for phase in ("policy", "random"))
    rates = [runs.by_phase(AFTER, phase) / runs.by_phase(AFTER, phase, "length") for phase in ("policy", "random")]
    spread = [np.array([each.std() for each in phase_returns(runs, AFTER, phase)]) for phase in ("policy", "random")]
    fall = 100 * (1 - values["q4"] / values["q1"])
    return [
        Sum("fall of the return, %", f"100 (1 − {values['q4']} / {values['q1']})", fall, values["fall_pct"], 1.0),
        Direction("SD of the returns, policy minus random actions", more(*spread), "below"),
        Direction("return of the policy in training minus that of random actions", more(policy, random), "above"),
        Direction("return per step, policy minus random actions", more(*rates), "above"),
    ], "No degradation would mean that the policy earns at least what random actions earn."


def values_rise(data: Data, values: Values) -> Found:
    """As ratios where Q is positive throughout; else the rise alone, as a difference."""
    runs = Driving.of(data)
    found: list[Evidence] = []
    for key in ("q1", "q2"):
        seen, (mean, sd, percent) = runs.window(AFTER, f"{key}_mean"), values[key]
        if (seen > 0).all():
            found += rise(f"mean {key.upper()} of the batch", trend(seen), percent)
            found.append(number(f"SD over mean of {key.upper()}", sd / mean, seen.std(axis=1) / seen.mean(axis=1)))
            continue
        gain = interval(seen[:, -LAST:].mean(axis=1) - seen[:, :FIRST].mean(axis=1))
        found.append(Direction(f"{key.upper()}, last eight logged updates minus first seven", gain, "above"))
    return found, ELSEWHERE


def td_errors(data: Data, values: Values) -> Found:
    runs = Driving.of(data)
    found: list[Evidence] = []
    for place in (1, 2):
        seen = runs.window(AFTER, f"td_error_{place}")
        mean, sd, percent = values[f"td{place}"]
        found += rise(f"TD error of critic {place}", trend(seen), percent)
        found.append(
            number(f"SD over mean of the same, critic {place}", sd / mean, seen.std(axis=1) / seen.mean(axis=1))
        )
    return found, ELSEWHERE


def twins_agree(data: Data, values: Values) -> Found:
    """That the twins agree is the premise; that overestimation is gone, on every input in use, is what it should show.

    Refuted if Q is above the discounted return that followed, if one critic alone does no worse, or if the Q that the
    actor maximises is another than the critics'.
    """
    runs = Driving.of(data)
    first, second, spread = (end(runs.logged(AFTER, name).values) for name in ("q1_mean", "q2_mean", "q1_std"))
    found: list[Evidence] = [
        Direction(f"|Q1 − Q2| over the SD of Q in a batch, {LATE}", interval(np.abs(first - second) / spread),
                  "below", 0.1),
        Direction("Q1 minus the discounted return that followed, policy phase", interval(bias(runs, AFTER)), "below"),
        Direction(f"log10 of the actor's Q over the critic's, {LATE}", interval(inflation(runs, AFTER)), "within",
                  DOUBLE),
    ]  # fmt: skip
    try:
        single = more(bias(runs, AFTER), bias(runs, "ddpg-ln"))
    except Missing:
        return found, "The comparison with a single critic (DDPG) is left out: it was not run."
    return [*found, Direction("bias of Q1, TD3 minus DDPG, LayerNorm", single, "below")], ""


def critic_loss(data: Data, values: Values) -> Found:
    seen = Driving.of(data).window(AFTER, "critic_loss")
    first, last = (float(np.mean(values[side])) for side in ("first", "last"))
    ours = seen[:, -5:].mean(axis=1) / seen[:, :5].mean(axis=1)
    fall = interval(np.log10(seen[:, 4] / seen[:, 0]))
    return [
        Direction("log10 of the critic loss, fifth logged update over the first", fall, "below",
                  printed=math.log10(values["first"][-1] / values["first"][0])),
        *rise("critic loss, last five logged updates over first five", ours, 100 * (last / first - 1)),
        number("SD over mean of the critic loss", values["std"] / values["mean"], seen.std(axis=1) / seen.mean(axis=1)),
        Sum("smallest of the first five", "min", min(values["first"]), values["min"], 0.055),
        Sum("largest of the last five", "max", max(values["last"]), values["max"], 0.055),
    ], ELSEWHERE  # fmt: skip


def hyper_parameters(data: Data, values: Values) -> Found:
    """The printed defaults of Stable-Baselines3 beside its own; the printed rate must give the printed explosion."""
    theirs = driving_reference.STABLE_BASELINES3
    claimed = {name: values[name] for name in ("batch_size", "gamma", "tau", "policy_delay")}
    claimed |= {"learning_starts": values["sb3_learning_starts"], "lr": values["sb3_lr"]}
    sums = [Sum(f"default {name}", theirs.source, theirs.settings[name], each, 0.0) for name, each in claimed.items()]
    runs = Driving.of(data)
    if not runs.as_printed:
        raise Missing("needs runs of 5000 steps, to see which learning rate gives the printed feature norm")
    slow = runs.whole("none-slow", "actor_feature_norm_probe").values[:, -1]
    what = "log10 of the feature norm at step 5000, no norm, at the printed rate 3e-4"
    fast = interval(np.log10(runs.whole(BEFORE, "actor_feature_norm_probe").values[:, -1]))
    return [*sums, number(what, math.log10(printed("D5.1")["none"]), np.log10(slow))], (
        f"At 1e-3 it is {fast:.2f}. Without LayerNorm the printed norm of the features tells which rate was in force."
    )


def benchmarks(data: Data, values: Values) -> Found:
    return Untestable(
        "it speaks of published runs in other environments, of which none is repeated here; 1,000,000 / 5000 is 200, "
        "as printed"
    )


def go_to_1m(data: Data, values: Values) -> Found:
    """Good advice if the agent learns, is healthy, and the three alerts tell the exploded arm from the other."""
    runs = Driving.of(data)
    alerts = more(*(alerted(runs, arm) for arm in ORIGINAL))
    learned = more(*(runs.by_phase(AFTER, phase) for phase in ("policy", "random")))
    saturated = interval(end(runs.logged(AFTER, "saturation").values))
    fooled = interval(inflation(runs, AFTER))
    return [
        Direction("return of the policy in training minus that of random actions, LayerNorm", learned, "above"),
        Direction(f"share of saturated actions, {LATE}, LayerNorm", saturated, "below", 0.5),
        Direction(f"log10 of the actor's Q over the critic's, {LATE}, LayerNorm", fooled, "within", DOUBLE),
        Direction("share of seeds in which an alert fires, no norm minus LayerNorm", alerts, "above"),
    ], (
        "An agent that has learned nothing, or exploits its own critic, is not made ready by more steps. The alerts' "
        "limits have the unit of the reward, which is larger here: whether one fires says little, whether it tells the "
        "two arms apart says more."
    )


def validation_points(data: Data, values: Values) -> Found:
    """The first point, from runs of 10,000 steps: those of the report, else of the profile that was made for it."""
    runs = Driving.of(data)
    first, baseline = values["steps"][0], values["baseline"]
    if runs.extent.steps < first:
        runs = Driving.of(data.of(LONGER))
    late, early = (greedy_at(runs, AFTER, step) for step in (first, baseline))
    same = int((late == early).sum())
    return [Direction("greedy return at 10K steps minus that at 5K", more(late, early), "above")], (
        f"In {same} of {len(late)} seeds both returns are the same to the last digit. Points beyond the length of "
        "these runs are not judged."
    )


def one_seed_plan(data: Data, values: Values) -> Found:
    """One seed decides on bands of ±10 percent only if seeds differ by less."""
    policy = Driving.of(data).by_phase(AFTER, "policy")
    if len(policy) < 3:
        raise Missing(f"needs three seeds or more, to see how much they differ; there are {len(policy)}")
    spread = positive(policy, relative_spread)
    return [Direction("SD between seeds of the policy's mean return, % of its size", spread, "below",
                      values["band_pct"])], (
        "The plan compares one run of seed 42 with another in bands of 10 percent. The break-down of the reward and "
        "the runs of DDPG that it asks for are on this page."
    )  # fmt: skip


def steadier_than_ddpg(data: Data, values: Values) -> Found:
    """Refuted if DDPG's features grow no more, its errors are no larger, or its Q moves no more."""
    runs = Driving.of(data)
    found: list[Evidence] = []
    for norm, (td3, ddpg) in {"no norm": (BEFORE, "ddpg-none"), "LayerNorm": (AFTER, "ddpg-ln")}.items():
        growth = more(feature_growth(runs, td3), feature_growth(runs, ddpg))
        errors = more(*(np.log10(runs.logged(arm, "td_error_1").values.mean(axis=1)) for arm in (td3, ddpg)))
        moves = more(*(np.log10(runs.logged(arm, "q1_mean").values.std(axis=1)) for arm in (td3, ddpg)))
        found += [
            Direction(f"log10 growth of the actor's features, TD3 minus DDPG, {norm}", growth, "below"),
            Direction(f"log10 of the mean TD error, TD3 minus DDPG, {norm}", errors, "below"),
            Direction(f"log10 of the SD of Q over training, TD3 minus DDPG, {norm}", moves, "below"),
        ]
    return found, "DDPG here is the same trainer with one critic, no delay and no noise on the target."


def for_good(data: Data, values: Values) -> Found:
    """Refuted if features still grow with LayerNorm, or if the actor still exploits a critic on features of its own."""
    runs = Driving.of(data)
    grown = {arm: feature_growth(runs, arm) for arm in ORIGINAL}
    return [
        Direction("log10 growth of the actor's features, no norm", interval(grown[BEFORE]), "above", TENFOLD),
        Direction("log10 growth of the actor's features, LayerNorm", interval(grown[AFTER]), "below", TENFOLD),
        Direction("growth exponent over the second half of the updates, LayerNorm",
                  interval(late_exponent(runs, AFTER)), "below", FLAT),
        Direction(f"log10 of the actor's Q over the critic's, {LATE}, LayerNorm", interval(inflation(runs, AFTER)),
                  "within", DOUBLE),
    ], "For good: nothing grows any more, and what the actor maximises is what the critics were fitted to."  # fmt: skip


CLAIMS: dict[str, Claim] = {
    "D5.1": feature_norm,
    "D5.2": improvement,
    "D5.3": gradients,
    "D5.4": explosions,
    "D5.5": schedule,
    "D5.6": returns_by_quarter,
    "D5.7": end_of_exploration,
    "D5.8": values_rise,
    "D5.9": td_errors,
    "D5.10": twins_agree,
    "D5.11": critic_loss,
    "D5.12": hyper_parameters,
    "D5.13": benchmarks,
    "D5.14": go_to_1m,
    "D5.15": validation_points,
    "D5.16": one_seed_plan,
    "D5.17": steadier_than_ddpg,
    "D5.18": for_good,
}
