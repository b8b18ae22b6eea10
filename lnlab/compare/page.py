"""What a comparison leaves in its folder: one page that needs nothing else, its notebook, pictures and numbers."""

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from lnlab.compare.arms import compare
from lnlab.compare.plan import Away, Plan, curves, trained
from lnlab.compare.scores import learning, read
from lnlab.config import ConfigError
from lnlab.paths import NOTEBOOKS

TEMPLATE = NOTEBOOKS / "compare.ipynb"
LEAST_SECONDS = 10  # for training processes to start
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
.ledger th, .ledger td { white-space: normal; vertical-align: top }
.verdict { font-weight: 600; white-space: nowrap }
"""


def answer(
    question: Mapping[str, str] | Path, *, against: str = "", margin: float | None = None,
    failed_below: float | None = None, until: str | None = None, budget: float | None = None, out: str | None = None,
    away: Away | None = None,
) -> str:  # fmt: skip
    """Scores of runs, trained where they are missing, or of a file or folder; leaves the page and returns the answer.

    Raises:
        ConfigError: the question names no two arms, or a setting, file or arm that is not there.
    """
    if isinstance(question, Path):
        scores, lines, name = read(question), learning(question), question.stem
        if until or budget:
            raise ConfigError(
                "--until and --budget add seeds to runs: they go with settings, not with a file of scores"
            )
    else:
        if budget is not None and not until:
            raise ConfigError("--budget ends a comparison that adds seeds: it goes with --until decided")
        if budget is not None and budget < LEAST_SECONDS:
            raise ConfigError(f"--budget {budget:g}s is too small: the start alone takes some {LEAST_SECONDS} s")
        plan = Plan.of(question)
        words = [f"{name}={text}" for name, text in question.items() if name != "seeds"]
        name = re.sub(r"[^A-Za-z0-9.]+", "-", " ".join(words)).strip("-")[:80]
        if against and against not in plan.arms:
            raise ConfigError(f"there is no arm {against!r}; there are {', '.join(plan.arms)}")
        scores = trained(plan, until=until == "decided", margin=margin, seconds=budget, against=against, away=away)
        lines = curves(scores)
    arms = scores.arm.unique()
    old = against or ("none" if "none" in arms else arms[0])
    asked = {"margin": margin, "failed_below": failed_below}
    found = [compare(scores, arm, old, **asked) for arm in arms if arm != old]
    folder = Path(out) if out else Path("comparisons") / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, table in (("scores.csv", scores), ("curves.csv", lines)):
        table.to_csv(folder / file, index=False)
    given: dict[str, Any] = {name: str((folder / f"{name}.csv").absolute()) for name in ("scores", "curves")}
    given |= {"against": old, "margin": margin or 0.0}
    given["failed_below"] = "" if failed_below is None else str(failed_below)
    page = write(folder, given, f"{', '.join(arms)}: which is better?")
    said = [sentence for each in found for sentence in each.sentences()]
    table = pd.concat([each.arms for each in found]).drop_duplicates(["task", "arm"])
    shown = table[["task", "arm", "best", "estimate", "low", "high", "n", "failed", "ipr90"]]
    shown = shown.assign(best=shown.best.map(lambda value: f"{value:g}" if isinstance(value, float) else value)).round(
        3
    )
    return "\n".join([*said, "", shown.to_string(index=False), "", f"page: {page}"])


def write(folder: Path, parameters: Mapping[str, Any], title: str, *, template: Path = TEMPLATE) -> Path:
    """Execute a notebook with the parameters and write page.html, page.ipynb, and its figures and tables."""
    import papermill
    from nbconvert import HTMLExporter

    notebook = folder / "page.ipynb"
    done = papermill.execute_notebook(
        str(template),
        str(notebook),
        dict(parameters),
        progress_bar=False,
        log_output=False,
        extra_arguments=["--log-level=ERROR"],
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
