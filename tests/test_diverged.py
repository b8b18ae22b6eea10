"""A seed that diverges stays in, with its failure score, and is named: run, seed, worker and episode."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnlab.analysis.metrics import FAILED_LOSS, METRICS, with_failure_scores
from lnlab.book import runs
from lnlab.claims.studies import Data
from lnlab.config import RunConfig
from lnlab.diverged import Divergence, Scored, divergences, note, scored
from lnlab.paths import BOOK, PUBLISHED
from lnlab.runs import Run, Study, load

RUN, DRIVING = PUBLISHED / "paper" / "individual-gru-none", PUBLISHED / "driving" / "td3-none-leaky-b32"
SEED, WORKER, BLOCK, EPISODE = 3, 2, 1200, 1187


@pytest.fixture
def copied(tmp_path):
    return copy(RUN, tmp_path)


def copy(folder: Path, to: Path) -> Run:
    """A run whose tables may be changed: without their digests."""
    run = Run(shutil.copytree(folder, to / folder.name))
    run.record(files={})
    return run


def lose_value_loss(run: Run) -> None:
    """As the trainer, `runs.curves` and `metrics.per_seed` leave it: a NaN in a block, and in all that rests on it."""
    run.record(diverged=[{"seed": SEED, "worker": WORKER, "episode": EPISODE, "what": "loss"}])
    curves, metrics = (pd.read_parquet(run.dir / f"{name}.parquet") for name in ("curves", "metrics"))
    block = (curves.seed == SEED) & (curves.worker == WORKER) & (curves.episode == BLOCK)
    curves.loc[block, ["value_loss", "value_loss_all"]] = np.nan
    lost = [f"value_loss{part}_{number}" for part in ("", "_all") for number in ("mean", "max")]
    metrics.loc[(metrics.seed == SEED) & metrics.worker.isin([-1, WORKER]) & metrics.quantity.isin(lost), "value"] = (
        np.nan
    )
    curves.to_parquet(run.dir / "curves.parquet")
    metrics.to_parquet(run.dir / "metrics.parquet")


def test_a_diverged_seed_is_named_with_worker_and_episode(copied):
    lose_value_loss(copied)
    assert divergences(copied) == divergences(Scored(copied.dir)) == [Divergence(SEED, WORKER, EPISODE, "loss")]
    words = f"seed {SEED}, worker {WORKER}, episode {EPISODE}: loss not finite"
    lines = note([copied]).splitlines()
    assert (lines[0][:14], lines[-1], note([Run(RUN)])) == (":::{admonition", ":::", "")
    assert f"`{copied.id}`: {words}" in lines[2]
    (page,) = runs.pages(copied.dir, Data(Study(copied.dir.parent, [Scored(copied.dir)]))).values()
    assert words in page


def test_a_lost_value_loss_counts_as_the_failure_score_and_nothing_else_changes(copied):
    before = copied.table("metrics").value.to_numpy()
    lose_value_loss(copied)
    lost = copied.table("metrics").value.isna().to_numpy() & ~np.isnan(before)
    after = Scored(copied.dir).table("metrics").value.to_numpy()
    assert lost.sum() == 8
    assert (after[lost] == FAILED_LOSS).all()
    np.testing.assert_array_equal(after[~lost], before[~lost])
    curves = Scored(copied.dir).table("curves")
    assert np.isfinite(curves[["value_loss", "value_loss_all"]]).all(axis=None)
    assert (curves.value_loss == FAILED_LOSS).sum() == 1


def test_the_failure_score_of_the_methods_is_worse_than_any_loss_of_the_published_runs_of_which_none_diverged():
    assert f"**failure score** of {FAILED_LOSS:,.0f}." in (BOOK / "methods.md").read_text(encoding="utf-8")
    loss = [name for name, metric in METRICS.items() if metric.failure_score == FAILED_LOSS]
    for run in [run for folder in PUBLISHED.iterdir() for run in load(folder).runs]:
        assert divergences(run) == []
        if (run.dir / "metrics.parquet").exists():
            rows = pd.read_parquet(run.dir / "metrics.parquet")
            assert rows[rows.quantity.isin(loss)].value.max() < FAILED_LOSS
    pd.testing.assert_frame_equal(Scored(RUN).table("metrics"), Run(RUN).table("metrics"))


def test_a_number_without_a_worse_side_or_for_which_the_run_is_too_short_stays_empty():
    names = {"policy_loss_mean": 0, "value_loss_sd_late": 0, "value_loss_mean": 0, "value_loss_max": 1}
    rows = [(seed, -1, name) for name, seed in names.items()]
    metrics = pd.DataFrame(rows, columns=["seed", "worker", "quantity"]).assign(value=np.nan)
    value = with_failure_scores(metrics, RunConfig(episodes=4), diverged=[0]).value
    np.testing.assert_array_equal(value, [np.nan, np.nan, FAILED_LOSS, np.nan])


def test_what_is_recorded_of_a_frozen_driver_keeps_its_last_value(tmp_path):
    run = copy(DRIVING, tmp_path)
    rows = run.table("records")
    late = (rows.seed == 1) & (rows.step >= 3000)
    last = rows[(rows.seed == 1) & (rows.step == 2900)].critic_loss.item()
    rows.loc[late, ["critic_loss", "actor_q"]] = np.nan
    rows["alive"] = rows.alive & ~late
    rows.to_parquet(run.dir / "records.parquet")
    run.record(diverged=[{"seed": 1, "worker": -1, "episode": 70, "what": "critic loss", "step": 2950}])
    assert "seed 1, episode 70 (step 2,950): critic loss not finite" in note([run])
    read = Scored(run.dir).table("records")
    assert (read.critic_loss[late] == last).all()
    pd.testing.assert_frame_equal(read[~late], run.table("records")[~late])


def test_pages_read_complete_runs_only(copied):
    whole = Run(shutil.copytree(RUN, copied.dir.parent / "individual-gru-ln"))
    whole.record(status="failed", error="ValueError: boom")
    assert [run.id for run in scored(load(copied.dir.parent)).runs] == [copied.id]
