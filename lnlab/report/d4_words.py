"""Document D4, the end of its page: A3C as the original trained it, and what the matrix says in words."""

import numpy as np
import pandas as pd

from lnlab.analysis.stats import Interval, contrast, interval, paired_difference
from lnlab.report import cells, d4, matrix, output, tables
from lnlab.report.cells import MATRIX, NAME, Summary
from lnlab.report.d4 import MODES
from lnlab.report.evidence import Data, Missing


def original(data: Data) -> output.TableOutput | output.Text:
    """A3C with the original's carried gradient beside A3C without it; a sentence where it was not run."""
    try:
        carried = data.of("original")
        records = [record for cell in MATRIX for record in _carried(data, carried, cell)]
    except Missing as missing:
        return output.Text(f"*This report lacks the comparison with the original's A3C: it {missing}.*")
    table = pd.DataFrame(records)
    shown = tables.pivot_words(table, ["configuration", "policies"], "what")
    caption = (
        "A3C as it is run here (gradients cleared before every update) and as the original ran it (the last clipped "
        "gradient is added to the next): mean test return at C = 200, cloud budget; 95 % intervals, "
        f"n = {cells.counted(table.n)} seeds; the difference is paired by seed."
    )
    return output.table("original", shown, caption=caption, data=table)


def _carried(data: Data, carried: Data, cell: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for mode in MODES:
        ours = cells.seed_means(data, "a3c", cell, mode)
        theirs = carried.sweep(f"{cells.arm('a3c', cell)}-carry", cells.EVERY, mode).mean(axis=1)
        a, b = cells.paired(theirs, ours)
        differ = paired_difference(a, b)
        words = {"gradients cleared": interval(ours), "gradient carried": interval(theirs), "difference": differ}
        labels = {"configuration": MATRIX[cell].name, "policies": mode}
        found += [{**labels, "what": what, **value._asdict()} for what, value in words.items()]
    return found


def synthesis(data: Data) -> output.Text:
    """What the matrix says, each verb from an interval: sampled policies, the ones that were trained."""
    scores = {who: matrix.four_means(data, who) for who in NAME}
    lines = []
    for effect in ("RNN, main effect", "LayerNorm, main effect", "interaction"):
        for who, name in NAME.items():
            lines.append(_sentence(effect, name, contrast(scores[who], d4.EFFECTS[effect])))
    gap = cells.found(_mean_gap, *(matrix.common(data, who, cell, "sampled") for cell in MATRIX for who in NAME))
    lines.append(f"Over the four configurations A3C stands {tables.words(gap)} % above Individual (n = {gap.n}).")
    return output.Text("\n".join(f"- {line}" for line in lines))


def _mean_gap(*arms: Summary) -> np.ndarray:
    return np.mean([cells.gap(a3c, ind) for a3c, ind in zip(arms[::2], arms[1::2], strict=True)], axis=0)


def _sentence(effect: str, name: str, found: Interval) -> str:
    amount = f"{tables.words(found)} (n = {found.n})"
    if effect == "interaction":
        verb = _verb(found, "reinforce each other in", "weaken each other in", "show no clear interaction in")
        return f"The two components {verb} the sampled return of {name}: {amount}."
    verb = _verb(found, "raises", "lowers", "shows no clear effect on")
    what = "LayerNorm" if effect.startswith("LayerNorm") else "The RNN"
    return f"{what} {verb} the sampled return of {name}, averaged over the other component: {amount}."


def _verb(found: Interval, above: str, below: str, open_: str) -> str:
    return above if found.low > 0 else below if found.high < 0 else open_
