"""What a notebook cell shows: a figure or a table with its name, alt text, caption and numbers in one output.

A notebook shows it as HTML. `lnlab.book.pages` turns the same output into a numbered Sphinx figure or table whose SVG
and CSV lie beside the page, so everything a page needs travels in its notebook.
"""

import html
import io
import re
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lnlab.book import style

KEY = "lnlab"  # where an output's metadata keeps what it is
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
NUMBER = r"[−+-]?\d|n/a$|$|not |above "  # what a cell of numbers begins with, or says in place of one
BARE = r"[−+-]?[\d.,]*(e[−-]?\d+)?$"  # a number and nothing else
Bundle = tuple[dict[str, str], dict[str, Any]]


@dataclass(frozen=True)
class FigureOutput:
    """A drawn figure. `name` is unique on its page; `data` are the numbers drawn, offered for download."""

    name: str
    svg: str
    alt: str
    caption: str
    data: pd.DataFrame

    def __post_init__(self) -> None:
        _check(self.name, alt=self.alt, caption=self.caption)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        picture = f'<div role="img" aria-label="{html.escape(self.alt)}">{_element(self.svg)}</div>'
        page = f"<figure>{picture}<figcaption>{html.escape(self.caption)}</figcaption></figure>"
        data = {"text/html": page, "image/svg+xml": self.svg, "text/csv": csv(self.data), "text/plain": self.alt}
        return data, {KEY: {"kind": "figure", "name": self.name, "alt": self.alt, "caption": self.caption}}


@dataclass(frozen=True)
class TableOutput:
    """A table: `shown` holds the words and rounded numbers a reader sees, `data` the numbers themselves."""

    name: str
    shown: pd.DataFrame
    caption: str
    data: pd.DataFrame

    def __post_init__(self) -> None:
        _check(self.name, caption=self.caption)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        page = self.shown.to_html(index=False, border=0) + f"<p>{html.escape(self.caption)}</p>"
        data = {
            "text/html": page,
            "text/markdown": markdown(self.shown),
            "text/csv": csv(self.data),
            "text/plain": self.caption,
        }
        return data, {KEY: {"kind": "table", "name": self.name, "caption": self.caption}}


class Text(str):
    """Markdown that a notebook shows as text, in which a page may follow links to other pages."""

    def _repr_markdown_(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> Bundle:
        return {"text/markdown": str(self), "text/plain": str(self)}, {KEY: {"kind": "text"}}


def figure(name: str, drawn: Figure, *, alt: str, caption: str, data: pd.DataFrame) -> FigureOutput:
    """Freeze a Matplotlib figure into an output; same data, same bytes."""
    return FigureOutput(name, style.svg(drawn), alt, caption, data)


def table(name: str, shown: pd.DataFrame, *, caption: str, data: pd.DataFrame | None = None) -> TableOutput:
    """An output of the rows a reader sees; without `data` these are also the download."""
    return TableOutput(name, shown, caption, shown if data is None else data)


def csv(data: pd.DataFrame) -> str:
    """Comma-separated rows with six significant digits and a header, newline-terminated on every system.

    >>> csv(pd.DataFrame({"seed": [0], "return": [62.123456789]}))
    'seed,return\\n0,62.1235\\n'
    """
    buffer = io.StringIO()
    data.to_csv(buffer, index=False, float_format="%.6g", lineterminator="\n")
    return buffer.getvalue()


def markdown(shown: pd.DataFrame) -> str:
    """A Markdown pipe table; columns of nothing but numbers and gaps are aligned to the right, names of rows never.

    >>> print(markdown(pd.DataFrame({"arm": ["LN", "none"], "n": ["30", ""]})))
    | arm | n |
    | :-- | --: |
    | LN | 30 |
    | none |  |
    """
    cells = shown.astype(str)
    patterns = [BARE, *[NUMBER] * (cells.shape[1] - 1)]
    right = [cells[name].str.match(pattern).all() for name, pattern in zip(cells, patterns, strict=True)]
    aligned = ["--:" if each else ":--" for each in right]
    rows = [list(map(str, cells.columns)), aligned, *cells.to_numpy().tolist()]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows)


def _check(name: str, **texts: str) -> None:
    if not NAME.fullmatch(name):
        raise ValueError(
            f"name {name!r} must be lower-case words joined by hyphens: it becomes a label and a file name"
        )
    for what, text in texts.items():
        if not text.strip():
            raise ValueError(f"{name} needs a text for {what!r}: a reader who sees no picture depends on it")


def _element(svg: str) -> str:
    return svg[svg.index("<svg") :]
