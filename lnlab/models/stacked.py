"""Layers over a stack of learners: every parameter has a leading learner axis, every product is one batched matmul.

Activations are (N, B, F): N learners, B environments each, F features. Over a rollout they are kept time-major, (T, N,
F), so that each backward product over time is one matmul per learner, written straight into the learner's row of the
flat gradient buffer. Checked against torch.nn.Linear, LayerNorm and GRUCell, forward and backward, on random weights.

Layers without norm and with LayerNorm or weight norm have their backward pass written out. The other norms are
differentiated by torch once a rollout (`ByAutograd`, `GatesNorm`), which is slower.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import batch_norm, layer_norm, normalize

from lnlab.models.norms import NORMS

Views = Mapping[str, Tensor]  # parameter name → (N, *shape), views of one flat buffer
STATISTICS = (".mean", ".var")  # ends of the names of what is kept beside the parameters and has no gradient


class Layout:
    """Where each named parameter lies in a learner's row of the flat buffer; `count` is without running statistics."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        self.shapes = dict(shapes)
        widths = {name: math.prod(shape) for name, shape in shapes.items()}
        self.count = sum(width for name, width in widths.items() if not name.endswith(STATISTICS))
        self.size = -(-sum(widths.values()) // 16) * 16  # rows start on a cache line

    def views(self, flat: Tensor) -> dict[str, Tensor]:
        """Named views (N, *shape) of `flat` (N, size); writing to one writes to the buffer."""
        views, offset = {}, 0
        for name, shape in self.shapes.items():
            width = math.prod(shape)
            views[name] = flat[:, offset : offset + width].view(-1, *shape)
            offset += width
        return views

    def layer_norms(self, flat: Tensor) -> dict[str, Tensor]:
        """L2 norm of each layer (weights and biases together) in `flat` (N, size), and of all under ""; each (N,).

        >>> layout = Layout({"a.weight": (2, 1), "a.bias": (1,), "b.weight": (1,)})
        >>> layout.layer_norms(torch.tensor([[2.0, 2, 1, 4]]))
        {'a': tensor([3.]), 'b': tensor([4.]), '': tensor([5.])}
        """
        squares: dict[str, Tensor] = {}
        for name, view in self.views(flat).items():
            if name.endswith(STATISTICS):
                continue
            layer = name.rpartition(".")[0]
            squares[layer] = squares.get(layer, torch.tensor(0.0)) + view.flatten(1).square().sum(1)
        squares[""] = torch.stack([*squares.values()]).sum(0)
        return {layer: square.sqrt() for layer, square in squares.items()}


class Linear:
    """y = x W + b, W stored (inputs, outputs): the orientation in which a single row is fastest."""

    norm: str | None = None  # how a norm inside the layer is called after its name, such as `core` + `.gates`

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        self.weight, self.bias = f"{name}.weight", f"{name}.bias"
        self.shapes: dict[str, tuple[int, ...]] = {self.weight: (inputs, outputs), self.bias: (outputs,)}

    def product(self, p: Views) -> Tensor:
        """W, (N, I, O)."""
        return p[self.weight]

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

    train = forward

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

    def train(self, p: Views, x: Tensor) -> Tensor:
        """As it acts."""
        return self.forward(p, x)

    def backward(self, p: Views, g: Views, x: Tensor, dy: Tensor) -> Tensor:
        """x, dy (T, N, F) → dx (T, N, F)."""
        unit, mean, rstd = torch.native_layer_norm(x, self.width, None, None, self.eps)
        torch.sum(dy * unit, 0, out=g[self.gain])
        torch.sum(dy, 0, out=g[self.bias])
        return torch.ops.aten.native_layer_norm_backward(
            dy * p[self.gain], x, self.width, mean, rstd, None, None, [True, False, False]
        )[0]


class LayerNormOnly(LayerNorm):
    """LayerNorm without gain and bias."""

    def __init__(self, name: str, width: int) -> None:
        self.width = [width]
        self.shapes = {}

    def forward(self, p: Views, x: Tensor) -> Tensor:
        return torch.native_layer_norm(x, self.width, None, None, self.eps)[0]

    def backward(self, p: Views, g: Views, x: Tensor, dy: Tensor) -> Tensor:
        _, mean, rstd = torch.native_layer_norm(x, self.width, None, None, self.eps)
        return torch.ops.aten.native_layer_norm_backward(
            dy, x, self.width, mean, rstd, None, None, [True, False, False]
        )[0]


def differentiated(
    run: Callable[[Views, Tensor], Tensor], p: Views, g: Views, names: Mapping[str, object], x: Tensor, dy: Tensor
) -> Tensor:
    """Gradient of `run(p, x)` by autograd: dx is returned, those of the parameters `names` are written into `g`."""
    with torch.enable_grad():
        own = {name: p[name].detach().requires_grad_() for name in names}
        x = x.detach().requires_grad_()
        dx, *found = torch.autograd.grad(run(dict(p) | own, x), [x, *own.values()], dy)
    for name, gradient in zip(own, found, strict=True):
        g[name].copy_(gradient)
    return dx


class Scaled(torch.autograd.Function):
    """unit (N, T, F) · gain (N, F) + bias (N, F), with gradients summed in the order of time.

    torch's own sums depend in their last bits on N: a seed's result would depend on the seeds beside it.
    """

    @staticmethod
    def forward(ctx: Any, unit: Tensor, gain: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(unit, gain)
        return unit * gain.unsqueeze(1) + bias.unsqueeze(1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        unit, gain = ctx.saved_tensors
        return dy * gain.unsqueeze(1), (dy * unit).cumsum(1)[:, -1], dy.cumsum(1)[:, -1]


class ByAutograd:
    """A norm of which only the forward pass is written out; it acts and trains alike but where `train` says more."""

    eps = 1e-5

    def __init__(self, name: str, width: int) -> None:
        self.width = [width]
        self.shapes: dict[str, tuple[int, ...]] = {}

    def forward(self, p: Views, x: Tensor) -> Tensor:
        """x (N, B, F) → (N, B, F)."""
        raise NotImplementedError

    def train(self, p: Views, x: Tensor) -> Tensor:
        """The forward pass that is differentiated, over the whole batch of an update: x (N, B, F) → (N, B, F)."""
        return self.forward(p, x)

    def backward(self, p: Views, g: Views, x: Tensor, dy: Tensor) -> Tensor:
        """x, dy (T, N, F) → dx (T, N, F)."""
        names = [name for name in self.shapes if not name.endswith(STATISTICS)]
        return differentiated(self.train, p, g, dict.fromkeys(names), x.transpose(0, 1), dy.transpose(0, 1)).transpose(
            0, 1
        )


class RMSNorm(ByAutograd):
    """Zhang & Sennrich 2019: each sample to mean square 1 over its features, then a gain; the mean stays."""

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name, width)
        self.gain = f"{name}.gain"
        self.shapes = {self.gain: (width,)}

    def forward(self, p: Views, x: Tensor) -> Tensor:
        return torch.rms_norm(x, self.width, None, self.eps) * p[self.gain].unsqueeze(1)


class UnitNorm(ByAutograd):
    """Hussing et al. 2024: the features of each sample as a vector of length 1; zeros stay zeros."""

    eps = 1e-8

    def forward(self, p: Views, x: Tensor) -> Tensor:
        return normalize(x, dim=-1, eps=self.eps)


class LongFeatures(ByAutograd):
    """No norm, but a constant: the features times 4. A control for what a norm does by the length of features alone."""

    factor = 4.0

    def forward(self, p: Views, x: Tensor) -> Tensor:
        return x * self.factor


class BatchNorm(ByAutograd):
    """Ioffe & Szegedy 2015: each feature to mean 0 and variance 1 over the batch of an update, then gain and bias.

    In acting and in tests the running statistics take the place of the batch's: the learner's own, kept in its row
    beside its parameters (so in checkpoints and workers' snapshots too), moved a tenth of the way at each update as
    torch.nn.BatchNorm1d does. A batch of one sample has no variance: it is normalised by the running statistics and
    does not move them, where torch raises an error.
    """

    momentum = 0.1

    def __init__(self, name: str, width: int) -> None:
        super().__init__(name, width)
        self.gain, self.bias, self.mean, self.var = (f"{name}.{part}" for part in ("gain", "bias", "mean", "var"))
        self.shapes = dict.fromkeys((self.gain, self.bias, self.mean, self.var), (width,))
        self.seen: tuple[Tensor, Tensor] | None = None  # mean and variance of the newest batch, each (N, F)

    def forward(self, p: Views, x: Tensor) -> Tensor:
        factor = p[self.gain] * (p[self.var] + self.eps).rsqrt()
        return (x - p[self.mean].unsqueeze(1)) * factor.unsqueeze(1) + p[self.bias].unsqueeze(1)

    def train(self, p: Views, x: Tensor) -> Tensor:
        if x.shape[1] == 1:
            self.seen = None
            return self.forward(p, x)
        rows, batch, width = x.shape
        # the features of all learners side by side; of one learner's strided rows torch's last bits would be others
        samples = x.transpose(0, 1).reshape(batch, rows * width).contiguous()
        var, mean = torch.var_mean(samples.detach(), dim=0)
        self.seen = mean.view(rows, width), var.view(rows, width)
        gain, bias = (p[name].flatten().contiguous() for name in (self.gain, self.bias))  # else it reads past strides
        found = batch_norm(samples, None, None, gain, bias, training=True, eps=self.eps)
        return found.view(batch, rows, width).transpose(0, 1)

    def move(self, p: Views, alive: Tensor) -> None:
        """Running statistics towards those of the newest batch, its learners' mean where several share a row of `p`.

        Args:
            alive: (L,), the learners that are still trained; the others' statistics stay.
        """
        if self.seen is None:
            return
        for name, seen in zip((self.mean, self.var), self.seen, strict=True):
            mean = seen.view(len(alive), -1, seen.shape[-1]).mean(1)
            p[name].copy_(torch.where(alive.unsqueeze(1), torch.lerp(p[name], mean, self.momentum), p[name]))


class WeightNorm(Linear):
    """Salimans & Kingma 2016: y = x W + b with W = V · scale / |V|, one scale and length for each output."""

    norm = ""

    def __init__(self, name: str, inputs: int, outputs: int) -> None:
        super().__init__(name, inputs, outputs)
        self.scale = f"{name}.scale"
        self.shapes[self.scale] = (outputs,)

    def start(self, p: Views) -> None:
        """W is V at first: the arm without norm has the same weights."""
        p[self.scale].copy_(p[self.weight].norm(dim=1))

    def product(self, p: Views) -> Tensor:
        return p[self.weight] * (p[self.scale] / p[self.weight].norm(dim=1)).unsqueeze(1)

    def forward(self, p: Views, x: Tensor, out: Tensor) -> Tensor:
        factor = (p[self.scale] / p[self.weight].norm(dim=1)).unsqueeze(1)
        return torch.addcmul(p[self.bias].unsqueeze(1), torch.bmm(x, p[self.weight], out=out), factor, out=out)

    def backward(self, p: Views, g: Views, x: Tensor, dy: Tensor, *, need_dx: bool = True) -> Tensor | None:
        length = p[self.weight].norm(dim=1, keepdim=True)
        factor, unit = p[self.scale].unsqueeze(1) / length, p[self.weight] / length
        dx = super().backward(p, g, x, dy, need_dx=False)
        along = torch.sum(g[self.weight] * unit, 1, keepdim=True)  # (N, 1, O): g holds the gradient by W
        g[self.scale].copy_(along.squeeze(1))
        g[self.weight].sub_(unit * along).mul_(factor)
        if need_dx:
            dx = torch.bmm(dy.transpose(0, 1) * factor, p[self.weight].transpose(1, 2)).transpose(0, 1)
        return dx


KINDS: dict[str, type[LayerNorm | ByAutograd]] = {
    "ln": LayerNorm,
    "ln_noaffine": LayerNormOnly,
    "ln_project": LayerNorm,  # and `Projection`
    "rms": RMSNorm,
    "unit": UnitNorm,
    "long": LongFeatures,
    "batch": BatchNorm,
}
AnyNorm = NoNorm | LayerNorm | ByAutograd


def make_norm(norm: str, layers: tuple[str, ...], name: str, width: int) -> AnyNorm:
    """The variable under study: the norm called `norm` if `name` is one of the `layers` that have it."""
    return KINDS[NORMS[norm].kind or norm](name, width) if name in layers else NoNorm(name, width)


def make_linear(layers: tuple[str, ...], name: str, inputs: int, outputs: int) -> Linear:
    """A layer whose weight is normed if it, or the part that it belongs to, is one of `layers`."""
    normed = any(name == layer or name.startswith(f"{layer}.") for layer in layers)
    return (WeightNorm if normed else Linear)(name, inputs, outputs)


class Projection:
    """Lyle et al. 2024: after each step every weight matrix is scaled back to the length it had at first.

    Args:
        views: of the parameters as drawn; a matrix of each learner has a length of its own.
    """

    def __init__(self, views: Views) -> None:
        self.lengths = {name: view.norm(dim=(1, 2)) for name, view in views.items() if name.endswith(".weight")}

    def __call__(self, views: Views) -> None:
        """Scale in place."""
        for name, length in self.lengths.items():
            now = views[name].norm(dim=(1, 2)).clamp_min(torch.finfo(length.dtype).tiny)
            views[name].mul_((length / now).view(-1, 1, 1))


class GRU:
    """Gated recurrent unit (Cho et al. 2014) in torch.nn.GRUCell's form; gates in the order reset, update, new.

    r = σ(x Wᵣ + h Uᵣ), z = σ(x W_z + h U_z), n = tanh(x Wₙ + r ⊙ (h Uₙ)), h' = n + z ⊙ (h − n), biases left out here.
    """

    def __init__(self, name: str, inputs: int, hidden: int, layers: tuple[str, ...] = ()) -> None:
        self.hidden = hidden
        self.from_input = make_linear(layers, f"{name}.input", inputs, 3 * hidden)
        self.from_state = make_linear(layers, f"{name}.state", hidden, 3 * hidden)
        self.norm = self.from_input.norm
        self.shapes: dict[str, tuple[int, ...]] = {**self.from_input.shapes, **self.from_state.shapes}

    def forward(self, p: Views, x: Tensor, h: Tensor, gates: Tensor, state: Tensor, out: Tensor) -> Tensor:
        """x (N, B, I), h (N, B, H) → out (N, B, H); `gates` keeps r|z|n and `state` h U + b, both (N, B, 3H)."""
        width = self.hidden
        self._before(p, x, h, gates, state)
        reset_update = gates[..., : 2 * width]
        reset_update.add_(state[..., : 2 * width]).sigmoid_()
        new = gates[..., 2 * width :]
        _tanh_(new.addcmul_(gates[..., :width], state[..., 2 * width :]))
        return torch.lerp(new, h, gates[..., width : 2 * width], out=out)

    def _before(self, p: Views, x: Tensor, h: Tensor, gates: Tensor, state: Tensor) -> None:
        """What the gates are made of, each (N, B, 3H): x W + b into `gates`, h U + b into `state`."""
        self.from_input.forward(p, x, gates)
        self.from_state.forward(p, h, state)

    def backward(
        self, p: Views, g: Views, x: Tensor, h: Tensor, gates: Tensor, state: Tensor, dh: Tensor,
        keep: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Back through T steps (truncated there): x (T, N, I), h (T, N, H) before each step, dh (T, N, H) from above →
        dx. `keep` (T, N, 1) is 0 where the state after a step was set to zero."""
        r, z, n = gates.chunk(3, dim=-1)
        to_new = (1 - z) * (1 - n * n)
        to_update = (h - n) * z * (1 - z)
        to_reset = state[..., 2 * self.hidden :] * r * (1 - r)
        d_input = torch.empty_like(gates)  # gradient of x W + b
        d_state = torch.empty_like(gates)  # gradient of h U + b: the new gate's part passes through r
        back = self.from_state.product(p).transpose(1, 2)
        carried = torch.zeros_like(dh[0])
        for t in reversed(range(len(dh))):
            if keep is not None:
                carried.mul_(keep[t])
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


class GatesNorm(GRU):
    """A GRU with LayerNorm on each gate's two sums, x W and h U, before their biases (Ba et al. 2016); a gain each."""

    eps = LayerNorm.eps

    def __init__(self, name: str, inputs: int, hidden: int) -> None:
        super().__init__(name, inputs, hidden)
        self.norm = ".gates"
        self.gains = {each.weight: f"{name}.{part}.gain" for part, each in self._linears().items()}
        self.shapes |= dict.fromkeys(self.gains.values(), (3 * hidden,))

    def _linears(self) -> dict[str, Linear]:
        return {"input": self.from_input, "state": self.from_state}

    def _before(self, p: Views, x: Tensor, h: Tensor, gates: Tensor, state: Tensor) -> None:
        gates.copy_(self._normed(p, self.from_input, x))
        state.copy_(self._normed(p, self.from_state, h))

    def _normed(self, p: Views, linear: Linear, x: Tensor) -> Tensor:
        """(N, B, I) → (N, B, 3H)."""
        sums = torch.bmm(x, p[linear.weight]).unflatten(-1, (3, self.hidden))
        unit = layer_norm(sums, [self.hidden], eps=self.eps).flatten(-2)
        return Scaled.apply(unit, p[self.gains[linear.weight]], p[linear.bias])

    def backward(
        self, p: Views, g: Views, x: Tensor, h: Tensor, gates: Tensor, state: Tensor, dh: Tensor,
        keep: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        def run(p: Views, x: Tensor) -> Tensor:
            inputs, hidden, found = self._normed(p, self.from_input, x), h[0], []
            for t in range(len(dh)):
                sums = inputs[:, t], self._normed(p, self.from_state, hidden.unsqueeze(1)).squeeze(1)
                (r, z, new), (from_r, from_z, from_new) = (each.chunk(3, dim=-1) for each in sums)
                new = 2 * torch.sigmoid(2 * (new + torch.sigmoid(r + from_r) * from_new)) - 1
                hidden = torch.lerp(new, hidden, torch.sigmoid(z + from_z))
                found.append(hidden)
                hidden = hidden if keep is None else hidden * keep[t]
            return torch.stack(found)

        return differentiated(run, p, g, self.shapes, x.transpose(0, 1), dh).transpose(0, 1)


def _tanh_(x: Tensor) -> Tensor:
    """tanh x = 2 σ(2x) − 1 in place: torch's sigmoid is vectorised on a CPU, its tanh is ten times slower."""
    return x.mul_(2).sigmoid_().mul_(2).sub_(1)
