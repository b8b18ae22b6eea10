"""Settings that are chosen on other seeds than they are judged on."""

import itertools

import numpy as np
import pytest

from benchmarks.coverage import CHOICES, missed
from lnlab.analysis.choice import judged_apart
from lnlab.analysis.stats import paired_difference


@pytest.mark.parametrize("n", [2, 3, 6, 7])
def test_each_seed_is_judged_where_the_other_half_chose(n):
    scores = np.random.default_rng(n).normal(size=(n, 3))
    kept = [[] for _ in range(n)]
    for half in itertools.combinations(range(n), n // 2):
        other = [seed for seed in range(n) if seed not in half]
        for own, choosing in ((half, other), (other, half)):
            for seed in own:
                kept[seed].append(scores[seed, scores[list(choosing)].sum(axis=0).argmax()])
    mean = np.array([np.mean(each) for each in kept])
    assert judged_apart(scores) == pytest.approx(mean.mean() + np.sqrt(2) * (mean - mean.mean()))


def test_choosing_a_setting_on_the_seeds_it_is_judged_on_would_flatter_it():
    studies = np.random.default_rng(0).normal(size=(300, 6, 4))  # every setting is worth nothing
    assert np.mean([judged_apart(study).mean() for study in studies]) == pytest.approx(0, abs=0.05)
    assert studies.mean(axis=1).max(axis=1).mean() > 0.3


def test_a_clear_choice_has_the_interval_of_half_the_seeds():
    x, y = np.random.default_rng(0).normal(size=(2, 12))
    worse = np.full(12, -99.0)
    apart = paired_difference(*(judged_apart(np.column_stack([each, worse])) for each in (x, y)))
    plain = paired_difference(x, y)
    assert apart.estimate == pytest.approx(plain.estimate)
    assert apart.high - apart.low == pytest.approx(np.sqrt(2) * (plain.high - plain.low))


@pytest.mark.parametrize("levels", CHOICES)
def test_the_difference_at_best_settings_is_covered_where_leaving_out_one_seed_is_not(levels):
    assert missed(levels, "normal", 10, repetitions=200) <= 0.09


def test_one_seed_leaves_none_to_choose_on():
    with pytest.raises(ValueError, match="at least two seeds"):
        judged_apart(np.ones((1, 3)))
