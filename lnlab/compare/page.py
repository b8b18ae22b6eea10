"""What a comparison leaves in its folder: one page that needs nothing else, its notebook, pictures and numbers."""

import html
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lnlab.config import ConfigError
from lnlab.paths import NOTEBOOKS

TEMPLATE = NOTEBOOKS / "compare.ipynb"
STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { padding: .3rem .8rem; text-align: left; white-space: nowrap }
tr { border-bottom: 1px solid #8886 }
figure { margin: 1rem 0 }
figure svg { max-width: 100%; height: auto }
figcaption, table + p { font-size: .9rem; opacity: .85 }
h1 { line-height: 1.2 }
"""
NEEDS = "pip install 'lnlab[book]'"


def write(folder: Path, parameters: Mapping[str, Any], title: str) -> Path:
    """Execute the notebook with the parameters and write page.html, page.ipynb, and its figures and tables.

    Raises:
        ConfigError: the libraries of the extra `book` are not there.
    """
    try:
        import papermill
        from nbconvert import HTMLExporter
    except ModuleNotFoundError as error:
        raise ConfigError(f"the page needs {error.name}: {NEEDS}; the scores are in {folder / 'scores.csv'}") from error
    notebook = folder / "page.ipynb"
    done = papermill.execute_notebook(
        str(TEMPLATE), str(notebook), dict(parameters), progress_bar=False, log_output=False, stderr_file=sys.stderr
    )
    for cell in done.cells:  # what libraries grumble about is no part of the answer
        if cell.cell_type == "code":
            cell.outputs = [out for out in cell.outputs if out.output_type != "stream"]
    exporter = HTMLExporter(
        template_name="basic", exclude_input=True, exclude_output_prompt=True, exclude_anchor_links=True
    )
    body, _ = exporter.from_notebook_node(done)
    page = folder / "page.html"
    page.write_text(
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body>{body}</body></html>",
        encoding="utf-8",
    )
    for cell in done.cells:
        for out in cell.get("outputs", []):
            about = out.get("metadata", {}).get("lnlab")
            if about and "name" in about:
                for kind, end in (("image/svg+xml", "svg"), ("text/csv", "csv")):
                    if kind in out.data:
                        (folder / f"{about['name']}.{end}").write_text(out.data[kind], encoding="utf-8")
    return page
