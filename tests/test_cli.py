"""The command line: helpful help, wrong parameters answered with the allowed ones and exit code 2, a fast start."""

import json
import os
import subprocess
import sys
import time
import tomllib
from types import SimpleNamespace
from typing import get_args

import pytest

import lnlab
from lnlab import cli, paths, runs
from lnlab.cli import COMMANDS, main, settings
from lnlab.config import ConfigError, RunConfig, TD3Config, limits, parse
from lnlab.paths import ROOT
from lnlab.runs import Run
from tests.by_hand import made
from tests.fakes import train


@pytest.fixture(autouse=True)
def _results(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")


# as pydantic lists them; the text of an error must not be written down here, or a further norm would break this file
NORMS = " or ".join(", ".join(map(repr, get_args(RunConfig.model_fields["norm"].annotation))).rsplit(", ", 1))


def finished(**changes) -> Run:
    run = Run.open(parse({"seeds": 2, "episodes": 4, "workers": 2, "profile": "test"} | changes))
    train(run)
    run.finish()
    return run


# -- start and help ---------------------------------------------------------------------------------------------------


def test_importing_the_package_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys, lnlab, lnlab.cli; print([m for m in ('torch', 'pandas', 'pydantic', 'numpy') if m in sys.modules])"
    )
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    assert time.monotonic() - start < 1.0


def test_the_public_names_can_be_imported():
    for name in lnlab.__all__:
        assert getattr(lnlab, name) is not None
    assert set(lnlab.__all__) <= set(dir(lnlab))
    with pytest.raises(AttributeError, match=r"no attribute 'nope'; public names: .*RunConfig"):
        _ = lnlab.nope


def test_the_version_is_that_of_the_project():
    assert lnlab.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"train", "bench"}))
def test_every_command_has_help_with_examples_that_name_it(command, capsys):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"examples:\n  lnlab {command}" in capsys.readouterr().out


