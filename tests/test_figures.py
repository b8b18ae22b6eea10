"""Figures, tables and sentences: same data, same bytes; estimates against arithmetic by hand."""

import hashlib
import subprocess
import sys
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from lnlab.report import effects, figures, output, style, tables

from lnlab.analysis.stats import Interval
from lnlab.book import plot
from lnlab.config import RunConfig, TD3Config


def curves(seeds=3, episodes=4):
    """Curves of four arms with values that differ everywhere."""
    rows = [
        {"algorithm": algorithm, "core": "gru", "norm": norm, "seed": seed, "worker": worker, "episode": episode}
        for algorithm in ("a3c", "individual")
        for norm in ("none", "ln")
        for seed in range(seeds)
        for worker in range(2)
        for episode in range(1, episodes + 1)
    ]
    frame = pd.DataFrame(rows)
    return frame.assign(**{"return": np.sin(np.arange(len(frame))) * 10 + 60})


def dots():
    rows = [("A3C GRU", "none", 60.0, 58.0, 62.0), ("A3C GRU", "ln", 72.0, 70.0, 74.0)]
    return pd.DataFrame(rows, columns=["name", "norm", "estimate", "low", "high"])


def drawings():
    grid = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=["seen", "extra"], columns=["LN", "none"])
    return {
        "curves": style.svg(figures.learning_curves(curves(), "return", "return")),
        "log": style.svg(figures.learning_curves(curves(), "return", "return", log=True)),
        "intervals": style.svg(figures.intervals({"Seen": dots()}, "return", references={"Seen": {"uniform": 70.0}})),
        "heatmap": style.svg(plot.heatmap(grid, "return", separators=[1])),
    }


def digests():
    return {name: hashlib.sha256(svg.encode()).hexdigest() for name, svg in drawings().items()}


