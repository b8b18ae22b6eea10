"""The README's papermill lines, run for real: the literal one, that of TD3, and one with mistakes; and nbval."""

import json
import shlex
import subprocess
import sys
from typing import Any

import nbformat
from papermill import execute_notebook

from lnlab.paths import NOTEBOOKS, RESULTS, ROOT
from lnlab.runs import Run

LITERAL = "papermill notebooks/train.ipynb -p norm ln"
SMALL = " -p seeds 2 -p episodes 4 -p eval_episodes 1 -p cores 1"  # of what the lines say, in extent only
SMALL_TD3 = " -p seeds 2 -p steps 200 -p learning_starts 180 -p eval_episodes 1 -p cores 1"
TD3 = "papermill notebooks/train.ipynb 'results/td3-{norm}.ipynb' -p algorithm td3 -p norm none -p batch_size 32"


def papermill(line: str) -> subprocess.CompletedProcess[str]:
    """Run a papermill line from the repository with its output captured and nothing to read, as a job runner does."""
    words = [sys.executable, "-m", "papermill", *shlex.split(line)[1:]]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)


def shown(notebook: Any) -> list[dict[str, str]]:
    """What lnlab says of the outputs that it made."""
    outputs = [out for cell in notebook["cells"] for out in cell.get("outputs", [])]
    return [out["metadata"]["lnlab"] for out in outputs if "lnlab" in out.get("metadata", {})]


def test_readme_shows_the_lines():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert [line for line in (LITERAL, TD3) if f"\n{line}\n" not in readme] == []


def test_the_literal_line_prints_the_notebook_and_records_the_run():
    done = papermill(LITERAL + SMALL)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["metadata"]["papermill"]["parameters"]["norm"] == "ln"
    assert {"parameters", "return", "test", "provenance"} <= {what.get("name") for what in shown(printed)}
    assert all(what["alt"] for what in shown(printed) if what["kind"] == "figure")
    run = Run(RESULTS / "scratch" / "a3c-gru-ln")
    assert run.complete
    assert run.provenance["norm_layers"] == ["embed.norm", "core.norm"]


def test_nbval_runs_the_notebook_cell_by_cell(tmp_path):
    small = tmp_path / "small.ipynb"
    extent = {"seeds": 2, "episodes": 4, "eval_episodes": 1, "cores": 1, "profile": "nbval"}
    execute_notebook(str(NOTEBOOKS / "train.ipynb"), str(small), extent, prepare_only=True, progress_bar=False)
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval-lax", "--nbval-current-env"]
    done = subprocess.run([*words, str(small)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert f"{sum(cell.cell_type == 'code' for cell in nbformat.read(small, 4).cells)} passed" in done.stdout


def test_none_for_the_norm_and_a_mistyped_name_fail_and_name_the_allowed_ones(tmp_path):
    done = papermill(
        f"papermill notebooks/train.ipynb {tmp_path / 'out.ipynb'} -p profile never -p norm None -p nrom x"
    )
    assert done.returncode == 1
    assert "norm=None is not allowed: input should be 'none', 'ln'" in done.stderr
    assert "unknown parameter 'nrom' (did you mean 'norm'?); allowed: algorithm, core, norm, seeds" in done.stderr
    assert not (RESULTS / "never").exists()


def test_the_line_of_td3_trains_on_images_and_names_the_notebook_by_its_parameters(tmp_path):
    done = papermill(TD3.replace("results/", f"{tmp_path}/") + " -p profile images" + SMALL_TD3)
    assert done.returncode == 0, done.stderr
    names = {what.get("name") for what in shown(nbformat.read(tmp_path / "td3-none.ipynb", as_version=4))}
    assert {"parameters", "return", "values", "features", "test", "provenance"} <= names
    (run,) = [Run(path.parent) for path in (RESULTS / "images").glob("td3-none-leaky*/config.json")]
    assert run.complete
    assert run.provenance["norm_layers"] == []
    assert len(run.table("records")) == run.config.seeds * run.config.reports
    assert list(run.dir.glob("tensorboard/seed-*/events*"))