def test_the_command_runs_as_a_module():
    done = subprocess.run([sys.executable, "-m", "lnlab", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"lnlab {lnlab.__version__}\n"


@pytest.mark.parametrize(
    ("words", "closed"),
    [
        ("--help", ["stdout"]),
        ("train --help", ["stdout"]),
        ("study paper --list", ["stdout"]),
        ("runs", ["stdout"]),
        ("train norm=x", ["stderr"]),
        ("study --nope", ["stdout", "stderr"]),
        ("runs nothing", ["stdout", "stderr"]),
    ],
)
@pytest.mark.parametrize("buffering", ["", "unbuffered"])
def test_whoever_reads_the_output_may_stop(words, closed, buffering, tmp_path):
    """As `lnlab train --help | head -1`: no traceback, nor the words of one, in what is still read."""
    read, write = os.pipe()
    os.close(read)
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | dict.fromkeys(closed, write)
    environment = os.environ | {"PYTHONUNBUFFERED": buffering, "LNLAB_RESULTS": str(tmp_path)}
    command = [sys.executable, "-m", "lnlab", *words.split()]
    done = subprocess.run(command, **outputs, env=environment, text=True, check=False)
    os.close(write)
    assert done.returncode in (0, cli.USAGE, cli.UNREAD)
    assert "Error" not in (done.stderr or "")
    assert "Broken pipe" not in (done.stderr or "")


def test_output_that_a_full_disk_does_not_take_is_one_line():
    with open("/dev/full", "w") as full:
        command, buffered = [sys.executable, "-m", "lnlab", "--help"], os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run(command, env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == cli.ERROR
    assert done.stderr == "lnlab: the output cannot be written: No space left on device\n"


def test_no_command_is_answered_with_the_commands(capsys):
    with pytest.raises(SystemExit) as end:
        main([])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert "COMMAND" in said
    assert said.count("\n") == 1


# -- train ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words",
    [
        ["norm=none", "seeds=3", "gradient_carry=true"],
        ["--norm", "none", "--seeds", "3", "--gradient-carry"],
        ["--norm=none", "--gradient-carry", "seeds=3"],
    ],
)
def test_settings_may_be_written_in_three_ways(words):
    assert parse(settings(words)) == parse({"norm": "none", "seeds": 3, "gradient_carry": True})


def test_a_value_without_a_name_is_refused():
    with pytest.raises(ConfigError, match="cannot read 'ln'; write NAME=VALUE"):
        settings(["ln"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nrom=ln"], "unknown parameter 'nrom' (did you mean 'norm'?); allowed: algorithm"),
        (["--norm", "layer"], "norm='layer' is not allowed: input should be " + NORMS),
        (["--seeds", "many"], "seeds='many' is not allowed"),
        (["--norm"], "--norm has no value; write --norm ln"),
        (["--seeds", "--norm", "ln"], "--seeds has no value; write --seeds 5"),
        (["--norm", "--help-me"], "--norm has no value"),
        (["--nrom"], "unknown parameter 'nrom'"),
        (["norm=ln", "norm=none"], "norm is given twice: 'ln' and 'none'"),
        (["--eval-episodes", "3", "eval_episodes=4"], "eval_episodes is given twice: '3' and '4'"),
        (["--norm", "ln", "--norm", "ln"], "norm is given twice"),
        (["profile=" + "a" * 300], "profile='aaa"),
        (["device=cuda"], "device='cuda' asked, but torch finds no GPU here"),
        (["norm=\nln"], r"norm='\nln' is not allowed"),
    ],
)
def test_wrong_settings_are_answered_with_the_allowed_ones(words, message, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert main(["train", *words]) == cli.USAGE
    said = capsys.readouterr().err
    assert message in said
    assert said.count("\n") == 1
    assert not runs.RESULTS.exists()


def test_help_of_train_shows_every_setting_and_its_default(capsys):
    main(["train", "--help"])
    said = capsys.readouterr().out
    assert "examples:\n  lnlab train" in said
    for cls in (RunConfig, TD3Config):
        for name, field in cls.model_fields.items():
            lines = [each for each in said.splitlines() if each.startswith(f"  {name}={field.default} ")]
            assert any(field.description in line and limits(field) in line for line in lines), name
    assert "a multiple of 100" in said


def test_train_trains(capsys):
    words = ["seeds=1", "episodes=2", "workers=1", "hidden=8", "eval-episodes=0", "cores=1", "device=cpu"]
    assert main(["train", *words]) == 0
    folder = runs.RESULTS / "scratch" / "a3c-gru-ln-w1-h8"
    assert str(folder) in capsys.readouterr().out
    assert Run(folder).complete
    assert len(Run(folder).table("episodes")) == 2


def test_other_settings_in_the_same_folder_are_a_usage_error(capsys):
    finished()
    assert main(["train", "seeds=2", "episodes=5", "workers=2", "profile=test"]) == cli.USAGE
    assert "episodes is 4 there, 5 asked" in capsys.readouterr().err


# -- study, runs, publish, report -------------------------------------------------------------------------------------


def test_list_shows_the_runs_of_a_profile_and_trains_nothing(capsys):
    assert main(["study", "quick", "--only", "a3c", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        [f"a3c-{arm}", "new"] for arm in ("gru-none", "gru-ln", "ff-none", "ff-ln")
    ]
    assert not runs.RESULTS.exists()


@pytest.mark.parametrize(
    ("words", "message"), [(["quik"], "did you mean 'quick'"), (["quick", "--only", "x"], "no run matches")]
)
def test_a_study_that_does_not_exist_is_a_usage_error(words, message, capsys):
    assert main(["study", *words]) == cli.USAGE
    assert message in capsys.readouterr().err


def test_the_outcome_of_a_study_is_its_exit_code(monkeypatch, capsys):
    asked = []
    monkeypatch.setattr("lnlab.study.execute", lambda *arguments: asked.append(arguments) or ["a3c-ff-ln"])
    assert main(["study", "quick", "--jobs", "2", "--only", "ff"]) == cli.ERROR
    assert asked == [("quick", 2, "ff")]
    assert "failed: a3c-ff-ln" in capsys.readouterr().err
    monkeypatch.setattr("lnlab.study.execute", lambda *_: [])
    assert main(["study", "quick"]) == 0


def test_ctrl_c_says_how_to_go_on(monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("lnlab.study.execute", interrupted)
    assert main(["study", "quick"]) == cli.INTERRUPTED
    assert "go on from the checkpoints with: lnlab study quick" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", ["0", "-1", "many", "9" * 5000])
def test_jobs_must_be_a_positive_number(jobs, capsys):
    with pytest.raises(SystemExit) as end:
        main(["study", "quick", "--jobs", jobs])
    assert end.value.code == cli.USAGE
    assert jobs in capsys.readouterr().err


def test_runs_are_listed_with_their_progress(capsys):
    finished()
    train(Run.open(parse({"seeds": 2, "episodes": 4, "norm": "none", "profile": "test"})), until=2)
    assert main(["runs"]) == 0
    said = capsys.readouterr().out
    rows = {line.split()[0]: line.split()[1:4] for line in said.splitlines()}
    assert rows["a3c-gru-ln-w2"] == ["complete", "100%", "2"]
    assert rows["a3c-gru-none"] == ["running", "50%", "2"]


def test_without_runs_the_list_says_how_to_get_some(capsys):
    assert main(["runs"]) == 0
    assert "lnlab study smoke" in capsys.readouterr().out
    assert main(["runs", "paper"]) == cli.ERROR
    assert "lnlab study paper" in capsys.readouterr().err


def test_publish_copies_the_tables_and_then_makes_the_pages(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "data")
    monkeypatch.setattr(runs.provenance, "source", lambda: {"commit": "c0ffee", "dirty": False})
    made: list[str] = []
    monkeypatch.setitem(sys.modules, "lnlab.book.build", SimpleNamespace(publish_pages=made.append))
    run = finished()
    assert main(["publish", "test", "--data-only"]) == 0
    assert made == []
    published = json.loads((tmp_path / "data" / "test" / run.id / "provenance.json").read_text())
    assert published["commit"] == "c0ffee"
    assert main(["publish", "test"]) == 0
    assert made == ["test"]


def test_data_without_a_commit_are_not_published(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "data")
    monkeypatch.setattr(runs.provenance, "source", lambda: {"commit": "c0ffee", "dirty": True})
    finished()
    assert main(["publish", "test", "--data-only"]) == cli.ERROR
    assert "not committed" in capsys.readouterr().err
    assert main(["publish", "test", "--data-only", "--allow-dirty"]) == 0


def test_report_builds_the_profile(monkeypatch, capsys):
    built: list[str] = []
    monkeypatch.setitem(sys.modules, "lnlab.book.build", SimpleNamespace(build=built.append))
    assert main(["report", "quick"]) == 1
    assert "holds no run; train some with: lnlab study quick" in capsys.readouterr().err
    made(runs.RESULTS / "quick")
    assert main(["report", "quick"]) == 0
    assert built == ["quick"]


def test_bench_hands_its_words_to_the_benchmarks(monkeypatch):
    called = []

    def run(command, **_):
        called.append(command)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(cli.subprocess, "run", run)
    assert main(["bench", "--help"]) == 0
    assert called == [[sys.executable, "-m", "benchmarks", "--help"]]
