"""D5 on made runs: exponents, quarters and trends by hand, verdicts that follow, a page that stands without runs."""

import inspect
import math
import shutil

import numpy as np
import pandas as pd
import pytest

from lnlab.analysis.claims import Direction, Number, Sum
from lnlab.config import TD3Config
from lnlab.report import (
    d5,
    d5_claims,
    d5_mechanism,
    d5_precision,
    d5_readiness,
    d5_training,
    d5_validation,
    driving_data,
    driving_pieces,
    driving_predictions,
    driving_reference,
    ledger,
)
from lnlab.report.driving_data import ARMS, Driving, Logged
from lnlab.report.evidence import Data, Missing, documents
from lnlab.runs import load
from lnlab.trainers.monitor import RULES
from tests import driving_fakes
from tests.driving_fakes import Fake

LEAKY = {"none-leaky": Fake(exponent=3.8, inflation=1e6, clip_scale=1e-4), "ln-leaky": Fake(exponent=0.1, inflation=20)}
CALM = {"none-detached": Fake(exponent=0.05, mlp_gradient=0.01), "ln-detached": Fake(mlp_gradient=0.01)}
FURTHER = {
    "activation": Fake(exponent=3.7), "norm-only": Fake(exponent=0.1), "output": Fake(exponent=0.1),
    "none-slow": Fake(exponent=3.2, saturation=0.3), "ln-slow": Fake(saturation=0.3),
    "small-init": Fake(saturation=0.2),
    "ddpg-none": Fake(exponent=4.1), "ddpg-ln": Fake(exponent=0.2, inflation=2.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All arms, three seeds, as long as D5's run."""
    return Data(load(driving_fakes.study(tmp_path_factory.mktemp("made") / "driving", LEAKY | CALM | FURTHER)))


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """What a quick report has: the original's two arms, few updates."""
    return Data(load(driving_fakes.study(tmp_path_factory.mktemp("made") / "quick", LEAKY, steps=500, start=200)))


@pytest.fixture
def make(tmp_path):
    """Made runs of the two original arms with other numbers."""

    def study(*, seeds: int = 3, **fakes: Fake) -> Data:
        arms = LEAKY | {name.replace("_", "-"): fake for name, fake in fakes.items()}
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "driving"
        return Data(load(driving_fakes.study(folder, arms, seeds=seeds)))

    return study


def judged(data: Data, claim: str) -> ledger.Entry:
    return next(entry for entry in ledger.entries(data, "D5") if entry.id == claim)


def outcomes(data: Data, claim: str) -> dict[str, str]:
    return {each.what: each.outcome for each in judged(data, claim).verdict.evidence}


# -- what is computed of a column --------------------------------------------------------------------------------------
def test_a_power_law_is_found_with_its_exponent_and_beats_an_exponential():
    updates = np.arange(100.0, 4001, 100)
    law = driving_data.growth_law(Logged(updates, np.stack([3 * updates**4, 7 * updates**0.5])))
    assert law.exponent == pytest.approx([4, 0.5])
    assert law.power == pytest.approx([1, 1])
    line = np.polynomial.Polynomial.fit(updates, np.log10(updates**4), 1)
    rest = np.log10(updates**4) - line(updates)
    assert law.exponential[0] == pytest.approx(1 - rest.var() / np.log10(updates**4).var())


def test_an_exponential_is_told_from_a_power_law():
    updates = np.arange(100.0, 1001, 100)
    law = driving_data.growth_law(Logged(updates, np.exp(0.01 * updates)[None]))
    assert law.exponential[0] == pytest.approx(1)
    assert law.power[0] < 0.95


def test_the_second_half_has_its_own_exponent():
    updates = np.array([1.0, 2.0, 4.0, 5.0, 8.0])
    values = np.where(updates > 4, 64.0 * 4**2, updates**2)[None]  # flat after the jump
    assert driving_data.growth_law(Logged(updates, values), 0.5).exponent == pytest.approx([0])


def test_a_constant_has_no_fit_and_a_zero_no_exponent():
    updates = np.array([1.0, 2.0])
    assert np.isnan(driving_data.growth_law(Logged(updates, np.ones((2, 2)))).power).all()
    with pytest.raises(Missing, match="value of zero"):
        driving_data.growth_law(Logged(updates, np.array([[0.0, 1.0]])))


def test_quarters_are_cut_by_index_as_in_the_document():
    means, sds = driving_data.quarter_moments([np.arange(7.0)])  # [0], [1, 2], [3, 4], [5, 6]
    assert means.tolist() == [[0, 1.5, 3.5, 5.5]]
    assert sds.tolist() == [[0, 0.5, 0.5, 0.5]]  # divided by n
    with pytest.raises(Missing, match="four training episodes"):
        driving_data.quarter_moments([np.arange(3.0)])


def test_the_trend_and_the_window_are_those_of_29_logged_updates(data):
    seen = Driving.of(data).window("ln-leaky", "critic_loss")
    assert seen.shape == (3, 29)
    line = np.interp(np.arange(100, 3000, 100), [100, 4000], [1, 3])
    assert seen[0] == pytest.approx(line)
    assert driving_data.trend(seen)[0] == pytest.approx(line[21:].mean() / line[:7].mean())


def test_growth_and_inflation_are_decades(data):
    runs = Driving.of(data)
    assert driving_data.feature_growth(runs, "none-leaky") == pytest.approx(3.8 * math.log10(4000), rel=1e-3)
    assert driving_data.inflation(runs, "ln-leaky") == pytest.approx(math.log10(20), rel=1e-3)
    assert driving_data.late_exponent(runs, "none-leaky") == pytest.approx(3.8, rel=1e-3)


def test_returns_by_phase_are_means_of_the_episodes_of_a_seed(data):
    runs = Driving.of(data)
    rows = runs.table("ln-leaky", "returns")
    mine = rows[(rows.seed == 1) & (rows.phase == "random")]
    assert len(mine) == 20  # 1000 steps, 50 each
    assert runs.by_phase("ln-leaky", "random")[1] == pytest.approx(mine["return"].mean())
    with pytest.raises(Missing, match="'mixed'"):
        runs.by_phase("ln-leaky", "mixed")


def test_a_rise_in_percent_has_the_interval_of_the_logarithm():
    direction, level = driving_pieces.rise("x", np.array([2.0, 4.0]), 100.0)
    assert direction.found.estimate == pytest.approx(100 * (math.sqrt(8) - 1))
    assert direction.found.low > -100
    assert (direction.side, level.printed, level.runs) == ("above", 100.0, 1)
    assert driving_pieces.rise("x", np.array([0.5, 0.6]), -20.0)[0].outcome in ("holds", "open")


# -- arms ------------------------------------------------------------------------------------------------------------
def test_every_arm_is_found_by_its_settings(data):
    assert list(Driving.of(data).arms()) == list(ARMS)


def test_a_run_with_another_setting_is_no_arm(data):
    config = TD3Config(norm="ln", actor_clip=0.0)
    assert driving_data._names().get(driving_data._kind(config)) is None
    asked = TD3Config(norm="ln", final_activation="leaky_relu")  # what `original` means with a norm
    assert driving_data._names()[driving_data._kind(asked)] == "ln-leaky"


def test_runs_of_another_extent_are_not_mixed_in(tmp_path):
    folder = driving_fakes.study(tmp_path / "driving", LEAKY | CALM)
    driving_fakes.write(folder / "longer", "ddpg-ln", Fake(), steps=6000)
    for run in (folder / "longer").iterdir():
        shutil.move(run, folder / run.name)
    runs = Driving.of(Data(load(folder)))
    assert "ddpg-ln" not in runs.runs
    assert runs.extent == (32, 5000, 1000)


def test_the_study_beside_is_taken_where_the_main_one_has_no_td3(tiny_study, tmp_path):
    for run in tiny_study.runs[:2]:
        shutil.copytree(run.dir, tmp_path / "main" / run.id)
    with pytest.raises(Missing, match="profile 'driving', which was not run"):
        Driving.of(Data(load(tmp_path / "main")))
    driving_fakes.study(tmp_path / "driving", LEAKY)
    data = Data(load(tmp_path / "main"))
    assert Driving.of(data).arms() == ["none-leaky", "ln-leaky"]
    entry = judged(data, "D5.18")
    assert "driving/td3-ln-leaky-b32" in entry.verdict.runs
    assert entry.runs == ()  # no page in this book


# -- claims ----------------------------------------------------------------------------------------------------------
def test_every_claim_has_a_judge_and_evidence_or_a_reason(data, short):
    assert list(d5_claims.CLAIMS) == [claim["id"] for claim in documents()["D5"]["claims"]]
    assert {entry.id for entry in ledger.entries(data, "D5") if not entry.verdict.evidence} == {"D5.13", "D5.15"}
    for entry in ledger.entries(short, "D5"):
        assert bool(entry.verdict.evidence) or "needs" in entry.verdict.reason or entry.id == "D5.13", entry.id


def test_the_documents_factor_does_not_follow_and_its_overall_return_does(data):
    (factor,) = judged(data, "D5.2").verdict.evidence
    assert isinstance(factor, Sum)
    assert factor.computed == pytest.approx(2.453e11, rel=1e-3)
    assert judged(data, "D5.2").verdict.verdict == "arithmetic error"
    sums = [each for each in judged(data, "D5.6").verdict.evidence if isinstance(each, Sum)]
    assert [each.outcome for each in sums] == ["right", "right"]


def test_features_that_stay_small_and_honest_end_the_explosion_for_good(make):
    good = make(ln_leaky=Fake(exponent=0.02, inflation=1.1))
    assert judged(good, "D5.18").verdict.verdict == "replicated"
    growing = outcomes(make(ln_leaky=Fake(exponent=0.2, inflation=1.1)), "D5.18")
    assert list(growing.values()) == ["holds", "holds", "opposes", "holds"]
    fooled = outcomes(make(ln_leaky=Fake(exponent=0.02, inflation=25.0)), "D5.18")
    assert list(fooled.values()) == ["holds", "holds", "holds", "opposes"]


def test_the_feature_norms_are_those_of_the_last_record(data):
    found = judged(data, "D5.1").verdict.evidence
    last = 16 * 4000**0.1 * np.array([1, 1.01, 1.02])
    (norm,) = [each for each in found if isinstance(each, Number) and each.what.startswith("feature norm")]
    assert norm.found.estimate == pytest.approx(last.mean(), rel=1e-3)
    ratio = next(each for each in found if isinstance(each, Direction) and "minus" in each.what)
    assert ratio.found.estimate == pytest.approx(3.7 * math.log10(4000), rel=1e-3)
    assert outcomes(data, "D5.1")["largest feature norm with LayerNorm"] == "opposes"  # 36.7 to 37.4


def test_gradients_after_clipping_are_norm_times_scale(data):
    found = {each.what: each.found.estimate for each in judged(data, "D5.3").verdict.evidence}
    assert found["actor CNN's gradient after clipping"] == pytest.approx(1)
    assert found["critic CNN's gradient after clipping"] == pytest.approx(9)


def test_gradients_explode_where_they_grow_a_hundredfold(data, make):
    calm = outcomes(data, "D5.4")
    assert list(calm.values()) == ["opposes", "holds", "opposes", "holds"]
    grown = make(none_leaky=Fake(gradient_growth=1e4), ln_leaky=Fake(gradient_growth=1e4))
    assert list(outcomes(grown, "D5.4").values()) == ["holds", "opposes", "holds", "opposes"]
    ended = make(none_leaky=Fake(gradient_growth=1e4))
    assert judged(ended, "D5.4").verdict.verdict == "replicated"
    found = judged(ended, "D5.4").verdict.evidence[0].found.estimate
    late = np.linspace(0, 4, 40)[-10:]
    assert found == pytest.approx(math.log10(np.mean(10**late)))


def test_a_policy_that_earns_less_than_random_actions_has_degraded(data, make):
    less = outcomes(data, "D5.7")
    assert less["return of the policy in training minus that of random actions"] == "opposes"
    assert less["return per step, policy minus random actions"] == "opposes"
    more = make(ln_leaky=Fake(returns={"random": 20.0, "policy": 90.0}))
    assert outcomes(more, "D5.7")["return of the policy in training minus that of random actions"] == "holds"


def test_the_printed_rate_must_give_the_printed_norm(data, make):
    found = judged(data, "D5.12").verdict
    level = next(each for each in found.evidence if isinstance(each, Number))
    assert level.found.estimate == pytest.approx(math.log10(16 * 4000**3.2 * 1.01), abs=1e-3)
    assert (level.outcome, found.verdict) == ("differs", "not replicated")
    assert all(each.outcome == "right" for each in found.evidence if isinstance(each, Sum))


def test_readiness_needs_every_condition(data, make):
    assert judged(data, "D5.14").verdict.verdict == "contradicted"
    fine = Fake(inflation=1.0, saturation=0.1, returns={"random": 20.0, "policy": 90.0})
    bad = Fake(exponent=3.8, moments=(60.0, 80.0))  # the alert on the TD error fires
    few = ledger.entries(make(ln_leaky=fine, none_leaky=bad), "D5")  # that it fires in 3 of 3 seeds proves little
    assert list(outcomes_of(few, "D5.14").values()) == ["holds", "holds", "holds", "open"]
    ready = ledger.entries(make(ln_leaky=fine, none_leaky=bad, seeds=20), "D5")
    assert list(outcomes_of(ready, "D5.14").values()) == ["holds"] * 4
    assert "**Ready for a long run**" in d5_readiness.decision(ready)
    silent = ledger.entries(make(ln_leaky=fine), "D5")  # no alert tells the exploded arm from the other
    assert list(outcomes_of(silent, "D5.14").values()) == ["holds", "holds", "holds", "open"]
    assert "**Not ready" in d5_readiness.decision(silent)
    assert driving_pieces.alerted(Driving.of(data), "none-leaky").tolist() == [0, 0, 0]


def outcomes_of(entries: list[ledger.Entry], claim: str) -> dict[str, str]:
    (entry,) = [each for each in entries if each.id == claim]
    return {each.what: each.outcome for each in entry.verdict.evidence}


def test_the_alerts_limits_are_those_of_the_claim():
    limits = next(claim["values"] for claim in documents()["D5"]["claims"] if claim["id"] == "D5.14")
    published = [rule.limit for rule in RULES.values() if rule.published]
    assert published == [limits["td_error"], limits["q"], limits["episode_return"]]
    assert set(d5_readiness.ALERTS) == set(RULES)


def late_saturation(folder):
    """Mean over seeds of what the records say last."""
    (run,) = folder.glob("td3-ln-leaky*")
    rows = pd.read_parquet(run / "records.parquet").dropna(subset="saturation").sort_values("step")
    return rows.groupby("seed").saturation.last().mean()


def test_tests_at_ten_thousand_steps_are_judged_where_there_are_any(data, tmp_path):
    assert "needs the profile 'driving-long'" in judged(data, "D5.15").verdict.reason
    folder = driving_fakes.study(tmp_path / "driving-long", LEAKY, steps=10_000)
    long = Data(load(folder))
    assert "needs a greedy test at step 5,000" in judged(long, "D5.15").verdict.reason
    for run in folder.iterdir():
        rows = pd.read_parquet(run / "checks.parquet")
        early = rows[rows.step == 0].assign(step=5000, **{"return": 1.0})
        pd.concat([rows, early]).to_parquet(run / "checks.parquet")
    found = judged(Data(load(folder)), "D5.15").verdict
    assert found.verdict == "replicated"
    assert found.note.startswith("In 0 of 3 seeds")
    rows = d5_validation.tests(Data(load(folder)))
    last = rows[rows.step == 10_000].set_index("what")
    assert last.estimate["saturated actions, %"] == pytest.approx(100 * late_saturation(folder), abs=1e-3)
    short = driving_fakes.study(tmp_path / "driving", LEAKY)
    assert "driving-long/td3-ln-leaky-b32" in judged(Data(load(short)), "D5.15").verdict.runs


def test_seeds_that_differ_much_leave_one_seed_undecided():
    assert driving_pieces.relative_spread(np.array([10.0, 12.0, 14.0])) == pytest.approx(100 * 2 / 12)


# -- precision ---------------------------------------------------------------------------------------------------------
def test_arms_in_bfloat16_are_set_beside_those_in_float32(data, tmp_path):
    with pytest.raises(Missing, match="needs the profile 'driving-coarse'"):
        d5_precision.compared(data)
    driving_fakes.study(tmp_path / "driving", LEAKY)
    far = {"none-leaky": LEAKY["none-leaky"], "ln-leaky": Fake(exponent=0.5, inflation=20, saturation=0.95)}
    driving_fakes.study(tmp_path / "driving-coarse", far, precision="bfloat16")
    rows = d5_precision.compared(Data(load(tmp_path / "driving")))
    found = rows[rows.precision == "difference"].set_index(["arm", "what"])
    assert found.estimate["ln-leaky", "growth"] == pytest.approx(0.4 * math.log10(4000), rel=1e-3)
    assert found.estimate["ln-leaky", "saturated"] == pytest.approx(-0.049, abs=1e-3)
    assert found.outcome.tolist() == ["holds"] * 3 + ["opposes", "holds", "holds"]
    said = "Of 6 differences between the two precisions 5 stay within their margins, 1 lie beyond them."
    assert d5_precision.said(rows) == said
    shown = d5_precision.table(rows).shown
    assert shown.columns.tolist() == ["what", "arm", "float32", "bfloat16", "difference"]
    assert shown.difference[1].endswith("] opposes")


def test_arms_of_another_length_are_not_set_beside(tmp_path):
    driving_fakes.study(tmp_path / "driving", LEAKY)
    driving_fakes.study(tmp_path / "driving-coarse", LEAKY, precision="bfloat16", steps=2000)
    with pytest.raises(Missing, match="batches of 32, 5000 steps"):
        d5_precision.compared(Data(load(tmp_path / "driving")))


# -- hypotheses --------------------------------------------------------------------------------------------------------
def test_made_arms_that_follow_the_leak_confirm_it_and_refute_the_norm(data):
    found = {name: d5._settled(each) for name, each in d5.tested(data).items()}
    assert found == {
        "the leak": "confirmed", "the missing norm": "refuted", "symptom": "confirmed", "saturation": "confirmed",
        "gentle": "confirmed", "activation": "confirmed", "output only": "confirmed",
    }  # fmt: skip


def test_effects_of_the_two_factors_add_up(data):
    growth = {arm: (LEAKY | CALM)[arm].exponent * math.log10(4000) for arm in driving_data.MAIN}
    found = driving_predictions.factorial_effects(data)
    ln, none = [(growth[f"{norm}-leaky"], growth[f"{norm}-detached"]) for norm in ("ln", "none")]
    assert found["LayerNorm"].estimate == pytest.approx((sum(ln) - sum(none)) / 2)
    assert found["detaching"].estimate == pytest.approx((ln[1] + none[1] - ln[0] - none[0]) / 2)
    assert found["interaction"].estimate == pytest.approx((ln[1] - ln[0]) - (none[1] - none[0]))


# -- pages -----------------------------------------------------------------------------------------------------------
EVERY = [
    d5.four_arms, d5.factorial_table, d5.arm_table, d5.predictions, d5_training.growth_figure, d5_training.growth_table,
    d5_training.dynamics, d5_training.returns_figure, d5_training.quarter_table, d5_training.phase_table,
    d5_training.component_table, d5_readiness.alert_table, d5_mechanism.paths, d5_mechanism.layers,
]  # fmt: skip


@pytest.mark.parametrize("make_output", EVERY, ids=lambda each: each.__name__)
def test_every_output_tells_its_seeds_and_stands_in_without_runs(data, short, tiny_study, make_output):
    found = make_output(data)
    assert "n = 3" in found.caption
    assert len(found.data)
    assert make_output(short) is not None
    assert "*Not in this report: it needs the profile 'driving'" in make_output(Data(tiny_study))


def test_the_page_without_runs_says_so(tiny_study):
    absent = Data(tiny_study)
    assert "has no run of TD3" in d5.extent(absent)
    entries = ledger.entries(absent, "D5")
    assert "No decision" in d5_readiness.decision(entries)
    assert {entry.verdict.verdict for entry in entries} == {"untestable", "arithmetic error"}
    assert "here" not in d5_readiness.settings_table(absent).shown
    assert "lacks what is needed for D5.18" in d5.evidence(entries, ["D5.18"], "x")


def test_settings_stand_beside_the_libraries(data):
    shown = d5_readiness.settings_table(data).shown.set_index("setting")
    sb3 = driving_reference.STABLE_BASELINES3.source
    assert shown.loc["first update after, steps", ["D5 printed", "here", sb3]].tolist() == ["1,000", "1,000", "100"]
    assert shown.loc["learning rate", ["D5 printed", "in force", sb3]].tolist() == ["3e−4", "1e−3", "1e−3"]
    assert shown.loc["policy delay", "here"] == "2"  # of TD3, not of DDPG


def test_the_installed_library_has_the_defaults_that_are_written_down():
    td3 = pytest.importorskip("stable_baselines3").TD3
    installed = {name: each.default for name, each in inspect.signature(td3.__init__).parameters.items()}
    assert (installed["train_freq"], installed["gradient_steps"]) == (1, 1)
    theirs = {"lr": "learning_rate", "capacity": "buffer_size", "exploration": "action_noise"}
    theirs |= {"target_noise": "target_policy_noise", "noise_clip": "target_noise_clip"}
    written = driving_reference.STABLE_BASELINES3.settings
    own = written.keys() - {"updates", "clip"}  # the two above in words, and what the library does not have
    assert {name: installed[theirs.get(name, name)] for name in own} == {name: written[name] for name in own}


def test_the_originals_runs_are_told_by_the_alerts_that_would_have_fired():
    shown = d5_readiness.original_alerts().shown.set_index("alert")
    run1, run2 = d5_readiness.RUNS.values()
    assert shown.loc["TD error > 50", [run1, run2]].tolist() == ["never", "never"]
    assert shown.loc["actor's Q over the critic's > 10", [run1, run2]].tolist() == ["1,100", "3,900"]
    assert shown.loc["saturated actions > 90 %", run1] == "not recorded"


def test_factors_are_words():
    from lnlab.analysis.stats import Interval

    assert d5.factor(Interval(11.5, 11.0, 12.0, 5)) == "3.2e11-fold [1.0e11,\xa01.0e12]"
    assert d5.factor(Interval(0.5, 0.0, 1.0, 5)) == "3.2-fold [1.00,\xa010]"
