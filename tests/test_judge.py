"""Judging one's own paper: the worked example, verdicts by hand arithmetic, what is refused, and the page."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest

from benchmarks import own_paper
from lnlab import cli
from lnlab.analysis.stats import clopper_pearson, interval, paired_difference
from lnlab.claims.documents import FOLDER
from lnlab.claims.scores import Scores
from lnlab.claims.studies import Missing
from lnlab.compare import judged
from lnlab.compare.arms import compare
from lnlab.compare.scores import checked, read
from lnlab.config import ConfigError
from lnlab.files import write_sealed
from lnlab.paths import BOOK, PUBLISHED, ROOT
from tests.by_hand import made
from tests.fakes import refusal, small

ONE = """title: A paper
claims:
  A.1:
    kind: comparison
    says: ln is better than none
    evidence:
      - ROW
"""
MINUS = '{minus: ln minus none, of: ["score of ln", "score of none"], side: above}'
LN, NONE = np.array([5.0, 7.0, 6.0, 9.0, 8.0]), np.array([4.0, 5.0, 6.5, 6.0, 5.0])


def table(tmp_path, rows=None, name="scores.csv"):
    """Five seeds of two arms, or other rows, as a file."""
    if rows is None:
        rows = [(arm, seed, score) for arm, own in (("ln", LN), ("none", NONE)) for seed, score in enumerate(own)]
        rows = pd.DataFrame(rows, columns=["arm", "seed", "score"])
    rows.to_csv(tmp_path / name, index=False)
    return tmp_path / name


def paper(tmp_path, row=MINUS, head="", text=ONE):
    path = tmp_path / "claims.yml"
    path.write_text(head + text.replace("ROW", row), encoding="utf-8")
    return path


def verdict(tmp_path, row=MINUS, rows=None, **given):
    _, (entry,) = judged.verdicts(paper(tmp_path, row, **given), table(tmp_path, rows))
    return entry


# -- the worked example -----------------------------------------------------------------------------------------------
def test_the_example_of_the_book_is_the_one_that_ships_and_comes_out_as_printed():
    _, found = judged.verdicts(judged.EXAMPLE / judged.CLAIMS, judged.EXAMPLE / judged.SCORES)
    assert [entry.verdict.verdict for entry in found] == [
        "true", "false", "cannot tell", "arithmetic error", "not testable here",
    ]  # fmt: skip
    printed = (BOOK / "own-paper.txt").read_text(encoding="utf-8").splitlines()
    assert printed[: len(found)] == judged.lines(found)
    assert (BOOK / "own-paper.yml").read_bytes() == (judged.EXAMPLE / judged.CLAIMS).read_bytes()


def test_the_scores_of_the_example_are_those_of_published_runs():
    shipped = pd.read_csv(judged.EXAMPLE / judged.SCORES)
    pd.testing.assert_frame_equal(own_paper.scores(), shipped, atol=1e-3)


@pytest.mark.slow
def test_a_document_of_the_book_gets_the_verdicts_of_the_ledger():
    _, found = judged.verdicts(FOLDER / "d3.yml", PUBLISHED / "paper")
    lines = (ROOT / "tests" / "frozen" / "D3.jsonl").read_text(encoding="utf-8").splitlines()
    frozen = {row["id"]: row["verdict"] for row in map(json.loads, lines) if "verdict" in row}
    assert {entry.id: str(entry.verdict) for entry in found} == frozen
    assert not any(entry.found for entry in found)  # written about the published runs, which need not be these


# -- rows on a table of scores ----------------------------------------------------------------------------------------
def test_a_difference_is_paired_by_seed_whatever_the_order_of_rows(tmp_path):
    rows = pd.read_csv(table(tmp_path)).sample(frac=1, random_state=1)
    (piece,) = verdict(tmp_path, rows=rows).verdict.evidence
    assert piece.found == paired_difference(LN, NONE)


def test_a_share_of_seeds_has_its_exact_interval(tmp_path):
    (wins,) = verdict(tmp_path, MINUS.replace("side", "statistic: wins, bound: 0.5, side")).verdict.evidence
    assert (wins.found, wins.threshold) == (clopper_pearson(4, 5), 0.5)  # seed 2 scores less
    row = "{value: reaches it, of: score_above.6.5, arm: ln, side: above, bound: 0.2}"
    (above,) = verdict(tmp_path, row).verdict.evidence
    assert (above.what, above.found) == ("reaches it", clopper_pearson(3, 5))


def test_levels_changes_sums_of_several_arms_and_orders(tmp_path):
    (level,) = verdict(tmp_path, '{level: "{arm}", of: score, printed: {ln: 7.5}}').verdict.evidence
    assert (level.what, level.found, level.outcome) == ("ln", interval(LN), "open")  # 5.04 to 8.96, within 5.6 to 9.4?
    (change,) = verdict(tmp_path, MINUS.replace("minus:", "change:")).verdict.evidence
    assert change.found.estimate == pytest.approx(100 * (LN.mean() / NONE.mean() - 1))
    row = "{contrast: twice, of: {score of ln: 2, score of none: -1}, side: above}"
    (twice,) = verdict(tmp_path, row).verdict.evidence
    assert twice.found.estimate == pytest.approx(2 * LN.mean() - NONE.mean())


def test_an_arm_at_its_own_best_setting_is_judged_as_compare_judges_it(tmp_path):
    rng = np.random.default_rng(0)
    rows = pd.DataFrame(
        [
            (setting, arm, seed, rng.normal(10 + 3 * (setting == best), 1))
            for arm, best in (("ln", 1e-4), ("none", 1e-3))
            for setting in (1e-4, 1e-3)
            for seed in range(8)
        ],
        columns=["setting", "arm", "seed", "score"],
    )
    own = verdict(tmp_path, rows=rows).verdict.evidence[0].found
    (row,) = compare(checked(rows), "ln", "none").tuned.itertuples()
    assert own == pytest.approx((row.estimate, row.low, row.high, row.n))
    at = '{minus: "at {setting}", of: ["score of ln@1e-3", "score of none@1e-3"], side: above}'
    wide = rows[rows.setting == 1e-3].pivot(index="seed", columns="arm", values="score")
    (piece,) = verdict(tmp_path, at.replace("{setting}", "1e-3"), rows=rows).verdict.evidence
    assert piece.found == paired_difference(wide.ln.to_numpy(), wide.none.to_numpy())
    with pytest.raises(ConfigError, match="needs one setting of ln, as in ln@SETTING"):
        verdict(tmp_path, MINUS.replace("side", "statistic: wins, side"), rows=rows)


def test_arms_of_several_tasks_go_by_task_and_name(tmp_path):
    rows = pd.concat([pd.read_csv(table(tmp_path)).assign(task=task) for task in ("Ant-v5", "Hopper-v5")])
    row = MINUS.replace("of ln", "of Ant-v5/ln").replace("of none", "of Hopper-v5/none")
    assert verdict(tmp_path, row, rows=rows).verdict.evidence[0].found == paired_difference(LN, NONE)
    with pytest.raises(ConfigError, match=r"unknown run id 'ln'; the nearest in .*: Ant-v5/ln, Hopper-v5/ln"):
        verdict(tmp_path, rows=rows)


@pytest.mark.parametrize(
    ("ln", "none", "n"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3], 4),
        ([0, 1, 2, 3], [2, 3], 2),  # the shared ones come first, and ln keeps its four
        ([0, 1, 2], [1, 2, 3], 2),  # 0 and 3 are left out
    ],
)
def test_arms_are_paired_over_the_seeds_that_both_have(ln, none, n):
    rows = [("ln", seed, 10.0 * seed + 1) for seed in ln] + [("none", seed, 10.0 * seed) for seed in none]
    data = Scores.of(checked(pd.DataFrame(rows, columns=["arm", "seed", "score"])), BOOK)
    a, b = (data.score(arm)[:n] for arm in ("ln", "none"))
    assert (a - b).tolist() == [1.0] * n
    assert len(data.score("ln")) == (len(ln) if set(none) <= set(ln) else n)


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (MINUS.replace("minus:", "change:"), "to say by how many percent one is above another"),
        (MINUS.replace("score of", "log10.score of"), "to take their logarithm"),
    ],
)
def test_percentages_and_logarithms_want_scores_above_zero(tmp_path, row, says):
    rows = pd.read_csv(table(tmp_path)).assign(score=lambda every: every.score - 20)
    with pytest.raises(ConfigError, match=f"needs numbers above zero, {says}"):
        verdict(tmp_path, row, rows=rows)


def test_a_claim_on_settings_wants_runs(tmp_path):
    needs = ONE.replace("    evidence", "    needs: {lr: 1e-3}\n    evidence")
    with pytest.raises(ConfigError, match=r"needs runs with lr = 0\.001, and a table of scores tells no settings"):
        verdict(tmp_path, text=needs)


def test_what_only_runs_have_is_not_there(tmp_path):
    data = Scores.of(read(table(tmp_path)), tmp_path)
    with pytest.raises(Missing, match="needs a run of ln, where there is a table of scores"):
        data.metric("ln", "return_mean")
    row = (
        MINUS + "\n      - {minus: more, of: [return_mean of ln, return_mean of none], side: above, otherwise: no runs}"
    )
    entry = verdict(tmp_path, row)
    assert (len(entry.verdict.evidence), entry.note) == (1, "no runs")


# -- runs -------------------------------------------------------------------------------------------------------------
@pytest.fixture
def runs(tmp_path):
    """Two arms of four seeds; LayerNorm scores 5 more."""
    for norm, more in (("none", 0.0), ("ln", 5.0)):
        value = lambda quantity, seed, more=more: 50.0 + seed + more  # noqa: E731
        made(tmp_path / "mine", range(4), value, ("return_final",), norm=norm)
    return tmp_path / "mine"


RUNS = '{minus: "{core}: LayerNorm minus none", of: score, pair: "a3c-gru-{norm}", side: above}'


def test_runs_are_judged_by_the_same_rows_and_by_all_measures_of_the_book(tmp_path, runs):
    _, (entry,) = judged.verdicts(paper(tmp_path, RUNS), runs)
    (piece,) = entry.verdict.evidence
    assert (piece.what, piece.found.estimate, piece.outcome) == ("GRU: LayerNorm minus none", 5.0, "holds")
    single = "{value: x, of: test.greedy, arm: a3c-gru-ln, side: above}"
    _, (entry,) = judged.verdicts(paper(tmp_path, single), runs / "a3c-gru-ln")
    assert entry.verdict.verdict == "true"


def test_a_run_that_is_not_complete_makes_its_claim_not_testable_and_alone_is_refused(tmp_path, runs):
    both = ONE.replace("ROW", RUNS) + ONE[ONE.index("  A.1") :].replace("A.1", "A.2").replace(
        "ROW", "{value: x, of: score, arm: a3c-gru-ln, side: above}"
    )
    write_sealed(runs / "a3c-gru-none" / "provenance.json", {"status": "failed"})
    _, found = judged.verdicts(paper(tmp_path, text=both), runs)
    assert [entry.verdict.verdict for entry in found] == ["not testable here", "true"]
    assert "a3c-gru-none" in found[0].verdict.reason
    with pytest.raises(ConfigError, match="has no complete run: a3c-gru-none is failed"):
        judged.verdicts(paper(tmp_path, text=both), runs / "a3c-gru-none")


def test_a_run_beside_is_found_by_its_profile_and_a_begun_one_is_no_unknown_one(tmp_path, runs):
    made(tmp_path / "wide", range(4), lambda quantity, seed: 90.0 + seed, ("return_final",), hidden=256)
    row = '{minus: wide, of: ["score of wide/a3c-gru-ln-h256", score of a3c-gru-ln], side: above}'
    _, (entry,) = judged.verdicts(paper(tmp_path, row), runs)
    assert entry.verdict.evidence[0].found.estimate == 35.0
    (tmp_path / "wide" / "a3c-gru-ln-h256").rename(runs / "a3c-gru-ln-h256")
    write_sealed(runs / "a3c-gru-ln-h256" / "provenance.json", {"status": "failed"})
    with pytest.raises(ConfigError, match=r"no claim .* A\.1 needs the run a3c-gru-ln-h256 .* which is not complete"):
        judged.verdicts(paper(tmp_path, row.replace("wide/", "")), runs)
    with pytest.raises(ConfigError, match=r"unknown run id 'a3c-gru-lm-h256'; the nearest in .*: a3c-gru-ln-h256, "):
        judged.verdicts(paper(tmp_path, row.replace("wide/a3c-gru-ln", "a3c-gru-lm")), runs)


def test_runs_of_other_seeds_are_not_paired(tmp_path, runs):
    made(runs, range(4, 8), quantities=("return_final",), core="ff")
    with pytest.raises(ConfigError, match="runs of other seeds, and arms are paired by seed"):
        judged.verdicts(paper(tmp_path, RUNS), runs)


# -- names ------------------------------------------------------------------------------------------------------------
ARMS = "arms: {ln: PPO with LayerNorm, none: PPO, rms: PPO with RMSNorm}\n"


def test_declared_arms_are_called_as_declared_and_may_be_absent(tmp_path):
    rms = "{value: x, of: score, arm: rms, side: above, otherwise: RMSNorm was not run}"
    entry = verdict(tmp_path, f"{MINUS}\n      - {rms}", head=ARMS)
    assert ([each.what for each in entry.verdict.evidence], entry.note) == (["ln minus none"], "RMSNorm was not run")
    (piece,) = verdict(tmp_path, '{value: "{arm} scores", of: score, arm: ln, side: above}', head=ARMS).verdict.evidence
    assert piece.what == "PPO with LayerNorm scores"
    with pytest.raises(ConfigError, match=r"no claim .* A\.1 needs scores of rms, which are not there"):
        verdict(tmp_path, "{value: x, of: score, arm: rms, side: above}", head=ARMS)


def test_found_stands_where_all_its_numbers_do(tmp_path):
    found = ONE.replace("    evidence", '    found: "It gains {ln minus none}."\n    evidence')
    assert verdict(tmp_path, text=found).found == "It gains {ln minus none}."
    absent = found + '      - {minus: more, of: ["score of rms", "score of ln"], side: above, otherwise: "none ran"}\n'
    assert verdict(tmp_path, text=absent.replace("{ln minus none}", "{more}"), head=ARMS).found == ""
    with pytest.raises(ConfigError, match=r"found has \{gain\}, the text of no row; the rows are: ln minus none"):
        verdict(tmp_path, text=found.replace("{ln minus none}", "{gain}"))


# -- what is refused --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("row", "head", "says"),
    [
        (MINUS.replace("side", "sid"), "", "claims.yml, line 7: claims, A.1, evidence, row 1, sid: unknown key 'sid'"),
        (MINUS.replace("score of ln", "scroe of ln"), "", "line 7: claims, A.1, evidence, row 1, of: unknown measure"),
        (MINUS.replace("of ln", "of lm"), "", "unknown run id 'lm'; the nearest in"),
        (MINUS.replace("of ln", "of lm"), ARMS, "unknown run id 'lm'; the nearest in the arms of"),
        (MINUS, "titel: x\n", "line 1: titel: unknown key 'titel' (did you mean 'title'?)"),
        (MINUS.replace("minus:", "change:").replace("side", "statistic: wins, side"), "", "write minus in place of"),
        ("{value: x, of: score, arm: rms, side: above}", ARMS, "no claim of"),
        ("{value: x, of: return_mean, arm: ln, side: above}", "", "needs a run of ln, where there is a table of score"),
    ],
)
def test_a_wrong_file_of_claims_is_refused_in_one_line(tmp_path, capsys, row, head, says):
    words = ["judge", str(paper(tmp_path, row, head)), str(table(tmp_path)), "--out", str(tmp_path / "out")]
    assert says in refusal(capsys, *words)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda rows: rows[rows.seed < 1], "needs scores of ln over two seeds or more; there are 1"),
        (lambda rows: rows[:0], "is empty"),
        (lambda rows: rows.assign(seed=rows.seed.where(rows.index != 3)), "row 4 of the runs has no seed"),
    ],
)
def test_wrong_scores_are_refused_in_one_line(tmp_path, capsys, change, says):
    scores = table(tmp_path, change(pd.read_csv(table(tmp_path))))
    assert says in refusal(capsys, "judge", str(paper(tmp_path)), str(scores), "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_folders_without_results_and_half_a_command_are_refused_in_one_line(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("lnlab.runs.RESULTS", tmp_path)
    from lnlab.runs import Run

    begun = Run.open(small())
    begun.release()
    (tmp_path / "empty").mkdir()
    claims = str(paper(tmp_path))
    for words, says in [
        ([claims, str(tmp_path / "empty")], "holds no runs and no scores"),
        ([claims, str(tmp_path / "nothing")], "there is no file or folder"),
        ([claims, str(begun.dir.parent)], f"has no complete run: {begun.id} is stopped"),
        ([claims, str(begun.dir)], f"has no complete run: {begun.id} is stopped"),
        ([str(tmp_path / "no.yml"), str(table(tmp_path))], "cannot read"),
        ([claims], "give CLAIMS.yml and RESULTS"),
        ([claims, claims, "--example"], "give CLAIMS.yml and RESULTS"),
    ]:
        assert says in refusal(capsys, "judge", *words, "--out", str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_example_does_not_take_the_place_of_a_file_that_was_changed(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "judge-example").mkdir()
    mine = tmp_path / "judge-example" / "claims.yml"
    mine.write_text("title: mine", encoding="utf-8")
    assert "claims.yml is not that of the example, and would be lost" in refusal(capsys, "judge", "--example")
    assert mine.read_text(encoding="utf-8") == "title: mine"
    assert [each.name for each in mine.parent.iterdir()] == ["claims.yml"]


# -- the page ---------------------------------------------------------------------------------------------------------
def test_the_page_stands_alone_with_verdicts_intervals_and_tables(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in (judged.CLAIMS, judged.SCORES):
        shutil.copy(judged.EXAMPLE / name, tmp_path)
    text = (tmp_path / judged.CLAIMS).read_text(encoding="utf-8").replace("RMSNorm does", "RMSNorm <b>does</b>")
    (tmp_path / judged.CLAIMS).write_text(text, encoding="utf-8")
    assert cli.main(["judge", judged.CLAIMS, judged.SCORES]) == 0
    said = capsys.readouterr().out
    folder = tmp_path / "judged" / "claims-scores"
    assert said.rstrip().endswith("page: judged/claims-scores/page.html")
    page = (folder / "page.html").read_text(encoding="utf-8")
    assert not re.findall(r"https?://|<script|<link|src=|href=", page)
    assert "RMSNorm &lt;b&gt;does" in page
    found = pd.read_csv(folder / "verdicts.csv").set_index("claim")
    for name, row in found.iterrows():
        assert f'<th scope="row">{name}' in page
        assert f"Verdict: {row.verdict}" in page
        assert any(line.startswith(name) and row.verdict in line for line in said.splitlines())
    evidence = pd.read_csv(folder / "evidence.csv")
    assert set(evidence.claim) == {"N1", "N2", "N3", "N4"}
    assert set(evidence.n) == {0, 10}
