"""One norm instead of two: levels and hypotheses by hand on made runs."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lnlab.report import placement
from lnlab.report.evidence import Data, Missing
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
    """Five seeds of an arm, whose numbers differ by about a hundredth from seed to seed; a feedforward one has no state."""

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


def test_every_arm_stands_by_the_same_measures(data):
    rows = placement.levels(data)
    shown = placement.table(rows).shown.set_index("arm")
    assert shown.index.tolist() == [
        f"A3C {core}, {norm}"
        for core, norm in itertools.product(
            ("GRU", "feedforward"),
            ("no norm", "LayerNorm after the first layer only", "LayerNorm before the heads only", "LayerNorm"),
        )
    ]
    assert shown.loc["A3C GRU, LayerNorm before the heads only", "return, last tenth"].startswith("73.0 [")
    assert shown.loc["A3C feedforward, LayerNorm", "saturated units"] == "n/a"
    assert shown.loc["A3C GRU, no norm", "saturated units"].startswith("0.50 [")


def test_one_norm_does_it_alone_if_it_earns_as_much_as_both(data):
    shown = placement.predictions(placement.levels(data), data).shown
    outcomes = shown.groupby("hypothesis", sort=False).outcome.agg(list).to_dict()
    assert list(outcomes.values()) == [["holds"], ["opposes"], ["holds"], ["opposes"], ["holds", "opposes"]]
    assert [name.split(", ")[0] for name in outcomes][:2] == [
        "The norm before the heads does it alone",
        "The norm after the first layer does it alone",
    ]


def test_arms_that_were_not_run_are_missed(tmp_path):
    for norm in ("none", "ln"):
        write(tmp_path, norm)
    with pytest.raises(Missing, match="'placement'"):
        placement.levels(Data(load(tmp_path / "paper")))
    write(tmp_path, "ln_core")
    rows = placement.levels(half := Data(load(tmp_path / "paper")))
    assert set(rows.core) == {"gru"}
    outcomes = placement.predictions(rows, half).shown.outcome.tolist()
    assert outcomes == ["holds", "not tested", "not tested", "not tested", "not tested"]


def test_runs_of_another_length_are_not_set_beside(data, tmp_path):
    made(tmp_path / "quick", range(5), quantities=QUANTITIES, episodes=400, norm="ln")
    quick = Data(load(tmp_path / "quick"))
    with pytest.raises(Missing, match="with the settings of the main runs"):
        placement.value(quick, "gru", "ln_core", placement.RETURN)
