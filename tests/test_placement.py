"""One norm instead of two: hypotheses by hand on made runs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lnlab.claims import judge
from lnlab.claims.studies import Data
from lnlab.runs import load
from tests.by_hand import made

RETURNS = {"none": 58.0, "ln_embed": 60.0, "ln_core": 73.0, "ln": 74.0}
INSIDE = {
    "state_saturated": {"none": 0.5, "ln_embed": 0.02, "ln_core": 0.1, "ln": 0.01},
    "core_rank_effective": dict.fromkeys(RETURNS, 4.0),
    "policy_information": dict.fromkeys(RETURNS, 0.1),
}
QUANTITIES = ("return_final", "explosion_episodes_all")


def write(folder, norm, core="gru"):
    """Five seeds of an arm, alike to about a hundredth; a feedforward one has no state."""

    def value(quantity, seed):
        here = np.random.default_rng([seed, *norm.encode()]).normal() / 100
        return (RETURNS[norm] if quantity == "return_final" else 0.25) + here

    profile = "paper" if norm in ("none", "ln") else "placement"
    made(folder / profile, range(5), value, QUANTITIES, core=core, norm=norm)
    inside = {name: levels[norm] for name, levels in INSIDE.items() if core == "gru" or name != "state_saturated"}
    rows = [
        (seed, -1, 2000, name, level + np.random.default_rng([seed, *norm.encode()]).normal() / 1000)
        for seed, (name, level) in itertools.product(range(5), inside.items())
    ]
    table = pd.DataFrame(rows, columns=["seed", "worker", "step", "quantity", "value"])
    table.to_parquet(folder / profile / f"a3c-{core}-{norm}" / "diagnostics.parquet")


@pytest.fixture
def data(tmp_path):
    for norm, core in itertools.product(RETURNS, ("gru", "ff")):
        write(tmp_path, norm, core)
    return Data(load(tmp_path / "paper"))


def outcomes(data):
    return {
        name: [each.outcome for each in found] if isinstance(found, list) else "not tested"
        for name, found in judge.tested(data, "placement").items()
    }


def test_one_norm_does_it_alone_if_it_earns_as_much_as_both(data):
    assert list(outcomes(data).values()) == [["holds"], ["opposes"], ["holds"], ["opposes"], ["holds", "opposes"]]
    assert next(iter(outcomes(data))) == "norm before the heads alone, GRU"


def test_arms_that_were_not_run_are_not_tested(tmp_path):
    for norm in ("none", "ln", "ln_core"):
        write(tmp_path, norm)
    assert list(outcomes(Data(load(tmp_path / "paper"))).values()) == [["holds"], *["not tested"] * 4]


def test_runs_of_another_length_are_not_set_beside(data, tmp_path):
    made(tmp_path / "quick", range(5), quantities=QUANTITIES, episodes=400, norm="ln")
    assert set(outcomes(Data(load(tmp_path / "quick"))).values()) == {"not tested"}
