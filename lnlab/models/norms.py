"""Every norm by name, a row each: what readers call it, its colour, and the layers that have one in each network.

Settings, networks, figures and pages read this table; adding a norm is one row here and its code in
`lnlab.models.stacked` or `lnlab.models.cnn`. Nothing is imported, so that settings are read without torch.
"""

from typing import NamedTuple


class Norm(NamedTuple):
    """`actor_critic` and `cnn` name the layers that are normalised; None: that network does not take this norm."""

    label: str
    colour: str  # apart from the others' for every common colour vision, on white and on black
    actor_critic: tuple[str, ...] | None = None  # of A3C and Individual: embed.norm, core.norm
    cnn: tuple[str, ...] | None = None  # of TD3 and DDPG: conv1, conv2, conv3, fc


NORMS = {
    "none": Norm("no norm", "#d9730d", actor_critic=(), cnn=()),
    "ln": Norm("LayerNorm", "#1683c7", actor_critic=("embed.norm", "core.norm"), cnn=("conv1", "conv2", "conv3", "fc")),
    "ln_embed": Norm("LayerNorm after the first layer only", "#2e8b57", actor_critic=("embed.norm",)),
    "ln_core": Norm("LayerNorm before the heads only", "#a05ab4", actor_critic=("core.norm",)),
    "ln_output": Norm("LayerNorm on the output", "#a05ab4", cnn=("fc",)),
}
ACTOR_CRITIC = tuple(name for name, norm in NORMS.items() if norm.actor_critic is not None)
CNN = tuple(name for name, norm in NORMS.items() if norm.cnn is not None)
