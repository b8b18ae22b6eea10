"""Comparisons of arms: scores from files, statistics against hand arithmetic and simulation, runs, and the page."""

import itertools
import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from lnlab import cli
from lnlab.analysis.choice import judged_apart
from lnlab.analysis.metrics import late
from lnlab.analysis.stats import sign_flip_test
from lnlab.compare import pool
from lnlab.compare.arms import compare, decided, seeds_wanted, sensitivity, swap_test
from lnlab.compare.plan import BLOCK, Plan, trained
from lnlab.compare.scores import CURVE, checked, learning, read
from lnlab.config import ConfigError, parse
from lnlab.paths import BOOK
from tests.fakes import only_long, refusal, wait_until


def scores(shift: float = 5.0, seeds: int = 12, settings: tuple[float, ...] = (1e-4, 1e-3)) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    rows = [
        ("task", setting, arm, seed, rng.normal(100 - 20 * place, 2) + shift * (arm == "ln"))
        for arm in ("none", "ln")
        for place, setting in enumerate(settings)
        for seed in range(seeds)
    ]
    return checked(pd.DataFrame(rows, columns=["task", "setting", "arm", "seed", "score"]))


# -- scores of files --------------------------------------------------------------------------------------------------
def test_a_table_of_scores_is_read_whatever_the_order_of_its_columns(tmp_path):
    path = tmp_path / "scores.csv"
    scores()[["score", "seed", "arm", "setting", "task"]].sample(frac=1, random_state=0).to_csv(path, index=False)
    found = read(path).sort_values(["arm", "setting", "seed"], ignore_index=True)
    pd.testing.assert_frame_equal(found, scores().sort_values(["arm", "setting", "seed"], ignore_index=True))


def test_monitor_files_count_with_the_last_tenth_of_their_episodes(tmp_path):
    for arm, level in (("base", 10.0), ("ln", 20.0)):
        for seed in range(3):
            file = tmp_path / arm / f"seed_{seed}" / "0.monitor.csv"
            file.parent.mkdir(parents=True)
            returns = [0.0] * 18 + [level + seed] * 2
            lines = [f"{value},1,{place}.0" for place, value in enumerate(returns)]
            file.write_text("\n".join(["#" + json.dumps({"env_id": "CartPole-v1"}), "r,l,t", *lines]), encoding="utf-8")
    found = read(tmp_path)
    assert set(found.task) == {"CartPole-v1"}
    assert found.set_index(["arm", "seed"]).score.to_dict() == {
        (arm, f"seed_{seed}"): level + seed for arm, level in (("base", 10.0), ("ln", 20.0)) for seed in range(3)
    }


def monitor(file: Path, returns: list[float], env: str | None = "CartPole-v1") -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{value},{10},{place}.0" for place, value in enumerate(returns)]
    file.write_text(
        "\n".join(["#" + json.dumps({"t_start": 0.0, "env_id": env}), "r,l,t", *lines, ""]), encoding="utf-8"
    )


def test_learning_curves_of_monitor_files_count_the_steps_of_all_environments(tmp_path):
    for arm in ("base", "ln"):
        for name in ("0/0.monitor.csv", "0/1.monitor.csv", "1.monitor.csv"):
            monitor(tmp_path / arm / name, [float(place) for place in range(100)])
    found = learning(tmp_path)
    assert found.columns.tolist() == CURVE
    ends = found.groupby(["arm", "seed"]).step.agg(["count", "max"])
    assert ends.to_numpy().tolist() == [[50, 2000.0], [25, 1000.0]] * 2  # two environments side by side, and one
    one = found[(found.arm == "ln") & (found.seed == "1")]
    assert one.value.tolist() == [1.5 + 4 * place for place in range(25)]  # bins of four episodes


def test_monitor_files_that_tell_nothing_are_refused_by_name(tmp_path):
    for seed in range(3):
        monitor(tmp_path / "arm" / f"seed_{seed}" / "monitor.csv", [1.0], env=None)
    with pytest.raises(ConfigError, match=r"named like seeds: seed_0, seed_1, seed_2; give the folder above"):
        read(tmp_path / "arm")
    assert read(tmp_path, arms=1).task.unique().tolist() == [""]  # of an environment without an id
    monitor(tmp_path / "other" / "0" / "monitor.csv", [])
    with pytest.raises(ConfigError, match=r"other/0/monitor.csv has no episode that ended"):
        read(tmp_path)
    (tmp_path / "other" / "0" / "monitor.csv").write_text("step,reward\n1,2\n")
    with pytest.raises(ConfigError, match="is no monitor file of Stable-Baselines3"):
        read(tmp_path)


