"""Statistics of the study, all names in one place; the seed is the unit of replication.

a number and its uncertainty       interval(scores, iqm), jackknife_t, cluster_bootstrap -> Interval
centre, spread, bad tail           mean, iqm · std, cv, min_max_ipr90 · worst_decile
two arms, paired by seed           paired_difference
tests of two arms                  sign_flip_test, holm (several tests)
main effects and interactions      contrast(scores_by_arm, weights)
how many runs                      wilson, clopper_pearson, performance_profile
"""

from lnlab.analysis.comparisons import (
    contrast,
    holm,
    paired_difference,
    sign_flip_test,
)
from lnlab.analysis.descriptive import cv, iqm, mean, min_max_ipr90, std, worst_decile
from lnlab.analysis.intervals import Interval, cluster_bootstrap, interval, jackknife_t
from lnlab.analysis.rates import Profile, clopper_pearson, performance_profile, wilson

__all__ = [
    "Interval",
    "Profile",
    "clopper_pearson",
    "cluster_bootstrap",
    "contrast",
    "cv",
    "holm",
    "interval",
    "iqm",
    "jackknife_t",
    "mean",
    "min_max_ipr90",
    "paired_difference",
    "performance_profile",
    "sign_flip_test",
    "std",
    "wilson",
    "worst_decile",
]
