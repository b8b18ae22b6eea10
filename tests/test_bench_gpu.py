"""`lnlab bench gpu`, run for real without a GPU: the same code, smaller, with all of a captured tick but the graph."""

import json
from pathlib import Path
from typing import Any

import nbformat
import pandas as pd
import pytest
import torch

from benchmarks import __main__ as command
from benchmarks import gpu, machine
from lnlab.book import show
from lnlab.paths import ROOT
from lnlab.study import expand


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The figures of a trial."""
    out = tmp_path_factory.mktemp("gpu") / "tried.json"
    assert gpu.main(["--device", "cpu", "--seconds", "0.5", "--out", str(out)]) == 0
    assert [path.name for path in out.parent.iterdir()] == ["tried.json"]
    return json.loads(out.read_text())


@pytest.mark.slow
def test_a_trial_measures_all_and_estimates_the_matrix_from_it(tried: Any) -> None:
    assert [row["seeds"] for row in tried["scaling"]] == [*gpu.TRIAL.seeds]
    speeds = [row[name] for row in tried["scaling"] for name in ("steps_per_second", "eager_steps_per_second")]
    speeds += [row[name] for row in tried["td3"] for name in ("updates_per_second", "eager_updates_per_second")]
    assert min(speeds) > 0
    assert all(row["alive"] for row in tried["td3"])
    assert {row["what"]: row["error"] for row in tried["agreement"]} == dict.fromkeys(
        gpu.TOLERANCES, 0
    )  # on one device
    matrix = tried["matrix"]
    steps = {config.run_id: config.env_steps for config in expand("paper")}
    seconds = sum(steps[name] / speed for name, speed in matrix["arms"].items())
    assert matrix["training_minutes"] == pytest.approx(seconds / 60)
    assert matrix["arms"].keys() == steps.keys()
    assert matrix["testing_minutes"] > 0
    limits, best = tried["roofline"], max(row["steps_per_second"] for row in tried["scaling"])
    assert limits["share_of_bandwidth"] == pytest.approx(best * limits["bytes_per_step"] / limits["bandwidth_gb"] / 1e9)
    assert {"commit", "dirty"} == tried["code"].keys()


@pytest.mark.slow
def test_the_page_on_speed_has_a_section_on_the_gpu_only_where_one_was_measured(tried: Any) -> None:
    cells = nbformat.read(ROOT / "notebooks" / "speed.ipynb", as_version=4).cells
    sources = [cell.source for cell in cells if cell.id.startswith("gpu")]
    assert sources
    card = {"name": "Some GPU", "memory_gb": 80.0, "driver": "1.2.3"}
    for kept, wanted in (({}, False), ({"gpu": tried | {"card": card}}, True)):
        shown = []
        for source in sources:
            *lines, last = source.splitlines()
            names = {"kept": kept, "show": show, "pd": pd}
            exec("\n".join(lines), names)
            shown.append(eval(last, names))
        assert [each is not None for each in shown] == [wanted] * len(sources)
        assert ("Some GPU" in str(shown[0])) == wanted


@pytest.mark.parametrize(("build", "names"), [(None, "built without CUDA"), ("13.0", "torch finds no GPU")])
def test_without_a_gpu_it_says_what_is_missing_and_makes_nothing(
    build: str | None, names: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(gpu, "RESULTS", tmp_path)
    monkeypatch.setattr("torch.version.cuda", build)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert command.main(["gpu"]) == 2
    said = capsys.readouterr()
    assert (said.out, said.err.count("\n")) == ("", 1)
    assert names in said.err
    assert [*tmp_path.iterdir()] == []


def never(*_: Any) -> Any:
    raise AssertionError("timed all the same")


def test_where_the_two_disagree_nothing_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def wrong(trainer: Any) -> Any:
        trainer.train_episode = lambda train=trainer.train_episode: (train(), trainer.parameters.data.add_(0.1))[0]
        return trainer

    others = [what for what in gpu.TOLERANCES if "tick" not in what]
    monkeypatch.setattr(gpu, "captured", wrong)
    monkeypatch.setattr(gpu, "_errors_of_tests", lambda *_: dict.fromkeys(others, 0.0))
    monkeypatch.setattr(gpu, "_errors_of_updates", lambda *_: {})
    monkeypatch.setattr(gpu, "scaling", never)
    assert command.main(["gpu", "--device", "cpu", "--out", str(tmp_path / "gpu.json")]) == 1
    said = capsys.readouterr().err
    assert "cpu does not agree with a CPU, so nothing is timed: A3C tick: parameters 0.1 over 0.0005" in said
    assert said.count("\n") == 1
    assert [*tmp_path.iterdir()] == []


def test_a_stop_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu, "agreement", lambda *_: [])
    monkeypatch.setattr(gpu, "scaling", stop)
    assert command.main(["gpu", "--device", "cpu", "--out", str(tmp_path / "gpu.json")]) == 130
    assert "stopped" in capsys.readouterr().err
    assert [*tmp_path.iterdir()] == []
    kept = machine.save("gpu", {"first": 1}, tmp_path)
    monkeypatch.setattr(machine.provenance, "source", stop)
    with pytest.raises(KeyboardInterrupt):
        machine.save("gpu", {"second": 2}, tmp_path)
    assert json.loads(kept.read_text())["first"] == 1
    assert [*tmp_path.iterdir()] == [kept]


def test_a_number_that_is_none_is_no_agreement() -> None:
    assert not gpu._holds({"error": float("nan"), "tolerance": 1.0})


def test_operations_are_counted_as_they_are_launched() -> None:
    x = torch.ones(3, 3)
    with gpu.Launches() as seen:
        (x.T @ x).add_(1).view(9)
    assert dict(seen.counts) == {"mm": 1, "add_": 1}
