"""Claims files: what is wrong is refused with file and line; what a row says becomes evidence, by hand arithmetic."""

import numpy as np
import pytest

from lnlab.analysis.claims import Direction, Number, Sum
from lnlab.claims import evidence, rows
from lnlab.claims.documents import Document, documents, hypotheses, read
from lnlab.claims.rows import KINDS, arithmetic, expanded
from lnlab.claims.special import SPECIAL
from lnlab.claims.studies import Missing, known
from lnlab.config import ConfigError

FILE = """title: A document
sections: [one]
claims:
  D9.1:
    kind: measured
    section: one
    says: A claim
    evidence:
      - {level: "return, {norm}", of: return_mean, printed: {a3c-gru-ln: 62.7}}
      - ROW
"""
GOOD = '{minus: effect, of: return_final, pair: "a3c-gru-{norm}", side: above}'


def checked(tmp_path, row=GOOD, old="", new=""):
    path = tmp_path / "d9.yml"
    path.write_text(FILE.replace("ROW", row).replace(old, new) if old else FILE.replace("ROW", row), encoding="utf-8")
    return read(path, Document)


def test_a_file_as_it_should_be_is_read(tmp_path):
    (claim,) = checked(tmp_path).claims.values()
    assert [type(row) for row in claim.evidence] == [rows.Level, rows.Minus]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (GOOD.replace("side", "sid"), "unknown key 'sid' (did you mean 'side'?); allowed: "),
        (GOOD.replace("return_final", "return_finl"), "unknown measure 'return_finl'; the nearest: return_final, "),
        (GOOD.replace("a3c-gru", "a3c-gruu"), "unknown run id 'a3c-gruu-ln'; the nearest in study.toml: a3c-gru-ln, "),
        (GOOD.replace("{norm}", "{nrom}"), "lacks {norm}"),
        (GOOD.replace("a3c-gru-{norm}", "{agent}-gru-{norm}"), "{agent} does not expand; allowed: {algorithm}, {core}"),
        (GOOD.replace("above", "up"), "Input should be 'above', 'below' or 'within'"),
        (GOOD.replace("side", "but_for: lrr, side"), "unknown setting 'lrr'; choose one of"),
        (GOOD.replace(", side: above", ""), "row 2 needs a side, a printed number, or both"),
        (GOOD.replace("effect", '"effect on {who}"'), "names what a3c-gru-ln has not; it has algorithm, core, norm"),
        ("{value: x, of: return_mean, arm: a3c-gru-{norm}, side: above}", "but got '{'"),
        ('{value: x, of: return_mean, arm: "a3c-{nrom}", side: above}', "{nrom} does not expand"),
        (
            '{minus: x, of: ["return_mean of a3c-gru-{norm}", return_mean of a3c-gru-ln], side: above}',
            "is 2 arms where",
        ),
        (GOOD.replace("a3c-gru-{norm}", "a3c-{core}-ln").replace("of:", "by: norm, of:"), "lacks {norm}"),
        (
            '{level: "{norm}", of: return_mean, printed: {a3c-gru-ln: 0}}',
            "row 2 needs a margin: a quarter of zero is none",
        ),
        ("{minus: x, of: [return_mean of a3c-gru-ln, a3c-gru-none], side: above}", "should read: measure of arm"),
        ("{levels: x, of: return_mean}", "a row begins with its kind, one of level, value, minus"),
        ("{level: x, of: return_mean, printed: {a3c-gru-ln: 2 ** 3}}", "is no arithmetic"),
        ("{sum: x, formula: 1 + 1, printed: 2.0}", "Input should be a valid string"),
        ("{special: magic}", "unknown special 'magic'; choose one of"),
        ("{special: collapsed, given: {seed: 3}}", "special 'collapsed': missing a required argument"),
        ("{level: x, level: y}", "the key 'level' stands twice"),
    ],
)
def test_a_wrong_row_is_refused_with_file_line_and_what_is_allowed(tmp_path, row, words):
    with pytest.raises(ConfigError) as refused:
        checked(tmp_path, row)
    message = str(refused.value)
    assert "d9.yml, line 10" in message or "D9.1" in message
    assert "d9.yml, line " in message
    assert words in message


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: measured", "kind: counted", "line 5: claims, D9.1, kind: Input should be 'measured', 'comparison'"),
        ("    says: A claim\n", "", "line 4: claims, D9.1: the key 'says' is missing"),
        ("says:", "sais:", "line 7: claims, D9.1, sais: unknown key 'sais' (did you mean 'says'?)"),
        ("says: A claim", "says: A claim\n    note: about {}", "1 places {} for 0 rows of aside"),
        ("says: A claim", "says: A claim\n    untestable: never", "give evidence, or untestable"),
        ("  D9.1:", "  D9.1: x\n  D9.1:", "line 5: the key 'D9.1' stands twice"),
        ("sections: [one]", "sections: [one", "line "),
    ],
)
def test_a_wrong_claim_is_refused_with_file_line_and_what_is_allowed(tmp_path, old, new, words):
    with pytest.raises(ConfigError) as refused:
        checked(tmp_path, old=old, new=new)
    assert words in str(refused.value)
    assert "d9.yml, line " in str(refused.value)


