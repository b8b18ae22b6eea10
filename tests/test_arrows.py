"""The modules of lnlab import in one direction: down the layers below, from the command line to the settings."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lnlab.paths import PACKAGE

# From the bottom to the top; a package stands for all its modules that are not named themselves.
LAYERS: list[tuple[str, ...]] = [
    ("lnlab", "lnlab.paths", "lnlab.columns", "lnlab.models.norms", "lnlab.signals"),
    ("lnlab.config",),
    ("lnlab.envs", "lnlab.models", "lnlab.policies"),
    ("lnlab.trainers.actions", "lnlab.trainers.returns", "lnlab.trainers.schedule", "lnlab.trainers.monitor"),
    ("lnlab.evaluation",),
    ("lnlab.trainers",),  # the algorithms, which write nothing
    ("lnlab.policy",),
    ("lnlab.analysis.metrics", "lnlab.provenance", "lnlab.files", "lnlab.locks"),
    ("lnlab.shards",),
    ("lnlab.runs",),
    ("lnlab.memory", "lnlab.trainers.watchers"),
    ("lnlab.trainers.driver",),  # the algorithms' one door to the runs
    ("lnlab.inside",),
    ("lnlab.analysis", "lnlab.diverged"),
    ("lnlab.papermill_job", "lnlab.jobs", "lnlab.executors", "lnlab.study"),
    ("lnlab.claims",),
    ("lnlab.digests", "lnlab.book"),
    ("lnlab.compare", "lnlab.play", "lnlab.doctor", "lnlab.patient"),
    ("lnlab.cli",),
    ("lnlab.__main__",),
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
FILES = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
MODULES = {name.removesuffix(".__init__"): path for name, path in FILES.items()}


def level(module: str) -> int:
    """That of the longest name in LAYERS that holds the module; `lnlab` holds nothing but itself."""
    parts = module.split(".")
    names = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    found = next((name for name in names if name in LEVEL and (name != "lnlab" or module == "lnlab")), None)
    assert found, f"{module} stands in no layer of tests/test_arrows.py"
    return LEVEL[found]


def imported(path: Path) -> Iterator[str]:
    """Modules of lnlab that a file imports, wherever in it: also in functions, and for types alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in whole]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def test_a_module_imports_what_lies_below_it_or_beside_it() -> None:
    arrows = [(name, each) for name, path in MODULES.items() if name != "lnlab" for each in imported(path)]
    assert len(arrows) > 200
    assert not [arrow for arrow in arrows if level(arrow[1]) > level(arrow[0])]


def test_only_the_command_line_imports_the_book() -> None:
    others = [name for name in MODULES if not name.startswith(("lnlab.book", "lnlab.cli"))]
    found = {(name, each) for name in others for each in imported(MODULES[name]) if each.startswith("lnlab.book")}
    assert not found


def test_no_two_modules_import_each_other() -> None:
    graph = {name: {each for each in imported(path) if each != name} for name, path in MODULES.items()}
    del graph["lnlab"]  # which names what others hold, without loading it
    while leaves := [name for name, below in graph.items() if not below & graph.keys()]:
        for name in leaves:
            del graph[name]
    assert not {name: below & graph.keys() for name, below in graph.items()}


@pytest.mark.parametrize(
    ("code", "left_out"),
    [
        ("import lnlab", "lnlab."),
        ("import lnlab; lnlab.run, lnlab.evaluate, lnlab.load", ("lnlab.claims", "lnlab.book")),
    ],
)
def test_importing_lnlab_loads_little(code: str, left_out: str | tuple[str, ...]) -> None:
    line = [sys.executable, "-c", f"import sys; {code}; print(*sys.modules)"]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert not [name for name in done.stdout.split() if name.startswith(left_out)]
