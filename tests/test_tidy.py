"""Tidy tables of the book against arithmetic by hand."""

import math

import numpy as np
import pytest

from lnlab.book import survival


def test_survival_by_hand():
    # five runs: explosions at 10 and 30, runs ended at 20 and 40 (two): S = 4/5, 4/5, 4/5 * 2/3
    rows = survival([10, 20, 30, 40, 40], [True, False, True, False, False])
    assert rows.time.tolist() == [0, 10, 20, 30, 40]
    assert rows.share.to_numpy() == pytest.approx([1, 0.8, 0.8, 0.8 * 2 / 3, 0.8 * 2 / 3])
    variance = 1 / (5 * 4) + 1 / (3 * 2)  # Greenwood's sum at 30
    exponent = math.exp(1.959964 * math.sqrt(variance) / abs(math.log(0.8 * 2 / 3)))
    assert rows.low[3] == pytest.approx((0.8 * 2 / 3) ** exponent)
    assert rows.high[3] == pytest.approx((0.8 * 2 / 3) ** (1 / exponent))


def test_survival_without_events_and_without_survivors():
    never = survival([5, 5], [False, False])
    assert np.all(never[["share", "low", "high"]] == 1)
    gone = survival([5, 5], [True, True])
    assert gone.share.tolist() == [1.0, 0.0]
    assert gone[["low", "high"]].iloc[-1].isna().all()
