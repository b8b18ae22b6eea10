"""Tidy tables of the book against arithmetic by hand."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnlab.analysis.stats import sign_flip_test, std
from lnlab.book import (
    at_best,
    bands,
    contrasts,
    curves,
    estimates,
    minus,
    named,
    printed,
    references,
    seeds,
    shared,
    survival,
    through_records,
    values,
)
from lnlab.claims.pooled import EVERY
from lnlab.claims.studies import Data, Missing
from lnlab.runs import load
from tests import driving_fakes
from tests.by_hand import made

LN, NONE = [62.0, 64.0, 66.0, 60.0], [50.0, 53.0, 53.0, 52.0]  # differences 12, 11, 13, 8
ARMS = named("a3c-gru-ln", "a3c-gru-none")
EFFECT = {"LayerNorm": minus(*ARMS)}


@pytest.fixture
def data(tmp_path: Path) -> Data:
    """Two arms with the sampled test returns LN and NONE; the second has a fifth seed."""
    for norm, scores in (("ln", LN), ("none", [*NONE, 99.0])):
        made(tmp_path / "paper", range(len(scores)), lambda quantity, seed, of=scores: of[seed], norm=norm)
    return Data(load(tmp_path / "paper"))


def test_values_have_a_row_a_measure_and_arm(data: Data) -> None:
    found = values(data, {"sampled": "test.sampled", "return": "return_mean"}, ARMS, settings=["lr"])
    assert found.measure.tolist() == ["sampled", "sampled", "return", "return"]
    assert found.arm.tolist()[:2] == ["A3C GRU, LayerNorm", "A3C GRU, no norm"]
    assert (found.run[0], found.norm[0], found.lr[0], found.scores[0].tolist()) == ("a3c-gru-ln", "ln", 1e-4, LN)
    assert shared(found, ["measure"]).scores.map(len).tolist() == [4] * 4
    rows = seeds(found)
    assert len(rows) == 18
    assert rows[(rows.measure == "sampled") & (rows.norm == "none")].value.tolist() == [*NONE, 99]


def test_what_was_not_run_is_missing_or_left_out_and_a_wrong_name_is_refused(data: Data) -> None:
    arms = ["a3c-gru-ln", "rates/a3c-gru-none-lr3e-4"]
    with pytest.raises(Missing, match="profile 'rates'"):
        values(data, ["return_mean"], arms)
    assert values(data, ["return_mean"], arms, optional=True).run.tolist() == arms[:1]
    with pytest.raises(ValueError, match="unknown measure 'retrun'"):
        values(data, ["retrun"], arms)


def test_estimates_are_means_over_seeds_with_students_t(data: Data) -> None:
    (row,) = estimates(values(data, ["test.sampled"], ["a3c-gru-ln"])).itertuples()
    half = 3.182446 * np.std(LN, ddof=1) / 2
    assert (row.estimate, row.low, row.high, row.n) == pytest.approx((63, 63 - half, 63 + half, 4))


def test_a_spread_has_no_bound_below_zero(data: Data) -> None:
    (row,) = estimates(values(data, ["test.sampled"], ["a3c-gru-none"], statistic=std), positive=True).itertuples()
    assert row.estimate == pytest.approx(np.std([*NONE, 99], ddof=1))
    assert 0 < row.low < row.estimate < row.high
    equal = pd.DataFrame({"scores": [np.ones(4)], "statistic": [std]})
    (row,) = estimates(equal, positive=True).itertuples()
    assert (row.estimate, np.isnan(row.low), np.isnan(row.high)) == (0, True, True)


def test_contrasts_are_paired_by_seed_over_the_seeds_that_all_arms_have(data: Data) -> None:
    found = values(data, ["test.sampled"], ARMS)
    (row,) = contrasts(found, EFFECT, test=True).itertuples()
    half = 3.182446 * np.std([12, 11, 13, 8], ddof=1) / 2
    assert (row.estimate, row.low, row.high, row.n) == pytest.approx((11, 11 - half, 11 + half, 4))
    assert row.p == sign_flip_test(LN, NONE) == 1 / 8  # all four differences are positive
    (row,) = contrasts(found, EFFECT, percent=True).itertuples()
    assert row.estimate == pytest.approx(100 * (63 / 52 - 1))
    assert contrasts(found, {"x": minus(next(iter(ARMS)), "another")}).empty  # such as a state's measure without one


RATES = {"ln": {1e-4: [60.0, 60, 60], 1e-3: [75.0, 74, 76]}, "none": {1e-4: [9.0, 4, 4], 1e-3: [1.0, 1, 2]}}


def test_each_arm_is_judged_at_its_best_rate_chosen_on_other_seeds() -> None:
    rows = [("return", norm, norm, np.array(scores), np.mean, lr)
            for norm, levels in RATES.items() for lr, scores in levels.items()]  # fmt: skip
    found = at_best(pd.DataFrame(rows, columns=["measure", "arm", "norm", "scores", "statistic", "lr"]), "lr")
    assert found.best.tolist() == [1e-3, 1e-4]
    assert found.edge.tolist() == [True, True]
    assert [scores.mean() for scores in found.scores] == pytest.approx([75, 17 / 3])


def test_bands_average_workers_first_and_a_single_seed_has_none(data: Data) -> None:
    rows = curves(data, {"return": "return"}, {"LN": "a3c-gru-ln"})
    assert rows.groupby("seed").value.first().tolist() == LN  # made runs have one level throughout
    found = bands(rows)
    half = 3.182446 * np.std(LN, ddof=1) / 2
    assert found[["mean", "low", "high", "n"]].iloc[-1].tolist() == pytest.approx([63, 63 - half, 63 + half, 4])
    assert bands(rows, geometric=["return"])["mean"].iloc[0] == pytest.approx(np.exp(np.log(LN).mean()))
    assert bands(rows[rows.seed == 0]).low.isna().all()


def test_records_before_the_first_update_are_one_moment(tmp_path: Path) -> None:
    arm = "td3-none-leaky-b32"
    data = Data(load(driving_fakes.study(tmp_path / "driving", {arm: driving_fakes.Fake()}, steps=2000)))
    rows = through_records(data, {"features": "actor_feature_norm_probe"}, {"arm": arm})
    assert rows[rows.seed == 0].updates.tolist() == [0, *range(100, 1001, 100)]


def test_a_printed_number_stands_with_its_margin_beside_ours(data: Data) -> None:
    made(data.main.dir, algorithm="individual", norm="ln")
    found = printed(Data(load(data.main.dir)), "D4", ["D4.1"]).set_index(["source", "measure", "of"])
    key = ("mean", "A3C, RNN+LN")
    assert found.loc[("printed", *key), ["estimate", "low", "high"]].tolist() == pytest.approx(
        [49.57, 37.1775, 61.9625]
    )
    assert found.loc[("here", *key), ["estimate", "n"]].tolist() == pytest.approx([63, 4])
    assert set(found.outcome) <= {"agrees", "differs", "open"}


def test_survival_by_hand() -> None:
    # five runs: explosions at 10 and 30, runs ended at 20 and 40 (two): S = 4/5, 4/5, 4/5 * 2/3
    rows = survival([10, 20, 30, 40, 40], [True, False, True, False, False])
    assert rows.time.tolist() == [0, 10, 20, 30, 40]
    assert rows.share.to_numpy() == pytest.approx([1, 0.8, 0.8, 0.8 * 2 / 3, 0.8 * 2 / 3])
    variance = 1 / (5 * 4) + 1 / (3 * 2)  # Greenwood's sum at 30
    exponent = math.exp(1.959964 * math.sqrt(variance) / abs(math.log(0.8 * 2 / 3)))
    assert rows.low[3] == pytest.approx((0.8 * 2 / 3) ** exponent)
    assert rows.high[3] == pytest.approx((0.8 * 2 / 3) ** (1 / exponent))
    never, gone = survival([5, 5], [False, False]), survival([5, 5], [True, True])
    assert np.all(never[["share", "low", "high"]] == 1)
    assert gone.share.tolist() == [1.0, 0.0]
    assert gone[["low", "high"]].iloc[-1].isna().all()


@pytest.mark.slow
def test_reference_policies_are_those_of_the_documents() -> None:
    """Always OFFLOAD earns the budget of 1000 units: a return of 50, but for the last request that does not fit."""
    rows, sweep = references().query("cloud == 'budget'"), references(sweep=True)
    assert rows.groupby("group").scenario.nunique().to_dict() == {"seen": 5, "intra": 6, "extra": 7}
    always = sweep[(sweep.policy == "always OFFLOAD") & (sweep.cloud == "budget")]
    assert sorted(always.velocity) == sorted(EVERY)
    for each in (rows[rows.policy == "always OFFLOAD"], always):
        assert 48 < each.return_mean.min() <= each.return_mean.max() <= 50
