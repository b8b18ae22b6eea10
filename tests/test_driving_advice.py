"""Advice on TD3: it says what made runs show, and nothing where they are absent."""

from pathlib import Path

from lnlab.report.driving_advice import advice
from lnlab.report.evidence import Data
from lnlab.runs import load
from tests.driving_fakes import Fake, study


def told(folder: Path, **arms: Fake) -> str:
    return advice(Data(load(study(folder, {name.replace("_", "-"): fake for name, fake in arms.items()}))))


def test_a_leak_and_a_calmer_norm_are_told_with_their_numbers(tmp_path):
    text = told(
        tmp_path / "leak",
        none_leaky=Fake(exponent=4.0, inflation=1e9),
        ln_leaky=Fake(exponent=0.3, inflation=20.0),
        none_detached=Fake(exponent=0.5),
        ln_detached=Fake(),
    )
    assert text.startswith("- **TD3 with a CNN**: in the actor's loss give the critic its own features")
    assert "a Q that is 20 [20," in text
    assert "with its own the two are one and the same" in text
    assert "they grow 1.00-fold" in text
    assert "without it 63-fold" in text  # √4000
    assert "over 90% of the actions" in text


def test_without_a_difference_nothing_is_advised(tmp_path):
    text = told(tmp_path / "same", **{name: Fake(saturation=0.1) for name in ARMS})
    assert "do not decide whose features" in text
    assert "makes no clear difference" in text
    assert "Neither is enough" not in text


def test_without_the_four_arms_there_is_no_advice(tmp_path):
    assert told(tmp_path / "two", none_leaky=Fake(), ln_leaky=Fake()) == ""


ARMS = ("none_leaky", "ln_leaky", "none_detached", "ln_detached")
