"""The checks against hand arithmetic and simulation, on small studies made by hand: what differs is seen to differ."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lnlab.analysis.claims import Direction, Sum, number
from lnlab.analysis.metrics import METRICS
from lnlab.analysis.stats import Interval
from lnlab.report import beside, checks, checks_again, checks_original, checks_seeds, ledger, output
from lnlab.report.evidence import Data, Missing
from lnlab.runs import Study, load
from tests.by_hand import arm, made

LN, NONE = "a3c-gru-ln", "a3c-gru-none"
RECURRENT = [LN, NONE, "individual-gru-ln", "individual-gru-none"]


# -- some seeds alone -------------------------------------------------------------------------------------------------


def test_only_some_seeds_are_read_in_all_profiles(tmp_path):
    for profile in ("paper", "other"):
        made(tmp_path / profile, range(6), **arm(LN))
    data = Data(load(tmp_path / "paper"))
    part = data.only([1, 4, 5, 99])
    assert data.metric(LN, "return_mean").tolist() == [10, 11, 12, 13, 14, 15]
    assert part.metric(LN, "return_mean").tolist() == [11, 14, 15]
    assert part.of("other").metric(LN, "return_mean").tolist() == [11, 14, 15]
    assert part.main.table("evaluation").seed.unique().tolist() == [1, 4, 5]
    assert data.metric(LN, "return_mean").size == 6, "the whole must not have become the part"


def test_a_run_without_two_of_the_seeds_is_absent(tmp_path):
    made(tmp_path / "paper", range(6), **arm(LN))
    made(tmp_path / "paper", range(3), **arm(NONE))
    made(tmp_path / "other", range(3), **arm(NONE))
    part = Data(load(tmp_path / "paper")).only([2, 3, 4])
    assert [run.id for run in part.main.runs] == [LN]
    with pytest.raises(Missing, match=f"{NONE}.*two of the 3 seeds"):
        part.metric(NONE, "return_mean")
    with pytest.raises(Missing, match=r"'other'.*two of the 3 seeds"):
        part.of("other")


def test_the_carried_runs_are_cut_as_well(tmp_path):
    made(tmp_path / "paper", range(4), **arm(LN))
    made(tmp_path / "original", range(4), value=lambda q, s: 50.0 + s, gradient_carry=True, **arm(LN))
    data = Data(load(tmp_path / "paper"))
    assert data.only([1, 2]).carried().metric(LN, "return_mean").tolist() == [51, 52]
    assert data.carried().only([1, 2]).metric(LN, "return_mean").tolist() == [51, 52]


# -- a number beside a range ------------------------------------------------------------------------------------------


def test_a_position_without_width_is_infinite_unless_it_is_the_middle():
    assert beside.position(1.0, 1.0, 1.0, 1.0) == 0
    assert beside.position(2.0, 1.0, 1.0, 1.0) == np.inf
    assert beside.position(0.0, 1.0, 1.0, 1.0) == -np.inf


def test_dots_beyond_the_edge_are_drawn_at_it():
    rows = pd.DataFrame({"name": ["a", "b"], "series": "x", "position": [0.5, np.inf]})
    (panel, *_) = beside.positions({"title": rows}, "position").axes
    drawn = np.concatenate([line.get_xdata() for line in panel.lines])
    assert {0.5, beside.EDGE} <= set(drawn)


def test_what_is_missing_is_told_once():
    def needs(*_):
        raise Missing("needs a run")

    found = beside.attempt(needs)
    assert found == "*Not in this report: it needs a run.*"
    assert beside.show(found, len) == found
    assert beside.also(found, len) == ""
    assert beside.show([1, 2], len) == beside.also([1, 2], len) == 2
    assert beside.show([1], needs) == found


# -- the original code ------------------------------------------------------------------------------------------------


def test_the_list_of_the_originals_figures_is_whole():
    found = checks_original.original()
    for figure in found["figures"]:
        assert all(len(figure[source]) == len(found["arms"]) for source in checks_original.SOURCES if source in figure)
        assert "test" in figure or figure["metric"] in METRICS
    assert len({figure["says"] for figure in found["figures"]}) == len(found["figures"])


@pytest.mark.parametrize(("quantity", "metric"), [("return", "return_mean"), ("value_loss", "value_loss_mean")])
def test_the_blocks_have_the_mean_of_the_whole(quantity, metric):
    found = checks_original.original()
    (whole,) = [figure["again"] for figure in found["figures"] if figure.get("metric") == metric]
    for name, printed in zip(found["arms"], whole, strict=True):
        assert np.mean(found["blocks"][quantity][name]) == pytest.approx(printed, abs=0.6), name


def test_a_figure_of_one_run_beside_two_seeds_by_hand():
    found = checks_original.numbers(5.0, np.array([1.0, 3.0]))
    half = 12.7062 * np.sqrt(2) * np.sqrt(1 + 1 / 2)  # t(0.975; 1), s, one new seed beside a mean of two
    assert (found["low"], found["high"]) == pytest.approx((2 - half, 2 + half), rel=1e-5)
    assert found["position"] == pytest.approx(3 / half, rel=1e-5)
    assert (found["within"], found["among"]) == (True, False)
    assert not checks_original.numbers(30.0, np.array([1.0, 3.0]))["within"]


def originals_protocol(folder, **settings):
    """The main profile with a return near 57 for Individual, and 0 for A3C, whose carried runs have one near 60."""
    for name in RECURRENT:
        level = 57.0 if "individual" in name else 0.0
        made(folder / "paper", value=lambda q, s, level=level: level + s / 2, **arm(name), **settings)
    for name in RECURRENT[:2]:
        made(folder / "original", value=lambda q, s: 60.0 + s / 2, gradient_carry=True, **arm(name), **settings)
    return Data(load(folder / "paper"))


def test_the_original_is_held_against_its_own_protocol(tmp_path):
    found = checks_original.compare(originals_protocol(tmp_path))
    found = found[found.figure == "return, all episodes"]
    assert found.estimate.tolist() == [60.75] * 4 + [57.75] * 4
    assert found.printed.tolist() == [64.6, 62.7, 57.7, 57.2, 57.3, 57.1, 56.4, 56.1]
    assert found.within.tolist() == [False, True, False, False, True, True, True, True]
    shown = checks_original.figure_table(found, "a3c").shown
    assert shown["LayerNorm: original"].tolist() == ["64.6 ✗ / 62.7"]
    assert "5 lie in the 95 %" in checks_original.summary(found)


def test_runs_of_another_length_are_not_compared_with_the_originals(tmp_path):
    with pytest.raises(Missing, match=r"2000 episodes.*have 400"):
        checks_original.compare(originals_protocol(tmp_path, episodes=400))


def test_blocks_weigh_each_episode_once():
    curve = np.array([[1.0, 2.0, 3.0, 4.0, 5.0]])
    found = checks_original.in_blocks(np.array([20, 40, 60, 80, 100]), curve, 2)
    assert found == pytest.approx(np.array([[(20 * 1 + 20 * 2 + 10 * 3) / 50, (10 * 3 + 20 * 4 + 20 * 5) / 50]]))
    assert found.mean() == pytest.approx(curve.mean())


def test_the_course_of_training_is_compared_block_by_block(tmp_path):
    rows = checks_original.block_rows(originals_protocol(tmp_path))
    mine = rows[(rows.quantity == "return") & (rows.algorithm == "a3c") & (rows.norm == "ln")]
    assert mine.episode.tolist() == list(range(250, 2001, 250))
    assert mine.estimate.tolist() == pytest.approx([60.75] * 8)
    assert mine.within.tolist() == [False, True, True, True, False, False, False, False]
    assert rows[rows.quantity == "value_loss"].estimate.tolist() == pytest.approx([50.0] * 32)
    assert "return" in checks_original.block_figure(rows).alt


# -- repetitions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "m"), [(18, 5), (10, 10)])
def test_the_mean_of_a_repetition_meets_both_intervals_as_often_as_is_promised(n, m):
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(3000):
        again = rng.normal(size=m)
        rows.append(checks_again.row("x", number("x", again.mean(), rng.normal(size=n), runs=m)))
    found = pd.DataFrame(rows)
    assert found.in_mean.mean() == pytest.approx(checks_again.promise(n, m), abs=0.025)
    assert found.in_prediction.mean() == pytest.approx(0.95, abs=0.015)


QUANTITIES = ("return_last_200", "value_loss_all_mean", "explosion_episodes")


def repetition(folder, shift=0.0, seeds=range(30, 36), **settings):
    rng = np.random.default_rng(0)
    named = (*QUANTITIES, "sampled", "greedy", "return")
    numbers = {key: 50 + rng.normal() for key in itertools.product(named, range(60))}
    for name in checks_again.ARMS:
        made(folder / "paper", range(12), lambda q, s: numbers[q, s], QUANTITIES, **arm(name))
        made(folder / "again-1", seeds, lambda q, s: numbers[q, s] + shift, QUANTITIES, **arm(name), **settings)
    return Data(load(folder / "paper"))


def test_a_repetition_like_the_published_runs_lies_inside_and_a_shifted_one_does_not(tmp_path):
    like = checks_again.compare(repetition(tmp_path / "like"))
    other = checks_again.compare(repetition(tmp_path / "other", shift=4.0))
    means = ~like.quantity.str.startswith("CV")
    assert len(like) == 2 * (len(checks_again.MEANS) + 2)
    assert like.in_prediction[means].mean() > 0.8
    assert not other.in_prediction[means].any()
    assert not other.in_mean[means].any()
    assert (other.position[means] > 1).all()
    assert f"{len(like)} quantities" in checks_again.summary(like)
    assert "✗" in checks_again.quantity_table(other, "a3c").shown["again-1"].iloc[0]
    with pytest.raises(Missing, match="a repetition of Individual GRU"):
        checks_again.quantity_table(other[other.algorithm == "a3c"], "individual")


def test_the_published_mean_and_interval_are_those_of_the_published_seeds(tmp_path):
    data = repetition(tmp_path)
    first = checks_again.compare(data).iloc[0]
    ours, theirs = (each.metric(LN, "return_last_200") for each in (data, data.of("again-1")))
    assert (first.estimate, first.again, first.n, first.m) == pytest.approx((ours.mean(), theirs.mean(), 12, 6))
    half = 2.200985 * ours.std(ddof=1) * np.sqrt(1 / 12 + 1 / 6)  # t(0.975; 11)
    assert (first.low, first.high) == pytest.approx((ours.mean() - half, ours.mean() + half), rel=1e-5)


def test_a_repetition_has_its_own_seeds_and_nothing_else_of_its_own(tmp_path):
    shared = repetition(tmp_path / "shared", seeds=range(10, 16))
    longer = repetition(tmp_path / "longer", episodes=3000)
    for data, complaint in (
        (shared, r"other seeds.*\[10, 11\]"),
        (longer, "seeds alone.*episodes"),
        (Data(Study(tmp_path / "none" / "paper", [])), "'again-1' or 'again-2'"),
    ):
        with pytest.raises(Missing, match=complaint):
            checks_again.compare(data)


# -- seeds that the rules had not seen --------------------------------------------------------------------------------


UP = Direction("effect", Interval(2.0, 1.0, 3.0, 7), "above")
OPEN = Direction("effect", Interval(2.0, -1.0, 3.0, 7), "above")
TOTAL = Sum("share", "1 + 1", 2.0, 2.0, 0.0)


def entry(name, *evidence, runs=(LN,)):
    verdict = ledger.judge(name, list(evidence), runs=runs, **({} if evidence else {"reason": "not asked"}))
    return ledger.Entry("D1", {"id": name, "kind": "measured", "section": "s", "says": name}, verdict, runs)


def test_claims_are_told_apart_by_what_they_rest_on():
    assert checks_seeds.rests(entry("D1.1", UP)) == "recurrent"
    assert checks_seeds.rests(entry("D1.1", UP, runs=(LN, "a3c-ff-ln"))) == "feedforward"
    assert checks_seeds.rests(entry("D1.1", UP, runs=(LN, "workers/a3c-gru-ln-w3"))) == "other"
    assert checks_seeds.rests(entry("D1.1", TOTAL)) == checks_seeds.rests(entry("D1.1")) == "none"


def judged():
    every = [entry("a", UP), entry("b", UP), entry("c", UP, UP), entry("d", TOTAL), entry("e", UP)]
    new = [entry("a", UP), entry("b", OPEN), entry("c", OPEN), entry("d", TOTAL), entry("e")]
    seen = [entry("a", OPEN), entry("b", OPEN), entry("c", UP), entry("d", TOTAL), entry("e", UP)]
    rows = checks_seeds.judged_again(every, new, seen)
    return checks_seeds.Again([10, 11], [0, 1], rows, [0, 3], pd.DataFrame())


def test_verdicts_are_compared_where_the_evidence_is_as_much():
    again = judged()
    assert again.verdicts.comparable.tolist() == [True, True, False, True, False]
    assert again.comparable.claim.tolist() == ["a", "b"]
    text = checks_seeds.verdict_summary(again)
    assert "Of 5 verdicts 4 rest on measurements" in text
    assert "2 of these can be judged on the same evidence, and 1 of 2 come out the same" in text
    assert "share none: 1 of 2 the same" in text
    assert "for want of runs with these seeds: c, e." in text
    assert "2 times, changed 0 to 3 verdicts (mean 1.5); the new seeds change 1" in text


def test_verdicts_that_differ_are_listed_with_all_three():
    shown = checks_seeds.verdict_table(judged()).shown
    assert shown.iloc[:, [0, 2, 3, 4]].to_numpy().tolist() == [["b", "replicated", "not replicated", "not replicated"]]


def contrasted(folder, new_effect):
    """All eight arms over 20 seeds: with LayerNorm 5 more up to the tenth seed, and `new_effect` more after it."""
    rng = np.random.default_rng(0)
    noise = {key: rng.normal() / 10 for key in itertools.product(("ln", "none"), range(20))}
    quantities = ("return_final", "value_loss_all_mean")
    for algorithm, core, norm in itertools.product(("a3c", "individual"), ("gru", "ff"), ("ln", "none")):

        def value(quantity, seed, norm=norm):
            return 50 + noise[norm, seed] + (norm == "ln") * (5 if seed < 10 else new_effect)

        made(folder, range(20), value, quantities, algorithm=algorithm, core=core, norm=norm)
    return Data(load(folder))


def test_seeds_are_split_where_the_rules_were_finished(tmp_path):
    data = contrasted(tmp_path, 5)
    assert checks_seeds.split(data) == (list(range(10, 20)), list(range(10)))
    made(tmp_path / "short", range(11), norm="ln")
    with pytest.raises(Missing, match="from seed 10 on"):
        checks_seeds.split(Data(load(tmp_path / "short")))


def test_contrasts_that_hold_on_new_seeds_and_such_that_turn(tmp_path):
    same = checks_seeds.contrasts_again(contrasted(tmp_path / "same", 5.0))
    turned = checks_seeds.contrasts_again(contrasted(tmp_path / "turned", -1.0))
    assert len(same) == len(turned) == 16
    assert same.same.all()
    assert (same.n == 20).all()
    assert (same.n_new == 10).all()
    assert not turned.same.any()
    assert (turned.estimate_new < 0).all()
    assert turned.estimate_new[0] == pytest.approx(-1.0, abs=0.1)
    assert "0 of 16 keep their sign" in checks_seeds.contrast_summary(turned)
    assert set(checks_seeds.contrast_table(turned).shown.same) == {"no"}


def test_arms_of_unequal_seeds_are_compared_over_those_that_both_have(tmp_path):
    for norm, seeds in (("ln", range(14)), ("none", range(16))):
        made(tmp_path, seeds, quantities=("return_final", "value_loss_all_mean"), norm=norm)
    found = checks_seeds.contrasts_again(Data(load(tmp_path)))
    assert set(found.n) == {14}
    assert set(found.n_new) == {4}


def test_random_seeds_change_verdicts_only_where_the_evidence_depends_on_them(tmp_path, monkeypatch):
    made(tmp_path, range(20), norm="ln")
    data = Data(load(tmp_path))

    def verdicts(part):
        low = part.metric(LN, "return_mean").min()
        return [entry("depends", UP if low == 10 else OPEN), entry("does not", UP)]

    monkeypatch.setattr(checks_seeds, "verdicts", verdicts)
    found = checks_seeds.by_chance(data, verdicts(data), 4, 20)
    assert len(found) == 20
    assert set(found) == {0, 1}
    assert checks_seeds.by_chance(data, verdicts(data), 20, 9) == [0] * 9  # all of them, drawn without replacement


# -- the page ---------------------------------------------------------------------------------------------------------


def test_a_report_without_these_runs_says_so(tiny_study):
    data = Data(tiny_study)
    makers = (
        checks_original.compare,
        checks_again.compare,
        checks_seeds.judge,
        checks_seeds.contrasts_again,
        checks_original.block_rows,
    )
    found = [beside.attempt(make, data) for make in makers]
    assert all(isinstance(each, output.Text) for each in found)
    assert checks.in_short(*found[:4]) == "This report has no runs for these checks."


def test_everything_is_judged_again_in_a_whole_study(tiny_study, monkeypatch):
    monkeypatch.setattr(checks_seeds, "split", lambda data: ([0, 1], [0, 1]))
    again = checks_seeds.judge(Data(tiny_study))
    assert len(again.verdicts) == 72
    assert again.verdicts.same.all()
    assert (again.hypotheses.every == again.hypotheses.new).all()
    assert again.chance == [0] * checks_seeds.FEW_DRAWS
    assert "fare the same." in checks_seeds.hypothesis_summary(again)
    assert checks_seeds.verdict_table(again) == "No verdict is another one."
    assert "verdicts come out as from all seeds, 0 do not" in checks.in_short("", "", again, "")
