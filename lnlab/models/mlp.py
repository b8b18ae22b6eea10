"""Networks of TD3 and DDPG on vectors, over a stack of learners: two hidden layers of ReLU, with the norm by name.

    x → first → norm → ReLU → second → norm → ReLU → norm → last

The norms are called first.norm, second.norm and last.norm. Activations are (N, B, F): N networks, a batch each. Checked
against autograd through torch's own layers, and as a whole against Stable-Baselines3's TD3 in double precision.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lnlab.models.norms import NORMS
from lnlab.models.stacked import (
    BatchNorm,
    LayerNorm,
    Layout,
    NoNorm,
    Projection,
    RMSNorm,
    UnitNorm,
    Views,
    WeightNorm,
    differentiated,
    make_linear,
    make_norm,
)

LAYERS = ("first", "second", "last")


class Pass(NamedTuple):
    """What the backward pass needs of a hidden layer, or of the output layer, where `active` is what its norm sees."""

    inputs: Tensor  # of its product
    before: Tensor  # its norm
    active: Tensor


class MLP:
    """One shape of network; its parameters are views of a flat buffer, as everywhere in `lnlab.models.stacked`."""

    def __init__(self, inputs: int, hidden: int, outputs: int, norm: str) -> None:
        self.layers = NORMS[norm].heads or ()
        widths = {"first": (inputs, hidden), "second": (hidden, hidden), "last": (hidden, outputs)}
        self.linears = {name: make_linear(self.layers, name, *width) for name, width in widths.items()}
        self.norms = {f"{name}.norm": make_norm(norm, self.layers, f"{name}.norm", hidden) for name in LAYERS}
        parts = [*self.linears.values(), *self.norms.values()]
        self.layout = Layout({name: shape for part in parts for name, shape in part.shapes.items()})

    def start(self, flat: Tensor, networks: list[Any]) -> None:
        """Weights and biases of torch's `networks`, one a row of `flat` (N, size); a norm's gain 1 and bias 0."""
        views = self.layout.views(flat)
        for row, network in enumerate(networks):
            for name, layer in zip(LAYERS, (network[0], network[2], network[4]), strict=True):
                views[f"{name}.weight"][row] = layer.weight.detach().T
                views[f"{name}.bias"][row] = layer.bias.detach()
        for name, view in views.items():
            if name.endswith((".gain", ".var")):
                view.fill_(1.0)
        for linear in self.linears.values():
            if isinstance(linear, WeightNorm):
                linear.start(views)

    def forward(self, p: Views, x: Tensor, *, train: bool = False) -> tuple[Tensor, list[Pass]]:
        """x (N, B, I) → (N, B, O); `train`: a norm over the batch takes the statistics of this one, else the running
        ones."""
        passes = []
        for name in LAYERS[:-1]:
            before = self._product(p, name, x)
            active = self._normed(p, name, before, train)
            active = torch.relu_(active) if active is before else torch.relu(active)
            passes.append(Pass(x, before, active))
            x = active
        into = self._normed(p, "last", x, train)
        return self._product(p, "last", into), [*passes, Pass(into, x, x)]

    def backward(self, p: Views, g: Views, passes: list[Pass], dy: Tensor) -> None:
        """Gradient by all parameters from dy (N, B, O), written over every view in `g`."""
        for name, (inputs, before, active) in zip(reversed(LAYERS), reversed(passes), strict=True):
            if name != "last":
                dy = self._back_through_norm(p, g, name, before, torch.ops.aten.threshold_backward(dy, active, 0))
            linear = self.linears[name]
            dx = linear.backward(p, g, inputs.transpose(0, 1), dy.transpose(0, 1), need_dx=name != "first")
            if dx is not None:
                dy = dx.transpose(0, 1)
            if name == "last":
                dy = self._back_through_norm(p, g, name, before, dy)

    def input_gradient(self, p: Views, scratch: Views, passes: list[Pass], dy: Tensor) -> Tensor:
        """dx (N, B, I) alone, of a forward pass that was no training; norms leave rubbish in `scratch`."""
        for name, (_, before, active) in zip(reversed(LAYERS), reversed(passes), strict=True):
            if name != "last":
                dy = torch.ops.aten.threshold_backward(dy, active, 0)
                dy = self._back_through_norm(p, scratch, name, before, dy, acting=True)
            dy = torch.bmm(dy, self.linears[name].product(p).transpose(1, 2))
            if name == "last":
                dy = self._back_through_norm(p, scratch, name, before, dy, acting=True)
        return dy

    def bound(self, p: Views) -> Tensor:
        """(N,) what |output| of a network with one output cannot exceed, at any input; NaN where nothing bounds it.

        The last layer sees h = relu(g u + c), where LayerNorm leaves |u| ≤ √H, and relu(g u + c) ≤ |g u| + relu(c) in
        each of H features. So |w · h + b| ≤ √H |g w| + |w| · relu(c) + |b| by Cauchy and Schwarz (after Ball et al.
        2023). RMSNorm has no c, features of length 1 have |h| ≤ 1.
        """
        w, b = p["last.weight"].squeeze(-1), p["last.bias"].squeeze(-1).abs()
        if isinstance(self.norms["last.norm"], UnitNorm):
            return torch.linalg.vector_norm(w, dim=1) + b
        if not isinstance(self.norms["second.norm"], LayerNorm | RMSNorm):
            return torch.full_like(b, math.nan)
        gain, shift = (p.get(f"second.norm.{part}", None) for part in ("gain", "bias"))
        found = math.sqrt(w.shape[1]) * torch.linalg.vector_norm(w if gain is None else w * gain, dim=1) + b
        return found if shift is None else found + (w.abs() * shift.relu()).sum(1)

    @property
    def over_batch(self) -> bool:
        """Whether a norm takes statistics over the batch in training."""
        return any(isinstance(norm, BatchNorm) for norm in self.norms.values())

    def move_statistics(self, p: Views, alive: Tensor) -> None:
        """Running statistics towards those of the newest training batch; alive (N,)."""
        for norm in self.norms.values():
            if isinstance(norm, BatchNorm):
                norm.move(p, alive)

    def projection(self, flat: Tensor) -> Projection | None:
        """What keeps the weights as long as those in `flat` (N, size), if the norm asks for it."""
        return Projection(self.layout.views(flat)) if "weights" in self.layers else None

    @property
    def norm_layers(self) -> list[str]:
        """Places with a norm of any kind: what the factories made there."""
        found = [name for name, norm in self.norms.items() if not isinstance(norm, NoNorm)]
        found += [name for name, linear in self.linears.items() if linear.norm is not None]
        return found + (["weights"] if "weights" in self.layers else [])

    def _product(self, p: Views, name: str, x: Tensor) -> Tensor:
        linear = self.linears[name]
        return linear.forward(p, x, x.new_empty(*x.shape[:-1], p[linear.bias].shape[-1]))

    def _normed(self, p: Views, name: str, x: Tensor, train: bool) -> Tensor:
        norm = self.norms[f"{name}.norm"]
        return norm.train(p, x) if train else norm.forward(p, x)

    def _back_through_norm(
        self, p: Views, g: Views, name: str, x: Tensor, dy: Tensor, *, acting: bool = False
    ) -> Tensor:
        norm = self.norms[f"{name}.norm"]
        if isinstance(norm, NoNorm):
            return dy
        if acting and isinstance(norm, BatchNorm):
            return differentiated(norm.forward, p, g, {}, x, dy)
        return norm.backward(p, g, x.transpose(0, 1), dy.transpose(0, 1)).transpose(0, 1)
