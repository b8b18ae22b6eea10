"""D3 and the mechanism: no claim forgotten, evidence on the right side, numbers against hand arithmetic and scipy."""

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from lnlab.report import d3_claims, hypotheses, ledger, pieces, predictions
from lnlab.report.evidence import Data, Missing, documents
from scipy import stats

from lnlab.analysis.claims import Direction, judge
from lnlab.analysis.correlation import rank_correlation
from lnlab.analysis.stats import Interval

CLAIMS = {claim["id"]: claim for claim in documents()["D3"]["claims"]}
SEEDS = 30


class Known:
    """Data whose every number is `level`, plus noise, plus `effect[name]` in arms with LayerNorm."""

    def __init__(self, **effect: float) -> None:
        self.effect, self.rng = effect, np.random.default_rng(0)

    def values(self, arm: str, name: str, shape: tuple[int, ...] = (SEEDS,)) -> np.ndarray:
        gain = self.effect.get(name, 0.0) if arm.endswith("-ln") else 0.0
        return 50 + gain + self.rng.normal(size=shape)

    def metric(self, arm, quantity, worker=-1, *, empty=None):
        return self.values(arm, quantity)

    def worker_metric(self, arm, quantity):
        return self.values(arm, quantity, (SEEDS, 5))

    def test(self, arm, groups=(), mode="greedy", cloud="budget"):
        return self.values(arm, f"test_{mode}_{arm.split('-')[0]}")

    def diagnostic(self, arm, quantity, step=-1, *, empty=None):
        return self.values(arm, quantity)

    def steps(self, arm):
        return [0, 100, 500, 2000]


def outcomes(claim: str, data: object) -> dict[str, str]:
    evidence, _ = d3_claims.CLAIMS[claim](data, CLAIMS[claim].get("values") or {})
    return {each.what: each.outcome for each in evidence}


def named(found, what):
    return next(each for each in found[0] if each.what == what)


def test_every_claim_of_d3_has_evidence_or_a_reason(tiny_study):
    found = ledger.entries(Data(tiny_study), "D3")
    assert [entry.id for entry in found] == list(CLAIMS)
    for entry in found:
        assert entry.verdict.evidence or "needs" in entry.verdict.reason, entry.id


def test_sums_of_d3_are_right_within_their_rounding_and_wrong_beyond():
    (reduction,) = [
        each for each in d3_claims.a3c_ratio(Known(), CLAIMS["D3.1"]["values"])[0] if each.what == "reduction, %"
    ]
    assert reduction.computed == pytest.approx(-64.877, abs=0.001)
    assert reduction.outcome == "right"
    off = CLAIMS["D3.1"]["values"] | {"reduction_pct": 66.0}
    wrong = named(d3_claims.a3c_ratio(Known(), off), "reduction, %")
    assert wrong.outcome == "wrong"


def test_percentages_of_d3_12_follow_from_d3_11_within_their_rounding():
    """The note on D3.12 says so."""
    levels, percents = CLAIMS["D3.11"]["values"], CLAIMS["D3.12"]["values"]["pct"]
    for (name, (ln, none)), percent in zip(levels.items(), percents, strict=True):
        half = 0.00005 if name == "policy_std" else 0.005
        slack = max(
            abs((a / b - ln / none) * 100) for a, b in product((ln - half, ln + half), (none - half, none + half))
        )
        assert abs(100 * (ln / none - 1) - percent) <= slack + 0.05, name


def test_advice_holds_where_a3c_gains_and_individual_does_not():
    helps = Known(test_greedy_a3c=5, test_sampled_a3c=5, test_greedy_individual=-5, test_sampled_individual=0.5)
    found = outcomes("D3.15", helps)
    assert {found[f"A3C, {mode} test return: LayerNorm minus no norm"] for mode in ("greedy", "sampled")} == {"holds"}
    assert {found[f"Individual, {mode} test return: LayerNorm minus no norm"] for mode in ("greedy", "sampled")} == {
        "holds"
    }  # a gain below the margin is none
    other = outcomes("D3.15", Known(test_greedy_a3c=-5, test_greedy_individual=5))
    assert other["A3C, greedy test return: LayerNorm minus no norm"] == "opposes"
    assert other["Individual, greedy test return: LayerNorm minus no norm"] == "opposes"


def test_exploration_is_judged_by_entropy():
    assert outcomes("D3.8", Known(entropy_mean=-5))["entropy, mean over training: LayerNorm minus no norm"] == "opposes"
    assert outcomes("D3.8", Known(entropy_mean=5))["entropy, mean over training: LayerNorm minus no norm"] == "holds"


def test_over_fitting_predicts_fewer_directions_and_more_dormant_units():
    data = Known(core_rank_effective=5, core_dormant_025=5)
    data.scenario_scores = lambda *_, **__: data.values("x", "y", (SEEDS, 5, 5))
    found = outcomes("D3.13", data)
    assert found["effective rank of the features through training: LayerNorm minus no norm"] == "opposes"
    assert found["share of dormant units through training: LayerNorm minus no norm"] == "holds"


def test_own_advantage_is_the_diagonal_minus_the_rest():
    class Cells:
        def scenario_scores(self, *_, **__):
            return np.array([[[10.0, 1, 2], [3, 20, 4], [5, 6, 30]]])

    assert pieces.own_advantage(Cells(), "greedy")("individual-gru-ln") == pytest.approx([60 / 3 - 21 / 6])


