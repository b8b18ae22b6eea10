"""The command line: helpful help, wrong parameters answered with the allowed ones and exit code 2, a fast start."""

import json
import os
import signal
import subprocess
import sys
import tomllib
from types import SimpleNamespace

import pytest

import lnlab
from lnlab import cli, paths, runs
from lnlab.cli import COMMANDS, main, settings
from lnlab.config import GymConfig, RunConfig, TD3Config, limits, parse
from lnlab.paths import ROOT
from lnlab.runs import Run
from tests.fakes import finished, refusal, small, train

pytestmark = pytest.mark.usefixtures("results")


def test_the_command_has_the_version_of_the_project_and_loads_nothing_heavy_before_it_runs():
    code = "import sys, lnlab.cli; print({'torch', 'pandas', 'pydantic', 'numpy'} & {*sys.modules}); lnlab.cli.main()"
    done = subprocess.run([sys.executable, "-c", code, "--version"], capture_output=True, text=True, check=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert done.stdout == f"set()\nlnlab {project['version']}\n"


def test_the_public_names_can_be_imported():
    for name in lnlab.__all__:
        assert getattr(lnlab, name) is not None
    assert set(lnlab.__all__) <= set(dir(lnlab))
    with pytest.raises(AttributeError, match=r"no attribute 'nope'; public names: .*RunConfig"):
        _ = lnlab.nope


@pytest.mark.parametrize(
    ("words", "closed", "buffering"),
    [
        ("train --help", ["stdout"], "unbuffered"),
        ("study paper --list", ["stdout"], ""),
        ("train norm=x", ["stderr"], ""),
        ("study --nope", ["stdout", "stderr"], ""),
    ],
)
def test_whoever_reads_the_output_may_stop(words, closed, buffering, tmp_path):
    """As `lnlab train --help | head -1`: no traceback, nor the words of one, in what is still read."""
    read, write = os.pipe()
    os.close(read)
    outputs = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | dict.fromkeys(closed, write)
    environment = os.environ | {"PYTHONUNBUFFERED": buffering, "LNLAB_RESULTS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-m", "lnlab", *words.split()], **outputs, env=environment, text=True)
    os.close(write)
    assert done.returncode in (0, cli.USAGE, cli.UNREAD)
    assert not [word for word in ("Error", "Broken pipe") if word in (done.stderr or "")]


