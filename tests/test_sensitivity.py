"""Other settings: effects by hand on small studies, best rates judged on other seeds, runs that are missing."""

import itertools

import numpy as np
import pandas as pd
import pytest
from lnlab.report import (
    best_rates,
    matched_rates,
    onset,
    output,
    rates_inside,
    sensitivity,
    sensitivity_extent,
    settings_landing,
    workers_why,
)
from lnlab.report.evidence import Data, Missing

from lnlab.analysis.stats import Interval
from lnlab.runs import load
from tests.by_hand import arm, made

QUANTITIES = ("return_final", "value_loss_all_mean")
BEST = {"ln": {3e-5: 50.0, 1e-4: 60.0, 3e-4: 75.0}, "none": {3e-5: 52.0, 1e-4: 55.0, 3e-4: 40.0}}


def noise(*key):
    """A number near zero that a key always gives."""
    return float(np.random.default_rng([int(each) for each in key]).normal() / 10)


def rates(folder):
    """A3C GRU at three rates, the middle one in the main profile with more seeds; LayerNorm's best is the highest."""
    for norm, levels in BEST.items():
        for lr, level in levels.items():
            profile, seeds = ("paper", range(8)) if lr == 1e-4 else ("rates", range(5))

            def value(quantity, seed, level=level, lr=lr, norm=norm):
                return level + noise(seed, lr * 1e6, norm == "ln")

            made(folder / profile, seeds, value, QUANTITIES, **arm(f"a3c-gru-{norm}"), lr=lr)
    made(folder / "paper", range(8), quantities=QUANTITIES, **arm("a3c-ff-ln"))
    return Data(load(folder / "paper"))


# -- runs of several settings -----------------------------------------------------------------------------------------


def test_the_main_runs_join_where_they_differ_in_that_setting_alone(tmp_path):
    every = sensitivity.scores(rates(tmp_path), "rates", "lr")
    counts = every[every.outcome == "return"].groupby(["core", "norm", "lr"]).seed.nunique()
    assert counts.to_dict() == {
        ("gru", norm, lr): 8 if lr == 1e-4 else 5 for norm, lr in itertools.product(BEST, BEST["ln"])
    }


def test_runs_of_another_length_do_not_join(tmp_path):
    made(tmp_path / "quick", episodes=400, quantities=QUANTITIES, norm="ln")
    made(tmp_path / "rates", lr=3e-4, quantities=QUANTITIES, norm="ln")
    every = sensitivity.scores(Data(load(tmp_path / "quick")), "rates", "lr")
    assert every.lr.unique().tolist() == [3e-4]
    with pytest.raises(Missing, match="'workers', which was not run"):
        sensitivity.scores(Data(load(tmp_path / "quick")), "workers", "workers")


def test_effects_are_those_of_the_seeds_that_both_arms_have(tmp_path):
    every = sensitivity.scores(rates(tmp_path), "rates", "lr")
    every = every[~((every.lr == 3e-4) & (every.norm == "none") & (every.seed < 2))]
    found = sensitivity.effects_by(every, "lr").set_index(["outcome", "lr"])
    assert found.n.xs("return").to_dict() == {3e-5: 5, 1e-4: 8, 3e-4: 3}
    assert found.loc[("return", 3e-4), "estimate"] == pytest.approx(35, abs=0.3)
    assert found.loc[("value-loss", 1e-4), "estimate"] == pytest.approx(100 * (60 / 55 - 1), abs=0.5)  # in percent


def test_a_seed_that_diverged_leaves_the_effect_unknown_and_is_not_left_out(tmp_path):
    every = sensitivity.scores(rates(tmp_path), "rates", "lr")
    every.loc[(every.lr == 3e-4) & (every.seed == 1) & (every.norm == "none"), "value"] = np.nan
    found = sensitivity.effects_by(every, "lr").set_index(["outcome", "lr"])
    assert np.isnan(found.loc[("return", 3e-4), "estimate"])
    assert np.isfinite(found.loc[("return", 1e-4), "estimate"])
    with pytest.raises(Missing, match="A3C GRU, no norm for every seed"):
        sensitivity.by_rate(every, "return", "a3c", "gru", "none")


