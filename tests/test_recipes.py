"""Adding a norm, an arm, a claim and a page as CONTRIBUTING tells it, each done in a temporary copy of the project."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lnlab.paths import NOTEBOOKS, ROOT

PATHS = ("lnlab", "notebooks", "tests", "study.toml", "book/claims")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """What the recipes change."""
    ignored = shutil.ignore_patterns("__pycache__", "frozen")
    for path in PATHS:
        place = tmp_path / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / path).is_dir():
            shutil.copytree(ROOT / path, place, ignore=ignored)
        else:
            shutil.copy(ROOT / path, place)
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{path} should hold once: {old}"
    path.write_text(text.replace(old, new), encoding="utf-8")


def append(path: Path, text: str) -> None:
    path.write_text(path.read_text(encoding="utf-8") + text, encoding="utf-8")


def python(copy: Path, code: str) -> str:
    """What code prints that imports the package of the copy."""
    places = {"LNLAB_ROOT": copy, "LNLAB_RESULTS": copy / "results", "PYTHONPATH": copy}
    environment = os.environ | {name: str(place) for name, place in places.items()}
    line = [sys.executable, "-c", f"import lnlab; assert lnlab.__file__.startswith({str(copy)!r})\n{code}"]
    done = subprocess.run(line, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_norm_is_one_row_and_its_code(copy: Path) -> None:
    row = '"soft": Norm("soft LayerNorm", "#333333", actor_critic=("core.norm",)),'
    edit(copy / "lnlab/models/norms.py", "}\nACTOR_CRITIC", f"    {row}\n}}\nACTOR_CRITIC")
    stacked = copy / "lnlab" / "models" / "stacked.py"
    edit(stacked, "KINDS: dict", "class Soft(LayerNorm):\n    eps = 0.01\n\n\nKINDS: dict")
    edit(stacked, '    "unit": UnitNorm,', '    "unit": UnitNorm,\n    "soft": Soft,')
    settings = {"norm": "soft", "seeds": 2, "episodes": 2, "eval_episodes": 0}
    code = f"run = lnlab.run(lnlab.parse({settings}), progress=False); print(run.provenance['norm_layers'], run.id)"
    assert python(copy, f"{code}") == "['core.norm'] a3c-gru-soft"


ARM = """
[profiles.mine]
about = "a wider network"
experiments = ["wide"]
seeds = 2
episodes = 10
eval_episodes = 1

[experiments.wide]
about = "256 units"
fixed = { hidden = 256 }
arms = { norm = ["none", "ln"] }
"""


CLAIM = """
  D1.99:
    kind: comparison
    section: advice
    says: A wider network gains too
    evidence:
      - {minus: effect, of: test.greedy, pair: "mine/a3c-gru-{norm}-h256", side: above}
"""
JUDGED = """
from pathlib import Path
from lnlab.claims import judge
from lnlab.claims.studies import Data
from lnlab.runs import load
from tests.by_hand import made

for norm, level in {"none": 50, "ln": 59}.items():
    value = lambda quantity, seed: level + (1 + (norm == "ln")) * seed
    made(Path("data/mine"), range(9), value, norm=norm, hidden=256)
made(Path("data/paper"), range(9))
(found,) = [each.verdict for each in judge.entries(Data(load(Path("data/paper"))), "D1") if each.id == "D1.99"]
print(found.verdict, found.evidence[0].found.estimate)
"""


def test_an_arm_is_one_entry_of_the_study_and_a_claim_one_of_its_file(copy: Path) -> None:
    append(copy / "study.toml", ARM)
    listed = python(copy, "from lnlab.cli import main; main(['study', 'mine', '--list'])")
    assert "a3c-gru-none-h256" in listed
    assert "a3c-gru-ln-h256" in listed
    append(copy / "book" / "claims" / "d1.yml", CLAIM)
    assert python(copy, JUDGED) == "true 13.0"  # 9, and 1 more with each seed


def test_a_page_is_one_notebook(copy: Path) -> None:
    notebook = json.loads((NOTEBOOKS / "claims.ipynb").read_text(encoding="utf-8"))
    notebook["metadata"]["lnlab"] = {"part": "why", "needs": {"runs": ["a3c-gru-ln"]}}
    (copy / "notebooks" / "mine.ipynb").write_text(json.dumps(notebook))
    found = python(copy, "from lnlab.book import build as b; print(*b.analyses()); print(b.contents(b.analyses()))")
    assert "mine" in found.splitlines()[0].split()
    assert "- file: mine\n" in found