def test_output_that_a_full_disk_does_not_take_is_one_line():
    with open("/dev/full", "w") as full:
        command, buffered = [sys.executable, "-m", "lnlab", "--help"], os.environ | {"PYTHONUNBUFFERED": ""}
        done = subprocess.run(command, env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == cli.ERROR
    assert done.stderr == "lnlab: the output cannot be written: No space left on device\n"


def test_settings_may_be_written_in_three_ways():
    ways = ("norm=none seeds=3 gradient_carry=true", "--norm none --seeds 3 --gradient-carry")
    for words in (*ways, "--norm=none --gradient-carry seeds=3"):
        assert parse(settings(words.split())) == parse({"norm": "none", "seeds": 3, "gradient_carry": True})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nrom=ln"], "unknown parameter 'nrom' (did you mean 'norm'?); allowed: algorithm"),
        (["--norm", "layer"], "norm='layer' is not allowed: input should be 'none', 'ln'"),
        (["--seeds", "--norm", "ln"], "--seeds has no value; write --seeds 5"),
        (["norm=ln", "norm=none"], "norm is given twice: 'ln' and 'none'"),
        (["--eval-episodes", "3", "eval_episodes=4"], "eval_episodes is given twice: '3' and '4'"),
        (["device=cuda"], "device='cuda' asked, but torch finds no GPU here"),
        (["norm=\nln"], r"norm='\nln' is not allowed"),
    ],
)
def test_wrong_settings_are_answered_with_the_allowed_ones(words, message, capsys, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert message in refusal(capsys, "train", *words)
    assert not runs.RESULTS.exists()


def test_help_shows_examples_and_every_setting_with_its_default(capsys):
    for command in set(COMMANDS) - {"bench", "train"}:
        with pytest.raises(SystemExit, match="0"):
            main([command, "--help"])
        assert f"examples:\n  lnlab {command}" in capsys.readouterr().out
    main(["train", "--help"])
    said = capsys.readouterr().out
    assert "examples:\n  lnlab train" in said
    for cls in (RunConfig, GymConfig, TD3Config):
        for name, field in cls.model_fields.items():
            lines = [each for each in said.splitlines() if each.startswith(f"  {name}={field.default} ")]
            assert any(field.description in line and limits(field) in line for line in lines), name


def test_list_shows_the_runs_of_a_profile_and_trains_nothing(capsys):
    assert main(["study", "quick", "--only", "a3c", "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    arms = ("gru-none", "gru-ln", "ff-none", "ff-ln")
    assert [line.split()[:2] for line in lines[1:]] == [[f"a3c-{arm}-native", "new"] for arm in arms]
    assert not runs.RESULTS.exists()


def test_a_study_file_of_ones_own_names_its_profile_only_where_it_has_several(tmp_path, monkeypatch, capsys):
    profile = '[profiles.{}]\nexperiments = ["all"]\nseeds = 1\n'
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(profile.format("short") + "[experiments.all]\n")
    two.write_text(profile.format("short") + profile.format("long") + "[experiments.all]\n")
    monkeypatch.chdir(tmp_path)
    for words in (["one.toml"], ["two.toml", "long"], [str(two), "short"]):
        assert main(["study", *words, "--list"]) == 0
        assert "a3c-gru-ln" in capsys.readouterr().out
    for words, says in (
        (["two.toml"], "two.toml has several profiles; name one: lnlab study two.toml short (or long)"),
        (["two.toml", "lnog"], "'lnog' (did you mean 'long'?) among the profiles"),
        (["quick", "long"], "two profiles are named"),
        (["three.toml"], "three.toml cannot be read: No such file"),
    ):
        assert says in refusal(capsys, "study", *words, "--list")
    assert {path.name for path in tmp_path.iterdir()} == {"one.toml", "two.toml"}


def test_runs_of_a_study_file_go_beside_it_unless_the_environment_says_where(tmp_path, monkeypatch):
    assert paths.results_of(tmp_path / "my.toml") == paths.RESULTS  # the test's LNLAB_RESULTS
    monkeypatch.delenv("LNLAB_RESULTS")
    assert paths.results_of(tmp_path / "my.toml") == tmp_path / "results"
    assert paths.results_of(paths.STUDY) == paths.RESULTS


def test_the_outcome_of_a_study_is_its_exit_code(monkeypatch, capsys):
    asked: list[tuple] = []
    monkeypatch.setattr("lnlab.study.execute", lambda *arguments, **_: asked.append(arguments) or ["a3c-ff-ln"])
    assert main(["study", "quick", "--jobs", "2", "--only", "ff"]) == cli.ERROR
    assert asked == [("quick", 2, "ff")]
    assert "failed: a3c-ff-ln" in capsys.readouterr().err
    monkeypatch.setattr("lnlab.study.execute", lambda *_, **__: [])
    assert main(["study", "quick"]) == 0
    monkeypatch.setattr("lnlab.study.execute", lambda *_, **__: signal.raise_signal(signal.SIGINT))
    assert main(["study", "quick"]) == cli.INTERRUPTED
    assert "go on from the checkpoints with: lnlab study quick" in capsys.readouterr().err


def test_runs_are_listed_with_their_progress_and_without_any_how_to_get_some(capsys):
    assert main(["runs"]) == 0
    assert "lnlab study smoke" in capsys.readouterr().out
    assert main(["runs", "paper"]) == cli.ERROR
    assert "lnlab study paper" in capsys.readouterr().err
    finished()
    train(Run.open(small(norm="none")), until=3)
    assert main(["runs"]) == 0
    rows = {line.split()[0]: line.split()[1:4] for line in capsys.readouterr().out.splitlines()}
    assert rows["a3c-gru-ln-w2"] == ["complete", "100%", "3"]
    assert rows["a3c-gru-none-w2"] == ["running", "33%", "3"]


def test_publish_copies_the_tables_of_a_commit_and_then_makes_the_pages(monkeypatch, capsys):
    dirty, made = True, list[str]()
    monkeypatch.setattr(runs.provenance, "source", lambda: {"commit": "c0ffee", "dirty": dirty})
    monkeypatch.setitem(sys.modules, "lnlab.book.build", SimpleNamespace(publish_pages=made.append))
    finished()
    assert main(["publish", "test", "--data-only"]) == cli.ERROR
    assert "not committed" in capsys.readouterr().err
    assert main(["publish", "test", "--data-only", "--allow-dirty"]) == 0
    dirty = False
    run = finished(resume=False)
    assert made == []
    assert main(["publish", "test"]) == 0
    assert made == ["test"]
    assert json.loads((paths.PUBLISHED / "test" / run.id / "provenance.json").read_text())["dirty"] is False


def test_report_builds_the_profile_and_bench_hands_its_words_to_the_benchmarks(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "lnlab.book.build", SimpleNamespace(build=print))
    assert main(["report", "quick"]) == 1
    assert "holds no run; train some with: lnlab study quick" in capsys.readouterr().err
    finished(profile="quick")
    assert main(["report", "quick"]) == 0
    assert capsys.readouterr().out == "quick\n"
    monkeypatch.setattr(cli.subprocess, "run", lambda command, **_: SimpleNamespace(returncode=command[1:]))
    assert main(["bench", "--help"]) == ["-m", "benchmarks", "--help"]
