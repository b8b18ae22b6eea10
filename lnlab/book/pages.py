"""Gather: an executed notebook becomes a page of the book.

Checks it (a failed or unfinished notebook, or a picture without alt text, stops the build), puts the parameters it ran
with into its parameters cell, hides code, drops progress bars, and turns the outputs of `lnlab.book.output` into
numbered figures and tables whose files lie beside the page. Same notebook, same bytes: nothing of the machine or the
clock stays but what papermill measured.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from lnlab.book.output import KEY
from lnlab.paths import ROOT

INJECTED, PARAMETERS, SETUP = (
    "injected-parameters",
    "parameters",
    "setup",
)  # papermill's two tags, and ours for plumbing
PICTURES = {"image/svg+xml", "image/png", "image/jpeg"}
KEPT = (
    "parameters",
    "start_time",
    "end_time",
    "duration",
    "exception",
    "version",
)  # of papermill's notes; the rest are paths
WIDGET = "application/vnd.jupyter.widget-view+json"


class PageError(RuntimeError):
    """A notebook cannot become a page; the message says which and why."""


class LacksError(PageError):
    """A notebook lacks runs or numbers that it needs."""


def gather(notebook: Path, book: Path, page: str, *, card: str | None = None) -> Path:
    """Write `notebook`, executed by papermill, to `book`/`page`.ipynb with its figures and tables; returns that path.

    Args:
        page: name of the page, which labels figures (`fig-<page>-<name>`).
        card: Markdown put below the heading.

    Raises:
        PageError: the notebook failed, did not run to its end, or shows a picture without alt text.
    """
    nb = nbformat.read(notebook, as_version=4)
    check(nb, notebook)
    cells = [clean for cell in _with_parameters(nb.cells) for clean in _page_cells(cell, book, page)]
    cells = _headed(cells, card)
    for number, cell in enumerate(cells):
        cell["id"] = f"{page[:50]}-{number}"  # papermill's ids are random
    nb.cells, nb.metadata = cells, _metadata(nb.metadata)
    target = book / f"{page}.ipynb"
    write(target, nbformat.writes(nb) + "\n")
    return target


def check(nb: NotebookNode, path: Path) -> None:
    """Refuse what a reader must not take for a result.

    Raises:
        PageError: an error output, a cell papermill did not complete, or a picture that is not an output of ours (no
        alt text).
    """
    for number, cell in enumerate(nb.cells):
        where = f"{path}, cell {number}"
        for out in cell.get("outputs", []):
            if out.output_type == "error":
                raise PageError(f"{where} failed: {out.ename}: {out.evalue}")
            if PICTURES & set(out.get("data", {})) and KEY not in out.metadata:
                raise PageError(f"{where} shows a picture without alt text; show it through lnlab.book.output.figure")
        status = cell.metadata.get("papermill", {}).get("status")
        if cell.cell_type == "code" and status not in (None, "completed"):
            raise PageError(f"{where} is {status}, not completed: the notebook was stopped; run it again")
    if "papermill" not in nb.metadata:
        raise PageError(f"{path} was not executed by papermill")
    if nb.metadata.papermill.get("exception"):
        raise PageError(f"{path} ended with an exception")


def write(path: Path, text: str) -> None:
    """Write a text file of the book, the same bytes on every system."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def execute(notebook: Path, target: Path, parameters: dict[str, Any]) -> None:
    """Execute a notebook with papermill into `target`.

    Raises:
        PageError: it failed; the message ends with the notebook's own error.
    """
    from papermill import execute_notebook
    from papermill.exceptions import PapermillExecutionError

    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        quiet = {"progress_bar": False, "extra_arguments": ["--log-level=ERROR"]}  # the latter reaches the kernel
        execute_notebook(notebook, target, parameters, cwd=ROOT, **quiet)
    except PapermillExecutionError as error:
        kind = LacksError if error.ename == "Missing" else PageError
        raise kind(f"{notebook.name} failed: {error.ename}: {error.evalue}; see {target}") from error


