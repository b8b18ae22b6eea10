"""The numbers of the D1 page against arithmetic on the same tables, and that no claim is forgotten."""

import numpy as np
import pandas as pd
import pytest
from lnlab.report import advice, d1, d1_claims, d1_later, d1_why, effects, generated
from lnlab.report.evidence import Data, documents

from lnlab.analysis.stats import interval

SECTIONS = ("stability", "training reward", "generalisation", "variance")


@pytest.mark.parametrize("section", SECTIONS)
def test_every_printed_value_of_a_section_is_measured_again(tiny_study, section):
    for claim in d1_claims.claims(section):
        rows = d1_claims.comparison(Data(tiny_study), section).data.query("claim == @claim['id']")
        if claim["kind"] == "interpretation":
            assert rows.empty
        else:
            assert len(rows), claim["id"]
            assert rows.estimate.notna().all(), claim["id"]


def rows_of(study, section, claim):
    data = d1_claims.comparison(Data(study), section).data
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
    table = d1_later.spread_table(Data(tiny_study)).data
    same = table.query("policy == 'Individual GRU, LayerNorm' and mode == 'greedy' and quantity == 'across'")
    assert same.estimate.item() == pytest.approx(found)


def test_every_section_of_d1_lists_its_claims():
    sections = dict.fromkeys(claim["section"] for claim in documents()["D1"]["claims"])
    listed = "".join(d1_claims.sentences(section) for section in sections)
    assert all(f"**{claim['id']}**" in listed for claim in documents()["D1"]["claims"])


@pytest.mark.parametrize(
    ("returns", "sampled", "says"),
    [
        ((3, 1, 5), (2, -1, 5), "use LayerNorm"),
        ((-3, -5, -1), (2, -1, 5), "leave LayerNorm out"),
        ((-3, -5, -1), (3, 1, 5), "speaks neither for"),
        ((2, -1, 5), (2, -1, 5), "speaks neither for"),
    ],
)
def test_advice_follows_from_the_two_returns(returns, sampled, says):
    greedy, loss = (9, 8, 10), (-50, -60, -40)
    rows = zip(("return", "sampled", "greedy", "value-loss"), (returns, sampled, greedy, loss), strict=True)
    frame = pd.DataFrame(
        [("a3c", "gru", name, *found, 30, 0.001) for name, found in rows],
        columns=["algorithm", "core", "outcome", "estimate", "low", "high", "n", "p_holm"],
    )
    text = advice.advice(frame, pd.DataFrame(columns=["outcome", "pair"]))
    assert text.startswith("- **A3C GRU**: ")
    assert says in text
    assert "value loss −50 [−60,\xa0−40] %" in text
