"""Advice to whoever trains TD3 on images, from the four main arms of D5; every sentence follows from an interval.

The wiring is advised against where the Q that the actor maximises is clearly more than twice the critics'; LayerNorm
is advised where it clearly lowers the growth of the actor's features under the sound wiring.
"""

from lnlab.analysis.stats import interval
from lnlab.report.d5 import factor
from lnlab.report.driving_data import LATE, MAIN, Driving, end, feature_growth, inflation
from lnlab.report.driving_pieces import more
from lnlab.report.driving_predictions import DOUBLE, SATURATED
from lnlab.report.evidence import Data, Missing


def advice(data: Data) -> str:
    """A line for TD3 with a CNN; "" where a report lacks the four main arms."""
    try:
        runs = Driving.of(data)
        sentences = [_wiring(runs), _norm(runs), _policy(runs)]
    except Missing:
        return ""
    return f"- **TD3 with a CNN**: {' '.join(each for each in sentences if each)}"


def _wiring(runs: Driving) -> str:
    leaky = interval(inflation(runs, "ln-leaky"))
    if leaky.low > DOUBLE:
        return (
            "in the actor's loss give the critic its own features, without gradient. If it gets the actor's, the actor "
            f"maximises a Q that is {factor(leaky, '')} times the critics' ({LATE}), with LayerNorm too; with its own "
            "the two are one and the same."
        )
    return "these runs do not decide whose features the critic should see in the actor's loss."


def _norm(runs: Driving) -> str:
    none, ln = (interval(feature_growth(runs, f"{norm}-detached")) for norm in ("none", "ln"))
    change = more(feature_growth(runs, "ln-detached"), feature_growth(runs, "none-detached"))
    if change.high < 0:
        return (
            f"Then LayerNorm in the CNN keeps the actor's features in place: they grow {factor(ln)}, without it "
            f"{factor(none)}."
        )
    return "Then LayerNorm makes no clear difference to the growth of the features."


def _policy(runs: Driving) -> str:
    shares = [interval(end(runs.logged(arm, "saturation").values)) for arm in MAIN]
    if min(share.low for share in shares) > SATURATED:
        return (
            "Neither is enough to learn: in all four arms over "
            f"{SATURATED:.0%} of the actions lie beyond ±0.99, where the tanh passes no gradient."
        )
    return ""
