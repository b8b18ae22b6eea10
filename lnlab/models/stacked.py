"""Layers over a stack of learners: every parameter has a leading learner axis, every product is one batched matmul.

Activations are (N, B, F): N learners, B environments each, F features. Over a rollout they are kept time-major, (T, N,
F), so that each backward product over time is one matmul per learner, written straight into the learner's row of the
flat gradient buffer. Checked against torch.nn.Linear, LayerNorm and GRUCell, forward and backward, on random weights.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from lnlab.models.norms import ACTOR_CRITIC, NORMS

Views = Mapping[str, Tensor]  # parameter name → (N, *shape), views of one flat buffer


class Layout:
    """Where each named parameter lies in a learner's row of the flat buffer."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        self.count = sum(math.prod(shape) for shape in shapes.values())
        self.size = -(-self.count // 16) * 16  # rows start on a cache line

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views (N, *shape) of `flat` (N, size); writing to one writes to the buffer."""
        views, offset = {}, 0
        for name, shape in self.shapes.items():
            width = math.prod(shape)
            views[name] = flat[:, offset : offset + width].view(-1, *shape)
            offset += width
        return views


class Linear:
    """y = x W + b, W stored (inputs, outputs): the orientation in which a single row is fastest."""

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        self.weight, self.bias = f"{name}.weight", f"{name}.bias"
        self.shapes: dict[str, tuple[int, ...]] = {self.weight: (inputs, outputs), self.bias: (outputs,)}

    def forward(self, p: Views, x: Tensor, out: Tensor) -> Tensor:
        """x (N, B, I) → out (N, B, O)."""
        return torch.baddbmm(p[self.bias].unsqueeze(1), x, p[self.weight], out=out)

    def backward(self, p: Views, g: Views, x: Tensor, dy: Tensor, *, need_dx: bool = True) -> Tensor | None:
        """x (T, N, I), dy (T, N, O) → dx (T, N, I); the sums over time go into `g`."""
        torch.bmm(x.permute(1, 2, 0), dy.transpose(0, 1), out=g[self.weight])
        torch.sum(dy, 0, out=g[self.bias])
        if not need_dx:
            return None
        return torch.bmm(dy.transpose(0, 1), p[self.weight].transpose(1, 2)).transpose(0, 1)


class NoNorm:
    """The control: passes its input on."""

    def __init__(self, name: str, width: int) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {}

    def forward(self, p: Views, x: Tensor) -> Tensor:
        return x

    def backward(self, p: Views, g: Views, x: Tensor, dy: Tensor) -> Tensor:
        return dy


class LayerNorm:
    """Ba et al. 2016: each sample to mean 0 and variance 1 over its features, then gain and bias of the learner."""

    eps = 1e-5

    def __init__(self, name: str, width: int) -> None:
        self.gain, self.bias = f"{name}.gain", f"{name}.bias"
        self.width = [width]
        self.shapes: dict[str, tuple[int, ...]] = {self.gain: (width,), self.bias: (width,)}

    def forward(self, p: Views, x: Tensor) -> Tensor:
        """x (N, B, F) → (N, B, F)."""
        unit = torch.native_layer_norm(x, self.width, None, None, self.eps)[0]
        return torch.addcmul(p[self.bias].unsqueeze(1), unit, p[self.gain].unsqueeze(1), out=unit)

    def backward(self, p: Views, g: Views, x: Tensor, dy: Tensor) -> Tensor:
        """x, dy (T, N, F) → dx (T, N, F)."""
        unit, mean, rstd = torch.native_layer_norm(x, self.width, None, None, self.eps)
        torch.sum(dy * unit, 0, out=g[self.gain])
        torch.sum(dy, 0, out=g[self.bias])
        return torch.ops.aten.native_layer_norm_backward(
            dy * p[self.gain], x, self.width, mean, rstd, None, None, [True, False, False]
        )[0]


def make_norm(norm: str, name: str, width: int) -> NoNorm | LayerNorm:
    """The variable under study, by name: a LayerNorm if the norm has one at the layer `name`.

    Raises:
        ValueError: this network takes no such norm.
    """
    if norm not in ACTOR_CRITIC:
        raise ValueError(f"unknown norm {norm!r}; choose one of {', '.join(ACTOR_CRITIC)}")
    return LayerNorm(name, width) if name in (NORMS[norm].actor_critic or ()) else NoNorm(name, width)


class GRU:
    """Gated recurrent unit (Cho et al. 2014) in torch.nn.GRUCell's form; gates in the order reset, update, new.

    r = σ(x Wᵣ + h Uᵣ), z = σ(x W_z + h U_z), n = tanh(x Wₙ + r ⊙ (h Uₙ)), h' = n + z ⊙ (h − n), biases left out here.
    """

    def __init__(self, name: str, inputs: int, hidden: int) -> None:
        self.hidden = hidden
        self.from_input = Linear(f"{name}.input", inputs, 3 * hidden)
        self.from_state = Linear(f"{name}.state", hidden, 3 * hidden)
        self.shapes: dict[str, tuple[int, ...]] = {**self.from_input.shapes, **self.from_state.shapes}

    def forward(self, p: Views, x: Tensor, h: Tensor, gates: Tensor, state: Tensor, out: Tensor) -> Tensor:
        """x (N, B, I), h (N, B, H) → out (N, B, H); `gates` keeps r|z|n and `state` h U + b, both (N, B, 3H)."""
        width = self.hidden
        self.from_input.forward(p, x, gates)
        self.from_state.forward(p, h, state)
        reset_update = gates[..., : 2 * width]
        reset_update.add_(state[..., : 2 * width]).sigmoid_()
        new = gates[..., 2 * width :]
        _tanh_(new.addcmul_(gates[..., :width], state[..., 2 * width :]))
        return torch.lerp(new, h, gates[..., width : 2 * width], out=out)

    def backward(self, p: Views, g: Views, x: Tensor, h: Tensor, gates: Tensor, state: Tensor, dh: Tensor) -> Tensor:
        """Back through T steps (truncated there): x (T, N, I), h (T, N, H) before each step, dh (T, N, H) from above →
        dx."""
        r, z, n = gates.chunk(3, dim=-1)
        to_new = (1 - z) * (1 - n * n)
        to_update = (h - n) * z * (1 - z)
        to_reset = state[..., 2 * self.hidden :] * r * (1 - r)
        d_input = torch.empty_like(gates)  # gradient of x W + b
        d_state = torch.empty_like(gates)  # gradient of h U + b: the new gate's part passes through r
        back = p[self.from_state.weight].transpose(1, 2)
        carried = torch.zeros_like(dh[0])
        for t in reversed(range(len(dh))):
            total = carried.add_(dh[t])
            d_reset, d_update, d_new = d_input[t].chunk(3, dim=-1)
            torch.mul(total, to_new[t], out=d_new)
            torch.mul(total, to_update[t], out=d_update)
            torch.mul(d_new, to_reset[t], out=d_reset)
            d_state[t].copy_(d_input[t])
            d_state[t][:, 2 * self.hidden :].mul_(r[t])
            carried = torch.baddbmm((total * z[t]).unsqueeze(1), d_state[t].unsqueeze(1), back).squeeze(1)
        self.from_state.backward(p, g, h, d_state, need_dx=False)
        dx = self.from_input.backward(p, g, x, d_input)
        assert dx is not None
        return dx


def _tanh_(x: Tensor) -> Tensor:
    """tanh x = 2 σ(2x) − 1 in place: torch's sigmoid is vectorised on a CPU, its tanh is ten times slower."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)
