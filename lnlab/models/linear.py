"""A linear layer whose products go through oneDNN on a CPU: the same numbers as torch's layer but for rounding.

torch sends single-precision products to MKL, which on AMD processors leaves half of their vector units idle; oneDNN,
which torch uses for convolutions, does not. On an EPYC with AVX-512 a layer of 3136 × 512 takes half the time, forwards
and backwards. Checked against torch.nn.Linear (tests/test_fast_layers.py).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