def test_same_data_same_bytes_also_in_another_process():
    code = "from tests.test_figures import digests; print(digests())"
    line = [sys.executable, "-c", code]
    other = subprocess.run(line, capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": "77", "PATH": ""})
    assert other.stdout.strip() == str(digests())


@pytest.mark.parametrize("name", ["curves", "log", "intervals", "heatmap"])
def test_figures_suit_light_and_dark_pages(name):
    svg = drawings()[name]
    assert "<dc:date>" not in svg
    assert "fill: #ffffff" not in svg.replace("text-anchor: middle; fill: #ffffff", "")  # numbers on dark squares alone
    assert style.GREY in svg
    assert "</text>" in svg  # text stays text: small, and found by a search


def test_rounding_keeps_a_path_within_a_twentieth_of_a_point():
    before = '<path d="M 10.123456 20.987654 L -3.049 4"/><text x="1.23456"/>'
    assert style.rounded(before) == '<path d="M 10.1 21 L -3 4"/><text x="1.23456"/>'


def test_band_is_students_t_over_seeds_after_averaging_workers():
    rows = (
        curves(seeds=2, episodes=1)
        .query("algorithm == 'a3c' and norm == 'ln'")
        .assign(**{"return": [1.0, 3.0, 5.0, 7.0]})
    )
    (row,) = figures.band(rows, "return").itertuples()
    assert (row.mean, row.n) == (4.0, 2)  # seeds 2 and 6
    half = 12.7062 * np.sqrt(8 / 2)  # t(0.975, 1) · sd / √n, sd² = 8
    assert row.low == pytest.approx(4 - half, rel=1e-5)
    assert row.high == pytest.approx(4 + half, rel=1e-5)


def test_one_seed_has_a_mean_and_no_band():
    row = figures.band(curves(seeds=1), "return").iloc[0]
    assert np.isfinite(row["mean"])
    assert np.isnan(row.low)


def test_estimates_average_within_a_seed_first():
    rows = pd.DataFrame({"arm": "x", "seed": [0, 0, 0, 1], "value": [0.0, 0.0, 6.0, 4.0]})
    (row,) = tables.estimates(rows, ["arm"], "value").itertuples()
    assert row.estimate == pytest.approx(3.0)  # (2 + 4) / 2, not (0 + 0 + 6 + 4) / 4
    assert row.n == 2


def test_the_type_all_holds_every_scenario_once():
    rows = pd.DataFrame({"group": ["seen"] * 5 + ["intra"] * 6 + ["extra"] * 7, "scenario": range(18)})
    counts = tables.by_group(rows).groupby("type").scenario.nunique()
    assert counts.to_dict() == {"seen": 5, "intra": 6, "extra": 7, "all": 18}


def test_words_stay_in_order_of_appearance():
    rows = pd.DataFrame({"who": ["b", "b", "a", "a"], "type": ["seen", "intra"] * 2, "estimate": [10.0, 20, 30, 40]})
    shown = tables.pivot_words(rows.assign(low=np.nan, high=np.nan), ["who"], "type")
    assert shown.to_dict("list") == {"who": ["b", "a"], "Seen": ["10.0", "30.0"], "Intra": ["20.0", "40.0"]}


def pair(ln, none, seeds=(0, 1, 2)):
    return pd.DataFrame({"norm": ["ln"] * 3 + ["none"] * 3, "seed": [0, 1, 2, *seeds], "value": [*ln, *none]})


def test_difference_is_paired_by_seed_not_by_position():
    found = effects.difference(
        pair([1.0, 2.0, 3.0], [2.0, 1.0, 0.0], seeds=(2, 1, 0))
    )  # equal in the mean and in spread
    assert found == Interval(1.0, 1.0, 1.0, 3)  # 1−0, 2−1, 3−2: the same for each seed


def test_difference_refuses_seeds_that_one_arm_lacks():
    with pytest.raises(ValueError, match=r"'ln': \[9\].*'none': \[0\]|'ln': \[9\]"):
        effects.difference(pair([1.0, 2.0, 3.0], [2.0, 1.0, 0.0], seeds=(9, 1, 2)))


def test_percent_change_by_hand():
    found = effects.percent_change(np.array([30.0, 30.0]), np.array([60.0, 60.0]))
    assert found == (pytest.approx(-50), pytest.approx(-50), pytest.approx(-50), 2)
    assert np.isnan(effects.percent_change(np.array([0.0, 0.0]), np.array([1.0, 2.0])).low)


def test_output_carries_what_a_page_needs():
    frame = pd.DataFrame({"seed": [0], "return": [62.0]})
    shown = output.figure(
        "my-curve", figures.learning_curves(curves(), "return", "return"), alt="A <b>", caption="C", data=frame
    )
    data, metadata = shown._repr_mimebundle_()
    assert data["image/svg+xml"].startswith("<?xml")
    assert 'aria-label="A &lt;b&gt;"' in data["text/html"]
    assert data["text/csv"] == "seed,return\n0,62\n"
    assert metadata["lnlab"] == {"kind": "figure", "name": "my-curve", "alt": "A <b>", "caption": "C"}


@pytest.mark.parametrize(
    ("name", "alt", "wrong"), [("My curve", "a", "name 'My curve'"), ("curve", " ", "needs a text for 'alt'")]
)
def test_output_refuses_names_and_missing_alt_texts(name, alt, wrong):
    with pytest.raises(ValueError, match=wrong):
        output.FigureOutput(name, "<svg/>", alt, "caption", pd.DataFrame())


def test_markdown_escapes_what_would_end_a_cell():
    assert "a\\|b" in output.markdown(pd.DataFrame({"x": ["a|b"]}))


def test_numbers_stand_on_the_right_and_names_of_rows_on_the_left():
    rows = {"setting": ["3 workers", "5 workers"], "late": ["not within 50", "−3.2 [−4, −1]"], "who": ["LN", "3"]}
    assert output.markdown(pd.DataFrame(rows)).splitlines()[1] == "| :-- | --: | :-- |"
    assert output.markdown(pd.DataFrame({"step": ["5,000", "1e−4"]})).splitlines()[1] == "| --: |"


def test_every_norm_has_a_name_and_a_colour():
    norms = {norm for config in (RunConfig, TD3Config) for norm in get_args(config.model_fields["norm"].annotation)}
    assert norms == set(style.NORM_LABEL) == set(style.NORM_COLOUR)
