"""What a cell shows: tables as words, sentences that hold, cards of claims, outputs with all that a page needs."""

import hashlib
import io
import re
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from docutils import nodes
from docutils.utils import new_document
from matplotlib.figure import Figure

from lnlab.analysis.claims import VERDICTS, Direction, Number, Sum, judge
from lnlab.analysis.stats import Interval
from lnlab.book import cards, holds, output, plot, show, style, svg, terms
from lnlab.claims.documents import Claim
from lnlab.claims.judge import Entry
from lnlab.claims.studies import Data
from lnlab.models.norms import NORMS
from lnlab.paths import BOOK, PUBLISHED

RUNS = ("a3c-gru-ln",)


# -- sentences and tables ---------------------------------------------------------------------------------------------
def test_a_sentence_that_the_data_deny_stops_the_published_book_and_is_left_out_of_a_report(tmp_path) -> None:
    said = ("LayerNorm helps.", True), ("It always does.", False)
    published, report = (SimpleNamespace(main=SimpleNamespace(dir=each / "x")) for each in (PUBLISHED, tmp_path))
    with pytest.raises(show.NoLongerTrueError, match=r"no longer say so: It always does\.$"):
        holds(published, *said)
    assert holds(published, said[0]) == holds(report, *said) == "LayerNorm helps."
    assert "None of what the published runs show" in holds(report, said[1])


def rows(**columns: object) -> pd.DataFrame:
    return pd.DataFrame({"arm": ["b", "b", "a"], "measure": ["x", "y", "x"], "low": np.nan, "high": np.nan} | columns)


def test_a_table_keeps_the_order_of_appearance_and_tells_seeds_and_interval() -> None:
    found = rows(estimate=[10.0, -2.25, 30], low=[9.0, -3, np.nan], high=[11.0, -1, np.nan], n=[30, 30, 10])
    shown = show.table(found, "levels", caption="Levels.")
    assert shown.shown.to_dict("list") == {
        "arm": ["b", "a"],
        "x": ["10.0 [9.0,\xa011.0]", "30.0"],
        "y": ["−2.25 [−3.00,\xa0−1.00]", "n/a"],  # small numbers have two decimals
    }
    assert shown.caption == "Levels. 95 % intervals over n = 10 to 30 seeds."
    assert shown.data is found
    assert show.table(found, "levels", caption="x", digits={"x": 0}).shown.x[0] == "10 [9,\xa011]"
    assert "not there" in show.table(found[:0], "levels", caption="x")
    ordered = found.assign(measure=pd.Categorical(found.measure, ["z", "y", "x"]))
    assert [*show.table(ordered, "levels", caption="x").shown] == ["arm", "y", "x"]


def test_markdown_escapes_what_would_end_a_cell_and_aligns_numbers() -> None:
    shown = {"setting": ["a|b", "5 workers"], "late": ["not within 50", "−3.2 [−4, −1]"], "who": ["LN", "3"]}
    lines = output.markdown(pd.DataFrame(shown)).splitlines()
    assert lines[1] == "| :-- | --: | :-- |"
    assert "a\\|b" in lines[2]


# -- cards ------------------------------------------------------------------------------------------------------------
def entry(*evidence: object, says: str = "Says <b>this</b>", number: int = 1) -> Entry:
    claim = Claim(kind="measured", section="one two", says=says, untestable="never")
    verdict = judge(list(evidence), reason="" if evidence else "not <asked>")
    return Entry(
        "D9", f"D9.{number}", claim, verdict, "", RUNS, RUNS, found="It is {effect}, not <b>." if evidence else ""
    )


EVIDENCE = (
    Direction("effect", Interval(2.0, 1.0, 3.0, 30), "above"),
    Number("level", 7.0, Interval(10.0, 9.0, 11.0, 20), 1.75),
    Sum("sum", "1 + 1", 2.0, 2.0, 0.5),
)


def test_a_card_is_one_line_of_html_with_its_anchor_and_a_link_to_the_evidence_and_everything_escaped() -> None:
    shown = cards.cards([entry(*EVIDENCE), entry(number=2)], "one two")
    first, second = shown.text.split("\n\n")
    assert "\n" not in first
    assert 'id="claim-d9-1"' in first
    assert "Says &lt;b&gt;this&lt;/b&gt;" in first
    assert "✗ false" in first  # half of the rows
    assert '<p class="claim-found">It is 2.0 [1.0,\xa03.0], not &lt;b&gt;.</p>' in first
    assert '<a href="claims.html#ledger-d9-2">' in second


