"""Every norm by name, a row each: what readers call it, its colour, and the layers that have one in each network.

Settings, networks, figures and pages read this table; adding a norm is one row here and its code in
`lnlab.models.stacked` (`KINDS`), or in `lnlab.models.cnn`. Nothing is imported, so that settings are read
without torch.
"""

from typing import NamedTuple


class Norm(NamedTuple):
    """`actor_critic`, `heads` and `cnn` name the layers that are normalised; None: that network does not take this
    norm."""

    label: str
    colour: str  # apart from the others' for every common colour vision, on white and on black
    actor_critic: tuple[str, ...] | None = None  # of A3C and Individual; see lnlab.models.actor_critic
    cnn: tuple[str, ...] | None = None  # of TD3 and DDPG on images: conv1, conv2, conv3, fc
    heads: tuple[str, ...] | None = None  # of TD3 and DDPG on vectors: layers of actor and critics
    kind: str = ""  # its code, where that is another row's: the same norm at other places
    places: tuple[str, ...] = ()  # of `norm_at`: parts of the actor-critic that can have it alone
    normalises: bool = True


AFTER = ("embed.norm", "core.norm")
BOTH = ("first.norm", "second.norm")
ANY = ("embed", "core", "heads")
NORMS = {
    "none": Norm("no norm", "#d9730d", (), (), (), normalises=False),
    "ln": Norm("LayerNorm", "#1683c7", AFTER, ("conv1", "conv2", "conv3", "fc"), BOTH, places=ANY),
    "ln_embed": Norm("LayerNorm after the first layer only", "#2e8b57", AFTER[:1], kind="ln"),
    "ln_core": Norm("LayerNorm before the heads only", "#a05ab4", AFTER[1:], kind="ln"),
    "ln_output": Norm("LayerNorm on the output", "#a05ab4", cnn=("fc",)),
    "ln_noaffine": Norm("LayerNorm without gain and bias", "#6f8fdc", AFTER, heads=BOTH, places=ANY),
    "ln_gates": Norm("LayerNorm on the GRU's gates", "#00868b", ("core.gates",), places=("core",)),
    "ln_project": Norm(
        "LayerNorm, weights of constant length", "#4a5fb5", (*AFTER, "weights"), heads=(*BOTH, "weights"), places=ANY
    ),
    "rms": Norm("RMSNorm", "#b5487c", AFTER, heads=BOTH, places=ANY),
    "unit": Norm("features of length 1", "#8a6d3b", ("heads.norm",), heads=("last.norm",), places=ANY),
    "long": Norm("features times 4", "#7a7a7a", ("heads.norm",), heads=("last.norm",), places=ANY, normalises=False),
    "batch": Norm("BatchNorm", "#b23a2e", AFTER, heads=BOTH, places=ANY),
    "weight": Norm("weight norm", "#5b8e2f", ("embed", "core"), heads=("first", "second"), places=ANY),
}
ACTOR_CRITIC = tuple(name for name, norm in NORMS.items() if norm.actor_critic is not None)
OFF_POLICY = tuple(name for name, norm in NORMS.items() if norm.cnn is not None or norm.heads is not None)
USUAL = "usual"  # of `norm_at`: where the row says


def placed(name: str, at: str = USUAL) -> tuple[str, ...]:
    """Layers of an actor-critic that have the norm: those of its row, or that of one part alone.

    >>> placed("rms"), placed("rms", "heads"), placed("weight", "core")
    (('embed.norm', 'core.norm'), ('heads.norm',), ('core',))
    """
    layers = NORMS[name].actor_critic or ()
    if at == USUAL or not layers:
        return layers
    return (at + layers[0].removeprefix(layers[0].partition(".")[0]), *(each for each in layers if each == "weights"))