def test_an_export_of_weights_and_biases_has_a_column_a_run(tmp_path):
    columns = {"Step": range(20)}
    for arm in ("ppo", "ppo__ln"):
        for seed in range(3):
            name = f"Hopper-v4__{arm}__{seed}__1700000000 - charts/episodic_return"
            columns |= {name: np.linspace(0, 19, 20), f"{name}__MIN": np.zeros(20)}
    pd.DataFrame(columns).to_csv(tmp_path / "wandb.csv", index=False)
    found = read(tmp_path / "wandb.csv")
    assert found.groupby("arm").seed.apply(list).to_dict() == {"ppo": ["0", "1", "2"], "ppo__ln": ["0", "1", "2"]}
    assert set(found.task) == {"Hopper-v4"}
    assert set(found.score) == {18.5}
    curves = learning(tmp_path / "wandb.csv")
    assert curves.groupby(["arm", "seed"]).value.max().tolist() == [19.0] * 6


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows.drop(columns="seed"), "no column 'seed'"),
        (lambda rows: rows[rows.arm == "ln"], "one arm, 'ln'"),
        (lambda rows: rows.assign(score=rows.score.where(rows.seed > 0)), "is 'nan'"),
        (lambda rows: rows.assign(score="high"), "is 'high'"),
        (lambda rows: pd.concat([rows, rows[:1]]), "is there twice"),
        (lambda rows: rows[:0], "is empty"),
    ],
)
def test_scores_that_are_none_are_refused_by_name(tmp_path, change, says):
    path = tmp_path / "scores.csv"
    change(scores()).to_csv(path, index=False)
    with pytest.raises(ConfigError, match=says):
        read(path)


def test_files_that_hold_no_scores_are_refused_by_name(tmp_path):
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "empty").mkdir()
    for name, says in (("binary.csv", "cannot read"), ("empty", "no monitor.csv"), ("none.csv", "no file or folder")):
        with pytest.raises(ConfigError, match=says):
            read(tmp_path / name)


# -- statistics -------------------------------------------------------------------------------------------------------
def test_differences_are_paired_by_seed_and_the_answer_says_what_they_say():
    found = compare(scores(), "ln", "none", margin=1.0)
    wide = scores().pivot(index="seed", columns=["arm", "setting"], values="score")
    by_hand = [(wide["ln"][lr] - wide["none"][lr]).mean() for lr in (1e-4, 1e-3)]
    assert found.effects.estimate.tolist() == pytest.approx(by_hand)
    (row,) = found.tuned.itertuples()
    assert row.estimate == pytest.approx(by_hand[0])  # both arms are best at 1e-4, by far
    assert row.decision == "higher"
    assert "ln scores higher than none on task, each at its own best setting" in found.sentences()[0]
    alike = compare(scores(shift=0.0), "ln", "none", margin=5.0)
    assert "make no difference that matters" in alike.sentences()[0]
    few = compare(scores(shift=0.5, seeds=4), "ln", "none")
    assert "cannot tell" in few.sentences()[0]
    assert few.tuned.wanted[0] > 4


def test_seeds_that_did_not_run_at_every_setting_are_left_out():
    rows = scores()
    found = compare(rows[~((rows.arm == "ln") & (rows.setting == 1e-3) & (rows.seed < 2))], "ln", "none")
    assert found.tuned.n.tolist() == [10]
    with pytest.raises(ConfigError, match="share 2 seeds on task"):
        compare(rows[(rows.arm == "none") | (rows.seed > 9)], "ln", "none")


def test_failures_are_counted_below_a_score_or_a_quarter_of_the_way():
    rows = scores(settings=(1e-4,))
    rows.loc[(rows.arm == "none") & (rows.seed < 3), "score"] = 0.0
    for below in (None, 50.0):
        found = compare(rows, "ln", "none", failed_below=below).arms.set_index("arm")
        assert found.failed.to_dict() == {"ln": 0.0, "none": 0.25}


def test_sensitivity_is_what_tuning_by_task_gains_in_normalised_score():
    rows = [
        (task, setting, arm, seed, value)
        for task, levels in (("a", {1: 0.0, 2: 1.0}), ("b", {1: 1.0, 2: 0.0}))
        for setting, value in levels.items()
        for arm, seed in (("x", 0), ("x", 1), ("y", 0), ("y", 1))
    ]
    found = sensitivity(checked(pd.DataFrame(rows, columns=["task", "setting", "arm", "seed", "score"])))
    assert found.phi.tolist() == pytest.approx([0.5, 0.5])  # each task wants another setting: 1 against a mean of 0.5
    assert sensitivity(scores()).empty  # of one task


