"""Real trainings, stopped and killed for real: what comes out must not depend on it, nor on the number of processes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from lnlab import inside
from lnlab.config import RunConfig, parse
from lnlab.runs import Run
from lnlab.trainers import a3c, driver
from tests.fakes import wait_until

SMALL = {"core": "ff", "hidden": 16, "seeds": 2, "episodes": 4, "eval_episodes": 1, "cores": 1, "profile": "test"}
SLOW = SMALL | {"episodes": 40, "seeds": 1}
SCRIPT = """
from lnlab import inside
from lnlab.config import parse
from lnlab.trainers import driver
driver.CHECKPOINT_SECONDS = 0.05
inside.run(parse({settings!r}), progress=False)
"""


def config(**settings: object) -> RunConfig:
    return parse(SMALL | settings)


def start(settings: dict[str, object]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT.format(settings=settings)],
        stderr=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )


def assert_same_tables(one: Run, other: Run, but: str = "") -> None:
    for name in {"episodes", "curves", "metrics", "evaluation", "sweep", "diagnostics"} - {but}:
        pd.testing.assert_frame_equal(one.table(name), other.table(name), check_exact=True)


def test_processes_and_one_process_give_the_same_tables(results: Path) -> None:
    alone = inside.run(config(profile="alone"), progress=False)
    heard: list[int] = []
    together = inside.run(
        config(profile="together", cores=2), progress=False, on_report=lambda r: heard.extend(r["seed"])
    )
    assert sorted(heard) == [0] * 4 + [1] * 4
    assert_same_tables(alone, together, but="diagnostics")
    order = ["seed", "step", "worker", "quantity"]
    looked = [each.table("diagnostics").sort_values(order, ignore_index=True) for each in (alone, together)]
    pd.testing.assert_frame_equal(*looked, rtol=1e-3, atol=1e-4)
    assert len(together.table("evaluation")) == 2 * 18 * 2 * 2
    assert sorted(together.table("sweep").scenario.unique()) == list(range(18, 24))


def test_more_seeds_are_added_to_a_complete_run_and_fewer_are_there_already(results: Path) -> None:
    first = inside.run(config(seeds=1), progress=False)
    grown = inside.run(config(seeds=3), progress=False)
    assert grown.complete
    assert grown.config.seeds == 3
    assert_same_tables(inside.run(config(seeds=3, profile="at-once"), progress=False), grown, but="diagnostics")
    stamp = (first.dir / "episodes.parquet").stat().st_mtime_ns
    assert inside.run(config(seeds=2), progress=False).config.seeds == 3
    assert (first.dir / "episodes.parquet").stat().st_mtime_ns == stamp


def test_a_stopped_run_resumes_to_the_bits_of_an_uninterrupted_one(results: Path) -> None:
    settings = SLOW | {"profile": "stopped"}
    process = start(settings)
    folder = results / "stopped" / parse(settings).run_id
    wait_until(lambda: [*folder.glob("shards/*/manifest-previous.json")])
    process.send_signal(signal.SIGTERM)
    error = process.communicate(timeout=60)[1].decode()
    assert process.returncode != 0
    assert "KeyboardInterrupt" in error
    assert "run it again to go on" in error
    stopped = Run(folder)
    assert not stopped.complete
    assert 0 < stopped.reports_done < 40
    resumed = inside.run(parse(settings), progress=False)
    straight = inside.run(parse(SLOW | {"profile": "straight"}), progress=False)
    assert_same_tables(straight, resumed)


def test_a_closed_terminal_stops_every_process_at_a_checkpoint(results: Path) -> None:
    """It sends SIGHUP to the whole group."""
    settings = SLOW | {"profile": "group", "seeds": 2, "cores": 2, "episodes": 400}
    process = start(settings)
    folder = results / "group" / parse(settings).run_id
    wait_until(lambda: len([*folder.glob("shards/*/.lock")]) == 2)
    os.killpg(process.pid, signal.SIGHUP)
    assert "run it again to go on" in process.communicate(timeout=60)[1].decode()
    assert Run(folder).status == "stopped"


def test_a_killed_process_is_named_and_the_others_keep_a_checkpoint(results: Path) -> None:
    settings = SLOW | {"profile": "killed", "seeds": 2, "cores": 2, "episodes": 400}
    process = start(settings)
    folder = results / "killed" / parse(settings).run_id
    wait_until(lambda: len([*folder.glob("shards/*/.lock")]) == 2)
    worker = next(each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline()))
    worker.kill()
    said = process.communicate(timeout=60)[1].decode().splitlines()[-1]
    assert "a training process was killed by SIGKILL, as the system does when memory runs out; run it again" in said
    assert "__main__" not in said
    assert Run(folder).status == "failed"
    assert Run(folder).reports_done > 0


def test_a_script_that_trains_at_import_is_told_what_to_do(results: Path, tmp_path: Path) -> None:
    script = tmp_path / "careless.py"
    script.write_text(SCRIPT.format(settings=SMALL | {"cores": 2}))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "if __name__ == '__main__':" in done.stderr.splitlines()[-1]


def test_an_error_is_recorded_and_raised(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(a3c, "evaluate", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        inside.run(config(), progress=False)
    broken = Run(results / "test" / config().run_id)
    assert broken.status == "failed"
    assert "division by zero" in broken.provenance["error"]


def test_a_gpu_that_is_not_there_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(ValueError, match="device='cuda'"):
        driver.resolve_device("cuda")
    assert driver.resolve_device("auto") == "cpu"


def test_what_shows_the_bar_while_others_train_does_not_wait_for_torch() -> None:
    code = "import sys, lnlab.inside; from lnlab.trainers import driver; driver.GPUS = (); "
    code += "assert driver.resolve_device('auto') == 'cpu'; assert not {'torch', 'gymnasium', 'cv2'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
