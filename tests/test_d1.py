"""The numbers of D1's claims and tables against arithmetic on the same tables."""

import numpy as np
import pytest
from lnlab.report import d1_why, generated

from lnlab.analysis.stats import interval
from lnlab.book import contrasts, estimates, minus, references, values
from lnlab.claims import judge, ledger
from lnlab.claims.studies import Data


def rows_of(study, section, claim):
    rows = ledger.evidence_rows(judge.entries(Data(study), "D1", section))
    return rows[rows.claim == claim].set_index("what")


def test_every_printed_value_of_d1_is_measured_again(tiny_study):
    for entry in judge.entries(Data(tiny_study), "D1"):
        if entry.claim.kind in ("measured", "comparison", "arithmetic"):
            rows = ledger.evidence_rows([entry])
            assert len(rows), entry.id
            assert rows.estimate.notna().all(), entry.id


def test_mean_value_loss_is_the_mean_over_episodes_workers_and_seeds(tiny_study):
    ours = rows_of(tiny_study, "stability", "D1.1").estimate
    episodes = tiny_study["individual-gru-ln"].table("episodes")
    assert ours["mean value loss: Individual, LayerNorm"] == pytest.approx(episodes.value_loss.mean(), rel=1e-5)


def test_explosions_are_episodes_whose_worst_worker_exceeds_100(tiny_study):
    ours = rows_of(tiny_study, "stability", "D1.3").estimate
    worst = tiny_study["a3c-gru-none"].table("episodes").groupby(["seed", "episode"]).value_loss.max()
    assert ours["episodes above 100, %: A3C, no norm"] == pytest.approx(100 * (worst > 100).mean())


def greedy_tests(study, run):
    rows = study[run].table("evaluation")
    return rows[(rows["mode"] == "greedy") & (rows.cloud == "budget")]


def test_overall_is_the_mean_of_three_groups_and_its_change_is_over_18_scenarios(tiny_study):
    overall = rows_of(tiny_study, "generalisation", "D1.12").estimate
    with_ln, without = greedy_tests(tiny_study, "a3c-gru-ln"), greedy_tests(tiny_study, "a3c-gru-none")
    assert overall["overall test return: A3C, LayerNorm"] == pytest.approx(
        with_ln.groupby("group").return_mean.mean().mean()
    )
    change = rows_of(tiny_study, "generalisation", "D1.13").estimate["overall change with LayerNorm, %: A3C"]
    assert change == pytest.approx(100 * (with_ln.return_mean.mean() / without.return_mean.mean() - 1))


def test_a_workers_gap_is_extra_minus_seen(tiny_study):
    rows = greedy_tests(tiny_study, "individual-gru-none").query("worker == 3")
    means = rows.groupby(["seed", "group"]).return_mean.mean().unstack()
    ours = rows_of(tiny_study, "generalisation", "D1.17").loc["Extra minus Seen: W3, no norm"]
    assert (ours.estimate, ours.low, ours.high) == pytest.approx(interval((means.extra - means.seen).to_numpy())[:3])


def test_readme_takes_the_findings_between_its_marks(tiny_study):
    text = generated.findings(tiny_study)
    before = f"# Title\n{generated.BEGIN}\nold\n{generated.END}\nrest\n"
    assert generated.readme_with(before, text) == f"# Title\n{generated.BEGIN}\n{text}\n{generated.END}\nrest\n"
    with pytest.raises(ValueError, match="no place for the findings"):
        generated.readme_with("# Title\n", text)


def test_reference_policies_are_those_of_the_documents():
    """Always OFFLOAD earns the budget of 1000 units: a return of 50, but for the last request that does not fit."""
    rows = references().query("cloud == 'budget'")
    assert rows.groupby("group").scenario.nunique().to_dict() == {"seen": 5, "intra": 6, "extra": 7}
    assert 49 < rows[rows.policy == "always OFFLOAD"].return_mean.mean() <= 50


def test_a_double_ratio_by_hand():
    twice, half, same = np.array([2.0, 6.0]), np.array([1.0, 3.0]), np.array([4.0, 4.0])
    assert d1_why.double_ratio(twice, half, same, same).estimate == pytest.approx(100)  # (8 / 4) / (8 / 8) − 1
    assert d1_why.double_ratio(twice, half, twice, half).estimate == pytest.approx(0)


def test_correlation_is_numpys_over_all_learners():
    rng = np.random.default_rng(0)
    pairs = rng.normal(size=(6, 5, 2)) + rng.normal(size=(6, 5, 1))
    found = d1_why.correlation(pairs)
    assert found.estimate == pytest.approx(np.corrcoef(pairs.reshape(-1, 2).T)[0, 1])
    assert found.low < found.estimate < found.high


def test_spread_of_individual_learners_is_over_90_cells(tiny_study):
    rows = greedy_tests(tiny_study, "individual-gru-ln")
    found = rows_of(tiny_study, "variance", "D1.21").estimate[
        "SD of the return across scenarios: Individual, LayerNorm"
    ]
    assert found == pytest.approx(rows.groupby("seed").return_mean.std().mean())
    (same,) = estimates(values(Data(tiny_study), ["over_scenarios.greedy"], ["individual-gru-ln"])).estimate
    assert same == pytest.approx(found)


def test_tests_on_a_refilled_cloud_and_by_mode_are_not_those_of_d1(tiny_study):
    data, arms = Data(tiny_study), {"LN": "a3c-gru-ln", "none": "a3c-gru-none"}
    measures = ["test.sampled", "test.greedy", "test_refilled.sampled", "test_refilled.greedy"]
    change = contrasts(values(data, measures, arms), {"LN": minus("LN", "none")}).set_index("measure").estimate
    for name in measures:
        cloud, mode = "refilled" if "refilled" in name else "budget", name.partition(".")[2]
        tests = [tiny_study[run].table("evaluation") for run in arms.values()]
        means = [rows[(rows.cloud == cloud) & (rows["mode"] == mode)].return_mean.mean() for rows in tests]
        assert change[name] == pytest.approx(means[0] - means[1]), name


def test_arms_and_profiles_that_were_not_run_may_be_left_out(tiny_study):
    arms = ["a3c-gru-ln", "rates/a3c-gru-none-lr3e-4"]
    assert values(Data(tiny_study), ["return_final"], arms, optional=True).arm.tolist() == arms[:1]