def test_missing_runs_are_named(tmp_path):
    made(tmp_path / "workers", workers=3, quantities=QUANTITIES, norm="ln")
    made(tmp_path / "paper", quantities=QUANTITIES, norm="ln")
    data = Data(load(tmp_path / "paper"))
    text = sensitivity.missing(data, "workers")
    assert text.startswith("Of the 8 runs of the profile *workers* 7 are missing")
    assert "`a3c-gru-none-w3`" in text
    assert "`a3c-gru-ln-w3`" not in text
    assert sensitivity.missing(data, "rates") == ""  # of which none is there: that is said elsewhere


# -- learning rates ---------------------------------------------------------------------------------------------------


def test_best_rates_are_found_and_each_arm_judged_at_its_own(tmp_path):
    every = sensitivity.scores(rates(tmp_path), "rates", "lr")
    levels = sensitivity.rate_levels(every)
    best = levels[levels.best & (levels.outcome == "return")].set_index("norm").lr
    assert best.to_dict() == {"none": 1e-4, "ln": 3e-4}
    assert set(levels.n) == {5}  # seeds that all rates have
    found = sensitivity.at_best(every).set_index("outcome").loc["return"]
    assert (found.best_ln, found.best_none, found.n) == (3e-4, 1e-4, 5)
    assert found.estimate == pytest.approx(20, abs=0.3)  # 75 − 55, where 1e-4 would give 5
    assert found.edge  # 3e-4 is the highest rate tried
    shown = sensitivity.rate_table(every, "return").shown.set_index("rate")["A3C GRU"]
    assert list(shown.index) == ["both at 3e-5", "both at 1e-4", "both at 3e-4", sensitivity.OWN, sensitivity.BEST]
    assert shown[sensitivity.OWN].startswith(("19.", "20."))
    assert shown[sensitivity.BEST] == "3e-4, 1e-4 ‡"
    assert "(LN 3e-4, none 1e-4), LayerNorm changes the return of A3C GRU by" in sensitivity_extent.in_short(
        every, "", ""
    )


def test_choosing_a_rate_on_the_seeds_it_is_judged_on_would_flatter_it():
    rng = np.random.default_rng(0)
    studies = rng.normal(size=(2000, 6, 4))  # every rate is worth nothing
    chosen_elsewhere = np.mean([sensitivity.left_out(study).mean() for study in studies])
    assert chosen_elsewhere == pytest.approx(0, abs=0.05)
    assert studies.mean(axis=1).max(axis=1).mean() > 0.3


def test_an_arm_with_one_rate_has_no_choice(tmp_path):
    every = sensitivity.scores(rates(tmp_path), "rates", "lr")
    every = every[(every.norm == "ln") | (every.lr == 1e-4)]
    assert sensitivity.at_best(every).empty
    shown = sensitivity.rate_table(every, "return").shown.set_index("rate")
    assert shown.loc[sensitivity.BEST].tolist() == ["n/a"]
    assert sensitivity.OWN not in shown.index


def test_rates_are_drawn_with_their_best_marked(tmp_path):
    shown = sensitivity.rate_figure(sensitivity.scores(rates(tmp_path), "rates", "lr"))
    assert shown.alt == "Best rates by return: A3C GRU, no norm 1e-4, A3C GRU, LayerNorm 3e-4."
    assert "n = 5" in shown.caption


def test_what_is_left_at_the_best_rates_stands_behind_the_effects(tmp_path):
    """By hand: LayerNorm 60 against 55 at 1e-4; 75 (at 3e-4) against 55 (at 1e-4) with each at its best."""
    data = rates(tmp_path)
    best = best_rates.table(data)
    assert best_rates.sign(best, "A3C GRU") == 1
    assert best_rates.sign(best, "A3C feedforward") is None
    assert "return +20.0 [" in best_rates.advice(best, "A3C GRU")
    names = ["algorithm", "core", "outcome", "estimate", "low", "high"]
    found = pd.DataFrame([("a3c", "gru", "return", 5.0, 4.0, 6.0)], columns=names)
    sentence, table = best_rates.landing(data, found).split("\n\n")
    assert "LayerNorm still gains with A3C GRU (return at the end of training, n = 5;" in sentence
    cells = [cell.strip() for cell in table.splitlines()[-1].split("|")]
    assert cells[1:3] == ["A3C GRU", "5.0 [4.0,\xa06.0]"]
    assert cells[3].startswith("20.0 [")
    assert cells[4].startswith("−2.0 [")
    assert cells[4].endswith("] at 3e-5")
    assert cells[5].startswith("35.0 [")
    assert cells[5].endswith("] at 3e-4")