def test_the_seeds_wanted_would_decide():
    differences = np.random.default_rng(0).normal(1.0, 3.0, size=20)
    n = seeds_wanted(differences)
    shape = np.array([-1.0, 1.0] * (n // 2 + 1))[:n]
    again = differences.mean() + differences.std(ddof=1) * (shape - shape.mean()) / shape.std(ddof=1)
    half = 2.0 * again.std(ddof=1) / np.sqrt(n)
    assert half < abs(again.mean()) * 1.05


def test_the_swap_test_counts_the_differences_of_all_ways_to_swap():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 6, 2))
    x += 1.0

    def difference(sides: tuple[bool, ...]) -> float:
        side = np.array(sides)[:, None]
        return abs(judged_apart(np.where(side, y, x)).mean() - judged_apart(np.where(side, x, y)).mean())

    every = [difference(sides) for sides in itertools.product([False, True], repeat=6)]
    exact = np.mean(np.array(every) >= every[0] - 1e-12)
    assert swap_test(x, y, 2000) == pytest.approx(exact, abs=0.03)
    assert swap_test(x[:, :1], y[:, :1]) == sign_flip_test(x[:, 0], y[:, 0])


DRAWS = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "skewed": lambda rng, shape: rng.lognormal(size=shape),
    "collapsing": lambda rng, shape: rng.normal(size=shape) - 8 * (rng.random(shape) < 0.1),
}


def found_unlike(draw, shift: float, repetitions: int) -> float:
    """Share of comparisons of two arms at three settings that end with a difference, after 10, 20 or 30 seeds."""
    hits = 0
    for repetition in range(repetitions):
        rng = np.random.default_rng(repetition)
        x, y = draw(rng, (30, 3)) + shift, draw(rng, (30, 3))
        looks = (decided(x[:n], y[:n], looks=3, swaps=199) for n in (10, 20, 30))
        hits += any(look in ("higher", "lower") for look in looks)
    return hits / repetitions


@pytest.mark.slow
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_equal_arms_are_called_unlike_in_at_most_one_of_twenty_comparisons(draw):
    assert found_unlike(draw, 0.0, repetitions=400) <= 0.05


@only_long
@pytest.mark.slow
def test_a_difference_of_one_standard_deviation_is_found_in_most_comparisons():
    assert found_unlike(DRAWS["normal"], 1.0, repetitions=40) >= 0.75


def test_the_worked_example_of_the_book_is_what_its_scores_say():
    found = compare(read(BOOK / "own-agent.csv"), "ln", "none")
    assert (BOOK / "own-agent.txt").read_text(encoding="utf-8").startswith(found.sentences()[0])


