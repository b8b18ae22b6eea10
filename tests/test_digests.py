"""What is published is what was published: every made file of the book against book/digests.txt."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lnlab import digests
from lnlab.paths import BOOK, ROOT

RUN = "data/paper/a3c-gru-ln"


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A part of the book, listed."""
    for name in (RUN, "_generated", "runs"):
        shutil.copytree(BOOK / name, tmp_path / "book" / name)
    for name in ("d1.ipynb", "methods.md", "figures/d1-effects.csv"):
        (tmp_path / "book" / name).parent.mkdir(exist_ok=True)
        shutil.copy(BOOK / name, tmp_path / "book" / name)
    digests.write(tmp_path / "book")
    return tmp_path / "book"


def test_the_published_files_are_those_that_were_published() -> None:
    assert digests.problems(BOOK) == []


def test_other_tools_read_the_list(book: Path) -> None:
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "book/digests.txt"], cwd=book.parent, check=True)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def store_error(path: Path) -> None:
    page = json.loads(path.read_text())
    code = next(cell for cell in page["cells"] if cell["cell_type"] == "code")
    code["outputs"] = [{"output_type": "error", "ename": "ValueError", "evalue": "boom", "traceback": []}]
    path.write_text(json.dumps(page))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        (f"{RUN}/evaluation.parquet", flip, "was altered"),
        (f"{RUN}/curves.parquet", Path.unlink, "is missing"),
        (f"{RUN}/more.parquet", Path.touch, "is not in book/digests.txt"),
        ("figures/d1-effects.csv", flip, "was altered"),
        ("d1.ipynb", store_error, "stores an error: ValueError"),
    ],
)
def test_what_was_changed_is_named(name: str, change: Callable[[Path], None], said: str, book: Path) -> None:
    change(book / name)
    assert any(f"book/{name} {said}" in line for line in digests.problems(book))


def test_the_command_names_what_was_changed_and_fails(book: Path) -> None:
    flip(book / "d1.ipynb")
    environment = os.environ | {"LNLAB_ROOT": str(book.parent), "PYTHONPATH": str(ROOT)}
    line = [sys.executable, "-m", "lnlab.digests"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[:-1] == digests.problems(book) != []


def test_prose_and_hidden_files_may_change(book: Path) -> None:
    (book / "methods.md").write_text("# Other words\n")
    (book / "runs" / ".a3c.tmp").write_text("")
    assert digests.problems(book) == []


def test_a_page_with_an_error_is_not_listed(book: Path) -> None:
    before = (book / digests.LIST).read_text()
    store_error(book / "d1.ipynb")
    with pytest.raises(ValueError, match=r"d1\.ipynb stores an error: ValueError"):
        digests.write(book)
    assert (book / digests.LIST).read_text() == before


def test_make_book_looks_at_the_list_first() -> None:
    done = subprocess.run(["make", "--dry-run", "book"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert 0 < done.stdout.index("-m lnlab.digests") < done.stdout.index("jupyter-book build book")