def test_agents_are_told_apart_by_what_is_left(monkeypatch):
    rows = [("return", "a3c", "gru", -1.0, -2.0, -0.5, 9), ("return", "a3c", "ff", 1.0, -1.0, 3.0, 9)]
    rows += [("return", "individual", "ff", -3.0, -4.0, -2.0, 9), ("sampled", "a3c", "gru", 9.0, 8.0, 10.0, 9)]
    found = pd.DataFrame(rows, columns=["outcome", "algorithm", "core", "estimate", "low", "high", "n"])
    monkeypatch.setattr(best_rates, "scores", lambda *asked: found)
    monkeypatch.setattr(best_rates, "at_best", lambda every: every)
    assert (
        "LayerNorm makes no clear difference with A3C feedforward and loses with A3C GRU and Individual feedforward ("
        in best_rates.sentence(Data(None))
    )


def test_a_report_without_other_rates_says_nothing_of_them(tmp_path):
    made(tmp_path / "quick", quantities=QUANTITIES, norm="ln")
    data = Data(load(tmp_path / "quick"))
    none = best_rates.table(data)
    assert best_rates.sign(none, "A3C GRU") is None
    assert best_rates.landing(data, none) == ""
    assert best_rates.sentence(data) == ""


# -- how much rate the norm is worth ----------------------------------------------------------------------------------


def learns(norms=("ln", "none"), seeds=4):
    """LayerNorm returns 50 at 1e-4; without it 40, 60 and 80 at 1e-4, 1e-3 and 1e-2: as much half of a ten above."""
    levels = {"ln": {1e-4: 50.0}, "none": {1e-3: 60.0, 1e-4: 40.0, 1e-2: 80.0, 1e-5: 55.0}}
    rows = [
        ("return", "a3c", "gru", norm, seed, level + (seed - 1.5) * (norm == "ln"), lr)
        for norm in norms
        for lr, level in levels[norm].items()
        for seed in range(seeds)
    ]
    return pd.DataFrame(rows, columns=["outcome", "algorithm", "core", "norm", "seed", "value", "lr"])


def test_the_matched_rate_is_where_the_line_between_two_rates_passes_the_level():
    row = matched_rates.factors(learns()).iloc[0]
    assert row.level == pytest.approx(50)
    assert row.estimate == pytest.approx(10**0.5)  # a rate below the main one does not count
    assert row.n == 4
    # By hand: the level's jackknife error is sd / 2 = 0.6455, a return of 20 is a factor of ten, t(3) = 3.182
    half = 3.182 * np.std([-1.5, -0.5, 0.5, 1.5], ddof=1) / 2 / 20
    assert np.log10([row.low, row.high]) == pytest.approx([0.5 - half, 0.5 + half], abs=1e-4)
    assert "and as much without it at 3.2 [" in sensitivity_extent.in_short(learns(), "", "")


def test_a_level_that_no_rate_reaches_is_called_so():
    every = learns()
    every.loc[every.norm == "ln", "value"] += 40
    rows = matched_rates.factors(every)
    assert np.isnan(rows.estimate[0])
    assert "at none of the higher rates tried (n = 4)" in matched_rates.lines(rows)[0]
    assert matched_rates.table(every).shown.iloc[0, -1] == "not reached"


def test_a_curve_that_begins_above_the_level_is_there_at_its_first_rate():
    assert matched_rates.crossing([1e-4, 1e-3, 1e-2], [60.0, 40.0, 70.0], 50.0) == pytest.approx(1e-4)


def test_one_arm_alone_has_nothing_to_match():
    with pytest.raises(Missing, match="with and without LayerNorm at 1e-4"):
        matched_rates.factors(learns(("none",)))


class Diagnosed:
    """A study with two arms, the second shorter; by hand: at the end 3 and 5 of two learners, mean 4, and 7."""

    def table(self, name):
        assert name == "diagnostics"
        arms = {"ln": [(10, 0, 1.0), (20, 0, 3.0), (20, 1, 5.0)], "none": [(5, 0, 2.0), (10, 0, 7.0)]}
        rows = [
            (norm, "a3c", "ff", norm, 0, worker, step, name, value)
            for norm, taken in arms.items()
            for step, worker, value in taken
            for name in (*rates_inside.PANELS, "another")
        ]
        names = ["run", "algorithm", "core", "norm", "seed", "worker", "step", "quantity", "value"]
        return pd.DataFrame(rows, columns=names)


