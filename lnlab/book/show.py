"""What a cell shows: tables of estimates as words, figures, sentences that hold. Captions tell n and the interval."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lnlab.book import cards, output, style, words
from lnlab.claims import documents, judge
from lnlab.claims.studies import Data, labels
from lnlab.config import Config, RunConfig
from lnlab.paths import PUBLISHED

AGENT = ("algorithm", "core")  # what is one agent, with a norm or without


class NoLongerTrueError(AssertionError):
    """A sentence of the published book that its data contradict."""


def table(
    rows: pd.DataFrame, name: str, *, caption: str, index: str = "arm", columns: str = "measure",
    digits: int | dict[str, int] | None = None,
) -> output.TableOutput | output.Text:  # fmt: skip
    """Estimates (columns estimate, low, high, n) as words: a line each `index`, a column each value of `columns`.

    `digits` are decimals, of all columns or by column; without it one, or two where all estimates lie below 5. In order
    of appearance, or of categories; n/a where there is no row; a sentence where there is none at all.
    """
    if rows.empty:
        return output.Text("*The runs for this table are not there.*")
    given = digits if isinstance(digits, dict) else dict.fromkeys(rows[columns].unique(), digits)
    small = rows.estimate.abs().groupby(rows[columns]).max() < 5
    said = [words.estimate(row, _decimals(given.get(key), bool(small[key]))) for key, row in _rows(rows, columns)]
    plain = rows.assign(said=said).astype({index: object, columns: object})
    wide = plain.pivot(index=index, columns=columns, values="said").fillna("n/a")
    wide = wide.loc[_order(rows[index]), _order(rows[columns])].rename_axis(columns=None).reset_index()
    return output.table(name, wide, caption=f"{caption} {extent(rows)}", data=rows)


def _rows(rows: pd.DataFrame, column: str) -> Any:
    return zip(rows[column], rows.itertuples(), strict=True)


def _order(names: pd.Series) -> list[Any]:
    """That of the categories, where there are any, else of appearance."""
    return [
        *(names.cat.categories[names.value_counts(sort=False) > 0] if names.dtype == "category" else names.unique())
    ]


def _decimals(given: int | None, small: bool) -> int:
    return 1 + small if given is None else given


def listing(shown: pd.DataFrame, name: str, *, caption: str, data: pd.DataFrame | None = None) -> output.TableOutput:
    """A table of words as they are; `data` are the numbers behind them."""
    told = f" {extent(data)}" if data is not None and {"low", "n"} <= set(data) else ""
    return output.table(name, shown, caption=f"{caption}{told}", data=data)


def figure(drawn: Figure, name: str, *, alt: str, caption: str, data: pd.DataFrame) -> output.FigureOutput:
    """A figure and the numbers it shows. `alt` says what is drawn; what came out is added to it from the data."""
    told = f" {extent(data)}" if {"low", "n"} <= set(data) else ""
    return output.figure(name, drawn, alt=f"{alt} {extremes(data)}".strip(), caption=f"{caption}{told}", data=data)


def extremes(data: pd.DataFrame) -> str:
    """The lowest and the highest estimate of each measure, or mean at the end of each quantity; "" where there is none.

    >>> extremes(pd.DataFrame({"measure": "return", "arm": ["LN", "none"], "estimate": [74.04, 57.9]}))
    'return: lowest none 57.9, highest LN 74.'
    """
    value, of = ("estimate", "measure") if "estimate" in data else ("mean", "quantity")
    who = next((name for name in ("effect", "arm", "agent") if name in data), None)
    if who is None or not {value, of} <= set(data):
        return ""
    rows = data.dropna(subset=value).reset_index(drop=True)  # parts that were joined may share labels
    if moment := next((name for name in ("episode", "updates", "step") if value == "mean" and name in data), None):
        rows = rows[rows[moment] == rows.groupby(who)[moment].transform("max")]
    said = []
    for name, part in rows.groupby(of, sort=False):
        low, high = part.loc[part[value].idxmin()], part.loc[part[value].idxmax()]
        ends = (f"{end} {row[who]} {row[value]:.3g}" for end, row in (("lowest", low), ("highest", high)))
        said.append(f"{' '.join(str(name).split())}: {', '.join(ends)}.".replace("-", "−"))
    return " ".join(said)


def widget(name: str, kind: str, data: Any) -> output.Text:
    """What book/_static/`name`.js makes of JSON. Without scripts nothing is shown, so a figure belongs below it."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("</", "<\\/")
    return output.Text(f'<div class="{name}" data-kind="{kind}"><script type="application/json">{text}</script></div>')


