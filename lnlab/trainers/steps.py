"""Relative steps of layers, |ΔW| / |W|: noted in one training and imposed on another beside it.

So one can ask whether what a norm does is done by the sizes of its steps alone. A step keeps the direction that Adam
gave it. Layers are the linear ones and the GRU's two, weights and biases together; the gains and biases of a norm have
no counterpart in an arm without it, and move as Adam says.
"""

import torch
from torch import Tensor

from lnlab.models.stacked import Layout


class LayerSteps:
    """Notes the relative step of every layer at every step of the optimizer, or imposes those that another noted.

    Args:
        parameters: (N, size), of all learners.
        follow: whose steps are imposed, oldest first; each is used once. None only notes.
    """

    def __init__(self, parameters: Tensor, layout: Layout, follow: "LayerSteps | None" = None) -> None:
        self.parameters, self.layout, self.follow = parameters, layout, follow
        self.noted: list[dict[str, Tensor]] = []  # layer → (N,), a dict each step
        self.before, self.moved = torch.empty_like(parameters), torch.empty_like(parameters)

    def begin(self) -> None:
        """Call before a step."""
        self.before.copy_(self.parameters)

    def end(self) -> None:
        """Call after it."""
        torch.sub(self.parameters, self.before, out=self.moved)
        whole, moved = (self.layout.layer_norms(flat) for flat in (self.before, self.moved))
        shares = {layer: moved[layer] / whole[layer] for layer in moved if layer and not layer.endswith(".norm")}
        if self.follow is None:
            self.noted.append(shares)
            return
        wanted = self.follow.noted.pop(0)
        for name, view in self.layout.views(self.moved).items():
            layer = name.rpartition(".")[0]
            if layer in shares and layer in wanted:
                factor = (wanted[layer] / shares[layer]).where(shares[layer] > 0, 1.0)  # a frozen learner stays
                view.mul_(factor.view(-1, *[1] * (view.ndim - 1)))
        torch.add(self.before, self.moved, out=self.parameters)
