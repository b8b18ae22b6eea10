"""The network of one learner, taken out of its stack: as a module of torch's own layers, and that module in NumPy.

Checked against the stacks' own forward passes for every norm and core (tests/test_policy.py).
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from lnlab.models.actor_critic import ActorCritic, SeparateActorCritic
from lnlab.models.cnn import CNN
from lnlab.models.mlp import LAYERS, MLP
from lnlab.models.stacked import (
    GRU,
    AnyNorm,
    BatchNorm,
    GatesNorm,
    LayerNorm,
    LayerNormOnly,
    Linear,
    NoNorm,
    RMSNorm,
    UnitNorm,
    Views,
    WeightNorm,
)

Function = Callable[[np.ndarray], np.ndarray]
ZERO = np.float32(0)
PARTS = {"gain": "weight", "bias": "bias", "mean": "running_mean", "var": "running_var"}  # of a norm: here → in torch


# -- from the stack to torch's layers: `p` holds the views of one learner, (1, …) each --------------------------------
def linear(part: Linear, p: Views) -> nn.Linear:
    """nn.Linear, with torch's weight norm on it where the stack's has one."""
    weight = p[part.weight][0]  # (I, O)
    layer = nn.Linear(len(weight), weight.shape[1])
    _fill(layer, weight=weight.T, bias=p[part.bias][0])
    if isinstance(part, WeightNorm):
        _norm_weight(layer, "weight", p[part.scale][0])
    return layer


def _norm_weight(layer: nn.Module, name: str, scale: Tensor) -> None:
    weight_norm(layer, name)  # by the row: one length for each output
    getattr(layer.parametrizations, name).original0.data.copy_(scale.unsqueeze(1))


def norm(part: AnyNorm, p: Views) -> nn.Module:
    """The layer that torch has for it; else one that holds the stack's own (`Own`)."""
    kind = type(part)  # a subclass may do something else
    if isinstance(part, NoNorm):
        return nn.Identity()
    if kind is LayerNorm or kind is LayerNormOnly:
        layer: nn.Module = nn.LayerNorm(part.width, part.eps, elementwise_affine=kind is LayerNorm)
    elif kind is RMSNorm:
        layer = nn.RMSNorm(part.width, part.eps)
    elif isinstance(part, BatchNorm):
        layer = nn.BatchNorm1d(part.width[0], part.eps, part.momentum)
    else:
        return Own(part, p)
    _fill(layer, **{PARTS[name.rpartition(".")[2]]: p[name][0] for name in part.shapes})
    return layer


class Own(nn.Module):
    """A norm for which torch has no layer, by the stack's code: (B, F) → (B, F)."""

    def __init__(self, part: Any, p: Views) -> None:
        super().__init__()
        self.part, self.names = part, [*part.shapes]
        self.values = nn.ParameterList(p[name].detach().clone() for name in self.names)

    def forward(self, x: Tensor) -> Tensor:
        return self.part.forward(dict(zip(self.names, self.values, strict=True)), x.unsqueeze(0)).squeeze(0)


def gru(part: GRU, p: Views) -> nn.Module:
    """nn.GRUCell, whose gates have the same order; one with normed gates where the stack's has them."""
    if isinstance(part, GatesNorm):
        return NormedGRUCell(part, p)
    both = {"ih": part.from_input, "hh": part.from_state}
    layer = nn.GRUCell(p[part.from_input.weight].shape[1], part.hidden)
    for name, each in both.items():
        _fill(layer, **{f"weight_{name}": p[each.weight][0].T, f"bias_{name}": p[each.bias][0]})
        if isinstance(each, WeightNorm):
            _norm_weight(layer, f"weight_{name}", p[each.scale][0])
    return layer