# -- runs -------------------------------------------------------------------------------------------------------------
def test_a_question_becomes_runs_in_blocks_of_seeds_that_more_seeds_add_to():
    asked = {"env": "CartPole-v1", "norm": "none,ln", "lr": "1e-3,3e-3", "steps": "1000", "seeds": "14"}
    plan = Plan.of(asked)
    assert (plan.arm, plan.tuned, plan.arms) == ("norm", "lr", ["none", "ln"])
    runs = plan.runs(0, 14)
    assert [(cell.arm, cell.setting, config.seed_list[0], config.seeds) for cell, config in runs[:5]] == [
        ("none", 1e-3, 0, 10), ("none", 3e-3, 0, 10), ("ln", 1e-3, 0, 10), ("ln", 3e-3, 0, 10), ("none", 1e-3, 10, 4),
    ]  # fmt: skip
    longer = Plan.of(asked | {"seeds": "30", "lr": "1e-3,1e-2"}).runs(0, BLOCK)
    assert longer[0][1] == runs[0][1]  # the same folder: what is there is not trained again
    assert Plan.of(asked | {"steps": "2000"}).runs(0, 10)[0][1].profile != runs[0][1].profile


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"norm": "ln"}, "nothing to compare"),
        ({"lr": "1e-3,1e-4"}, "nothing to compare"),
        ({"norm": "none,ln", "seeds": "2"}, "seeds=2 is too few"),
        ({"norm": "none,none"}, "twice"),
        ({"norm": "none,lm"}, "'lm' is not allowed"),
        ({"norm": "none,ln", "steps": "100,200"}, "steps wants one value"),
        ({"norm": "none,ln", "env": "CartPole-v9"}, "CartPole-v"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_before_work(given, says, tmp_path, capsys):
    words = [f"{name}={value}" for name, value in given.items()]
    assert says in refusal(capsys, "compare", *words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--budget", "60m"], "goes with --until decided"),
        (["--budget", "3s", "--until", "decided"], "--budget 3s is too small"),
        (["--budget", "soon", "--until", "decided"], "must be a time such as 90s"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(words, says, tmp_path, capsys, results):
    assert says in refusal(capsys, "compare", "norm=none,ln", *words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    assert not results.exists()


def test_runs_too_short_for_an_episode_are_refused(tmp_path, capsys, results):
    words = ["env=Acrobot-v1", "norm=none,ln", "core=ff", "hidden=8", "steps=1000", "seeds=3", "cores=1"]
    assert cli.main(["compare", *words, "--out", str(tmp_path / "out")]) == cli.USAGE
    assert "no episode ended in" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_scores_that_cannot_be_compared_leave_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, rows in (("one-seed.csv", scores(seeds=1)), ("one-arm.csv", scores()[lambda rows: rows.arm == "ln"])):
        rows.to_csv(name, index=False)
        assert refusal(capsys, "compare", name)
    assert {path.name for path in tmp_path.iterdir()} == {"one-seed.csv", "one-arm.csv"}


@pytest.mark.slow
def test_arms_are_trained_and_answered_for_on_a_page_that_fetches_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lnlab.runs.RESULTS", tmp_path / "results")
    words = ["env=CartPole-v1", "core=ff", "norm=none,ln", "lr=1e-4,3e-4", "seeds=3", "steps=2000", "cores=1"]
    assert cli.main(["compare", *words, "--out", str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    page = (tmp_path / "out" / "page.html").read_text(encoding="utf-8")
    assert said.split("\n")[0].split(":")[0].replace("none", "no norm").replace("ln", "LayerNorm") in page
    assert "0.0001" in said or "0.0003" in said  # a best setting, in full
    assert {"levels.svg", "learning.svg", "curves.csv"} <= {path.name for path in (tmp_path / "out").iterdir()}
    assert set(re.findall(r"https?://[^\"'\s<>]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    found = read(tmp_path / "out" / "scores.csv")
    assert found.groupby(["arm", "setting"]).size().tolist() == [3] * 4
    again = trained(Plan.of(dict(word.split("=") for word in words)))  # nothing is left to train
    assert again.score.tolist() == pytest.approx(found.score.tolist())


def test_a_run_that_fails_is_named_and_its_process_goes_on(monkeypatch):
    def run(config, **_):
        if config.norm == "ln":
            raise ValueError("broken on purpose")

    monkeypatch.setattr(pool, "run", run)
    waiting, back = queue.Queue(), queue.Queue()
    for config in (parse({"norm": "ln"}), parse({"norm": "none"}), None):
        waiting.put(config)
    pool._work(waiting, back, threading.Event(), os.getppid())
    with pytest.raises(RuntimeError, match=r"a3c-gru-ln: ValueError: broken on purpose"):
        list(pool._messages(back, [], 2))
    assert list(pool._messages(back, [], 1)) == []
    with pytest.raises(RuntimeError, match="died with exit code -9"):
        list(pool._messages(back, [SimpleNamespace(exitcode=-9)], 1))


def gone(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return True
    return False


@only_long
@pytest.mark.slow
def test_a_comparison_that_is_stopped_goes_on_to_the_scores_of_one_that_was_not(tmp_path):
    words = ["env=CartPole-v1", "core=ff", "norm=none,ln", "lr=1e-3", "seeds=3", "steps=20000"]
    results = tmp_path / "results"
    here = os.environ | {"LNLAB_RESULTS": str(results)}
    command = [sys.executable, "-m", "lnlab", "compare", *words, "--out", str(tmp_path / "out")]
    with subprocess.Popen(command, env=here, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        wait_until(lambda: list(results.glob("*/*/shards/*")))
        os.killpg(process.pid, signal.SIGINT)  # as a terminal sends Ctrl-C
        _, said = process.communicate(timeout=120)
        assert (process.returncode, said.splitlines()[-1]) == (
            cli.INTERRUPTED, "stopped; the same command goes on from the checkpoints",
        )  # fmt: skip
        assert "Traceback" not in said
    wait_until(lambda: gone(process.pid), seconds=5)
    assert subprocess.run(command, env=here, cwd=tmp_path).returncode == 0
    found = read(tmp_path / "out" / "scores.csv")
    alone = trained(Plan.of(dict(word.split("=") for word in [*words, "cores=1"])))
    assert found.score.tolist() == alone.score.tolist()


def test_a_curve_counts_with_its_last_tenth():
    assert late(range(100)) == 94.5
    assert late([3.0, 4.0]) == 4.0
