"""The README's papermill lines, run for real: the literal one, one with an output path, one with a mistyped name."""

import json
import shlex
import subprocess
import sys

import nbformat
import pytest

from lnlab.paths import RESULTS, ROOT
from lnlab.runs import Run

README = (ROOT / "README.md").read_text(encoding="utf-8")
LITERAL = "papermill notebooks/train.ipynb -p norm ln"
WITH_PATH = "papermill notebooks/train.ipynb 'results/a3c-gru-{norm}.ipynb' -p norm ln"
TD3 = "papermill notebooks/train.ipynb 'results/td3-{norm}.ipynb' -p algorithm td3 -p norm none -p batch_size 32"


def papermill(line: str, *more: str) -> subprocess.CompletedProcess[str]:
    """Run a papermill line from the repository with its output captured and nothing to read, as a job runner does."""
    words = [sys.executable, "-m", "papermill", *shlex.split(line)[1:], *more]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


@pytest.mark.parametrize("line", [LITERAL, WITH_PATH, TD3])
def test_readme_shows_the_line(line):
    assert f"\n{line}\n" in README


def test_the_literal_line_prints_the_notebook_and_records_the_run():
    done = papermill(LITERAL)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["metadata"]["papermill"]["parameters"]["norm"] == "ln"
    run = Run(RESULTS / "scratch" / "a3c-gru-ln")
    assert run.complete
    assert run.provenance["norm_layers"] == ["embed.norm", "core.norm"]


def test_the_line_with_a_path_names_the_notebook_by_its_parameters(tmp_path):
    line = WITH_PATH.replace("results/", f"{tmp_path}/").replace("-p norm ln", "-p norm none")
    done = papermill(line, "-p", "profile", "path")
    assert done.returncode == 0, done.stderr
    nb = nbformat.read(tmp_path / "a3c-gru-none.ipynb", as_version=4)
    shown = [
        out.metadata["lnlab"]
        for cell in nb.cells
        for out in cell.get("outputs", [])
        if "lnlab" in out.get("metadata", {})
    ]
    assert {"parameters", "return", "test", "provenance"} <= {what.get("name") for what in shown}
    assert all(what["alt"] for what in shown if what["kind"] == "figure")
    assert Run(RESULTS / "path" / "a3c-gru-none").provenance["norm_layers"] == []


def test_a_mistyped_name_fails_and_names_the_allowed_ones(tmp_path):
    done = papermill(f"papermill notebooks/train.ipynb {tmp_path / 'out.ipynb'} -p nrom ln")
    assert done.returncode == 1
    assert "unknown parameter 'nrom' (did you mean 'norm'?)" in done.stderr
    assert "allowed: algorithm, core, norm, seeds" in done.stderr


@pytest.mark.parametrize("words", ["-p norm None", "-y 'norm: null'"])
def test_none_for_the_norm_fails_and_names_the_allowed_ones(tmp_path, words):
    done = papermill(f"papermill notebooks/train.ipynb {tmp_path / 'out.ipynb'} -p profile never {words}")
    assert done.returncode == 1
    assert "ConfigError: norm=None is not allowed: input should be 'none', 'ln'" in done.stderr
    assert not (RESULTS / "never").exists()


def test_the_line_of_td3_trains_on_images_and_shows_what_it_did(tmp_path):
    done = papermill(TD3.replace("results/", f"{tmp_path}/"), "-p", "profile", "images")
    assert done.returncode == 0, done.stderr
    nb = nbformat.read(tmp_path / "td3-none.ipynb", as_version=4)
    outputs = [out for cell in nb.cells for out in cell.get("outputs", [])]
    shown = [out.metadata["lnlab"] for out in outputs if "lnlab" in out.get("metadata", {})]
    assert {"parameters", "return", "values", "features", "test", "provenance"} <= {what.get("name") for what in shown}
    (run,) = [Run(path.parent) for path in (RESULTS / "images").glob("td3-none-leaky*/config.json")]
    assert run.complete
    assert run.provenance["norm_layers"] == []
    assert len(run.table("records")) == run.config.seeds * run.config.reports
    assert list(run.dir.glob("tensorboard/seed-*/events*"))