def test_numbers_are_those_of_the_episodes_table(tiny_study):
    found, _ = d3_claims.a3c_ratio(Data(tiny_study), CLAIMS["D3.1"]["values"])
    episodes = tiny_study["a3c-gru-ln"].table("episodes").groupby("seed")
    ours = {each.what: each.found for each in found if hasattr(each, "runs")}
    ratio = (episodes.value_loss.mean() / episodes["return"].mean()).mean()
    assert ours["value loss / return, LayerNorm"].estimate == pytest.approx(ratio, rel=1e-5)


# -- rank correlation -------------------------------------------------------------------------------------------------


def test_rank_correlation_agrees_with_scipy():
    x, y = np.random.default_rng(1).normal(size=(2, 25))
    assert rank_correlation(x, y).estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation(np.exp(x), y) == pytest.approx(rank_correlation(x, y))  # ranks do not see the scale


def test_rank_correlation_covers():
    rng = np.random.default_rng(2)
    true = 6 / np.pi * np.arcsin(0.6 / 2)  # of a bivariate normal with Pearson's 0.6
    hits = 0
    for _ in range(400):
        x, e = rng.normal(size=(2, 30))
        found = rank_correlation(x, 0.6 * x + 0.8 * e)
        hits += found.low <= true <= found.high
    assert 0.92 <= hits / 400 <= 0.985


@pytest.mark.parametrize("values", [[1.0, 1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
def test_rank_correlation_decides_nothing_on_a_constant_or_three_seeds(values):
    found = rank_correlation(values, np.arange(len(values)))
    assert (found.low, found.high) == (-1, 1)
    assert Direction("x", found, "above").outcome == "open"


# -- mechanism -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sides", "expected"),
    [(("above", "above"), "confirmed"), (("above", "below"), "mixed"), (("below", "below"), "refuted")],
)
def test_a_hypothesis_stands_or_falls_by_its_predictions(sides, expected):
    found = Interval(2.0, 1.0, 3.0, SEEDS)
    assert hypotheses.verdict([Direction("x", found, side) for side in sides]) == expected


def test_one_open_prediction_leaves_a_hypothesis_open_unless_another_opposes():
    sure, unsure = Interval(2.0, 1.0, 3.0, SEEDS), Interval(2.0, -1.0, 5.0, SEEDS)
    assert hypotheses.verdict([Direction("x", sure, "above"), Direction("y", unsure, "above")]) == "open"
    assert hypotheses.verdict([Direction("x", sure, "below"), Direction("y", unsure, "above")]) == "refuted"


def test_hypotheses_follow_the_data_and_not_the_author():
    """Data in which LayerNorm saturates the state refute what the page expects."""
    hypothesis = {each.name: each for each in predictions.HYPOTHESES}["saturation"]
    as_expected = hypothesis.predictions(Known(state_saturated=-5, state_spread=5))
    assert hypotheses.verdict(as_expected) == "confirmed"
    assert hypotheses.verdict(hypothesis.predictions(Known(state_saturated=5, state_spread=-5))) == "refuted"


class Curves:
    """Blocks of 20 episodes of two seeds; Individual takes five times as long."""

    def __init__(self, *, recovers: bool = True) -> None:
        self.recovers = recovers

    def run(self, arm):
        return SimpleNamespace(config=SimpleNamespace(workers=5))

    def steps(self, arm):
        return [0, 10, 100] if arm.startswith("a3c") else [0, 10, 50, 500]

    def diagnostic(self, arm, quantity, step):
        return np.array([1.0, 1.001]) * (step if arm.startswith("a3c") else step / 5)

    def curve(self, arm, quantity):
        last = [2, 3] if arm.startswith("a3c") else [10, 15]
        losses = np.where(np.arange(20) < np.array(last)[:, None], 200.0, 9.0)
        losses[0, -1] = 9.0 if self.recovers else 200.0
        return 20 * np.arange(1, 21), losses


def test_updates_are_compared_after_five_times_as_many_episodes():
    found = predictions._equal_updates(Curves())
    assert "A3C minus Individual after 10, 100 and 50, 500 episodes" in found[0].what
    assert [each.found.estimate for each in found] == pytest.approx([0, 0])


def test_recovery_is_counted_in_updates():
    assert predictions._recovery_time(Curves(), "a3c-ff-none").tolist() == [40.0, 60.0]
    (found,) = predictions._clock(Curves())
    assert found.found.estimate == pytest.approx(0)
    with pytest.raises(Missing, match="needs every seed of a3c-ff-none to explode and to recover"):
        predictions._clock(Curves(recovers=False))


def test_verdicts_of_d3_are_made_by_the_rules(tiny_study):
    for entry in ledger.entries(Data(tiny_study), "D3"):
        if entry.verdict.evidence:
            assert entry.verdict.verdict == judge(entry.id, entry.verdict.evidence).verdict


def test_arms_with_more_seeds_are_compared_over_those_that_both_have():
    found = pieces.more("x", np.array([5.0, 6, 7, 100]), np.array([1.0, 2, 3])).found
    assert (found.estimate, found.n) == (4, 3)