def test_the_networks_are_compared_as_they_are_at_the_end():
    found = rates_inside.at_end(Diagnosed())
    assert set(found.outcome) == set(rates_inside.PANELS)
    one = found[found.outcome == "policy_information"].set_index("norm")
    assert one.value.to_dict() == {"ln": 4.0, "none": 7.0}


def test_the_summary_goes_from_the_lowest_to_the_highest_rate():
    levels = {1e-4: 1.0, 1e-3: 3.0}
    rows = [
        ("a3c", "ff", "ln", seed, name, level + seed / 10, lr)
        for lr, level in levels.items()
        for seed in range(-1, 2)
        for name in rates_inside.PANELS
    ]
    every = pd.DataFrame(rows, columns=["algorithm", "core", "norm", "seed", "outcome", "value", "lr"])
    text = rates_inside.summary(every)
    assert text.startswith("- A3C feedforward, LayerNorm, 1e-4 to 1e-3: the policy takes 1.00 [")
    assert "] to 3.00 [" in text
    assert "single action" not in text
    some = (every.outcome == "entropy") & (every.lr == 1e-3) & (every.seed < 1)
    collapsed = rates_inside.summary(every.assign(value=every.value.mask(some, 0.0)))
    assert collapsed.endswith("LayerNorm at 1e-3: in 2 of 3 seeds the policy ends with a single action.")
    drawn = rates_inside.figure(every)
    assert drawn.data.groupby("outcome").estimate.apply(list).to_dict() == {
        name: pytest.approx([1.0, 3.0]) for name in rates_inside.PANELS
    }


def two_ways(nats=0.3, rank=6.0):
    """By hand, against no norm at 1e-4: LayerNorm +0.2 nats and +14 ranks; no norm at 1e-3 `nats` and `rank` − 4."""
    levels = {("ln", 1e-4): (70, 0.2, 18), ("none", 1e-4): (50, 0, 4), ("none", 1e-3): (80, nats, rank)}
    levels[("none", 1e-2)] = (0, 0, 0)  # not the next rate
    rows = [
        ("a3c", "ff", norm, seed, name, value * (1 + seed / 100), lr)
        for (norm, lr), values in levels.items()
        for name, value in zip(rates_inside.WAYS, values, strict=True)
        for seed in range(-1, 2)
    ]
    return pd.DataFrame(rows, columns=["algorithm", "core", "norm", "seed", "outcome", "value", "lr"])


def test_a_larger_step_is_set_beside_the_norm(monkeypatch):
    monkeypatch.setattr(rates_inside, "scores_by", lambda *asked, of=None: two_ways().query("outcome == 'return'"))
    monkeypatch.setattr(rates_inside, "scores", lambda data: two_ways().query("outcome != 'return'"))
    rows = rates_inside.two_ways(Data(None)).set_index(["way", "outcome"])
    assert rows.estimate["LayerNorm at 1e-4"].tolist() == pytest.approx([20, 0.2, 14])
    assert rows.estimate["no norm at 1e-3"].tolist() == pytest.approx([30, 0.3, 2])
    shown = rates_inside.ways_table(rows.reset_index()).shown.set_index("way")
    assert shown.loc["no norm at 1e-3", "nats"].startswith("0.30 [")
    assert "For A3C feedforward the larger step lets" in rates_inside.ways_said(rows.reset_index())


@pytest.mark.parametrize("values", [{"nats": 0.0}, {"nats": 0.05}, {"rank": 14.0}])
def test_a_policy_that_sees_little_more_or_with_wide_features_shows_nothing(monkeypatch, values):
    monkeypatch.setattr(rates_inside, "scores_by", lambda *asked, of=None: two_ways(**values))
    monkeypatch.setattr(rates_inside, "scores", lambda data: two_ways().head(0))
    assert rates_inside.ways_said(rates_inside.two_ways(Data(None))) == "For A3C feedforward this is not shown."


# -- more episodes ----------------------------------------------------------------------------------------------------


