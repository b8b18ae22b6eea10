"""A seed that diverges stays in, with its failure score, and is named: run, seed, worker and episode."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnlab.analysis.metrics import FAILED_LOSS, METRICS, with_failure_scores
from lnlab.book import pages
from lnlab.config import RunConfig
from lnlab.diverged import Divergence, Scored, divergences, note, scored
from lnlab.paths import BOOK, PUBLISHED
from lnlab.runs import Run, load

RUN, DRIVING = PUBLISHED / "paper" / "individual-gru-none", PUBLISHED / "driving" / "td3-none-leaky-b32"
SEED, WORKER, BLOCK, EPISODE = 3, 2, 1200, 1187


@pytest.fixture
def copied(tmp_path):
    return copy(RUN, tmp_path)


def copy(folder: Path, to: Path) -> Run:
    """A run whose tables may be changed, as an earlier version left it: no digests, no noted divergences."""
    run = Run(shutil.copytree(folder, to / folder.name))
    run.record(files={}, diverged=None)
    return run


def change(run: Run, table: str, where: dict[str, object], **values: object) -> None:
    path = run.dir / f"{table}.parquet"
    rows = pd.read_parquet(path)
    chosen = (rows[list(where)] == pd.Series(where)).all(axis=1)
    assert chosen.any()
    for name, value in values.items():
        rows[name] = rows[name].astype(float)
        rows.loc[chosen, name] = value
    rows.to_parquet(path)


def lose_value_loss(run: Run) -> None:
    """As `runs.curves` and `metrics.per_seed` leave it: a NaN in a block, and in every number that rests on it."""
    change(run, "curves", {"seed": SEED, "worker": WORKER, "episode": BLOCK}, value_loss=np.nan, value_loss_all=np.nan)
    for quantity in ("value_loss_mean", "value_loss_max", "value_loss_all_mean", "value_loss_all_max"):
        for worker in (-1, WORKER):
            change(run, "metrics", {"seed": SEED, "worker": worker, "quantity": quantity}, value=np.nan)


def lose_gradient(run: Run) -> None:
    change(run, "curves", {"seed": SEED, "worker": WORKER, "episode": BLOCK}, grad_norm=np.inf, alive=0.3)
    for worker in (-1, WORKER):
        change(run, "metrics", {"seed": SEED, "worker": worker, "quantity": "died_first"}, value=EPISODE)
        change(run, "metrics", {"seed": SEED, "worker": worker, "quantity": "grad_norm_mean"}, value=np.inf)


@pytest.mark.parametrize(
    ("damage", "found"),
    [
        (lose_value_loss, Divergence(SEED, WORKER, BLOCK, "value loss")),
        (lose_gradient, Divergence(SEED, WORKER, EPISODE, "gradient")),
    ],
)
def test_a_diverged_seed_is_found_in_the_tables_and_named(copied, damage, found):
    damage(copied)
    assert divergences(copied) == divergences(Scored(copied.dir)) == [found]
    words = f"seed {found.seed}, worker {found.worker}, episode {found.episode}: {found.what} not finite"
    lines = note([copied]).splitlines()
    assert (lines[0][:14], lines[-1], note([Run(RUN)])) == (":::{admonition", ":::", "")
    assert f"`{copied.id}`: {words}" in note([copied])
    assert words in pages.run_card(copied, "data/x")


def test_what_the_run_noted_goes_before_its_tables(copied):
    copied.record(diverged=[{"seed": 1, "worker": 0, "episode": 7, "what": "gradient"}])
    assert divergences(copied) == [Divergence(1, 0, 7, "gradient")]
    copied.record(diverged=[{"seed": 1, "worker": -1, "episode": 7, "what": "critic loss", "step": 5000}])
    assert "seed 1, episode 7 (step 5,000): critic loss not finite" in note([copied])


def test_a_shared_model_that_diverges_is_named_once_by_the_worker_that_broke_it(tmp_path):
    run = copy(PUBLISHED / "paper" / "a3c-gru-none", tmp_path)
    for worker in range(5):
        change(run, "curves", {"seed": SEED, "worker": worker, "episode": BLOCK}, alive=0.5)
    change(run, "curves", {"seed": SEED, "worker": WORKER, "episode": BLOCK}, grad_norm=np.inf)
    assert divergences(run) == [Divergence(SEED, WORKER, BLOCK, "gradient")]


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
    returns = run.table("returns")
    episode = int(((returns.seed == 1) & (returns.step < 3000)).sum())
    assert divergences(run) == [Divergence(1, -1, episode, "gradient", 3000)]
    assert f"seed 1, episode {episode} (step 3,000): gradient not finite" in note([run])
    read = Scored(run.dir).table("records")
    assert (read.critic_loss[late] == last).all()
    pd.testing.assert_frame_equal(read[~late], run.table("records")[~late])


def test_pages_read_complete_runs_only(copied):
    whole = Run(shutil.copytree(RUN, copied.dir.parent / "individual-gru-ln"))
    whole.record(status="failed", error="ValueError: boom")
    assert [run.id for run in scored(load(copied.dir.parent)).runs] == [copied.id]
