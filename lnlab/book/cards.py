"""Claims with their verdicts as HTML: a card each, the table of all, counts. The words come from `lnlab.claims`."""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2
import pandas as pd

from lnlab.analysis.claims import VERDICTS
from lnlab.book import output, words
from lnlab.claims import documents, judge
from lnlab.claims.judge import Entry
from lnlab.claims.ledger import counts, evidence_rows, verdict_rows
from lnlab.claims.studies import Data, Missing

SYMBOL = dict(zip(VERDICTS, "✓≈✗?Σ–", strict=True))  # beside the word: a verdict is never told by colour alone
BEFORE = documents.FOLDER / "verdicts-before.csv"  # of each claim, under the rule until 2026-11-27

_TEMPLATES = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
_PARTS = """
{% macro badge(verdict) -%}
<span class="verdict verdict-{{ verdict.replace(' ', '-') }}">{{ symbol[verdict] }} {{ verdict }}</span>
{%- endmacro %}
{% macro badges(verdict) -%}
{{ badge(verdict.verdict) }}{% if verdict.substance %} in substance {{ badge(verdict.substance) }}{% endif %}
{%- endmacro %}
{% macro found(text) %}{% if text %}<p class="claim-found">{{ text }}</p>{% endif %}{% endmacro %}
{% macro body(entry, rows, alone) %}
{% if entry.claim.quote %}<p><b>In the document's words.</b> {{ entry.claim.quote }}</p>{% endif %}
{% if rows %}<table class="table evidence"><thead><tr>
{% for name in ('evidence', 'printed', 'here [95 %]', 'n', 'expected', 'outcome', 'could tell') %}
<th scope="col">{{ name }}</th>{% endfor %}
</tr></thead><tbody>
{% for row in rows %}<tr>{% for cell in row %}<td>{{ cell }}</td>{% endfor %}</tr>{% endfor %}
</tbody></table>{% endif %}
<p><b>Verdict: {{ entry.verdict }}.</b> {{ sentence(entry.verdict.reason) }}.</p>
{% if entry.note %}<p><b>Note.</b> {{ entry.note }}</p>{% endif %}
{% if entry.claim.origin %}<p><b>Where the printed number comes from.</b> {{ entry.claim.origin }}.</p>{% endif %}
{% if alone and entry.used %}<p><b>Arms.</b> {{ entry.used | join(', ') }}</p>
{% elif entry.runs and not alone %}<p><b>Runs.</b>
{% for run in entry.runs %}<a href="runs/{{ run }}.html">{{ run }}</a>{{ ', ' if not loop.last }}{% endfor %}</p>
{% endif %}
{% endmacro %}
"""
_CARD = _TEMPLATES.from_string(
    _PARTS
    + """
<details class="claim" id="{{ entry.anchor }}"><summary><b>{{ entry.id }}</b> {{ badges(entry.verdict) }}
{{ entry.claim.says }} <span class="claim-kind">({{ entry.claim.kind }})</span></summary>
{{ found(text) }}<p><a href="claims.html#{{ place(entry) }}">Evidence in the ledger</a></p></details>
"""
)
_ROW = _TEMPLATES.from_string(
    _PARTS
    + """
<tbody id="{{ place(entry) }}" data-document="{{ entry.document }}" data-kind="{{ entry.claim.kind }}"
data-verdict="{{ entry.verdict.verdict }}">
<tr><th scope="row">{% if alone %}{{ entry.id }}{% else %}
<a href="{{ entry.document.lower() }}.html#{{ entry.anchor }}">{{ entry.id }}</a>{% endif %}</th>
<td>{{ entry.claim.kind }}</td><td>{{ badges(entry.verdict) }}</td><td>{{ entry.claim.says }}</td></tr>
<tr><td></td><td colspan="3">{{ found(text) }}<details{{ ' open' if alone }}>
{#- #}<summary>{{ sentence(entry.verdict.reason) }}</summary>
{{ body(entry, rows, alone) }}</details></td></tr></tbody>
"""
)


@dataclass(frozen=True)
class Attached:
    """Markdown with files that it links to for download: media type → (file name, content)."""

    text: str
    files: Mapping[str, tuple[str, str]]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> output.Bundle:
        names = {kind: name for kind, (name, _) in self.files.items()}
        links = [f"{{download}}`{name.rsplit('.')[-1].upper()} </figures/{name}>`" for name in names.values()]
        contents = {kind: content for kind, (_, content) in self.files.items()}
        page = f"{self.text}\n\nData: {' · '.join(links)}\n"
        data = {"text/markdown": page, "text/plain": self.text, **contents}
        return data, {output.KEY: {"kind": "text", "files": names}}


def cards(found: Sequence[Entry], section: str = "") -> Attached:
    """Claims of a document, each with what was found and a link to its evidence, which stands in the ledger alone."""
    name = "-".join(["claims", found[0].document.lower(), *section.split()])
    files = {"text/csv": (f"{name}.csv", output.csv(evidence_rows(found)))}
    return Attached("\n\n".join(_rendered(_CARD, entry) for entry in found), files)


def table(found: Sequence[Entry]) -> Attached:
    """The table of all claims with its downloads; _static/claims.js adds filters."""
    claims = verdict_rows(found).to_dict("records")
    for claim, entry in zip(claims, found, strict=True):
        claim["evidence"] = [_json(row) for row in evidence_rows([entry]).drop(columns="claim").to_dict("records")]
    whole = json.dumps({"counts": counts(found), "claims": claims}, ensure_ascii=False, indent=1) + "\n"
    csv = output.csv(verdict_rows(found))
    return Attached(
        ledger(found), {"text/csv": ("claims-verdicts.csv", csv), "text/json": ("claims-verdicts.json", whole)}
    )


