"""D2 and D4: pooled cells against NumPy, ranges of a repetition against simulation, claims against the tables."""

import shutil

import numpy as np
import pandas as pd
import pytest
from lnlab.report import cells, d2_claims, d4_claims, effects, ledger, matrix
from lnlab.report.evidence import Data

from lnlab.analysis.claims import Direction, Number, Sum, number
from lnlab.analysis.stats import Interval, interval, paired_difference, std
from lnlab.book import estimates, printed, references, tidy
from lnlab.claims import studies
from lnlab.claims.measures import measure
from lnlab.runs import load
from tests.by_hand import made

MISSING = {"D2.15", "D4.11", "D4.15"}  # no such arm; profiles that the tiny study lacks


@pytest.fixture(scope="module")
def data(tiny_study):
    return Data(tiny_study)


@pytest.fixture(scope="module")
def entries(data):
    return {entry.id: entry for document in ("D2", "D4") for entry in ledger.entries(data, document)}


@pytest.fixture
def values():
    """Cells of seven seeds, three velocities, two learners."""
    return np.random.default_rng(1).normal(50, 10, (7, 3, 2))


def rows(data, run, velocities, mode="greedy", cloud="budget"):
    """A run's cells straight from its tables."""
    every = pd.concat([data.table(run, "evaluation"), data.table(run, "sweep")])
    every = every[(every["mode"] == mode) & (every.cloud == cloud) & (every.capacity == 200)]
    return every[every.velocity.isin(velocities)].drop_duplicates(["seed", "worker", "velocity"])


# -- statistics of cells ----------------------------------------------------------------------------------------------
def test_a_summary_keeps_mean_sd_cv_and_minimum_of_the_cells(values):
    summary = cells.summary(values)
    assert cells.mean(summary) == pytest.approx(values.mean())
    assert cells.std(summary) == pytest.approx(values.std(ddof=1))
    assert cells.cv(summary) == pytest.approx(values.std(ddof=1) / values.mean())
    assert cells.worst(summary) == values.min()


def test_several_arms_are_resampled_together(values):
    a, b = cells.summary(values), cells.summary(values[:, :, :1] + 3)
    found = cells.found(lambda x, y: cells.mean(x) - cells.mean(y), a, b)
    expected = paired_difference(values.mean(axis=(1, 2)), values[:, :, 0].mean(axis=1) + 3)
    assert found == pytest.approx(expected)


def test_a_percentage_is_that_of_the_effects_page(values):
    a, b = values.mean(axis=(1, 2)), values[:, :, 1].mean(axis=1)
    found = cells.percent(cells.mean, cells.summary(a[:, None]), cells.summary(b[:, None]))
    assert found == pytest.approx(effects.percent_change(a, b))


def test_arms_are_compared_over_the_seeds_that_both_have(values):
    whole, part = cells.summary(values), cells.summary(values[:5] + 1)
    found = cells.found(lambda a, b: cells.mean(b) - cells.mean(a), whole, part)
    assert (found.estimate, found.n) == (pytest.approx(1), 5)


def test_a_repeated_mean_has_the_range_of_the_closed_form():
    seeds = np.random.default_rng(0).normal(50, 10, 200)
    ours, known = cells.repeated("x", 50, cells.mean, cells.summary(seeds[:, None])), number("x", 50, seeds, runs=5)
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=1)


@pytest.mark.parametrize("quantity", [cells.std, cells.worst])
def test_the_range_holds_what_five_new_seeds_give(quantity):
    rng, hits = np.random.default_rng(3), []
    for _ in range(120):
        seeds, new = rng.normal(50, 10, (30, 1)), rng.normal(50, 10, (5, 1))
        printed = float(quantity(cells.summary(new)))
        hits.append(cells.repeated("x", printed, quantity, cells.summary(seeds), ours=Interval(0, 0, 0, 30)).outcome)
    assert 0.86 < np.mean(np.array(hits) == "agrees") <= 1


def test_worst_velocity_has_the_same_number_of_cells_for_every_arm(data):
    cell = rows(data, "individual-gru-ln", cells.EVERY, "sampled", "refilled")
    lowest = cell.groupby(["seed", "worker"]).return_mean.min().groupby("seed").mean()
    found = measure(studies.Data(data.main), "worst_velocity.sampled.refilled", "individual-gru-ln")
    assert found == pytest.approx(lowest.to_numpy())


def test_a_spread_has_no_bound_below_zero():
    scores = np.array([1.0, 1.1, 0.9, 5.0])
    (found,) = estimates(pd.DataFrame({"scores": [scores], "statistic": [std]}), positive=True).itertuples()
    assert found.estimate == pytest.approx(scores.std(ddof=1))
    assert 0 < found.low < found.estimate < found.high
    (found,) = estimates(pd.DataFrame({"scores": [np.ones(4)], "statistic": [std]}), positive=True).itertuples()
    assert (found.estimate, np.isnan(found.low), np.isnan(found.high)) == (0, True, True)


