"""What a policy's outputs mean, by the kind of action: one choice, several at once, or a Gaussian over numbers.

Each draws actions and gives its part of the actor-critic gradient with respect to the outputs, written out; tensors are
time-major, (T, N, …). Checked against torch.distributions and autograd.
"""

import math
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from gymnasium import Space

HALF_LOG_2_PI = 0.5 * math.log(2 * math.pi)


class Terms(NamedTuple):
    """Of a policy's loss, mean(−log π(a) Â) − entropy_cost · mean(H): gradients before the mean over T, and values."""

    outputs: Tensor  # (T, N, O)
    log_prob: Tensor  # (T, N, 1) of the actions, nats
    entropy: Tensor  # (T, N, 1) nats
    log_std: Tensor | None = None  # (T, N, A); Gaussian alone


class Actions(Protocol):
    """A kind of action; `shape` and `dtype` are of one, `outputs` is what the network gives for it."""

    outputs: int
    shape: tuple[int, ...]
    dtype: torch.dtype
    gaussian: bool

    def sample(self, outputs: Tensor, draw: Tensor, log_std: Tensor | None) -> Tensor:
        """Outputs (N, O) and random numbers (N, *shape) → actions (N, *shape)."""

    def terms(self, outputs: Tensor, action: Tensor, advantage: Tensor, cost: float, log_std: Tensor | None) -> Terms:
        """Outputs (T, N, O), actions (T, N, *shape), advantage (T, N, 1), `cost` of the entropy."""


def sample(logits: Tensor, uniform: Tensor) -> Tensor:
    """Draw actions from softmax(logits) by inverting the distribution function: logits (…, A), uniform (…) → int64 (…).

    >>> sample(torch.zeros(2, 4), torch.tensor([0.1, 0.6])).tolist()
    [0, 2]
    """
    cumulative = torch.softmax(logits, dim=-1).cumsum(-1)[..., :-1]
    return (uniform.unsqueeze(-1) >= cumulative).sum(-1)


class Choice:
    """One of n; the outputs are logits, the draws uniform on [0, 1)."""

    shape: tuple[int, ...] = ()
    dtype, gaussian = torch.int64, False

    def __init__(self, n: int) -> None:
        self.outputs = n

    def sample(self, outputs: Tensor, draw: Tensor, log_std: Tensor | None = None) -> Tensor:
        return sample(outputs, draw)

    def terms(
        self, outputs: Tensor, action: Tensor, advantage: Tensor, cost: float, log_std: Tensor | None = None
    ) -> Terms:
        log_policy = torch.log_softmax(outputs, dim=-1)
        policy = log_policy.exp()
        entropy = -(policy * log_policy).sum(-1, keepdim=True)
        chosen = torch.zeros_like(policy).scatter_(-1, action.unsqueeze(-1), 1.0)
        push = advantage * (policy - chosen) + cost * policy * (log_policy + entropy)
        return Terms(push, (chosen * log_policy).sum(-1, keepdim=True), entropy)


class Choices:
    """One of each of several, drawn independently: the logits stand side by side."""

    dtype, gaussian = torch.int64, False

    def __init__(self, sizes: list[int]) -> None:
        self.sizes, self.outputs = sizes, sum(sizes)
        self.shape: tuple[int, ...] = (len(sizes),)

    def sample(self, outputs: Tensor, draw: Tensor, log_std: Tensor | None = None) -> Tensor:
        parts = zip(outputs.split(self.sizes, -1), draw.unbind(-1), strict=True)
        return torch.stack([sample(*part) for part in parts], -1)

    def terms(
        self, outputs: Tensor, action: Tensor, advantage: Tensor, cost: float, log_std: Tensor | None = None
    ) -> Terms:
        parts = zip(outputs.split(self.sizes, -1), action.unbind(-1), strict=True)
        found = [Choice(part.shape[-1]).terms(part, each, advantage, cost) for part, each in parts]
        log_prob = torch.stack([part.log_prob for part in found]).sum(0)
        entropy = torch.stack([part.entropy for part in found]).sum(0)
        return Terms(torch.cat([part.outputs for part in found], -1), log_prob, entropy)


class Gaussian:
    """Numbers; the outputs are means, the log standard deviations are parameters of the learner, the draws normal.

    What is drawn is kept, and made to fit the environment's bounds on the way there (`bounded`): the tanh of a squashed
    action changes no gradient of log π, and the entropy is that of the draw.
    """

    dtype, gaussian = torch.float32, True

    def __init__(self, size: int) -> None:
        self.outputs = size
        self.shape: tuple[int, ...] = (size,)

    def sample(self, outputs: Tensor, draw: Tensor, log_std: Tensor | None) -> Tensor:
        assert log_std is not None
        return torch.addcmul(outputs, log_std.exp(), draw)

    def terms(self, outputs: Tensor, action: Tensor, advantage: Tensor, cost: float, log_std: Tensor | None) -> Terms:
        assert log_std is not None  # (N, A)
        unit = (action - outputs) * (-log_std).exp()
        log_prob = -(0.5 * unit.square() + log_std + HALF_LOG_2_PI).sum(-1, keepdim=True)
        entropy = (log_std + HALF_LOG_2_PI + 0.5).sum(-1, keepdim=True).expand_as(log_prob)
        return Terms(-advantage * unit * (-log_std).exp(), log_prob, entropy, advantage * (1 - unit.square()) - cost)


def make_actions(space: "Space[Any]") -> Actions:
    """The kind of a space of actions.

    Raises:
        ValueError: it is none of those that are supported, which the message names.
    """
    from gymnasium import spaces  # the offloading task does without

    if isinstance(space, spaces.Discrete):
        return Choice(int(space.n))
    if isinstance(space, spaces.MultiDiscrete):
        return Choices([int(n) for n in space.nvec.ravel()])
    if isinstance(space, spaces.Box) and space.dtype.kind == "f":
        return Gaussian(math.prod(space.shape))
    raise ValueError(f"it acts by {space}; needed: Discrete, MultiDiscrete or a Box of floats")
