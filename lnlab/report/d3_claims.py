"""The claims of D3 as evidence: what it prints beside the same number of ours, and what would refute its explanations.

D3 asks why A3C gains more from LayerNorm than Individual learners; its runs are recurrent, one seed an arm, and of the
Individual learners it looks at worker 0 alone. A *level* is measured as D3's own program measured it, rows for
episodes and the last rollout for all of them included (`lnlab.analysis.metrics`). An explanation becomes predictions,
written down from its words: each is a Direction that the data can oppose. `CLAIMS` has one function a claim, from the
data and the values D3 prints.
"""

import itertools
from typing import Any

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, number
from lnlab.analysis.stats import contrast, factorial_weights
from lnlab.report.cells import paired
from lnlab.report.effects import percent_change
from lnlab.report.evidence import Array, Claim, Data, Found
from lnlab.report.pieces import (
    NORM,
    Measure,
    change,
    levels,
    more,
    own_advantage,
    through_training,
    together,
    with_ln,
    worked_out,
)

A3C, INDIVIDUAL = "a3c-gru-{}", "individual-gru-{}"  # the documents' arms, by norm
MARGIN = 2.0  # reward: returns that differ by less are alike; a uniformly random policy earns about 67 in the tests
WORKER = 0  # the Individual learner that D3 looks at


def _greedy(data: Data) -> Measure:
    return lambda arm: data.test(arm)


def _sampled(data: Data) -> Measure:
    return lambda arm: data.test(arm, mode="sampled")


def _metric(data: Data, quantity: str) -> Measure:
    return lambda arm: data.metric(arm, quantity)


def _ratio(top: float, bottom: float) -> float:
    return top / bottom


def _percent(new: float, old: float) -> float:
    return 100 * (new / old - 1)


def a3c_ratio(data: Data, values: dict[str, Any]) -> Found:
    """D3.1: the mean of the last rollouts' value loss over the mean return."""
    printed = [values[norm] for norm in NORM]
    losses, returns = zip(*(values[f"{norm}_parts"] for norm in NORM), strict=True)
    found = levels(data, A3C, "value loss / return", "value_loss_per_return", printed)
    found += levels(data, A3C, "mean value loss", "value_loss_mean", losses)
    found += levels(data, A3C, "mean return", "return_mean", returns)
    lower, formula = -values["reduction_pct"], "{} / {} − 1".format(*printed)
    found.append(change(data, A3C, "value loss / return", "value_loss_per_return", "below", lower))
    found.append(worked_out("reduction, %", formula, _percent, printed, lower, half=0.0005, place=0.05))
    return found + _quotients(values), ""


def individual_ratio(data: Data, values: dict[str, Any]) -> Found:
    """D3.2: named as the ratio of A3C, but the *spread* of the value loss over the return of the end."""
    printed = [values["ln"], values["none"]]
    found = levels(data, INDIVIDUAL, "SD of value loss / late return, W0", "value_loss_sd_per_return", printed, WORKER)
    found.append(change(data, INDIVIDUAL, "the same ratio, W0", "value_loss_sd_per_return", "below", worker=WORKER))
    return found + _quotients(values), ""


def _quotients(values: dict[str, Any]) -> list[Evidence]:
    """Does each printed ratio follow from the two numbers printed beside it?"""
    return [
        worked_out(
            f"ratio, {NORM[norm]}", "{} / {}".format(*parts), _ratio, parts, values[norm], half=0.05, place=0.0005
        )
        for norm in NORM
        if (parts := values[f"{norm}_parts"])
    ]


def ratio_and_generalisation(data: Data, _: dict[str, Any]) -> Found:
    """D3.3: both halves of the sentence, and the association where nothing but the seed differs."""
    ratio, greedy = "value_loss_per_return", _greedy(data)
    found: list[Evidence] = [
        change(data, A3C, "A3C, value loss / return", ratio, "below"),
        with_ln("A3C, greedy test return", greedy, A3C, "above"),
        change(data, INDIVIDUAL, "Individual, value loss / return", ratio, "below"),
        with_ln("Individual, greedy test return", greedy, INDIVIDUAL, "below"),
    ]
    for norm in NORM:
        arm = A3C.format(norm)
        what = f"ratio and greedy test return, A3C, {NORM[norm]}"
        found.append(together(what, data.metric(arm, ratio), greedy(arm), "below"))
    return found, ""


def first_rows(data: Data, values: dict[str, Any]) -> Found:
    """D3.4: first row above a return; D3's program gives the number of rows where there is none."""
    found: list[Evidence] = []
    for place, threshold in enumerate((50, 70, 90)):
        for norm in NORM:
            config = data.run(A3C.format(norm)).config
            rows = float(config.episodes * config.workers)
            ours = data.metric(A3C.format(norm), f"row_above_{threshold}", empty=rows)
            found.append(number(f"first row above {threshold}, {NORM[norm]}", values[norm][place], ours))
    return found, ""


