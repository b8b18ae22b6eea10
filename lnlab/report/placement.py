"""Which of the two norms does it? A3C with LayerNorm after the first layer only, and before the heads only.

For notebooks/mechanism.ipynb, from the profile `placement` beside the main one. The hypotheses, with their margins,
were written before its runs.
"""

from typing import Any

from lnlab.analysis.claims import Direction
from lnlab.report import hypotheses, style
from lnlab.report.driving_pieces import more
from lnlab.report.evidence import Array, Data, Missing
from lnlab.report.sensitivity import but_for

PLACEMENT = "placement"
NORMS = ("none", "ln_embed", "ln_core", "ln")
MEASURES = {  # heading → where it is, its name, decimals
    "return, last tenth": ("metric", "return_final", 1),
    "exploded episodes": ("metric", "explosion_episodes_all", 2),
    "saturated units": ("diagnostic", "state_saturated", 2),
    "effective rank": ("diagnostic", "core_rank_effective", 1),
    "nats": ("diagnostic", "policy_information", 2),
}
RETURN, SATURATED = "return, last tenth", "saturated units"
MARGIN = 5.0  # of return: a third of what both norms bring
SHARE = 0.1  # of the units


def value(data: Data, core: str, norm: str, measure: str) -> Array:
    """(n_seeds,) a measure of A3C with a network and a norm, from the profile that has the arm.

    Raises:
        Missing: there is no such run, or it has no such number.
    """
    kind, name, _ = MEASURES[measure]
    arm, usual = f"a3c-{core}-{norm}", data.run(f"a3c-{core}-ln").config
    source = data if norm in ("none", "ln") else data.of(PLACEMENT)
    if but_for(source.run(arm).config, "norm") != but_for(usual, "norm"):
        raise Missing(f"needs {arm} with the settings of the main runs but for the norm")
    return source.metric(arm, name) if kind == "metric" else source.diagnostic(arm, name)


# -- hypotheses -------------------------------------------------------------------------------------------------------
ALONE = {"ln_core": "the norm before the heads", "ln_embed": "the norm after the first layer"}


def tested(data: Data) -> hypotheses.Tested:
    """Each hypothesis with its predictions, or why there are none."""
    found: hypotheses.Tested = {}
    for core, title in style.CORE_LABEL.items():
        for norm, words in ALONE.items():
            says = f"{words[0].upper()}{words[1:]} does it alone, A3C {title}"
            found[says] = _attempt(_same, data, core, norm, "ln", RETURN, MARGIN)
    found["The norm after the first layer keeps the GRU's state from saturating, the one before the heads does not"] = (
        _attempt(_guards, data)
    )
    return found


def _guards(data: Data) -> list[Direction]:
    return [
        *_same(data, "gru", "ln_embed", "ln", SATURATED, SHARE),
        *_same(data, "gru", "ln_core", "none", SATURATED, SHARE),
    ]


def _same(data: Data, core: str, norm: str, other: str, measure: str, margin: float) -> list[Direction]:
    change = more(value(data, core, norm, measure), value(data, core, other, measure))
    what = f"{measure}: {style.NORM_LABEL[norm]} minus {'both' if other == 'ln' else 'none'}"
    return [Direction(what, change, "within", margin)]


def _attempt(make: Any, *arguments: Any) -> list[Direction] | str:
    try:
        return list(make(*arguments))
    except Missing as missing:
        return str(missing)
