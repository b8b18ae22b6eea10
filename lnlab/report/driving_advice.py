"""What the landing page says of TD3 on images: a table of the four main arms, and advice that follows from intervals.

The wiring is advised against where the Q that the actor maximises is clearly more than twice the critics'; LayerNorm
is advised where it clearly lowers the growth of the actor's features under the sound wiring.
"""

import numpy as np
import pandas as pd

from lnlab.analysis.stats import Interval, interval, paired_difference
from lnlab.book import output, words
from lnlab.claims.measures import measure
from lnlab.claims.studies import Data, Missing, paired

MAIN = {
    "no norm, leaky": "td3-none-leaky-b32",
    "LayerNorm, leaky": "td3-ln-leaky-b32",
    "no norm, detached": "td3-none-detached-b32",
    "LayerNorm, detached": "td3-ln-detached-b32",
}
NONE_LEAKY, LN_LEAKY, NONE_DETACHED, LN_DETACHED = MAIN.values()
GROWTH, INFLATION = "log10.growth.actor_feature_norm_probe", "log10.inflation"
TWICE, SATURATED = float(np.log10(2)), 0.9
LATE = "last quarter of the logged updates"


def landing(data: Data) -> str:
    """The finding as a sentence and a table; "" where a report lacks the four arms."""
    try:
        grown = {name: interval(measure(data, GROWTH, arm)) for name, arm in MAIN.items()}
        fooled = {name: factor(interval(measure(data, INFLATION, MAIN[name])), "") for name in MAIN if "leaky" in name}
    except Missing:
        return ""
    heads = ["arm", "the actor's features grow", "Q that the actor maximises / the critics' Q"]
    rows = [(name, factor(each), fooled.get(name, "1 by construction")) for name, each in grown.items()]
    return (
        "How far the features of the actor's network grow, last record over the first, and by how much the Q that the "
        f"actor maximises exceeds the critics' Q of the same actions, over the {LATE}. *Leaky*: the actor's loss "
        "reaches the critic through those features, as in the original; *detached*: it does not "
        f"(n = {words.counted(each.n for each in grown.values())}, 95 % intervals).\n\n"
        f"{output.markdown(pd.DataFrame(rows, columns=heads))}"
    )


def advice(data: Data) -> str:
    """A line for TD3 with a CNN; "" where a report lacks the four main arms."""
    try:
        fooled = interval(measure(data, INFLATION, LN_LEAKY))
        none, ln = paired(*(measure(data, GROWTH, arm) for arm in (NONE_DETACHED, LN_DETACHED)))
        saturated = [interval(measure(data, "late.saturation", arm)) for arm in MAIN.values()]
    except Missing:
        return ""
    wiring = "these runs do not decide whose features the critic should see in the actor's loss."
    if fooled.low > TWICE:
        wiring = (
            "in the actor's loss give the critic its own features, without gradient. If it gets the actor's, the actor "
            f"maximises a Q that is {factor(fooled, '')} times the critics' ({LATE}), with LayerNorm too; with its own "
            "the two are one and the same."
        )
    norm = "Then LayerNorm makes no clear difference to the growth of the features."
    if paired_difference(ln, none).high < 0:
        norm = (
            f"Then LayerNorm in the CNN keeps the actor's features in place: they grow {factor(interval(ln))}, without "
            f"it {factor(interval(none))}."
        )
    policy = (
        f" Neither is enough to learn: in all four arms over {SATURATED:.0%} of the actions lie beyond ±0.99, where "
        "the tanh passes no gradient."
    )
    return f"- **TD3 with a CNN**: {wiring} {norm}{policy if min(each.low for each in saturated) > SATURATED else ''}"


def factor(log: Interval, unit: str = "-fold") -> str:
    """A logarithm to base 10 as a factor with its interval.

    >>> factor(Interval(2.0, 1.0, 3.0, 5))
    '100-fold [10,\\xa01,000]'
    """
    middle, low, high = (_power(value) for value in log[:3])
    return f"{middle}{unit} [{low},\N{NO-BREAK SPACE}{high}]"


def _power(log: float) -> str:
    if not np.isfinite(log) or log < 4:
        return words.number(10**log, 0 if log >= 1 else 1 if log > 0.3 else 2)
    return f"{10**log:.1e}".replace("e+", "e").replace("e0", "e")
