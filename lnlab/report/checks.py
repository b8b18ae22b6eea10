"""Do the results hold? What the checks of notebooks/checks.ipynb come to, in a few lines.

The checks are `lnlab.report.checks_original` (the original code), `checks_again` (runs repeated with other seeds) and
`checks_seeds` (everything judged on seeds that the rules had not seen). A check that lacks its runs is left out here;
its section says what it lacks.
"""

import numpy as np
import pandas as pd

from lnlab.report import beside, output
from lnlab.report.cells import counted
from lnlab.report.checks_again import promise
from lnlab.report.checks_seeds import Again, span


def in_short(original: object, repeated: object, again: object, contrasts: object) -> output.Text:
    """A line each check, from what `beside.attempt` found of it."""
    lines = [
        *([_original(original)] if isinstance(original, pd.DataFrame) else []),
        *([_repeated(repeated)] if isinstance(repeated, pd.DataFrame) else []),
        *([_again(again)] if isinstance(again, Again) else []),
        *([_contrasts(contrasts)] if isinstance(contrasts, pd.DataFrame) else []),
    ]
    return output.Text("\n".join(f"- {line}" for line in lines) or "This report has no runs for these checks.")


def _original(found: pd.DataFrame) -> str:
    return (
        f"**The original code.** {beside.share(found.within)} figures of its runs lie where one new seed of ours "
        f"should (95 % prediction intervals, n = {counted(found.n)}), {beside.share(found.among)} between our lowest "
        "and our highest seed."
    )


def _repeated(found: pd.DataFrame) -> str:
    inside = np.mean([promise(n, m) for n, m in zip(found.n, found.m, strict=True)])
    return (
        f"**Other seeds.** {beside.share(found.in_prediction)} quantities, measured again with {counted(found.m)} "
        f"seeds of their own, lie where a repetition should in 95 of 100; {beside.share(found.in_mean)} lie in the "
        f"interval of the published mean, where {100 * inside:.0f} of 100 should."
    )


def _again(found: Again) -> str:
    there = found.comparable
    chance = f" As many seeds drawn at random change {counted(found.chance)}." if found.chance else ""
    return (
        f"**Seeds that the rules had not seen.** From {span(found.new)} alone {beside.share(there.same)} verdicts come "
        f"out as from all seeds, {int((~there.same).sum())} do not.{chance}"
    )


def _contrasts(found: pd.DataFrame) -> str:
    sign = np.sign(found.estimate) == np.sign(found.estimate_new)
    return (
        f"**The main contrasts.** From these seeds {beside.share(sign)} keep their sign, and "
        f"{beside.share(found.sign == found.sign_new)} are clear, or not, as before."
    )