def long(folder, late_gap):
    """LayerNorm 10 ahead after 2000 episodes and `late_gap` after 4000."""
    for norm in ("ln", "none"):

        def curve(seed, episode, norm=norm):
            return 50 + noise(seed, episode, norm == "ln") + (norm == "ln") * (10 if episode <= 2000 else late_gap)

        made(folder / "long", range(5), curve=curve, quantities=QUANTITIES, episodes=4000, norm=norm)
        made(folder / "paper", range(5), quantities=QUANTITIES, norm=norm)
    return Data(load(folder / "paper"))


@pytest.mark.parametrize(
    ("late_gap", "word"), [(0, "faster"), (4, "better (by less than before)"), (14, "better (by more than before)")]
)
def test_faster_or_better(tmp_path, late_gap, word):
    rows = sensitivity_extent.lengths(long(tmp_path, late_gap)).set_index("after").estimate
    assert rows.to_dict() == pytest.approx({2000: 10, 4000: late_gap, 0: late_gap - 10}, abs=0.2)
    shown = sensitivity_extent.length_table(sensitivity_extent.lengths(long(tmp_path / "again", late_gap))).shown
    assert shown["LayerNorm learns"].tolist() == [word]
    text = sensitivity_extent.in_short("", sensitivity_extent.lengths(long(tmp_path / "third", late_gap)), "")
    assert text.startswith(f"- A3C GRU with LayerNorm learns {word} at 1e-4: its lead in training return is")


@pytest.mark.parametrize(("end", "change", "word"), [((-2, -1), (-3, -2), "worse"), ((-1, 1), (-1, 1), "open")])
def test_other_readings(end, change, word):
    end, change = (Interval(np.mean(each), *each, 5) for each in (end, change))
    assert sensitivity_extent.reading(end, change) == word


def test_a_window_holds_the_episodes_before_its_end():
    ends, values = np.array([100, 200, 300, 400]), np.array([[1.0, 2.0, 3.0, 4.0]])
    assert sensitivity_extent.before(ends, values, 300).tolist() == [2.5]
    with pytest.raises(Missing, match="ends at 400"):
        sensitivity_extent.before(ends, values, 500)


def test_long_runs_are_shown_beside_the_main_ones(tmp_path):
    data = long(tmp_path, 4)
    shown = sensitivity_extent.long_curves(sensitivity_extent.long_rows(data))
    assert shown.alt.startswith("Learning curves; in the last block of episodes: A3C GRU, LayerNorm 54")
    assert "Return over 4000 episodes" in shown.caption
    assert "n = 5" in shown.caption
    shown = sensitivity_extent.length_tests(sensitivity.scores(data, "long", "episodes")).shown
    assert {"sampled, after 2000", "sampled, after 4000"} <= set(shown)


def test_a_long_run_without_its_partner_is_missing(tmp_path):
    made(tmp_path / "long", episodes=4000, norm="ln")
    made(tmp_path / "paper", norm="ln")
    with pytest.raises(Missing, match="with and without LayerNorm"):
        sensitivity_extent.lengths(Data(load(tmp_path / "paper")))


# -- workers ----------------------------------------------------------------------------------------------------------


def test_the_effect_by_workers_and_its_trend(tmp_path):
    for norm, workers in itertools.product(("ln", "none"), (3, 5, 10)):

        def value(quantity, seed, norm=norm, workers=workers):
            return 50 + noise(seed, workers, norm == "ln") + (norm == "ln") * workers

        profile = "paper" if workers == 5 else "workers"
        made(tmp_path / profile, range(5), value, QUANTITIES, norm=norm, workers=workers)
    every = sensitivity.scores(Data(load(tmp_path / "paper")), "workers", "workers")
    found = sensitivity.effects_by(every, "workers")
    effects = found[found.outcome == "return"].set_index("workers").estimate
    assert effects.to_dict() == pytest.approx({3: 3, 5: 5, 10: 10}, abs=0.2)
    trend = sensitivity_extent.worker_table(every)
    assert trend.data.estimate.tolist() == pytest.approx([2, 5, 2, 5], abs=0.3)
    assert trend.shown.workers.tolist() == ["5 against 3", "10 against 5"] * 2
    assert isinstance(sensitivity_extent.worker_figure(every), output.FigureOutput)
    said = sensitivity_extent.in_short("", "", every)
    assert "with 3, 4.9 [" in said
    assert "with 10 workers; this effect changes by 1.9 [" in said
    assert "] from 3 to 5 and 5.0 [" in said
    with pytest.raises(Missing, match="two numbers of workers"):
        sensitivity_extent.worker_table(every[every.workers == 5])


