"""The networks of TD3 on images: a convolutional trunk with the norm by name, and the heads of actor and critics.

Checked against the parameter counts and the untrained feature norms of the original, and against Stable-Baselines3's
update on equal weights. Treatment and control differ in one line, `make_norm`.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import leaky_relu

from lnlab.config import ConfigError, TD3Config
from lnlab.models.fast import ImageNorm, Linear, pixels
from lnlab.models.norms import NORMS

SLOPE = 0.01  # of LeakyReLU below zero
FEATURES = 512
CONVOLUTIONS = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # channels, kernel, stride; no padding
PLACES = {"conv1": "norm1", "conv2": "norm2", "conv3": "norm3", "fc": "norm4"}  # where the norm of a layer stands
SMALL_INIT = 3e-3  # bound of the last layer's weights, Lillicrap et al. 2015


def make_norm(norm: str, layer: str, shape: Sequence[int]) -> nn.Module:
    """LayerNorm over `shape`, all axes but the batch, if the norm called `norm` has one after `layer`."""
    if layer not in (NORMS[norm].cnn or ()):
        return nn.Identity()
    return ImageNorm(list(shape)) if len(shape) == 3 else nn.LayerNorm(list(shape))


class CNN(nn.Module):
    """Three convolutions and a linear layer, LeakyReLU between (spec of D5): images to 512 features.

    Args:
        shape: (C, H, W) of the stacked frames.
        norm: none, ln, ln_output.
        activation: after the last layer, linear or leaky_relu.
        coarse: products of convolutions and linear layer in bfloat16; parameters, norms and features stay float32.
    """

    def __init__(self, shape: tuple[int, int, int], norm: str, activation: str, *, coarse: bool = False) -> None:
        super().__init__()
        self.coarse = coarse
        channels, *side = shape
        self.layers = nn.ModuleDict()
        for index, (width, kernel, stride) in enumerate(CONVOLUTIONS, start=1):
            side = [(size - kernel) // stride + 1 for size in side]
            if min(side) < 1:
                raise ValueError(f"images of {shape[1]}×{shape[2]} are too small for the CNN; 36×36 is the least")
            self.layers[f"conv{index}"] = nn.Conv2d(channels, width, kernel, stride)
            self.layers[f"norm{index}"] = make_norm(norm, f"conv{index}", (width, *side))
            channels = width
        self.layers["fc"] = Linear(channels * math.prod(side), FEATURES)
        self.layers["norm4"] = make_norm(norm, "fc", (FEATURES,))
        self.last = nn.LeakyReLU(SLOPE) if activation == "leaky_relu" else nn.Identity()
        self.apply(_kaiming)
        for parameter in self.parameters():  # a third faster on a CPU
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    @property
    def norm_layers(self) -> list[str]:
        """Places with a norm of any kind: what the factory made there, or a layer that keeps its weight in parts."""
        return [place for layer, place in PLACES.items() if self._normed(layer, place)]

    def _normed(self, layer: str, place: str) -> bool:
        """Weight norm is no module of its own: it takes the weight of its layer apart."""
        whole = "weight" in dict(self.layers[layer].named_parameters(recurse=False))
        return not (whole and isinstance(self.layers[place], nn.Identity))

    def forward(self, image: Tensor) -> Tensor:
        """(B, C, H, W) float in [−1, 1] to (B, 512)."""
        return self.stages(image)[-1]

    def stages(self, image: Tensor) -> list[Tensor]:
        """Activations after each convolution, each (B, c, h, w), and the features (B, 512), float32."""
        found, x = [], image
        with torch.autocast(image.device.type, torch.bfloat16, enabled=self.coarse):
            for index in range(1, len(CONVOLUTIONS) + 1):
                x = leaky_relu(self.layers[f"norm{index}"](self.layers[f"conv{index}"](x)), SLOPE, inplace=True)
                found.append(x)
            features = self.last(self.layers["norm4"](self.layers["fc"](x.flatten(1))))
        return [each.float() for each in (*found, features)]


class VectorOnly(nn.Module):
    """Stands in for the CNN where observations hold no image: no features, and no place for a norm."""

    norm_layers: tuple[str, ...] = ()

    def forward(self, image: None) -> None:
        return None

    def stages(self, image: None) -> list[None]:
        return [None] * (len(CONVOLUTIONS) + 1)


class Batch(NamedTuple):
    """Observations as networks take them."""

    image: Tensor | None  # (B, C, H, W) float in [−1, 1], channels last
    vector: Tensor | None  # (B, V)


def batch(image: Tensor | None, vector: Tensor | None, device: torch.device) -> Batch:
    """uint8 images (B, C, H, W) to floats in [−1, 1]."""
    return Batch(
        None if image is None else pixels(image, device),
        None if vector is None else vector.to(device),
    )


def state(features: Tensor | None, vector: Tensor | None) -> Tensor:
    """[features ; vector], the state of actor and critics (B, S)."""
    return torch.cat([part for part in (features, vector) if part is not None], dim=1)


def state_size(space: spaces.Dict) -> int:
    """S, the width of `state`."""
    vector: Any = space.spaces.get("vector")
    return (vector.shape[0] if vector is not None else 0) + (FEATURES if "image" in space.spaces else 0)


def make_cnn(space: spaces.Dict, config: TD3Config, side: str) -> nn.Module:
    """The trunk of `side`, actor or critic, for observations of `space`.

    Raises:
        ConfigError: a norm is asked for and there is no CNN to hold it, or no place in it for this norm.
    """
    if "image" not in space.spaces:
        return VectorOnly()
    require_place(space, config)
    image: Any = space["image"]
    norm = config.norm if config.norm_in in ("both", side) else "none"
    return CNN(image.shape, norm, config.activation, coarse=config.precision == "bfloat16")


def require_place(space: spaces.Dict, config: TD3Config) -> None:
    """Stop before anything is made for a norm that would stand nowhere.

    Raises:
        ConfigError: so it is; the message names the norms that have a place.
    """
    place, what = (1, "the CNN") if "image" in space.spaces else (0, "the networks on vectors")
    allowed = {name: (norm.heads, norm.cnn)[place] is not None for name, norm in NORMS.items()}
    if not allowed[config.norm]:
        choose = ", ".join(name for name, fits in allowed.items() if fits)
        raise ConfigError(f"norm={config.norm!r} has no place in {what} of env={config.env!r}; choose one of {choose}")
    if config.norm == "none" and config.norm_in != "both":
        raise ConfigError(f"norm_in={config.norm_in!r} has no meaning with norm='none'; leave it at 'both'")


def make_actor(states: int, actions: int, config: TD3Config) -> nn.Sequential:
    """(B, states) to the action before its tanh (B, actions): two hidden layers of ReLU."""
    net = _mlp(states, actions, config.hidden)
    if config.final_init == "small":
        for parameter in net[-1].parameters():
            nn.init.uniform_(parameter, -SMALL_INIT, SMALL_INIT)
    return net


def make_critics(states: int, actions: int, config: TD3Config) -> nn.ModuleList:
    """Q networks, one or two: (B, states + actions) to (B, 1)."""
    return nn.ModuleList(_mlp(states + actions, 1, config.hidden) for _ in range(config.critics))


def _mlp(inputs: int, outputs: int, hidden: int) -> nn.Sequential:
    """torch initialises a Linear as the original did: weights and biases uniform within ±1/√fan_in."""
    layers = (Linear(inputs, hidden), nn.ReLU(), Linear(hidden, hidden), nn.ReLU(), Linear(hidden, outputs))
    return nn.Sequential(*layers)


def _kaiming(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d | nn.Linear):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        module.bias.data.zero_()  # type: ignore[union-attr]