class NormedGRUCell(nn.Module):
    """A GRU cell with LayerNorm on each gate's two sums: for both a Linear, and a GroupNorm of three groups."""

    def __init__(self, part: GatesNorm, p: Views) -> None:
        super().__init__()
        self.from_input, self.from_state = (self._sums(part, each, p) for each in (part.from_input, part.from_state))

    @staticmethod
    def _sums(part: GatesNorm, each: Linear, p: Views) -> nn.Sequential:
        weight = p[each.weight][0]
        product, gates = nn.Linear(len(weight), weight.shape[1], bias=False), nn.GroupNorm(3, weight.shape[1], part.eps)
        _fill(product, weight=weight.T)
        _fill(gates, weight=p[part.gains[each.weight]][0], bias=p[each.bias][0])
        return nn.Sequential(product, gates)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """x (B, I), h (B, H) → the next h."""
        r, z, new = self.from_input(x).chunk(3, -1)
        from_r, from_z, from_new = self.from_state(h).chunk(3, -1)
        new = torch.tanh(new + torch.sigmoid(r + from_r) * from_new)
        return torch.lerp(new, h, torch.sigmoid(z + from_z))


def _fill(layer: nn.Module, **values: Tensor) -> None:
    """Give parameters and buffers their values."""
    kept = dict(layer.named_parameters()) | dict(layer.named_buffers())
    for name, value in values.items():
        kept[name].data.copy_(value)


class Trunk(nn.Module):
    """An actor-critic with one trunk, or a side of one with two."""

    def __init__(self, net: ActorCritic, p: Views) -> None:
        super().__init__()
        core = net.products[f"{net.prefix}core"]
        self.state_size = net.hidden if net.recurrent else 0
        self.embed, self.embed_norm = linear(net.embed, p), norm(net.embed_norm, p)
        self.core = gru(core, p) if isinstance(core, GRU) else linear(core, p)
        self.core_norm, self.heads_norm = norm(net.core_norm, p), norm(net.heads_norm, p)
        self.heads = linear(net.heads, p)
        if net.scale:  # PopArt: into the layer's weights
            deviation, mean = net.scale.deviation(p)[0, 0], p[net.scale.mean][0, 0]
            self.heads.weight.data[-1].mul_(deviation)
            self.heads.bias.data[-1].mul_(deviation).add_(mean)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, I), state (B, H) → outputs (B, O), next state; feedforward: the state has no number."""
        x = torch.relu(self.embed_norm(self.embed(x)))
        if self.state_size:
            state = self.core(x, state)
            x = self.core_norm(state)
        else:
            x = torch.relu(self.core_norm(self.core(x)))
        return self.heads(self.heads_norm(x)), state


class ActorCriticModule(nn.Module):
    """A learner of A3C or Individual.

    Args:
        net: of the stack.
        p: its learner's views, (1, …) each.
        seen: mean and deviation (I,) by which observations are normalised, and the most deviations shown, if they are.
    """

    def __init__(self, net: ActorCritic, p: Views, seen: tuple[Tensor, Tensor, float] | None = None) -> None:
        super().__init__()
        sides = net.sides if isinstance(net, SeparateActorCritic) else (net,)
        self.trunks = nn.ModuleList(Trunk(side, p) for side in sides)
        self.sizes = [net.hidden if net.recurrent else 0 for net in sides]  # of the parts of a state
        mean, deviation, self.limit = seen or (torch.zeros(0), torch.zeros(0), math.inf)
        self.normalised = seen is not None
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)
        if "log_std" in p:
            self.log_std = nn.Parameter(p["log_std"][0].clone())  # of a Gaussian policy

    def forward(self, observation: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Observations (B, I) → outputs of the policy (B, O): logits, or means of a Gaussian; values (B, 1); and the
        state that follows (B, S), S = 0 of a feedforward network. `state` None: an episode begins. A value that sees
        how much of its episode is left (`value_sees_time`) is without that part.
        """
        if state is None:
            state = observation.new_zeros(len(observation), sum(self.sizes))
        x = observation
        if self.normalised:
            away = (x.to(self.mean.dtype) - self.mean) / self.deviation  # type: ignore[operator, arg-type]
            x = away.clamp(-self.limit, self.limit).to(x.dtype)
        found = [trunk(x, own) for trunk, own in zip(self.trunks, state.split(self.sizes, -1), strict=True)]
        out = torch.cat([each for each, _ in found], -1)
        return out[:, :-1], out[:, -1:], torch.cat([each for _, each in found], -1)


def mlp(net: MLP, p: Views) -> nn.Sequential:
    """An actor of TD3 or DDPG on vectors: (B, V) → actions (B, A) in [−1, 1]."""
    layers: dict[str, nn.Module] = {}
    for name in LAYERS[:-1]:
        layers |= {name: linear(net.linears[name], p), f"{name}_norm": norm(net.norms[f"{name}.norm"], p)}
        layers[f"{name}_relu"] = nn.ReLU()
    layers |= {"last_norm": norm(net.norms["last.norm"], p), "last": linear(net.linears["last"], p)}
    return _named(layers | {"tanh": nn.Tanh()})


