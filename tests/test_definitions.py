"""One definition for one name: each printed number has the value that the book's definition of its name gives."""

import numpy as np
import pandas as pd
import pytest
from lnlab.report import (
    checks_again,
    d2_claims,
    ledger,
    pieces,
    predictions,
    sensitivity_extent,
    settings_landing,
)
from lnlab.report.evidence import Data, Missing, documents, printed

from lnlab.analysis.claims import Number
from lnlab.paths import PUBLISHED
from lnlab.runs import load
from tests.by_hand import made

QUANTITIES = ("return_final", "value_loss_all_mean")


def evidence(data, claim):
    """What a claim rests on, by what it is of."""
    document = claim.split(".")[0]
    values = next(each.get("values") for each in documents()[document]["claims"] if each["id"] == claim)
    return {each.what: each for each in ledger.judges(document)[claim](data, dict(values or {}))[0]}


def says(claim):
    return next(each["says"] for each in documents()[claim.split(".")[0]]["claims"] if each["id"] == claim)


@pytest.fixture(scope="module")
def published():
    return Data(load(PUBLISHED / "paper"))


# -- the return at the end of training: the last tenth ----------------------------------------------------------------
def test_the_landing_column_of_the_long_runs_is_the_last_tenth_of_their_episodes(published):
    """Recomputed from the curves: of 5000 episodes the last 500, not the last 200."""
    long, found = published.of("long"), settings_landing.effects_elsewhere(published)
    column = found[found.setting == "5 workers, 5000 episodes"].set_index("pair").estimate
    for pair, arm in (("A3C GRU", "a3c-gru-{}"), ("Individual GRU", "individual-gru-{}")):
        ends, ln = long.curve(arm.format("ln"), "return")
        _, none = long.curve(arm.format("none"), "return")
        assert column[pair] == pytest.approx((ln - none)[:, ends > 4500].mean(), abs=1e-4)


def test_every_column_of_the_landing_table_is_the_quantity_of_its_heading(tmp_path):
    """The curves say something else than the metrics of the last tenth, so a column taken from them is seen."""

    def run(profile, norm, **settings):
        level = 50 + 5 * (norm == "ln") + settings.get("episodes", 0) / 1000 + settings.get("workers", 0)
        more = {"curve": lambda seed, episode: -100.0 * (norm == "ln") + seed, "norm": norm, **settings}
        made(tmp_path / profile, range(5), lambda name, seed: level + seed / 100, QUANTITIES, **more)

    for norm in ("ln", "none"):
        run("paper", norm)
        run("long", norm, episodes=4000)
        run("workers", norm, workers=3)
        run("workers-why", norm, cloud="refilled")
    found = settings_landing.effects_elsewhere(Data(load(tmp_path / "paper")))
    assert found.setting.tolist() == ["3 workers", "5 workers", "5 workers, a cloud each", "5 workers, 4000 episodes"]
    assert found.estimate.tolist() == pytest.approx([5.0] * 4)


def test_faster_or_better_is_judged_on_equal_windows_and_says_so(published):
    text = settings_landing.landing(published)
    assert "by the return of 200 episodes after 2000 and after 5000" in text
    assert "mean of the last tenth" in text
    rows = sensitivity_extent.lengths(published)
    assert all("(means of 200 episodes" in line for line in sensitivity_extent.length_lines(rows))


# -- through training: weighted by time -------------------------------------------------------------------------------
class Uneven:
    """Checkpoints as a run has them: close together at first, far apart later."""

    levels = {0: 8.0, 10: 8.0, 100: 8.0, 500: 0.0, 2000: 0.0}  # noqa: RUF012

    def steps(self, arm):
        return list(self.levels)

    def diagnostic(self, arm, quantity, step, *, empty=None):
        return np.array([1.0, 10.0]) * self.levels[step]