# -- claims -----------------------------------------------------------------------------------------------------------
def test_arithmetic_allows_for_rounding_and_no_more():
    def right(result):
        return matrix.arithmetic("x", "{} / {}", result, matrix.quotient, 14.35, 49.57).outcome == "right"

    assert [right(result) for result in (0.289, 0.29, 0.288)] == [True, True, False]


def test_d2_prints_one_percentage_that_does_not_follow(entries):
    sums = [each for each in entries["D2.7"].verdict.evidence if isinstance(each, Sum)]
    assert [(each.printed, each.outcome) for each in sums] == [(32, "right"), (34, "wrong"), (20, "right")]
    assert entries["D2.7"].verdict.verdict == "arithmetic error"


def test_d4_turned_signs_of_changes(entries):
    """50.58 over 49.57 is 2.0 % more, back it is 2.0 % less; but 0.361 over 0.289 is 25 % more, back 20 % less."""
    sums = {each.what: each for each in entries["D4.7"].verdict.evidence if isinstance(each, Sum)}
    cv = sums["change of the CV with LayerNorm, keeping the RNN, %: A3C"]
    assert (cv.outcome, round(cv.computed, 1)) == ("wrong", -19.9)
    assert sums["change of the mean with LayerNorm, keeping the RNN, %: A3C"].outcome == "right"


def test_every_claim_has_evidence_or_a_true_reason(entries):
    untestable = {name for name, entry in entries.items() if entry.verdict.verdict == "untestable"}
    assert untestable == MISSING
    assert set(entries) == set(d2_claims.CLAIMS) | set(d4_claims.CLAIMS)
    assert len(entries) == 32


@pytest.mark.parametrize(
    ("claim", "what", "run", "velocities"),
    [
        ("D4.1", "A3C, RNN+LN", "a3c-gru-ln", cells.BASELINE),
        ("D4.2", "Individual, RNN only", "individual-gru-none", cells.ABLATION),
        ("D4.3", "A3C, LN only", "a3c-ff-ln", cells.ABLATION),
        ("D4.4", "Individual, Neither", "individual-ff-none", cells.BASELINE),
    ],
)
def test_a_cell_of_the_matrix_is_summarised_at_its_documents_velocities(entries, data, claim, what, run, velocities):
    ours = {each.what: each.found for each in entries[claim].verdict.evidence if isinstance(each, Number)}
    cell = rows(data, run, velocities).return_mean
    assert len(cell) == 2 * 9 * (1 if run.startswith("a3c") else 5)
    assert ours[f"mean: {what}"].estimate == pytest.approx(cell.mean())
    assert ours[f"SD over cells: {what}"].estimate == pytest.approx(cell.std(ddof=1))
    assert ours[f"CV: {what}"].estimate == pytest.approx(cell.std(ddof=1) / cell.mean())
    assert ours[f"worst cell: {what}"].estimate == cell.min()


def test_a_gap_is_a3c_over_individual(entries, data):
    means = [rows(data, f"{who}-gru-ln", cells.BASELINE).return_mean.mean() for who in ("a3c", "individual")]
    numbers = [each for each in entries["D2.1"].verdict.evidence if isinstance(each, Number)]
    (found,) = [each for each in numbers if each.what == "gap, %: RNN+LN"]
    assert found.found.estimate == pytest.approx(100 * (means[0] / means[1] - 1))


def test_directions_meet_one_list_of_velocities(entries, data):
    (rise,) = [each for each in entries["D2.3"].verdict.evidence if isinstance(each, Direction) and "A3C" in each.what]
    none, ln = (rows(data, f"a3c-gru-{norm}", cells.EVERY).return_mean.mean() for norm in ("none", "ln"))
    assert rise.found.estimate == pytest.approx(100 * (none / ln - 1))


def test_a_constant_policy_takes_one_action_more_than_99_times_in_100(data):
    shares = rows(data, "individual-gru-none", cells.EVERY).groupby(["seed", "worker"])
    largest = shares[["share_local", "share_offload", "share_discard"]].mean().max(axis=1).unstack()
    assert matrix.constant(data, "ind", "rnn").tolist() == (largest.to_numpy() > 0.99).tolist()


def test_a_run_that_misses_the_target_counts_as_its_length(data):
    assert d2_claims.times_to_target(data, "a3c-gru-ln").tolist() == [4, 4]


def test_a_share_of_seeds_has_the_range_of_five_new_ones(entries):
    found = next(each for each in entries["D4.6"].verdict.evidence if isinstance(each, Number))
    assert (found.printed, found.runs, found.found.n) == (0.8, 5, 2)
    assert 0 <= found.low <= found.high <= 1
    assert (5 * found.high) % 1 == pytest.approx(0)  # a share of five