STARTS = {"none": (1000, 1000, 1000), "ln": (200, 200, 200)}  # episodes after which a seed passes the level


def leading(folder, **leads):
    """A3C GRU: LayerNorm ahead by a number of each setting from 1000 episodes on, by nothing before."""
    kinds = {
        "few": ("workers-why", {"workers": 3, "episodes": 5000}),
        "usual": ("paper", {}),
        "alone": ("workers-why", {"cloud": "refilled"}),
    }
    for norm, (name, lead) in itertools.product(("none", "ln"), leads.items()):
        profile, settings = kinds[name]

        def curve(seed, episode, norm=norm, lead=lead):
            return 50 + noise(seed, episode, norm == "ln", lead) + (norm == "ln") * (episode > 1000) * lead

        def value(quantity, seed, norm=norm, lead=lead):
            return 50 + noise(seed, norm == "ln") + (norm == "ln") * lead

        made(folder / profile, range(5), value, QUANTITIES, curve, norm=norm, **settings)
    return Data(load(folder / "paper"))


def test_the_lead_is_taken_after_as_many_updates(tmp_path):
    found = workers_why.pairs(leading(tmp_path, few=8, usual=16, alone=17))
    assert {name: pair.updates[-1] for name, pair in found.items()} == {
        "3 workers": 75_000,
        "5 workers": 50_000,
        "5 workers, a cloud each": 50_000,
    }
    rows = workers_why.leads(found).set_index(["setting", "updates"]).estimate
    assert rows["3 workers"].to_dict() == pytest.approx({30_000: 8, 50_000: 8, 75_000: 8}, abs=0.2)
    assert rows["5 workers"].to_dict() == pytest.approx({30_000: 16, 50_000: 16}, abs=0.2)
    shown = workers_why.lead_table(found).shown
    assert shown.columns.tolist() == ["setting", "after 30,000", "after 50,000", "after 75,000"]
    assert shown["after 75,000"].tolist()[1:] == ["n/a", "n/a"]
    assert workers_why.predictions(found).shown.outcome.tolist() == ["opposes", "holds"]


def test_the_curves_stand_beside_policies_that_learn_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(workers_why, "EPISODES", 20)
    found = workers_why.pairs(leading(tmp_path, usual=16, alone=17))
    shown = workers_why.curves(found)
    assert shown.alt.startswith("At the last point: 5 workers, no norm 50; 5 workers, LayerNorm 65.9;")
    assert shown.data.groupby("setting").updates.max().to_dict() == {
        "5 workers": 50_000,
        "5 workers, a cloud each": 50_000,
    }
    shared, alone = (workers_why.references(found[name]) for name in ("5 workers", "5 workers, a cloud each"))
    assert alone["uniform policy"] > shared["uniform policy"] + 20  # nobody takes what one would have used


def test_learning_starts_where_the_level_is_first_passed(tmp_path, monkeypatch):
    monkeypatch.setattr(onset, "references", lambda pair: {"uniform": 50.0, "best": 90.0})
    found = workers_why.pairs(leading(tmp_path, usual=16, alone=4))
    rows = onset.onsets(found).set_index(["setting", "norm"])
    usual = rows.loc["5 workers"]  # 58 is passed once more than half of the last 200 episodes have the lead
    assert usual.level.tolist() == pytest.approx([58.0] * 3)
    assert usual.started.to_dict() == {"none": 0, "ln": 5, "ratio": 0}
    assert 25 * 1100 <= usual.estimate["ln"] < 25 * 1130
    shown = onset.table(found).shown.set_index("setting")
    assert shown.loc["5 workers", "no norm"] == "not within 50"
    assert shown.loc["5 workers", "no norm / LayerNorm"] == "above 1.8"
    assert shown.loc["5 workers, a cloud each"].tolist() == ["not within 50", "not within 50", "n/a"]


