"""No claim without a judge, no verdict without evidence, no evidence without seeds; the page says what the rows do."""

import csv
import io
import json
import math
import re
import shutil

import pytest

from lnlab.analysis.claims import VERDICTS, Direction, Number, Sum
from lnlab.analysis.stats import Interval
from lnlab.report import ledger
from lnlab.report.evidence import Data, Untestable, documents
from lnlab.runs import load

DOCUMENTS = ["D1", "D2", "D3", "D4", "D5"]
UP = Direction("effect", Interval(2.0, 1.0, 3.0, 7), "above", printed=5.0)
LEVEL = Number("level", 50.0, Interval(10.0, 9.0, 11.0, 7), 4.0, 16.0, 1)
TOTAL = Sum("share", "483 / 5000", 9.66, 96.6, 0.05)


@pytest.fixture(scope="module")
def found(tiny_study):
    return ledger.ledger(Data(tiny_study))


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_claim_has_a_judge_and_every_judge_a_claim(document):
    assert set(ledger.judges(document)) == {claim["id"] for claim in documents()[document]["claims"]}


def test_every_claim_gets_one_verdict(found):
    listed = [claim["id"] for document in DOCUMENTS for claim in documents()[document]["claims"]]
    assert [entry.id for entry in found if entry.document in DOCUMENTS] == listed
    assert {entry.verdict.verdict for entry in found} <= set(VERDICTS)


def test_every_verdict_but_untestable_has_evidence_and_all_have_a_reason(found):
    for entry in found:
        assert bool(entry.verdict.evidence) == (entry.verdict.verdict != "untestable"), entry.id
        assert entry.verdict.reason, entry.id


def test_all_evidence_rests_on_seeds(found):
    for entry in found:
        for each in entry.verdict.evidence:
            assert each.what, entry.id
            assert isinstance(each, Sum) or each.found.n >= 2, (entry.id, each.what)


def test_all_evidence_that_is_measured_names_its_runs(found):
    for entry in found:
        if any(not isinstance(each, Sum) for each in entry.verdict.evidence):
            assert entry.verdict.runs, entry.id


def entry(*evidence, claim=None, runs=("a3c-gru-ln",)):
    judged = ledger.judge("D1.1", list(evidence), runs=runs, **({} if evidence else {"reason": "asked, not claimed"}))
    given = {"id": "D1.1", "kind": "measured", "section": "s", "says": "a < b & c"}
    return ledger.Entry("D1", given | (claim or {}), judged, runs)


def test_rows_of_each_type_of_evidence():
    rows = ledger.evidence_rows([entry(UP, LEVEL, TOTAL)]).set_index("type")
    assert rows.loc["direction", ["printed", "estimate", "n", "rule", "outcome"]].tolist() == [
        5.0, 2.0, 7, "above 0", "holds",
    ]  # fmt: skip
    assert rows.loc["number", ["printed", "n", "rule", "outcome"]].tolist() == [50.0, 7, "4 to 16", "differs"]
    assert rows.loc["sum", ["estimate", "rule", "outcome"]].tolist() == [9.66, "483 / 5000, ± 0.05", "wrong"]


def test_a_row_shows_the_verdict_in_words_links_its_place_and_escapes_the_text():
    row = ledger._row(entry(UP, claim={"origin": "of <two> batches"}))
    assert 'data-document="D1" data-kind="measured" data-verdict="replicated"' in row
    assert "✓ replicated</span>" in row
    assert 'href="d1.html#claim-d1-1"' in row
    assert "a &lt; b &amp; c" in row
    assert "of &lt;two&gt; batches" in row
    assert 'href="runs/a3c-gru-ln.html"' in row
    assert "\n" not in row


def test_a_card_stands_where_the_ledger_points():
    given = entry(UP)
    assert f'id="{given.anchor}"' in ledger.cards([given]).text
    assert f"#{given.anchor}" in ledger._row(given)