def _named(layers: Mapping[str, nn.Module]) -> nn.Sequential:
    found = nn.Sequential()
    for name, layer in layers.items():
        found.add_module(name, layer)
    return found


class ImageActor(nn.Module):
    """An actor of TD3 or DDPG on images, in single precision: (B, C, H, W) in [−1, 1] and vectors (B, V), V = 0 where
    there is none → actions (B, A) in [−1, 1]."""

    def __init__(self, cnn: CNN, heads: nn.Sequential) -> None:
        super().__init__()
        layers: dict[str, nn.Module] = {}
        for name, layer in cnn.layers.items():
            layers |= {"flatten": nn.Flatten()} if name == "fc" else {}
            layers[name] = _plain_layer(layer)
            if name.startswith("norm") and name != "norm4":
                layers[f"relu{name[-1]}"] = nn.LeakyReLU()
        self.cnn = _named(layers | {"last": cnn.last})
        self.heads = nn.Sequential(*map(_plain_layer, heads), nn.Tanh())

    def forward(self, image: Tensor, vector: Tensor) -> Tensor:
        return self.heads(torch.cat([self.cnn(image), vector], 1))


def _plain_layer(layer: nn.Module) -> nn.Module:
    """torch's own in place of the faster layers of `lnlab.models.fast`."""
    if isinstance(layer, nn.Linear):
        found: nn.Module = nn.Linear(layer.in_features, layer.out_features)
    elif isinstance(layer, nn.LayerNorm):
        found = nn.LayerNorm(layer.normalized_shape, layer.eps)
    else:
        return layer
    found.load_state_dict(layer.state_dict())
    return found


# -- from torch's layers to NumPy -------------------------------------------------------------------------------------
def plain(layer: nn.Module) -> Any:
    """What a layer computes, in NumPy, with its parameters as they are now.

    A norm for which torch has no layer, and this function no line, goes on through torch.
    """
    p: dict[str, Any] = {name: value.detach().numpy().copy() for name, value in _effective(layer).items()}
    match layer:
        case ActorCriticModule():
            return PlainActorCritic(layer)
        case nn.Sequential():
            return partial(_chain, [plain(each) for each in layer])
        case nn.Identity():
            return _same
        case nn.ReLU():
            return partial(np.maximum, 0)
        case nn.LeakyReLU():
            return partial(_leaky, slope=layer.negative_slope)
        case nn.Tanh():
            return np.tanh
        case nn.Flatten():
            return _flat
        case nn.Linear():
            return partial(_affine, weight=np.ascontiguousarray(p["weight"].T), bias=p.get("bias", ZERO))
        case nn.Conv2d():
            return partial(_convolved, stride=layer.stride[0], **p)
        case nn.LayerNorm():
            return partial(_layer_norm, axes=tuple(range(-len(layer.normalized_shape), 0)), eps=layer.eps, **p)
        case nn.GroupNorm():
            return partial(_group_norm, groups=layer.num_groups, eps=layer.eps, **p)
        case nn.RMSNorm():
            return partial(_rms_norm, eps=float(layer.eps or 0), **p)
        case nn.BatchNorm1d():
            factor = p["weight"] / np.sqrt(p["running_var"] + np.float32(layer.eps))
            return partial(_affine_each, factor=factor, bias=p["bias"], mean=p["running_mean"])
        case nn.GRUCell():
            sums = [partial(_affine, weight=p[f"weight_{each}"].T, bias=p[f"bias_{each}"]) for each in ("ih", "hh")]
            return partial(_gru, sums[0], sums[1])
        case NormedGRUCell():
            return partial(_gru, plain(layer.from_input), plain(layer.from_state))
        case Own() if type(layer.part) is UnitNorm:
            return partial(_unit, eps=layer.part.eps)
    return partial(_by_torch, layer)


def _effective(layer: nn.Module) -> dict[str, Tensor]:
    """Own parameters and buffers; those with a weight norm as they multiply."""
    found = dict(layer.named_parameters(recurse=False)) | dict(layer.named_buffers(recurse=False))
    return found | {name: getattr(layer, name) for name in getattr(layer, "parametrizations", {})}