def test_through_training_weighs_by_time_and_not_by_the_number_of_checkpoints():
    found = pieces.through_training(Uneven(), "state_saturated")("a3c-gru-none")
    area = 8 * 100 + 4 * 400  # constant up to episode 100, then a straight line down to episode 500
    assert found == pytest.approx(np.array([1, 10]) * area / 2000)  # the unweighted mean is 4.8 or, without 0, 4


def test_a_phase_has_its_own_mean_and_the_phases_make_up_the_whole():
    of = lambda **phase: pieces.through_training(Uneven(), "state_saturated", **phase)("a3c-gru-none")[0]  # noqa: E731
    early, late = of(end=pieces.EARLY), of(start=pieces.EARLY)
    assert (early, late) == (pytest.approx((8 * 100 + 4 * 400) / 500), 0.0)
    assert (500 * early + 1500 * late) / 2000 == pytest.approx(of())


def test_a_phase_that_was_not_measured_is_missing():
    with pytest.raises(Missing, match="after 300 episodes"):
        pieces.through_training(Uneven(), "state_saturated", end=300)("a3c-gru-none")


def test_one_moment_is_its_own_mean():
    assert pieces.over_time([300], np.array([[2.0, 3.0]])).tolist() == [2.0, 3.0]


def test_the_mechanism_and_d1_9_say_the_same_of_saturation(published):
    """A3C's state: saturated without LayerNorm in its first 500 episodes, not after them."""
    hypothesis = {each.name: each for each in predictions.HYPOTHESES}["saturation"]
    assert "first 500 episodes" in hypothesis.says
    of_page = {each.what: each for each in hypothesis.predictions(published)}
    of_claim = evidence(published, "D1.9")
    for who in ("A3C", "Individual"):
        (claimed,) = [each for what, each in of_claim.items() if "saturated" in what and who in what]
        (predicted,) = [
            each for what, each in of_page.items()
            if what.startswith(f"{who}, share of saturated units through training")
        ]  # fmt: skip
        assert claimed.found == predicted.found
        assert claimed.outcome == predicted.outcome == "holds"
    (early,) = [each for what, each in of_page.items() if "first 500 episodes, share of saturated" in what]
    assert early.found.high < -0.5
    later = {each.name: each for each in predictions.HYPOTHESES}["later"].predictions(published)
    assert all(each.found.low > 0 for each in later)


# -- one coefficient of variation -------------------------------------------------------------------------------------
def test_the_cv_of_the_same_cells_is_one_number_on_two_pages(published):
    rows = checks_again.compare(published).set_index(["algorithm", "quantity"])
    (claimed,) = [each for each in d2_claims.cvs(published, printed("D2.5"))[0]
                  if each.what == "CV: A3C, RNN+LN" and isinstance(each, Number)]  # fmt: skip
    checked = rows.loc[("a3c", "CV of D2's cells, greedy")].iloc[0]
    assert claimed.found.estimate == pytest.approx(checked.estimate, rel=1e-12)
    cells = pd.concat([published.table("a3c-gru-ln", name) for name in ("evaluation", "sweep")])
    cells = cells[(cells["mode"] == "greedy") & (cells.cloud == "budget") & (cells.capacity == 200)]
    cells = cells[cells.velocity.isin([5, 10, 15, 20, 25, 30, 50, 75, 100])]
    cells = cells.drop_duplicates(["seed", "velocity"]).return_mean
    assert checked.estimate == pytest.approx(cells.std() / cells.mean())  # n - 1


# -- claims in the documents' words -----------------------------------------------------------------------------------
def test_d2_13_is_judged_by_what_d2_says(published):
    assert "additive, not multiplicative" in says("D2.13")
    (additive,) = [each for what, each in evidence(published, "D2.13").items() if "interaction" in what]
    assert (additive.side, additive.threshold) == ("within", pytest.approx(0.361 - 0.289))
    assert "log" not in additive.what  # effects that add, not ones that multiply
