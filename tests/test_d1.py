"""The numbers of the D1 page against arithmetic on the same tables, and that no claim is forgotten."""

import numpy as np
import pytest

from lnlab.analysis.stats import interval
from lnlab.report import d1, d1_claims, effects, generated

SECTIONS = ("stability", "training reward", "generalisation")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_printed_value_of_a_section_is_measured_again(tiny_study, section):
    for claim in d1_claims.claims(section):
        rows = d1_claims.comparison(tiny_study, section).data.query("claim == @claim['id']")
        if claim["kind"] == "interpretation":
            assert rows.empty
        else:
            assert len(rows), claim["id"]
            assert rows.estimate.notna().all(), claim["id"]


def rows_of(study, section, claim):
    data = d1_claims.comparison(study, section).data
    return data[data.claim == claim].set_index("what")


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


def test_effects_pair_the_arms_of_one_algorithm_and_core(tiny_study):
    found = effects.effects(tiny_study).query("outcome == 'return'")
    assert list(zip(found.algorithm, found.core, strict=True)) == [
        ("a3c", "gru"), ("a3c", "ff"), ("individual", "gru"), ("individual", "ff"),
    ]  # fmt: skip
    last = {
        norm: tiny_study[f"a3c-gru-{norm}"].table("episodes").query("episode == 4")["return"].mean()
        for norm in ("ln", "none")
    }
    assert found.iloc[0].estimate == pytest.approx(
        last["ln"] - last["none"], rel=1e-5
    )  # the last tenth of four episodes is one


def test_readme_takes_the_findings_between_its_marks(tiny_study):
    text = generated.findings(tiny_study)
    before = f"# Title\n{generated.BEGIN}\nold\n{generated.END}\nrest\n"
    assert generated.readme_with(before, text) == f"# Title\n{generated.BEGIN}\n{text}\n{generated.END}\nrest\n"
    with pytest.raises(ValueError, match="no place for the findings"):
        generated.readme_with("# Title\n", text)


def test_reference_policies_are_those_of_the_documents(tiny_study):
    """Always OFFLOAD earns the budget of 1000 units: a return of 50, but for the last request that does not fit."""
    shown = d1.generalisation_table(tiny_study, "budget").data
    offload = shown[(shown.policy == "always OFFLOAD") & (shown.type == "all")].estimate.item()
    assert 49 < offload <= 50
    assert np.isnan(shown[shown.policy == "always OFFLOAD"].low).all()
