"""book/digests.txt: the SHA-256 of every file of the book that is made rather than written, as `sha256sum -c` reads it.

    python -m lnlab.digests        names what was altered, is missing or was added; `make book` runs it
    lnlab publish --digests        writes the list anew, after pages were gathered

Data, pages, figures and generated text are listed, the prose is not.
"""

import json
import sys
from pathlib import Path

from lnlab.files import replacing, sha256
from lnlab.paths import BOOK

LIST = "digests.txt"
FOLDERS = ("_generated", "data", "figures", "runs")


def write(book: Path = BOOK) -> int:
    """List what is there; returns the number of files.

    Raises:
        ValueError: a page stores the error of a cell.
    """
    names = sorted(_made(book))
    if errors := [error for name in names for error in _errors(book.parent / name)]:
        raise ValueError("; ".join(errors))
    with replacing(book / LIST) as temporary:
        temporary.write_text("".join(f"{sha256(book.parent / name)}  {name}\n" for name in names), newline="\n")
    return len(names)


def problems(book: Path = BOOK) -> list[str]:
    """A line for each file that is not what the list says, and for each page that stores an error."""
    lines = (line.partition("  ") for line in (book / LIST).read_text(encoding="utf-8").splitlines())
    listed, made = {name: digest for digest, _, name in lines}, _made(book)
    found = [f"{name} is missing" for name in listed.keys() - made]
    found += [f"{name} is not in {book.name}/{LIST}" for name in made - listed.keys()]
    for name in listed.keys() & made:
        if sha256(book.parent / name) != listed[name]:
            found.append(f"{name} was altered")
            found += _errors(book.parent / name)
    return sorted(found)


def _made(book: Path) -> set[str]:
    """Paths of the made files, seen from the folder of the book, as the list writes them."""
    paths = [*book.glob("*.ipynb"), *(path for folder in FOLDERS for path in (book / folder).rglob("*"))]
    names = {path.relative_to(book.parent) for path in paths if path.is_file()}
    return {name.as_posix() for name in names if not any(part.startswith(".") for part in name.parts)}


def _errors(path: Path) -> list[str]:
    """The errors among the outputs of a page; none in other files, and in those that are no longer JSON."""
    if path.suffix != ".ipynb":
        return []
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        outputs = [out for cell in cells for out in cell.get("outputs", [])]
        return [f"{path} stores an error: {out['ename']}" for out in outputs if out["output_type"] == "error"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        return [f"{path} is no notebook: {error}"]


def main() -> int:
    """Print what is wrong; 0 if nothing is."""
    found = problems()
    if found:
        print(*found, sep="\n", file=sys.stderr)
        print("published files changed by hand; restore them, or publish again", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