def test_downloads_hold_every_verdict_and_its_evidence():
    data, metadata = ledger.table([entry(UP, LEVEL), entry()])._repr_mimebundle_()
    assert set(metadata["lnlab"]["files"]) <= set(data)
    assert all(f"/figures/{name}>" in data["text/markdown"] for name in metadata["lnlab"]["files"].values())
    first, second = json.loads(data["text/json"])["claims"]
    assert [each["what"] for each in first["evidence"]] == ["effect", "level"]
    assert first["evidence"][1]["printed"] == 50.0
    assert (second["verdict"], second["evidence"], second["reason"]) == ("untestable", [], "asked, not claimed")
    rows = list(csv.DictReader(io.StringIO(data["text/csv"])))
    assert [(row["verdict"], row["n"]) for row in rows] == [("direction only", "7"), ("untestable", "0")]


def test_json_has_no_value_that_json_lacks():
    text = ledger.as_json([entry(Direction("x", Interval(1.0, math.nan, math.nan, 2), "above", printed=math.inf))])
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    (evidence,) = json.loads(text)["claims"][0]["evidence"]
    assert (evidence["low"], evidence["printed"]) == (None, "infinite")


def test_counts_add_up_in_the_sentence_and_the_table():
    entries = [entry(UP), entry(UP, LEVEL), entry(TOTAL)]
    assert ledger.sentence(entries) == "Of 3 claims: 1 replicated, 1 direction only, 1 arithmetic error."
    shown = ledger.count_table(entries).shown.set_index("verdict")
    assert shown.index.tolist() == list(VERDICTS)
    assert shown.D1.sum() == 3
    assert "all" not in shown  # of one document


def test_a_missing_run_makes_a_claim_untestable_and_names_it(tiny_study, monkeypatch):
    def needs(data, values):
        return [data.of("long")], ""

    monkeypatch.setattr(
        ledger, "judges", lambda document: {claim["id"]: needs for claim in documents()["D1"]["claims"]}
    )
    first = ledger.entries(Data(tiny_study), "D1")[0].verdict
    assert (first.verdict, "profile 'long'" in first.reason) == ("untestable", True)


def test_verdicts_that_the_original_protocol_would_change_are_listed(tiny_study, tmp_path):
    for run in tiny_study.runs:
        shutil.copytree(run.dir, tmp_path / "main" / run.id)
        if run.config.algorithm == "a3c":
            shutil.copytree(run.dir, tmp_path / "original" / f"{run.id}-carry")
    data = Data(load(tmp_path / "main"))
    entries = ledger.entries(data, "D1")
    assert "None of the 25 verdicts" in ledger.carried(data, entries)
    shutil.rmtree(tmp_path / "original" / "a3c-gru-ln-carry")
    changed = ledger.carried(data, entries).shown
    assert set(changed.carried) == {"untestable"}
    assert "D1.1" in set(changed.claim)
    shutil.rmtree(tmp_path / "original")
    assert "profile 'original', which was not run" in ledger.carried(Data(load(tmp_path / "main")), entries)


def test_an_untestable_claim_keeps_its_reason(tiny_study, monkeypatch):
    monkeypatch.setattr(
        ledger, "judges", lambda document: dict.fromkeys((c["id"] for c in documents()["D1"]["claims"]), _asked)
    )
    assert ledger.entries(Data(tiny_study), "D1")[0].verdict.reason == "asked, not claimed"


def test_words_have_as_many_digits_as_the_interval_supports():
    assert ledger.interval_words(12.3456, 10.12, 14.5) == "12.3 [10.1,\xa014.5]"
    assert ledger.interval_words(0.123456, 0.1231, 0.1239) == "0.12346 [0.12310,\xa00.12390]"
    assert ledger.interval_words(402.1, 341.2, 462.9) == "402 [341,\xa0463]"
    assert ledger.interval_words(9.66, math.nan, math.nan) == "9.7"


def _asked(data, values):
    return Untestable("asked, not claimed")