def text(said: str) -> output.Text:
    """Markdown."""
    return output.Text(said)


def extent(rows: pd.DataFrame) -> str:
    """How many seeds stand behind the rows, and what the brackets are.

    >>> extent(pd.DataFrame({"n": [30, 10]}))
    '95 % intervals over n = 10 to 30 seeds.'
    """
    return f"95 % intervals over n = {words.counted(int(n) for n in rows.n if np.isfinite(n) and n)} seeds."


def holds(data: Data, *said: tuple[str, bool]) -> output.Text:
    """Sentences, each with the condition under which it is true, as one paragraph.

    A report on other runs leaves out those that are not true there.

    Raises:
        NoLongerTrueError: the published data contradict one.
    """
    false = [sentence for sentence, true in said if not true]
    if false and PUBLISHED in data.main.dir.parents:
        raise NoLongerTrueError(f"the data no longer say so: {'; '.join(false)}")
    kept = [sentence for sentence, true in said if true]
    return output.Text(" ".join(kept) or "*None of what the published runs show here is clear in these runs.*")


def facts(question: str, answer: str, **rest: str) -> output.Text:
    """What a reader wants to know first, at the head of a page. `rest` are further lines, by what they tell."""
    lines = {"question": question, "answer": answer} | rest
    told = "\n".join(f"- **{name.capitalize()}:** {said}" for name, said in lines.items())
    return output.Text(f":::{{admonition}} Quick facts\n:class: facts\n\n{told}\n:::")


def origin(data: Data, runs: Sequence[str], document: str = "") -> dict[str, str]:
    """Lines of `facts` that are read from runs: agents, environment, seeds, and where the claims of a document are."""
    runs = list(dict.fromkeys(runs))  # a table of several measures names each run as often
    configs = [data.run(run).config for run in runs]
    names = [[label for name, label in labels(run).items() if name in AGENT] for run in runs]
    agents = [" ".join(style.ALGORITHM_LABEL.get(label, label) for label in each) for each in names]
    told = {
        "agents": f"{words.listed(dict.fromkeys(agents))}; {len(configs)} arm{'s' * (len(configs) > 1)}",
        "environment": words.listed(dict.fromkeys(map(_environment, configs))),
        "seeds": f"{words.counted(config.seeds for config in configs)} per arm",
    }
    return told | ({"claims": f"{{doc}}`all of {document} with their verdicts </claims>`"} if document else {})


def _environment(config: Config) -> str:
    if isinstance(config, RunConfig):
        return f"task offloading, {config.workers} workers, {config.episodes:,} episodes each"
    seen = "from 53 numbers" if "Vector" in config.env else "by camera"
    return f"{f'driving {seen}' if 'Driving' in config.env else config.env}, {config.steps:,} steps"


def claims(data: Data, document: str, section: str = "") -> cards.Attached:
    """The claims of a document, or of one of its sections, with their verdicts; each links to its evidence."""
    return cards.cards(judge.entries(data, document, section), section)


def verdicts(data: Data, document: str) -> output.TableOutput:
    """How many claims of a document got each verdict."""
    return cards.count_table(judge.entries(data, document))


def hypotheses(
    data: Data, of: str, name: str = "hypotheses",
    *, caption: str = "Predictions written before the runs, with what was found.",
) -> output.TableOutput:  # fmt: skip
    """What our own hypotheses of a set (book/claims/hypotheses.yml) predicted, and what was found; a line a prediction.

    The caption tells when they were written.
    """
    says = documents.hypotheses()[of]
    rows = []
    for hypothesis, found in judge.tested(data, of).items():
        told = {"hypothesis": says[hypothesis].says, "verdict": judge.settled(found)}
        if isinstance(found, str):
            rows.append(told | {"prediction": found, "outcome": "not tested"})
            continue
        for each in found:
            bound = f"{'±' * (each.side == 'within')}{each.threshold:.3g}".replace("-", "−")
            row = told | {"prediction": f"{each.what}: {each.side} {bound}"}
            rows.append(row | each.found._asdict() | {"outcome": each.outcome})
    table = pd.DataFrame(rows).reindex(
        columns=["hypothesis", "verdict", "prediction", "estimate", "low", "high", "n", "outcome"]
    )
    shown = table[["hypothesis", "prediction"]].assign(
        found=[words.precise(row.estimate, row.low, row.high) for row in table.itertuples()], outcome=table.outcome
    )
    again = shown.hypothesis.duplicated()
    shown.loc[again, "hypothesis"] = ""
    shown.loc[~again, "hypothesis"] += " **" + table.verdict[~again].str.capitalize() + ".**"
    return listing(shown, name, caption=caption, data=table)