def test_the_ledger_has_the_evidence_the_runs_and_the_place_that_cards_link_to() -> None:
    text = cards.table([entry(*EVIDENCE), entry(number=2)]).text
    assert 'id="ledger-d9-1"' in text
    assert '<a href="runs/a3c-gru-ln.html">' in text
    assert "Not &lt;asked&gt;." in text
    told = [re.findall("<td>(.*?)</td>", row)[1:] for row in re.findall("<tr>(.*?)</tr>", text)]
    assert [row for row in told if len(row) == 6] == [
        ["", "2.0 [1.0,\xa03.0]", "30", "above 0", "holds", "yes (1 against 2)"],
        ["7", "10.0 [9.0,\xa011.0]", "20", "± 1.75", "differs", "yes (1 against 1.8)"],
        ["2", "2.0", "", "1 + 1, ± 0.5", "right", ""],
    ]


def test_cards_and_ledger_offer_their_numbers_for_download() -> None:
    shown = cards.cards([entry(*EVIDENCE)], "one two")
    data, about = shown._repr_mimebundle_()
    assert about[output.KEY]["files"] == {"text/csv": "claims-d9-one-two.csv"}
    assert "{download}`CSV </figures/claims-d9-one-two.csv>`" in data["text/markdown"]
    assert data["text/csv"].splitlines()[1] == "D9.1,effect,direction,False,,2,1,3,30,above,0,,,,holds,yes,1,2"
    ledger = cards.table([entry(*EVIDENCE), entry(number=2)])
    assert ledger.text.count('href="d9.html#claim-d9-') == 2
    whole = ledger.files["text/json"][1]
    assert '"not testable here": 1' in whole
    assert "NaN" not in whole
    assert cards.count_table([entry(*EVIDENCE), entry(number=2)]).shown.D9.tolist() == [0, 0, 1, 0, 0, 1]


def test_verdicts_before_and_now_are_told_of_published_runs_alone() -> None:
    first = replace(entry(*EVIDENCE), id="D1.4")
    told = cards.changes([first]).shown
    assert told[["claim", "before", "now"]].to_numpy().tolist() == [["D1.4", "direction only", "false"]]
    assert cards.change_counts([first]).shown.set_index("before").loc["direction only", "false"] == 1
    for each in (cards.changes, cards.change_counts):
        assert "published runs" in each([replace(first, found="")])


def test_a_sentence_that_names_no_row_stops_the_book() -> None:
    wrong = replace(entry(*EVIDENCE), found="It is {efect}.")
    with pytest.raises(KeyError, match="efect"):
        cards.cards([wrong])


def test_badges_of_all_verdicts_are_readable_in_light_and_dark() -> None:
    css = (BOOK / "_static" / "lnlab.css").read_text(encoding="utf-8")
    for verdict in VERDICTS:
        (colour,) = re.findall(rf"\.verdict-{verdict.replace(' ', '-')} {{ background: (#\w{{6}}); }}", css)
        parts = np.array([int(colour[place : place + 2], 16) for place in (1, 3, 5)]) / 255
        linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
        assert 1.05 / (linear @ [0.2126, 0.7152, 0.0722] + 0.05) >= 4.5  # white words on it, on a page of either kind
    assert len({*cards.SYMBOL.values()}) == len(VERDICTS)


# -- outputs ----------------------------------------------------------------------------------------------------------
def drawings() -> dict[str, str]:
    grid = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=["seen", "extra"], columns=["LN", "none"])
    found = rows(estimate=[60.0, 61, 72], low=[58.0, 60, 70], high=[62.0, 63, 74], norm=["none", "none", "ln"])
    drawn = {"dots": plot.dots(found, xlabel="return", references={"x": {"uniform": 70.0}}),
             "heatmap": plot.heatmap(grid, "return", separators=[1])}  # fmt: skip
    return {name: style.svg(each) for name, each in drawn.items()}


def digests() -> str:
    return str({name: hashlib.sha256(svg.encode()).hexdigest() for name, svg in drawings().items()})


