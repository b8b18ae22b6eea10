"""Three steps of a CNN that torch takes slowly on a CPU, to the same numbers but for rounding.

`Linear` sends its products through oneDNN: torch sends single-precision products to MKL, which on AMD processors leaves
half of their vector units idle; on an EPYC with AVX-512 a layer of 3136 × 512 takes half the time, forwards and
backwards. `ImageNorm` normalises images that lie in memory channels last as they lie, a fifth of the time: torch's
layer first copies them to channels first, and the convolution after it copies them back. `pixels` lets OpenCV
interleave the frames and look the numbers up, less than half the time: torch converts between memory formats element by
element. Each is checked against torch's own (tests/test_models.py).
"""

from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import layer_norm

LEAST = 16  # outputs: narrower products are faster the usual way


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x weightᵀ + bias by oneDNN: x (B, I), weight (O, I), bias (O,) → (B, O), all float32 on the CPU."""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def available() -> bool:
    """Whether this build of torch has oneDNN's product: on x86, as a rule."""
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


class Product(torch.autograd.Function):
    """The layer as one differentiable step, its three products each by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        return (
            product(gradient, weight.t()) if needs_x else None,  # (B, I)
            product(gradient.t(), x.t()) if needs_weight else None,  # (O, I)
            gradient.sum(dim=0) if needs_bias else None,
        )


class Linear(nn.Linear):
    """torch.nn.Linear, by oneDNN where that is there and pays: wide layers, single precision, on a CPU."""

    fast = available()

    def forward(self, x: Tensor) -> Tensor:
        """(B, I) to (B, O)."""
        plain = x.dim() == 2 and x.dtype == self.weight.dtype == torch.float32 and x.device.type == "cpu"
        plain = plain and not torch.is_autocast_enabled("cpu")  # which wants another precision
        if self.fast and plain and self.out_features >= LEAST:
            return Product.apply(x, self.weight, self.bias)
        return super().forward(x)


class ImageNorm(nn.LayerNorm):
    """torch.nn.LayerNorm over (C, H, W), with its parameters and names; the result is channels last."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        channels, *side = self.normalized_shape
        weight, bias = self.weight.permute(1, 2, 0), self.bias.permute(1, 2, 0)  # (H, W, C)
        found = layer_norm(x.permute(0, 2, 3, 1), (*side, channels), weight, bias, self.eps)
        return found.permute(0, 3, 1, 2)


def to_unit(image: Tensor) -> Tensor:
    """2 image / 255 − 1 in place."""
    return image.mul_(2 / 255).sub_(1)


UNIT = to_unit(torch.arange(256, dtype=torch.float32)).numpy()  # of every byte


def pixels(image: Tensor, device: torch.device) -> Tensor:
    """uint8 images (B, C, H, W), also views of longer stacks, to floats in [−1, 1], channels last, on `device`."""
    if device.type != "cpu":
        return to_unit(image.to(device).to(torch.float32, memory_format=torch.channels_last))
    count, channels, height, width = image.shape
    planes = image.numpy().transpose(1, 0, 2, 3).reshape(channels, count * height, width)
    merged = cv2.merge(list(planes)).reshape(count * height, width, channels)  # of one plane it drops the channel axis
    found = np.asarray(cv2.LUT(merged, UNIT)).reshape(count, height, width, channels)
    return torch.from_numpy(found).permute(0, 3, 1, 2)
