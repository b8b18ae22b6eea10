"""D2 and D4: pooled cells against NumPy, ranges of a repetition against simulation, claims against the tables."""

import shutil

import numpy as np
import pandas as pd
import pytest

from lnlab.analysis.claims import Direction, Number, Sum, number
from lnlab.analysis.stats import Interval, interval, paired_difference
from lnlab.report import cells, d2, d2_claims, d2_figures, d4, d4_claims, d4_words, d4_workers, effects, ledger, matrix
from lnlab.report.evidence import Data, Missing
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


def test_worst_velocity_has_the_same_number_of_cells_for_every_arm():
    one = np.array([[[3.0], [5.0]], [[4.0], [8.0]]])  # two seeds, two velocities, one learner
    five = np.repeat(one, 5, axis=2)
    assert cells.worst_learner_cells(one).tolist() == cells.worst_learner_cells(five).tolist() == [3.0, 4.0]


def test_the_variance_of_the_cells_is_divided_without_a_rest(values):
    shares = d2.variance_shares(values)
    assert sum(shares[part] for part in d2.PARTS) == pytest.approx(1)
    only_seeds = np.broadcast_to(np.array([1.0, 2.0, 4.0])[:, None, None], (3, 4, 5))
    assert d2.variance_shares(only_seeds)["between seeds"] == pytest.approx(1)


def test_a_spread_has_no_bound_below_zero():
    found = cells.positive(np.array([1.0, 1.1, 0.9, 5.0]), lambda x, axis: np.std(x, axis=axis, ddof=1))
    assert found.estimate == pytest.approx(np.std([1.0, 1.1, 0.9, 5.0], ddof=1))
    assert 0 < found.low < found.estimate < found.high


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
    return Data(load(folder / "paper"))


def test_the_gap_is_that_of_each_number_of_workers(tmp_path):
    found = d4_workers.gaps(crews(tmp_path)).set_index(["norm", "mode", "workers"])
    gaps = {("none", 5): 20, ("none", 3): 32, ("ln", 5): 40, ("ln", 3): 52}  # 100 (60 / 50 − 1) and so on
    for (norm, workers), percent in gaps.items():
        for mode in d4.MODES:
            assert found.estimate[norm, mode, workers] == pytest.approx(percent)
            assert found.n[norm, mode, workers] == {5: 4, 3: 3}[workers]


def test_a_number_of_workers_that_one_algorithm_lacks_is_left_out(tmp_path):
    data = crews(tmp_path)
    shutil.rmtree(tmp_path / "workers" / "individual-gru-none-w3")
    rows = d4_workers.gaps(data)
    assert set(zip(rows.norm, rows.workers, strict=True)) == {("none", 5), ("ln", 3), ("ln", 5)}
    shown = d4_workers.table(rows).shown.set_index(["arms", "policies"])
    assert shown.loc[("RNN, no norm", "greedy"), "3 workers"] == "n/a"
    assert "n = 3 to 4 seeds" in d4_workers.table(rows).caption
    assert "greedy, LayerNorm, 3 workers: 52" in d4_workers.figure(rows).alt
    shutil.rmtree(tmp_path / "workers" / "individual-gru-ln-w3")
    with pytest.raises(Missing, match="another number of workers"):
        d4_workers.gaps(data)


# -- pages ------------------------------------------------------------------------------------------------------------
def test_main_effects_are_means_of_simple_ones_and_the_interaction_their_difference():
    simple = [d4.EFFECTS["LayerNorm, with the RNN"], d4.EFFECTS["LayerNorm, without the RNN"]]
    for cell in cells.MATRIX:
        with_rnn, without = (each.get(cell, 0) for each in simple)
        assert d4.EFFECTS["LayerNorm, main effect"][cell] == (with_rnn + without) / 2
        assert d4.EFFECTS["interaction"][cell] == with_rnn - without


def test_a_mean_of_a_table_is_that_of_its_cells(data):
    found = d2.spread_table(data, "sampled", "refilled").data.set_index("arm")
    mine = rows(data, "individual-ff-ln", cells.EVERY, "sampled", "refilled")
    row = found.loc["Individual feedforward, LayerNorm"]
    assert row["mean"] == pytest.approx(mine.return_mean.mean())
    assert row["mean_low"] == pytest.approx(interval(mine.groupby("seed").return_mean.mean().to_numpy()).low)


def test_always_offload_earns_its_budget_at_every_velocity():
    assert 49 < d2.references("budget")["offload"] <= 50


def test_seeds_that_never_reach_the_target_leave_the_curve_at_zero(data):
    found = d2_figures.target_rows(data)
    assert (found.share == 0).all()
    assert (found.episode.max(), found.n.max()) == (4, 2)


def test_a_component_that_changes_nothing_has_no_clear_effect():
    none = Interval(0.0, -1.0, 1.0, 30)
    assert "shows no clear effect on" in d4_words._sentence("RNN, main effect", "A3C", none)
    assert d4_words._sentence("LayerNorm, main effect", "A3C", Interval(2, 1, 3, 30)).startswith("LayerNorm raises")
    assert "weaken each other" in d4_words._sentence("interaction", "A3C", Interval(-2, -3, -1, 30))


def test_every_table_and_figure_tells_its_seeds(data, entries):
    listed = list(entries.values())
    shown = [
        d2.beside(listed, ["D2.1"], "x"), d2.tested(listed, ["D2.16"], "y"),
        d2.spread_sources(data), d2.spread_table(data),
        d2_figures.learners_figure(data), d2_figures.velocity_figure(data), d2_figures.effect_figure(data, "greedy"),
        d2_figures.target_figure(data), d4.heat_maps(data), d4.matrix_table(data, "sampled"),
        d4.effect_table(data, "greedy"), d4.contributions(data), d4.collapse_table(data),
    ]  # fmt: skip
    for each in shown:
        assert "n = 2" in each.caption, each.name
        assert len(each.data), each.name
    assert "needs the profile 'original'" in d4_words.original(data)
    assert "lacks what D4.11 need" in d2.tested(listed, ["D4.11"], "z")