def late_return(data: Data, values: dict[str, Any]) -> Found:
    """D3.5: its last 1000 episodes are rows, the last 200 episodes of each of five workers."""
    printed = {"ln": values["ln"], "none": values["none"]}
    found: list[Evidence] = []
    for place, (quantity, what) in enumerate((("return_last_200", "late return"), ("return_max", "largest return"))):
        found += levels(data, A3C, what, quantity, [each[place] for each in printed.values()])
    found.append(change(data, A3C, "late return", "return_last_200", "above", values["gain_pct"]))
    ends = [values["ln"][0], values["none"][0]]
    formula = "{} / {} − 1".format(*ends)
    return [*found, worked_out("gain, %", formula, _percent, ends, values["gain_pct"], half=0.005, place=0.05)], ""


def fast_and_local(data: Data, _: dict[str, Any]) -> Found:
    """D3.6: ahead at first, behind at the end, and by then settled: no longer rising, committed to its actions."""
    with_norm, without = (A3C.format(norm) for norm in NORM)
    early = [_window(data, arm, 0, 0.25) for arm in (without, with_norm)]
    late = _metric(data, "return_final")
    middle = _window(data, without, 0.45, 0.55)
    return [
        more("return in the first quarter: no norm minus LayerNorm", early[0], early[1]),
        with_ln("return in the last tenth", late, A3C, "above"),
        more("return without norm, last tenth minus the middle", late(without), middle, "within", MARGIN),
        with_ln("entropy in the last tenth", _metric(data, "entropy_final"), A3C, "above"),
    ], "A policy that settled on an optimum chooses: its entropy is low. One that learned nothing is flat as well."


def _window(data: Data, arm: str, start: float, end: float, quantity: str = "return") -> Array:
    """(n_seeds,) mean of a learning curve over a part of training, given as shares of its length."""
    episodes, values = data.curve(arm, quantity)
    share = episodes / episodes[-1]
    return np.asarray(values[:, (share > start) & (share <= end)].mean(axis=1))


def policy_loss(data: Data, values: dict[str, Any]) -> Found:
    """D3.7: mean over all rows, over the first 1000 and over the last 1000."""
    found: list[Evidence] = []
    for place, part in enumerate(("mean", "early", "late")):
        printed = [values[norm][place] for norm in NORM]
        found += levels(data, A3C, f"policy loss, {part}", f"policy_loss_{part}", printed)
    return found, ""


def policy_loss_as_exploration(data: Data, _: dict[str, Any]) -> Found:
    """D3.8: then LayerNorm, whose policy loss changes more, keeps the entropy higher; and so across seeds."""
    found: list[Evidence] = [
        with_ln("size of the change of the policy loss", _policy_change(data), A3C, "above"),
        with_ln("entropy, mean over training", _metric(data, "entropy_mean"), A3C, "above"),
    ]
    for norm in NORM:
        arm = A3C.format(norm)
        what = f"change of the policy loss and entropy, A3C, {NORM[norm]}"
        found.append(together(what, _policy_change(data)(arm), data.metric(arm, "entropy_mean"), "above"))
    return found, ""


def _policy_change(data: Data) -> Measure:
    return lambda arm: np.abs(data.metric(arm, "policy_loss_late") - data.metric(arm, "policy_loss_early"))


def spread_over_training(data: Data, values: dict[str, Any]) -> Found:
    """D3.9: its 1500 episodes are rows, 300 episodes at each end."""
    found: list[Evidence] = []
    for place, part in enumerate(("early", "late")):
        printed = [values[norm][place] for norm in NORM]
        found += levels(data, A3C, f"SD of value loss, {part}", f"value_loss_sd_{part}", printed)
    for norm in NORM:
        early, late, percent = values[norm]
        what = f"SD of value loss, early to late, %, {NORM[norm]}"
        ours = (data.metric(A3C.format(norm), f"value_loss_sd_{part}") for part in ("late", "early"))
        found.append(Direction(what, percent_change(*ours), "below", printed=percent))
        found.append(worked_out(what, f"{late} / {early} − 1", _percent, [late, early], percent, half=0.05, place=0.05))
    return found, ""


def instability_and_exploration(data: Data, _: dict[str, Any]) -> Found:
    """D3.10: more early spread without norm; then less entropy; and seeds with more of it end lower."""
    without, spread = A3C.format("none"), "value_loss_sd_early"
    early = data.metric(without, spread)
    return [
        change(data, A3C, "early SD of value loss", spread, "below"),
        with_ln("entropy in the last tenth", _metric(data, "entropy_final"), A3C, "above"),
        together(
            "early SD of value loss and late entropy, no norm", early, data.metric(without, "entropy_final"), "below"
        ),
        together(
            "early SD of value loss and late return, no norm", early, data.metric(without, "return_final"), "below"
        ),
    ], ""


