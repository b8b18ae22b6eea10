"""The sixteen contrasts: numbers by hand, sentences against the tests that stand behind them."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lnlab.book import Data, needs, registered
from lnlab.claims.studies import Missing
from lnlab.runs import load
from tests.by_hand import made

OUTCOME = "return"
SAYS = registered.OUTCOMES[OUTCOME].says


def test_effects_pair_the_arms_of_one_agent(tmp_path):
    """Two agents of four, eight contrasts; LayerNorm returns 5 more, a tenth more with each seed."""
    quantities = ("return_final", "value_loss_all_mean")
    for algorithm, norm in itertools.product(("individual", "a3c"), ("ln", "none")):
        gain = 5 * (norm == "ln")
        made(tmp_path / "paper", range(8), lambda quantity, seed, gain=gain: 50 + gain * (1 + seed / 10), quantities,
             algorithm=algorithm, norm=norm)  # fmt: skip
    made(tmp_path / "paper", core="ff", norm="ln")  # without its partner
    found = registered.effects(Data(load(tmp_path / "paper")))
    assert found.agent.tolist() == ["A3C GRU", "Individual GRU"] * 4
    assert found.estimate.tolist() == pytest.approx([6.75, 6.75, 13.5, 13.5, *[6.75] * 4])  # of 50; loss in percent
    assert found.p.tolist() == [2 / 2**8] * 8
    assert found.p_holm.tolist() == pytest.approx([8 * 2 / 2**8] * 8)
    assert found.sign.tolist() == [0] * 8  # p_holm is 1 / 16


def rows(*intervals, p=0.01):
    found = [(OUTCOME, agent, *each, p) for agent, each in zip(("A3C GRU", "A3C feedforward"), intervals, strict=True)]
    table = pd.DataFrame(found, columns=["outcome", "agent", "estimate", "low", "high", "n", "p_holm"])
    return table.assign(sign=[registered.clear(row) for row in table.itertuples()])


RAISED, LOWERED = (5, 3, 7, 9), (-4, -6, -2, 9)


@pytest.mark.parametrize(
    ("first", "second", "p", "sentence"),
    [
        (RAISED, LOWERED, 0.01,
         f"LayerNorm raises {SAYS} of A3C GRU by 5.0 [3.0,\xa07.0]; "
         f"it lowers {SAYS} of A3C feedforward by 4.0 [2.0,\xa06.0] (n = 9)."),
        ((5, -3, 7, 9), (np.nan, np.nan, np.nan, 9), 0.01,
         f"LayerNorm shows no clear effect on {SAYS} for A3C GRU (5.0 [−3.0,\xa07.0]) "
         "and A3C feedforward (n/a) (n = 9)."),
        (RAISED, LOWERED, 0.05,
         f"LayerNorm shows no clear effect on {SAYS} for A3C GRU (5.0 [3.0,\xa07.0]) "
         "and A3C feedforward (−4.0 [−6.0,\xa0−2.0]) (n = 9)."),
        (RAISED, (5, -3, 7, 9), 0.01,
         f"LayerNorm raises {SAYS} of A3C GRU by 5.0 [3.0,\xa07.0]; "
         "it shows no clear effect on it for A3C feedforward (5.0 [−3.0,\xa07.0]) (n = 9)."),
    ],
)  # fmt: skip
def test_the_verb_follows_from_the_corrected_test_and_the_interval(first, second, p, sentence):
    assert registered.statements(rows(first, second, p=p))[0] == sentence


def test_too_few_seeds_for_any_clear_effect_are_admitted():
    few, enough = (rows((5, 3, 7, n), (5, 3, 7, n)) for n in (6, 7))  # two tests: 2 · 2^(1 − n) < 0.05 from 7 on
    assert "6 seeds are too few" in registered.criterion(few)
    assert "too few" not in registered.criterion(enough)


def test_arms_by_compiled_code_stand_for_those_of_the_main_study_and_for_no_others(tmp_path):
    for norm in ("none", "ln"):
        for profile in ("quick", "rates"):
            made(tmp_path / profile, norm=norm, backend="native", quantities=("return_final",))
    data = Data(load(tmp_path / "quick"))
    assert registered.pairs(data) == {"A3C GRU": "a3c-gru"}
    assert data.run("a3c-gru-ln").id == "a3c-gru-ln-native"
    assert data.score("a3c-gru-ln").shape == (4,)
    with pytest.raises(Missing, match="a3c-gru-ln of the profile 'rates'"):
        data.run("rates/a3c-gru-ln")
    assert needs.lacking(["explore"], tmp_path / "quick") == {"explore": ""}
    made(tmp_path / "quick", norm="ln", quantities=("return_final",))
    assert Data(load(tmp_path / "quick")).run("a3c-gru-ln").id == "a3c-gru-ln"