def _with_parameters(cells: list[NotebookNode]) -> Iterator[NotebookNode]:
    """The cells with papermill's injected values in the parameters cell, so that a downloaded page runs as it ran."""
    injected = "".join(cell.source for cell in cells if INJECTED in _tags(cell))
    values = dict(line.split(" = ", 1) for line in injected.splitlines() if " = " in line)
    for cell in cells:
        if INJECTED in _tags(cell):
            continue
        if PARAMETERS in _tags(cell):
            cell.source = "\n".join(_replaced(line, values) for line in cell.source.splitlines())
        yield cell


def _replaced(line: str, values: dict[str, str]) -> str:
    """A line `name: type = default  # help` with the value that was given."""
    name = line.split(":", 1)[0].split("=", 1)[0].strip()
    if name not in values or " = " not in line:
        return line
    left, right = line.split(" = ", 1)
    _, hash_, help_ = right.partition("  # ")
    return f"{left} = {values[name]}{hash_}{help_}"


def _page_cells(cell: NotebookNode, book: Path, page: str) -> Iterator[NotebookNode]:
    """A cell as the page has it, followed by the figures and tables among its outputs as Markdown."""
    tags = _tags(cell)
    cell.metadata = NotebookNode({"tags": tags} if tags else {})
    if cell.cell_type != "code":
        yield cell
        return
    hide = "remove-cell" if SETUP in tags else "hide-input"
    cell.metadata["tags"] = sorted({*tags, hide})
    ours = [out for out in cell.outputs if KEY in out.get("metadata", {})]
    cell.outputs = [out for out in cell.outputs if out not in ours and not _noise(out)]
    yield cell
    for out in ours:
        yield new_markdown_cell(_render(out, book, page))


def _noise(out: NotebookNode) -> bool:
    """Progress bars, warnings and drawings that were taken away."""
    if out.output_type == "stream":
        return bool(out.name == "stderr")
    data: dict[str, Any] = out.get("data", {})
    return WIDGET in data or data.get("text/html") == ""


def _render(out: NotebookNode, book: Path, page: str) -> str:
    """Write the files of an output below `book`/figures and return the MyST directive that shows them."""
    what = out.metadata[KEY]
    if what["kind"] == "text":
        for kind, name in what.get("files", {}).items():  # that the text offers for download
            write(book / "figures" / name, out.data[kind])
        return str(out.data["text/markdown"])
    label = f"{page}-{what['name']}"
    write(book / "figures" / f"{label}.csv", out.data["text/csv"])
    caption = f"{what['caption']} Data: {{download}}`CSV </figures/{label}.csv>`."
    if what["kind"] == "table":
        return f":::{{table}} {caption}\n:name: tab-{label}\n\n{out.data['text/markdown']}\n:::"
    write(book / "figures" / f"{label}.svg", out.data["image/svg+xml"])
    options = f":name: fig-{label}\n:alt: {what['alt']}\n:class: dark-light"
    return f":::{{figure}} /figures/{label}.svg\n{options}\n\n{caption}\n:::"


def _headed(cells: list[NotebookNode], card: str | None) -> list[NotebookNode]:
    """The cells with the card below the heading."""
    heading, *rest = cells
    first, _, text = heading.source.partition("\n")
    if heading.cell_type != "markdown" or not first.startswith("# "):
        raise PageError("a notebook must begin with a Markdown cell whose first line is its heading: # …")
    parts = [first, card or "", text.strip()]
    heading.source = "\n\n".join(part for part in parts if part)
    return [heading, *rest]


def _metadata(metadata: NotebookNode) -> NotebookNode:
    notes = {name: metadata.papermill.get(name) for name in KEPT}
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return NotebookNode({"kernelspec": kernel, "language_info": {"name": "python"}, "papermill": notes})


def _tags(cell: NotebookNode) -> list[str]:
    return list(cell.metadata.get("tags", []))