_WORKER_0 = {  # D3's name → metric, what it is
    "value_std": ("value_loss_sd", "SD of value loss"),
    "policy_std": ("policy_loss_sd", "SD of policy loss"),
    "reward": ("return_last_1000", "late return"),
    "reward_std": ("return_sd_last_1000", "SD of late return"),
}


def worker_0(data: Data, values: dict[str, Any]) -> Found:
    """D3.11: learner W0 alone, LayerNorm first."""
    found = [
        levels(data, INDIVIDUAL, f"{what}, W0", quantity, values[name], WORKER)
        for name, (quantity, what) in _WORKER_0.items()
    ]
    return list(itertools.chain(*found)), ""


def worker_0_changes(data: Data, values: dict[str, Any]) -> Found:
    """D3.12: the percentages of D3.11."""
    changes = zip(_WORKER_0.values(), values["pct"], strict=True)
    return [
        change(data, INDIVIDUAL, f"{what}, W0", quantity, "above" if percent > 0 else "below", percent, WORKER)
        for (quantity, what), percent in changes
    ], "Each percentage follows from the numbers of D3.11, within their rounding."


def over_fitting(data: Data, _: dict[str, Any]) -> Found:
    """D3.13: LayerNorm fits the own environment better, leaves fewer features; and the spread goes with that."""
    without = INDIVIDUAL.format("none")
    rank, dormant = (through_training(data, name) for name in ("core_rank_effective", "core_dormant_025"))
    found: list[Evidence] = [
        with_ln("return in training, last tenth", _metric(data, "return_final"), INDIVIDUAL, "above"),
        with_ln("effective rank of the features through training", rank, INDIVIDUAL, "below"),
        with_ln("share of dormant units through training", dormant, INDIVIDUAL, "above"),
    ]
    for mode in ("greedy", "sampled"):
        own = own_advantage(data, mode)
        found.append(with_ln(f"own velocity minus the others', {mode}", own, INDIVIDUAL, "above"))
        spread = data.worker_metric(without, "return_sd_last_1000").mean(axis=1)
        found.append(together(f"SD of late return and that advantage, {mode}, no norm", spread, own(without), "below"))
    return (
        found,
        "A learner that over-fits is better at the velocity it was trained at than at the other workers' ones.",
    )


def synergy(data: Data, _: dict[str, Any]) -> Found:
    """D3.14: workers disagree, LayerNorm makes them agree, so the critic of A3C gains more than that of Individual."""
    workers, alike = (through_training(data, f"grad_cosine_{of}") for of in ("workers", "episodes"))
    explained, without = through_training(data, "value_explained"), A3C.format("none")
    critic = {
        f"{who}-{norm}": explained(f"{who}-gru-{norm}") for who in ("individual", "a3c") for norm in ("none", "ln")
    }
    shared = dict(zip(critic, paired(*critic.values()), strict=True))
    weights = factorial_weights([("individual", "a3c"), ("none", "ln")], effect=[0, 1])
    between = "cosine through training of gradients between workers"
    return [
        more(f"{between} minus that within one, no norm", workers(without), alike(without), "below"),
        with_ln(between, workers, A3C, "above"),
        with_ln("share of the return's variance that the critic of A3C explains, through training", explained, A3C,
                "above"),
        Direction("the same gain, A3C minus Individual", contrast(shared, weights), "above"),
    ], ""  # fmt: skip


def advice(data: Data, _: dict[str, Any]) -> Found:
    """D3.15: good advice if LayerNorm raises the returns of A3C and does not raise those of Individual."""
    found: list[Evidence] = []
    for what, measure in (
        ("return in training, last tenth", _metric(data, "return_final")),
        ("sampled test return", _sampled(data)),
        ("greedy test return", _greedy(data)),
    ):
        found.append(with_ln(f"A3C, {what}", measure, A3C, "above"))
        found.append(with_ln(f"Individual, {what}", measure, INDIVIDUAL, "below", MARGIN))
    return found, f"Not recommended is read as: LayerNorm gains Individual less than {MARGIN:g} of return."


CLAIMS: dict[str, Claim] = {
    "D3.1": a3c_ratio,
    "D3.2": individual_ratio,
    "D3.3": ratio_and_generalisation,
    "D3.4": first_rows,
    "D3.5": late_return,
    "D3.6": fast_and_local,
    "D3.7": policy_loss,
    "D3.8": policy_loss_as_exploration,
    "D3.9": spread_over_training,
    "D3.10": instability_and_exploration,
    "D3.11": worker_0,
    "D3.12": worker_0_changes,
    "D3.13": over_fitting,
    "D3.14": synergy,
    "D3.15": advice,
}
