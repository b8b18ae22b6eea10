"""The door to the data of runs against arithmetic on the same tables, and that nothing missing passes for a number."""

import shutil

import numpy as np
import pytest

from lnlab.claims.studies import Data, Missing
from lnlab.runs import load

ARM = "individual-gru-ln"


@pytest.fixture
def data(tiny_study):
    return Data(tiny_study)


def test_a_metric_is_one_number_a_seed(data, tiny_study):
    episodes = tiny_study[ARM].table("episodes")
    by_seed = episodes.groupby("seed").value_loss.mean()
    assert data.metric(ARM, "value_loss_mean") == pytest.approx(by_seed.to_numpy(), rel=1e-5)
    of_worker = episodes[episodes.worker == 2].groupby("seed").value_loss.mean()
    assert data.metric(ARM, "value_loss_mean", worker=2) == pytest.approx(of_worker.to_numpy(), rel=1e-5)
    assert data.worker_metric(ARM, "value_loss_mean")[:, 2] == pytest.approx(of_worker.to_numpy(), rel=1e-5)


def test_what_a_short_run_does_not_define_is_missing_unless_a_value_stands_for_it(data):
    with pytest.raises(Missing, match=r"return_last_200.*not defined"):
        data.metric(ARM, "return_last_200")
    assert data.metric(ARM, "return_last_200", empty=-1.0).tolist() == [-1.0, -1.0]


def test_tests_average_scenarios_and_learners_within_a_seed(data, tiny_study):
    rows = tiny_study[ARM].table("evaluation").query("cloud == 'refilled' and mode == 'sampled' and group == 'extra'")
    assert data.test(ARM, ("extra",), "sampled", "refilled") == pytest.approx(
        rows.groupby("seed").return_mean.mean().to_numpy()
    )
    cells = data.scenarios(ARM, ("extra",), "sampled", "refilled")
    one = rows.query("seed == 1 and worker == 3").sort_values("scenario").return_mean
    assert cells.shape == (2, 7, 5)
    assert cells[1, :, 3] == pytest.approx(one.to_numpy())
    assert data.scenarios("a3c-gru-ln").shape == (2, 18, 1)


def test_a_sweep_joins_the_tests_and_the_fast_cars_in_the_order_asked(data, tiny_study):
    run = tiny_study[ARM]
    greedy = "cloud == 'budget' and mode == 'greedy' and seed == 0 and worker == 4 and capacity == 200"
    fast = run.table("sweep").query(f"{greedy} and velocity == 90").return_mean.item()
    slow = run.table("evaluation").query(f"{greedy} and velocity == 25 and group == 'seen'").return_mean.item()
    found = data.sweep(ARM, [90, 25])
    assert found.shape == (2, 2, 5)
    assert found[0, :, 4] == pytest.approx([fast, slow])
    with pytest.raises(Missing, match=r"at \[33\] km/h"):
        data.sweep(ARM, [5, 33])


def test_a_diagnostic_is_that_of_the_last_step_by_default(data, tiny_study):
    rows = tiny_study[ARM].table("diagnostics").query("quantity == 'entropy'")
    last = rows[rows.step == rows.step.max()].groupby("seed").value.mean().to_numpy()
    assert data.diagnostic(ARM, "entropy") == pytest.approx(last)
    assert data.diagnostic(ARM, "entropy", 0) != pytest.approx(last)
    for quantity, step in (("entropy", 3), ("no such", -1)):
        with pytest.raises(Missing):
            data.diagnostic(ARM, quantity, step)


def test_a_curve_has_a_row_a_seed(data, tiny_study):
    ends, values = data.curve(ARM, "return")
    rows = tiny_study[ARM].table("curves").query("seed == 1 and episode == 3")
    assert ends.tolist() == [1, 2, 3, 4]
    assert values[1, 2] == pytest.approx(rows["return"].mean())


def test_runs_that_are_not_there_are_named(data):
    with pytest.raises(Missing, match=r"run a3c-gru-ln-carry .* 'tiny'"):
        data.metric("a3c-gru-ln-carry", "return_mean")
    with pytest.raises(Missing, match=r"profile 'long', which was not run"):
        data.study("long")


def test_a_run_that_is_not_complete_is_missing(tiny_study, tmp_path):
    shutil.copytree(tiny_study[ARM].dir, tmp_path / "main" / ARM)
    other = Data(load(tmp_path / "main"))
    other.main[ARM].record(status="running")
    with pytest.raises(Missing, match="is not complete"):
        other.metric(ARM, "return_mean")


def test_other_profiles_lie_beside_the_main_one_and_are_recorded_with_their_name(tiny_study, tmp_path):
    for profile in ("main", "long"):
        shutil.copytree(tiny_study[ARM].dir, tmp_path / profile / ARM)
    data = Data(load(tmp_path / "main"))
    with data.recording() as runs:
        here = data.metric(ARM, "return_mean")
        there = data.metric(f"long/{ARM}", "return_mean")
        data.test(ARM)
    assert runs == [ARM, f"long/{ARM}"]
    assert np.array_equal(here, there)


def test_the_original_protocol_swaps_the_a3c_runs_alone(tiny_study, tmp_path):
    for run in tiny_study.runs:
        shutil.copytree(run.dir, tmp_path / "main" / run.id)
    shutil.copytree(tiny_study["a3c-gru-none"].dir, tmp_path / "original" / "a3c-gru-ln-carry")
    data = Data(load(tmp_path / "main"))
    with data.recording() as runs:
        swapped = data.carried().metric("a3c-gru-ln", "return_mean")
        same = data.carried().metric(ARM, "return_mean")
    assert swapped.tolist() == data.metric("a3c-gru-none", "return_mean").tolist()
    assert same.tolist() == data.metric(ARM, "return_mean").tolist()
    assert runs == ["original/a3c-gru-ln-carry", ARM]
    with pytest.raises(Missing, match=r"a3c-gru-none-carry of the profile 'original'"):
        data.carried().metric("a3c-gru-none", "return_mean")
