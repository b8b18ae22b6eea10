"""D5 on made runs: verdicts that follow from them."""

import shutil

import pandas as pd
import pytest

from lnlab.claims import judge
from lnlab.claims.studies import Data, Missing
from lnlab.runs import load
from tests import driving_fakes
from tests.by_hand import made
from tests.driving_fakes import Fake

NONE, LN = "td3-none-leaky-b32", "td3-ln-leaky-b32"
NONE_DETACHED, LN_DETACHED = "td3-none-detached-b32", "td3-ln-detached-b32"
MAIN = {
    NONE: Fake(exponent=3.8, inflation=1e6, clip_scale=1e-4),
    LN: Fake(exponent=0.1, inflation=20),
    NONE_DETACHED: Fake(exponent=0.05, mlp_gradient=0.01),
    LN_DETACHED: Fake(mlp_gradient=0.01),
}
FURTHER = {
    f"{NONE}-leaky_relu": Fake(exponent=3.7), f"{LN}-linear": Fake(exponent=0.1),
    "td3-ln_output-leaky-b32": Fake(exponent=0.1), f"{NONE}-lr3e-4": Fake(exponent=3.2, saturation=0.3),
    f"{LN}-lr3e-4": Fake(saturation=0.3), f"{NONE}-init-small": Fake(saturation=0.2),
    "ddpg-none-leaky-b32": Fake(exponent=4.1), "ddpg-ln-leaky-b32": Fake(exponent=0.2, inflation=2.0),
}  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """All arms, three seeds, as long as D5's run."""
    return Data(load(driving_fakes.study(tmp_path_factory.mktemp("made") / "driving", MAIN | FURTHER)))


@pytest.fixture
def make(tmp_path):
    """Made runs of D5's two arms with other numbers."""

    def study(*, none: Fake = MAIN[NONE], ln: Fake = MAIN[LN], seeds: int = 3) -> Data:
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "driving"
        return Data(load(driving_fakes.study(folder, {NONE: none, LN: ln}, seeds=seeds)))

    return study


def judged(data: Data, claim: str) -> judge.Entry:
    return next(entry for entry in judge.entries(data, "D5") if entry.id == claim)


def outcomes(data: Data, claim: str) -> list[str]:
    return [each.outcome for each in judged(data, claim).verdict.evidence]


# -- arms --------------------------------------------------------------------------------------------------------------
def test_runs_of_another_extent_are_not_mixed_in(tmp_path):
    folder = driving_fakes.study(tmp_path / "driving", MAIN)
    driving_fakes.write(folder / "longer", "ddpg-ln-leaky-b32", Fake(), steps=6000)
    for run in (folder / "longer").iterdir():
        shutil.move(run, folder / run.name)
    data = Data(load(folder))
    assert data.run(LN).config.steps == 5000
    with pytest.raises(Missing, match="ddpg-ln"):
        data.run("ddpg-ln-leaky-b32")


def test_the_study_beside_is_taken_where_the_main_one_has_no_td3(tmp_path):
    made(tmp_path / "main", norm="ln")
    with pytest.raises(Missing, match="profile 'driving', which was not run"):
        Data(load(tmp_path / "main")).run(LN)
    driving_fakes.study(tmp_path / "driving", MAIN)
    data = Data(load(tmp_path / "main"))
    assert f"driving/{LN}" in judged(data, "D5.18").used
    assert judged(data, "D5.18").runs == ()  # no page in this book


# -- claims ------------------------------------------------------------------------------------------------------------
def test_features_that_stay_small_and_honest_end_the_explosion_for_good(make):
    assert outcomes(make(ln=Fake(exponent=0.02, inflation=1.1)), "D5.18") == ["holds"] * 4
    assert outcomes(make(ln=Fake(exponent=0.2, inflation=1.1)), "D5.18") == ["holds", "holds", "opposed", "holds"]
    assert outcomes(make(ln=Fake(exponent=0.02, inflation=25.0)), "D5.18") == ["holds", "holds", "holds", "opposed"]


def test_readiness_needs_every_condition(data, make):
    assert judged(data, "D5.14").verdict.verdict == "false"
    fine = Fake(inflation=1.0, saturation=0.1, returns={"random": 20.0, "policy": 90.0})
    bad = Fake(exponent=3.8, moments=(60.0, 80.0))  # the alert on the TD error fires
    assert outcomes(make(ln=fine, none=bad), "D5.14") == ["holds"] * 4
    assert outcomes(make(ln=fine), "D5.14") == ["holds", "holds", "holds", "opposed"]  # no alert tells the arms apart
    assert "opposed" in outcomes(data, "D5.7")
    assert "opposed" not in outcomes(make(ln=fine), "D5.7")[2:]


def test_tests_at_ten_thousand_steps_are_judged_where_there_are_any(data, tmp_path):
    assert "needs the profile 'driving-long'" in judged(data, "D5.15").verdict.reason
    folder = driving_fakes.study(tmp_path / "driving-long", {LN: Fake()}, steps=10_000)
    short = driving_fakes.study(tmp_path / "driving", {LN: Fake()})
    assert "needs a greedy test of" in judged(Data(load(short)), "D5.15").verdict.reason
    rows = pd.read_parquet(folder / LN / "checks.parquet")
    early = rows[rows.step == 0].assign(step=5000, **{"return": 1.0})
    pd.concat([rows, early]).to_parquet(folder / LN / "checks.parquet")
    found = judged(Data(load(short)), "D5.15")
    assert (found.verdict.verdict, found.used) == ("cannot tell", (f"driving-long/{LN}",))  # one of five points


def test_made_arms_that_follow_the_leak_confirm_it_and_refute_the_norm(data):
    found = {name: judge.settled(each) for name, each in judge.tested(data, "driving").items()}
    assert found.pop("the missing norm") == "refuted"
    assert set(found.values()) == {"confirmed"}