def test_the_published_files_use_every_kind_of_row_and_every_special():
    claims = [claim for document in documents().values() for claim in document.claims.values()]
    predicted = [each for group in hypotheses().values() for each in group.values()]
    used = [row for claim in claims for row in claim.evidence] + [row for each in predicted for row in each.predictions]
    assert {type(row) for row in used} == set(KINDS.values())
    assert {row.special for row in used if isinstance(row, rows.Special)} == set(SPECIAL)
    assert len(KINDS) <= 10


def test_ids_stand_in_order_and_belong_to_their_file():
    for name, document in documents().items():
        assert list(document.claims) == [f"{name}.{number}" for number in range(1, len(document.claims) + 1)]


# -- evidence by hand ------------------------------------------------------------------------------------------------
class Made:
    """Data of two arms by hand: LayerNorm 3, 5, 4 and no norm 1, 2, 3."""

    def __init__(self, **arms):
        self.arms = {"a3c-gru-ln": [3.0, 5.0, 4.0], "a3c-gru-none": [1.0, 2.0, 3.0]} | arms

    def metric(self, arm, quantity, worker=-1):
        if arm not in self.arms:
            raise Missing(f"needs {arm}")
        return np.array(self.arms[arm])


def made(row, data=None):
    return evidence.pieces(data or Made(), KINDS[rows.kind(row)].model_validate(row))


def test_a_difference_is_paired_by_seed():
    (piece,) = made({"minus": "effect", "of": "return_mean", "pair": "a3c-gru-{norm}", "side": "above", "bound": 1})
    assert (piece.found.estimate, piece.found.n, piece.threshold) == (2.0, 3, 1.0)
    assert piece.found.low == pytest.approx(2 - 4.302652729911275 * np.sqrt(1 / 3))  # t(2), differences 2, 3, 1


def test_a_row_gives_a_direction_for_its_side_a_number_for_what_is_printed_and_both_for_both():
    row = {"change": "x", "of": "return_mean", "pair": "a3c-gru-{norm}"}
    (direction,) = made(row | {"side": "above"})
    (number,) = made(row | {"printed": 80, "main": True})
    both = made(row | {"side": "above", "printed": 80})
    assert (type(number), number.margin, number.main, direction.main) == (Number, 20.0, True, False)
    assert [type(each) for each in both] == [Direction, Number]
    assert both[0].found == both[1].found == direction.found == number.found
    (near,) = made(row | {"printed": 1, "margin": 2})
    assert near.margin == 2