def test_learning_starts_by_rate_on_every_seed(tmp_path, monkeypatch):
    monkeypatch.setattr(onset, "references", lambda pair: {"uniform": 50.0, "best": 90.0})
    for norm, (lr, late) in itertools.product(("none", "ln"), {1e-4: 1600, 1e-3: 400}.items()):

        def curve(seed, episode, after=late * (1 if norm == "ln" else 3)):
            return 50.0 + 20 * (episode > after)

        made(tmp_path / ("paper" if lr == 1e-4 else "rates"), range(3), curve=curve, norm=norm, lr=lr)
    rows = onset.by_rate(Data(load(tmp_path / "paper")))
    shown = onset.rate_table(rows).shown.set_index("arm")
    assert shown.loc["A3C GRU, LayerNorm"].tolist() == ["42.5 [42.5,\xa042.5]", "12.5 [12.5,\xa012.5]"]
    assert shown.loc["A3C GRU, no norm"].tolist() == ["not within 50", "32.5 [32.5,\xa032.5]"]
    assert onset.rate_figure(rows).alt.startswith("A3C GRU, LayerNorm at 1e-4: 3 of 3 seeds, median 42,500 updates;")
    text = onset.landing(Data(load(tmp_path / "paper")))
    assert "until the mean return of 200 episodes has passed 58, a fifth of the way" in text
    assert onset.landing(leading(tmp_path / "usual", usual=16)) == ""


def test_main_runs_of_another_length_do_not_join_where_learning_starts(tmp_path):
    made(tmp_path / "quick", range(3), episodes=400, norm="ln")
    made(tmp_path / "rates", range(3), norm="ln", lr=1e-3)
    assert set(onset.by_rate(Data(load(tmp_path / "quick"))).lr) == {1e-3}


def test_how_much_later_learning_starts_is_a_ratio_of_updates(monkeypatch):
    monkeypatch.setattr(onset, "references", lambda pair: {"uniform": 0.0, "best": 5.0})
    ends = np.arange(200, 2001, 200)
    rising = {norm: np.array([2.0 * (ends > at) for at in times]) for norm, times in STARTS.items()}
    rows = onset.onsets({"10 workers": workers_why.Pair(10, "shared", 50, ends, rising)}).set_index("norm")
    assert rows.estimate.to_dict() == pytest.approx({"none": 50 * 1200.0, "ln": 50 * 400.0, "ratio": 3.0})
    assert onset.table({"a": workers_why.Pair(10, "shared", 50, ends, rising | {"none": 0 * rising["ln"]})}) is not None


def test_without_other_settings_there_is_nothing_to_compare(tmp_path):
    with pytest.raises(Missing, match="'workers-why' or 'workers'"):
        workers_why.pairs(leading(tmp_path, usual=16))
    found = workers_why.pairs(leading(tmp_path / "few", few=8, usual=16))
    with pytest.raises(Missing, match="50,000 updates"):
        workers_why.predictions({"5 workers": found["5 workers"]})


def test_the_landing_page_has_the_effect_in_every_setting(tmp_path):
    assert settings_landing.landing(leading(tmp_path / "usual", usual=16)) == ""
    for norm, workers in itertools.product(("ln", "none"), (3, 10)):

        def value(quantity, seed, norm=norm, workers=workers):
            return 50 + noise(seed, workers, norm == "ln") + (norm == "ln") * workers

        made(tmp_path / "workers", range(5), value, QUANTITIES, norm=norm, workers=workers)
    data = leading(tmp_path, usual=0, alone=17)
    said, table = settings_landing.landing(data).split("\n\n")
    start = "With A3C GRU LayerNorm's effect shrinks from 3 to 5 workers and grows from 5 to 10 workers. Return at"
    assert said.startswith(start)
    heads = [each.strip() for each in table.splitlines()[0].split("|")[1:-1]]
    assert heads == ["LayerNorm minus no norm", "3 workers", "5 workers", "10 workers", "5 workers, a cloud each"]
    assert "17.0 [" in table
    longer = settings_landing.landing(long(tmp_path / "long", 14))
    assert longer.startswith("Over 4000 episodes LayerNorm learns better (by more than before) with A3C GRU, by the r")


def test_the_order_of_rows_is_the_books():
    rows = pd.DataFrame(
        {
            "outcome": ["sampled", "return", "return"],
            "algorithm": ["a3c", "individual", "a3c"],
            "core": "gru",
            "lr": 1.0,
        }
    )
    found = sensitivity._ordered(rows, "lr")
    assert found[["outcome", "algorithm"]].to_numpy().tolist() == [
        ["return", "a3c"],
        ["return", "individual"],
        ["sampled", "a3c"],
    ]