def test_figures_have_the_same_bytes_in_another_process_and_suit_light_and_dark_pages() -> None:
    line = [sys.executable, "-c", "from tests.test_show import digests; print(digests())"]
    other = subprocess.run(line, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77", "PATH": ""})
    assert other.stdout.strip() == digests()
    for drawing in drawings().values():
        assert "<dc:date>" not in drawing
        assert "fill: #fff" not in drawing
        assert "</text>" in drawing  # text stays text: small, and found by a search


def test_a_figure_carries_what_a_page_needs_and_refuses_a_wrong_name_or_no_alt_text() -> None:
    frame = pd.DataFrame({"seed": [0], "return": [62.0]})
    data, about = output.FigureOutput("my-curve", "<svg/>", "A <b>", "C", frame)._repr_mimebundle_()
    assert 'aria-label="A &lt;b&gt;"' in data["text/html"]
    assert data["text/csv"] == "seed,return\n0,62\n"
    assert about[output.KEY] == {"kind": "figure", "name": "my-curve", "alt": "A <b>", "caption": "C"}
    for name, alt, wrong in (("My curve", "a", "name 'My curve'"), ("curve", " ", "needs a text for 'alt'")):
        with pytest.raises(ValueError, match=wrong):
            output.FigureOutput(name, "<svg/>", alt, "caption", frame)


def test_alt_text_tells_the_extremes_of_joined_parts_and_nothing_where_there_are_none():
    part = pd.DataFrame({"measure": "return", "arm": ["a", "b"], "estimate": [1.0, np.nan]})
    other = part.assign(arm=["c", "d"], estimate=[-2.0, 3.0])
    assert show.extremes(pd.concat([part, other])) == "return: lowest c −2, highest d 3."
    assert show.extremes(pd.DataFrame({"x": [1.0]})) == ""


def test_a_compact_drawing_has_every_corner_where_it_was_and_each_point_of_a_cloud() -> None:
    rng = np.random.default_rng(0)
    cloud = pd.DataFrame({"x": rng.normal(size=40), "y": rng.normal(size=40), "arm": "a", "norm": "ln"})
    cells = pd.DataFrame(rng.normal(size=(3, 4)), index=list("abc"), columns=list("wxyz"))
    drawn = [plot.points(cloud, x="x", y="y", xlabel="x", ylabel="y"), plot.heatmap(cells, "value")]
    for whole in map(saved, drawn):
        small = svg.compact(whole)
        assert svg.compact(small) == small
        assert len(small) < 0.7 * len(whole)
        references = re.findall(r'(?:href="|url\()#([\w.-]+)', small)
        marks = re.findall(r' id="([^"]*)"', small)
        assert set(references) <= set(marks)
        assert len(marks) == len(set(marks))
        ElementTree.fromstring(small)
    path = "M 10 20 \nL 10.04 20 \nL 12.25 -3.5 \nC 1 2 3 4 5 6 \nL 0 0.04 \nz"
    assert corners(svg._relative(path)) == [(10, 20), (10, 20), (12.2, -3.5), (1, 2), (3, 4), (5, 6), (0, 0)]
    assert len(corners(re.findall(r' d="([^"]*)"[^>]* marker:', svg.compact(saved(drawn[0])))[0])) == 40


def saved(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg")
    return buffer.getvalue()


def corners(path: str) -> list[tuple[float, float]]:
    """Where the points of a relative path lie, by the rules of SVG, one number after the other."""
    found, here = [], (0.0, 0.0)
    for command, numbers in re.findall(r"([MlcM])([^MlczZ]*)", path):
        flat = [float(each) for each in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", numbers)]
        size = 6 if command == "c" else 2
        for start in range(0, len(flat), size):
            part = flat[start : start + size]
            steps = [
                (part[i] + here[0] * (command != "M"), part[i + 1] + here[1] * (command != "M"))
                for i in range(0, size, 2)
            ]
            found += steps
            here = steps[-1]
    return [(round(x, 1) + 0.0, round(y, 1) + 0.0) for x, y in found]


# -- the head of a page, and terms ------------------------------------------------------------------------------------
def test_quick_facts_read_agents_extent_and_seeds_from_the_runs() -> None:
    told = show.origin(Data.at(), ["a3c-gru-ln", "a3c-gru-none", "individual-gru-ln"], "D1")
    assert told == {
        "agents": "A3C GRU and Individual GRU; 3 arms",
        "environment": "task offloading, 5 workers, 2,000 episodes each",
        "seeds": "30 per arm",
        "claims": "{doc}`all of D1 with their verdicts </claims>`",
    }
    shown = show.facts("Does it?", "It does.", **told).splitlines()
    assert shown[3:6] == ["- **Question:** Does it?", "- **Answer:** It does.", f"- **Agents:** {told['agents']}"]
    driving = show.origin(Data.at(), ["td3-ln-leaky-b32"] * 2)  # a line for each of two measures
    assert (driving["agents"], driving["environment"]) == ("TD3; 1 arm", "driving by camera, 5,000 steps")


def test_a_link_to_a_term_shows_its_definition() -> None:
    term, other = (nodes.reference(refuri=f"{page}.html#term-arm") for page in ("glossary", "elsewhere"))
    page = new_document("page")
    page += [term, other]
    glossary = new_document("glossary")
    item = nodes.definition_list_item("", nodes.term(ids=["term-arm"]))
    item += nodes.definition("", nodes.paragraph(text="One combination\nof settings."))
    glossary += item
    env = SimpleNamespace(found_docs={"glossary"}, get_doctree={"glossary": glossary}.get)
    terms._define(SimpleNamespace(env=env), page, "page")
    assert term["reftitle"] == "One combination of settings."
    assert "reftitle" not in other


def test_text_of_figures_and_diagrams_stands_out_on_the_light_and_on_the_dark_page() -> None:
    (factor,) = re.findall(r"brightness\(([\d.]+)\)", (BOOK / "_static" / "lnlab.css").read_text(encoding="utf-8"))
    drawn = [path.read_text(encoding="utf-8") for path in (BOOK / "_static" / "diagrams").glob("*.svg")]
    colours = {style.GREY, *(colour for text in drawn for colour in re.findall(r"fill: (#\w+)", text))}
    assert len(colours) == 4
    for colour in colours:
        full = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
        text = np.array([int(full[i : i + 2], 16) for i in (1, 3, 5)])
        assert contrast(text, np.full(3, 255 if colour == style.GREY else 240)) >= 4.5  # the white page, a box on it
        assert contrast(np.minimum(255, text * float(factor)), np.full(3, 0x1C)) >= 4.5


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """Of two sRGB colours, by the rule of WCAG 2."""
    linear = (np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4) for c in (one / 255, other / 255))
    low, high = sorted(float(c @ [0.2126, 0.7152, 0.0722]) for c in linear)
    return (high + 0.05) / (low + 0.05)


def test_type_of_every_figure_is_ten_pixels_or_more_in_the_column_of_a_laptop() -> None:
    column = 680  # CSS pixels of the text in a window of 1280
    for path in [*(BOOK / "figures").glob("*.svg"), *(BOOK / "_static" / "diagrams").glob("*.svg")]:
        text = path.read_text(encoding="utf-8")
        width = float(re.search(r'viewBox="0 0 ([\d.]+)', text)[1])
        natural = width * (4 / 3 if f'width="{width:g}pt"' in text else 1)
        sizes = [float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", text)]
        assert min(sizes) * min(natural, column) / width >= 10, path.name


def test_each_of_a_few_rates_has_a_tick_of_its_own():
    rates = [1e-4, 3e-4, 1e-3, 3e-3]
    rows = pd.DataFrame({"lr": rates, "measure": "x", "norm": "ln", "estimate": 1.0, "low": 0.0, "high": 2.0})
    figure = plot.lines(rows, x="lr", xlabel="rate", ylabel="return", log=True)
    figure.canvas.draw()
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1e-4", "3e-4", "1e-3", "3e-3"]
    assert not figure.axes[0].get_xticks(minor=True).size


def test_a_legend_of_long_names_is_no_wider_than_the_figure() -> None:
    names = [norm.label for norm in NORMS.values()]
    rows = pd.DataFrame({"measure": "return", "norm": names, "lr": 1e-4, "estimate": 1.0, "low": 0.0, "high": 2.0})
    figure = plot.lines(rows, x="lr", xlabel="rate", ylabel="return")
    (legend,) = figure.legends
    assert [each.get_text() for each in legend.get_texts()] == names
    assert legend.get_window_extent().width <= 1.01 * figure.bbox.width  # its border is empty