def test_a_row_of_several_pairs_names_the_setting_of_each():
    text = {"minus": "{core}, {setting}", "of": "return_mean", "side": "above"}
    fast = {"rates/a3c-gru-ln-lr1e-3": [2.0, 3.0], "rates/a3c-gru-none-lr1e-3": [1.0, 1.0]}
    found = made(text | {"pair": ["a3c-gru-{norm}", "rates/a3c-gru-{norm}-lr1e-3"]}, Made(**fast))
    assert [(piece.what, piece.found.estimate) for piece in found] == [
        ("GRU, as documented", 2.0),
        ("GRU, rate 1e-3", 1.5),
    ]
    cores = {"a3c-ff-ln": [1.0, 1.0, 1.0]}
    (piece,) = made(text | {"pair": "a3c-{core}-ln", "by": "core"}, Made(**cores))
    assert piece.found.estimate == 3.0  # 4 with the GRU


def test_facts_and_parts_that_were_not_run():
    (fact,) = made({"fact": "gamma", "published": 0.99, "printed": 0.99, "source": "a manual"})
    assert (fact.what, fact.outcome, fact.found.n) == ("gamma (a manual)", "agrees", 0)
    (part,) = made({"untested": "more steps", "main": True})
    assert (part.outcome, part.main) == ("open", True)


def test_a_change_is_one_of_means_in_percent():
    row = {"change": "x", "of": "return_mean", "pair": "a3c-gru-{norm}", "side": "above"}
    (piece,) = made(row)
    assert piece.found.estimate == pytest.approx(100.0)  # 4 over 2
    (fall,) = made(row | {"fall": True})
    assert [fall.found.estimate, fall.found.low, fall.found.high] == pytest.approx(
        [-piece.found.estimate, -piece.found.high, -piece.found.low]
    )


def test_a_pattern_makes_a_piece_for_each_arm_and_names_it():
    data = Made(**{"individual-gru-ln": [1.0, 2.0], "individual-gru-none": [1.0, 1.0]})
    row = {"minus": "{algorithm}", "of": "return_mean", "pair": "{algorithm}-gru-{norm}", "side": "above"}
    assert [(piece.what, piece.found.n) for piece in made(row, data)] == [("A3C", 3), ("Individual", 2)]
    levels = {"level": "{algorithm} {core}, {norm}", "of": "return_mean", "printed": {"a3c-gru-none": 2}}
    assert [piece.what for piece in made(levels)] == ["A3C GRU, no norm"]


def test_printed_numbers_and_bounds_of_a_logarithm_are_factors():
    row = {"value": "x", "of": "log10.return_mean", "arm": "a3c-gru-ln", "side": "within", "bound": 100, "printed": 10}
    direction, number = made(row)
    assert (direction.threshold, direction.printed) == (2.0, 1.0)
    assert (number.printed, number.margin) == (1.0, np.log10(2))


def test_a_sum_follows_within_the_rounding_of_what_is_printed():
    def outcome(formula, printed):
        (piece,) = made({"sum": "x", "formula": formula, "printed": printed})
        assert isinstance(piece, Sum)
        return piece.outcome

    assert outcome("49.57 - 38.22", "11.35") == outcome("100 * (0.361 / 0.289 - 1)", "24.9") == "right"
    assert outcome("100 * 483 / 5000", "96.6") == "wrong"
    assert outcome("49.57 - 38.22", "11.36") == "right"  # 49.575 − 38.215
    assert outcome("49.57 - 38.22", "11.37") == "wrong"


# -- names -----------------------------------------------------------------------------------------------------------
def test_patterns_expand_to_known_arms_in_order():
    assert expanded("a3c-{core}-{norm}") == ["a3c-gru-ln", "a3c-gru-none", "a3c-ff-ln", "a3c-ff-none"]
    assert "workers/a3c-gru-ln-w3" in known()


def test_arithmetic_knows_numbers_and_four_operations_only():
    assert arithmetic("-(2 + 3) * 4 / 5") == -4.0
    for text in ("__import__('os')", "2 ** 3", "a + 1", "", "True if 1 else 2", "'x'"):
        with pytest.raises(ValueError, match="arithmetic"):
            arithmetic(text)