def test_claims_about_other_profiles_are_judged_where_these_are_there(tiny_study, tmp_path):
    """Copies of the same runs as 3 workers and as equal data: both differences are exactly zero."""
    for run in tiny_study.runs:
        shutil.copytree(run.dir, tmp_path / "paper" / run.id)
        if "gru" in run.id:
            for suffix in ("w3", "w10"):
                shutil.copytree(run.dir, tmp_path / "workers" / f"{run.id}-{suffix}")
    shutil.copytree(tiny_study["a3c-gru-ln"].dir, tmp_path / "equal-data" / "a3c-gru-ln")
    data = Data(load(tmp_path / "paper"))
    found = {entry.id: entry.verdict for doc in ("D2", "D4") for entry in ledger.entries(data, doc)}
    assert found["D4.11"].evidence[0].found.estimate == pytest.approx(0)
    more = [each for each in found["D2.11"].evidence if "10 workers" in each.what]
    assert more[0].found.estimate == pytest.approx(0)
    whole, equal, _ = found["D4.15"].evidence
    assert whole.found == equal.found


# -- number of workers ------------------------------------------------------------------------------------------------
def crews(folder):
    """A3C returns 60 and 66 with 5 and 3 workers, 10 more with LayerNorm; Individual 50; greedy is twice that."""
    for workers, seeds, a3c in ((5, range(4), 60.0), (3, range(3), 66.0)):
        for norm, more in (("none", 0.0), ("ln", 10.0)):
            for algorithm, level in (("a3c", a3c + more), ("individual", 50.0)):
                where = folder / ("paper" if workers == 5 else "workers")

                def value(quantity, seed, level=level):
                    return level * (1 + (quantity == "greedy")) * (1 + seed / 100)

                made(where, seeds, value, algorithm=algorithm, norm=norm, workers=workers)
    return studies.Data(load(folder / "paper"))


def test_the_gap_is_that_of_each_number_of_workers(tmp_path):
    data = crews(tmp_path)
    arms = [f"{start}a3c-gru-{norm}{end}" for norm in ("none", "ln") for start, end in (("", ""), ("workers/", "-w3"))]
    gaps = {("none", 5): 20, ("none", 3): 32, ("ln", 5): 40, ("ln", 3): 52}  # 100 (60 / 50 − 1) and so on
    for mode in ("greedy", "sampled"):
        scores = tidy.values(data, [f"gap.test.{mode}"], arms, settings=["workers"])
        found = estimates(scores).set_index(["norm", "workers"])
        assert found.estimate.to_dict() == pytest.approx(gaps)
        assert found.n.to_dict() == {key: {5: 4, 3: 3}[key[1]] for key in gaps}


def test_a_number_of_workers_that_one_algorithm_lacks_is_left_out(tmp_path):
    data = crews(tmp_path)
    shutil.rmtree(tmp_path / "workers" / "individual-gru-none-w3")
    arms = ["workers/a3c-gru-none-w3", "workers/a3c-gru-ln-w3", "workers/a3c-gru-ln-w10", "a3c-gru-ln"]
    found = tidy.values(data, ["gap.test.greedy"], arms, optional=True)
    assert found.run.tolist() == ["workers/a3c-gru-ln-w3", "a3c-gru-ln"]
    with pytest.raises(studies.Missing, match="individual-gru-none-w3"):
        tidy.values(data, ["gap.test.greedy"], arms)


# -- pages ------------------------------------------------------------------------------------------------------------
def test_a_return_is_that_of_the_cells_of_its_mode_cloud_and_velocity(data):
    measures = {"sweep.sampled.refilled": (cells.EVERY, "refilled"), "sweep.sampled.75": ((75,), "budget")}
    for name, (velocities, cloud) in measures.items():
        mine = rows(data, "individual-ff-ln", velocities, "sampled", cloud).groupby("seed").return_mean.mean()
        (found,) = estimates(tidy.values(studies.Data(data.main), [name], ["individual-ff-ln"])).itertuples()
        assert (found.estimate, found.low) == pytest.approx(interval(mine.to_numpy())[:2])


def test_a_printed_number_stands_beside_ours_and_a_repetition(data, entries):
    found = printed(studies.Data(data.main), "D2", ["D2.5"]).set_index(["source", "measure", "of"])
    numbers = [each for each in entries["D2.5"].verdict.evidence if isinstance(each, Number)]
    (each,) = [each for each in numbers if each.what == "CV: A3C, RNN only"]
    key = ("CV", "A3C, RNN only")
    assert found.loc[("printed", *key), "estimate"] == each.printed == 0.361
    assert found.loc[("here", *key), ["estimate", "low", "high"]].tolist() == pytest.approx(each.found[:3])
    assert found.loc[("five new seeds", *key), ["low", "high"]].tolist() == pytest.approx([each.low, each.high])


def test_always_offload_earns_its_budget_at_every_velocity():
    found = references(sweep=True).set_index(["cloud", "policy"]).loc[("budget", "always OFFLOAD")]
    assert sorted(found.velocity) == sorted(cells.EVERY)
    assert 48 < found.return_mean.min() <= found.return_mean.max() <= 50