def ledger(found: Sequence[Entry], *, alone: bool = False) -> str:
    """The table of all claims as HTML; `alone` on a page that has no book around it: open, and without links."""
    head = "".join(f'<th scope="col">{name}</th>' for name in ("claim", "kind", "verdict", "what it says"))
    rows = "\n".join(_rendered(_ROW, entry, alone=alone) for entry in found)
    return f'<table class="table ledger"><thead><tr>{head}</tr></thead>\n{rows}\n</table>'


def count_table(found: Sequence[Entry], name: str = "counts") -> output.TableOutput:
    """Claims by verdict, a line each verdict, a column each document."""
    each = {document: [e for e in found if e.document == document] for document in _documents(found)}
    columns = {document: counts(mine) for document, mine in each.items()}
    columns |= {"all": counts(found)} if len(each) > 1 else {}
    rows = pd.DataFrame(columns).rename_axis("verdict").reset_index()
    caption = f"Claims by verdict; the evidence has up to n = {int(verdict_rows(found).n.max())} seeds per arm."
    return output.table(name, rows, caption=caption)


ELSEWHERE = output.Text("*The verdicts before are those of the published runs; these are others.*")


def changes(found: Sequence[Entry], name: str = "changes") -> output.TableOutput | output.Text:
    """Each claim's verdict under the rule before, its verdict now, and why; words where other runs are judged."""
    if not all(each.found for each in found):
        return ELSEWHERE
    before = pd.read_csv(BEFORE).set_index("claim")
    rows = [
        {"claim": each.id, "before": before.verdict[each.id], "now": str(each.verdict), "why": each.verdict.reason}
        for each in found
    ]
    caption = f"All {len(rows)} verdicts, under the rule until 2026-11-27 and now."
    return output.table(name, pd.DataFrame(rows), caption=caption)


def change_counts(found: Sequence[Entry], name: str = "change-counts") -> output.TableOutput | output.Text:
    """How many claims went from which verdict to which; words where other runs are judged."""
    if not all(each.found for each in found):
        return ELSEWHERE
    before = pd.read_csv(BEFORE).set_index("claim").verdict
    now = [each.verdict.verdict for each in found]
    counted = pd.crosstab([before[each.id] for each in found], now, margins=True, margins_name="all")
    order = ["replicated", "direction only", "not replicated", "contradicted", "arithmetic error", "untestable", "all"]
    shown = counted.reindex(index=order, columns=[*VERDICTS, "all"], fill_value=0).rename_axis("before", columns=None)
    caption = "Claims by their verdict before (rows) and now (columns)."
    return output.table(name, shown.reset_index(), caption=caption)


def carried(data: Data, found: Sequence[Entry], name: str = "carried") -> output.TableOutput | output.Text:
    """The verdicts that would be others had A3C carried its gradients over, as in the original; words without runs."""
    try:
        other = data.carried()
    except Missing as missing:  # the ledger of a report does without this table
        return output.Text(f"*Not shown here: it {missing}.*")
    again = [entry for document in _documents(found) for entry in judge.entries(other, document)]
    pairs = [each for each in zip(found, again, strict=True) if str(each[0].verdict) != str(each[1].verdict)]
    rows = [
        {"claim": here.id, "says": here.claim.says, "here": str(here.verdict), "carried": str(there.verdict)}
        for here, there in pairs
    ]
    caption = (
        f"Verdicts that the original's carried gradient would change: {len(pairs)} of {len(found)}; up to n = "
        f"{int(verdict_rows(again).n.max())} seeds per arm."
    )
    shown = pd.DataFrame(rows, columns=["claim", "says", "here", "carried"])
    return output.table(name, shown, caption=caption, data=evidence_rows(there for _, there in pairs))


def _documents(found: Iterable[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.document for entry in found))


def _rendered(template: jinja2.Template, entry: Entry, *, alone: bool = False) -> str:
    """One line, since a blank one would end the HTML."""
    rows = [_cells(row) for row in evidence_rows([entry]).to_dict("records")]
    said = words.filled(entry.found, entry.verdict.evidence)
    capital = lambda reason: reason[:1].upper() + reason[1:]  # noqa: E731
    place = lambda entry: entry.anchor.replace("claim", "ledger", 1)  # noqa: E731
    given = {"entry": entry, "rows": rows, "symbol": SYMBOL, "text": said, "sentence": capital, "place": place}
    text = template.render(given, alone=alone)
    return re.sub(r"[ \n]+", " ", text).strip()


def _cells(row: dict[str, Any]) -> list[str]:
    """A row of evidence as the words of its cells."""
    if row["type"] == "untested":
        return [row["what"], "", "not run", "", "", row["outcome"], "no"]
    if row["type"] == "sum":
        rule, tell = f"{row['formula']}, ± {row['rounding']:g}", ""
    else:
        bound = f"{row['side']} {'±' if row['side'] == 'within' else ''}{words.few(row['bound'])}"
        rule = f"± {words.few(row['margin'], 3)}" if row["type"] == "number" else bound
        tell = f"{row['could_tell']} ({words.few(row['half_width'], 2)} against {words.few(row['resolves'], 2)})"
    printed = "" if math.isnan(row["printed"]) else words.few(row["printed"], 6)
    here = words.precise(row["estimate"], row["low"], row["high"])
    return [row["what"], printed, here, str(row["n"] or ""), rule, row["outcome"], tell]


def _json(row: dict[str, Any]) -> dict[str, Any]:
    """A row as JSON knows it: without what is not there; infinity a word."""
    kept = {name: value for name, value in row.items() if not (isinstance(value, float) and math.isnan(value))}
    return {name: "infinite" if value in (math.inf, -math.inf) else value for name, value in kept.items()}