class PlainActorCritic:
    """`ActorCriticModule` in NumPy: x (B, I), state (B, S) → outputs (B, O), values (B, 1), the next state."""

    def __init__(self, module: ActorCriticModule) -> None:
        self.sizes, self.limit = module.sizes, module.limit
        self.mean, self.deviation = module.mean.numpy(), module.deviation.numpy()  # type: ignore[operator]
        self.trunks = [(size, PlainTrunk(trunk)) for size, trunk in zip(self.sizes, module.trunks, strict=True)]

    def __call__(self, x: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if len(self.mean):
            x = ((x - self.mean) / self.deviation).clip(-self.limit, self.limit).astype(np.float32)
        outputs, states, start = [], [], 0
        for size, trunk in self.trunks:
            out, after = trunk(x, state[:, start : start + size])
            outputs.append(out)
            states.append(after)
            start += size
        found = np.concatenate(outputs, -1)
        return found[:, :-1], found[:, -1:], np.concatenate(states, -1)


class PlainTrunk:
    """`Trunk` in NumPy."""

    def __init__(self, trunk: Any) -> None:
        self.recurrent = trunk.state_size > 0
        self.embed, self.embed_norm, self.core = plain(trunk.embed), plain(trunk.embed_norm), plain(trunk.core)
        self.core_norm, self.heads_norm, self.heads = (
            plain(trunk.core_norm),
            plain(trunk.heads_norm),
            plain(trunk.heads),
        )

    def __call__(self, x: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x = np.maximum(self.embed_norm(self.embed(x)), 0)
        if self.recurrent:
            state = self.core(x, state)
            x = self.core_norm(state)
        else:
            x = np.maximum(self.core_norm(self.core(x)), 0)
        return self.heads(self.heads_norm(x)), state


def _chain(steps: list[Function], x: np.ndarray) -> np.ndarray:
    for step in steps:
        x = step(x)
    return x


def _same(x: np.ndarray) -> np.ndarray:
    return x


def _flat(x: np.ndarray) -> np.ndarray:
    return x.reshape(len(x), -1)


def _leaky(x: np.ndarray, slope: float) -> np.ndarray:
    return np.maximum(x, x * np.float32(slope))


def _affine(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return x @ weight + bias


def _affine_each(x: np.ndarray, factor: np.ndarray, bias: np.ndarray, mean: np.ndarray) -> np.ndarray:
    return (x - mean) * factor + bias


def _convolved(x: np.ndarray, stride: int, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """x (B, C, H, W), weight (O, C, k, k) → (B, O, h, w); no padding."""
    windows = np.lib.stride_tricks.sliding_window_view(x, weight.shape[2:], axis=(2, 3))[:, :, ::stride, ::stride]
    return np.tensordot(windows, weight, ([1, 4, 5], [1, 2, 3])).transpose(0, 3, 1, 2) + bias[:, None, None]


def _layer_norm(x: np.ndarray, axes: tuple[int, ...], eps: float, weight: Any = 1, bias: Any = 0) -> np.ndarray:
    away = x - x.mean(axes, keepdims=True)
    return away / np.sqrt((away * away).mean(axes, keepdims=True) + np.float32(eps)) * weight + bias


def _group_norm(x: np.ndarray, groups: int, eps: float, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    return _layer_norm(x.reshape(len(x), groups, -1), (-1,), eps).reshape(x.shape) * weight + bias


def _rms_norm(x: np.ndarray, eps: float, weight: np.ndarray) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * weight


def _unit(x: np.ndarray, eps: float) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), np.float32(eps))


def _gru(from_input: Function, from_state: Function, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    r, z, new = np.split(from_input(x), 3, -1)
    from_r, from_z, from_new = np.split(from_state(h), 3, -1)
    new = np.tanh(new + _sigmoid(r + from_r) * from_new)
    return new + _sigmoid(z + from_z) * (h - new)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (np.tanh(x / 2) + 1) / 2  # e^−x overflows


def _by_torch(layer: nn.Module, x: np.ndarray) -> np.ndarray:
    with torch.no_grad():
        return layer(torch.from_numpy(x)).numpy()
