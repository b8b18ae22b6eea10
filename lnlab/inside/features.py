"""What a network makes of the probe sequences: its features, their rank, and the state of its GRU.

Each learner runs through the same observations with its hidden state from zero. Definitions are in
lnlab/quantities.toml; checked against numpy, torch.nn and by hand arithmetic.
"""

import torch
from torch import Tensor

from lnlab.inside.probes import Values, pairwise_cosine, probe_observations, where_finite
from lnlab.models.actor_critic import ActorCritic, Tape

WARM = 20  # steps after which the hidden state has forgotten its start
SATURATED = 0.99  # |tanh| from which a unit counts as saturated
SHUT, OPEN = 0.05, 0.95  # gates beyond these no longer gate
DORMANT = {"025": 0.025, "100": 0.1}  # τ of Sokar et al. 2023 and of the later literature
ROWS = 5  # learners measured at once: their activations stay in the cache


def effective_rank(features: Tensor) -> Tensor:
    """exp of the entropy of the singular values, of each matrix (…, n, d), not centred (Roy & Vetterli 2007).

    Between 1 and min(n, d), which orthonormal rows or columns reach; 0 for a zero matrix, NaN where one is not finite.

    >>> effective_rank(torch.eye(4)[None]).item()
    4.0
    """
    values = _squared_singular_values(features).sqrt()
    share = values / values.sum(-1, keepdim=True)
    rank = -torch.special.xlogy(share, share).sum(-1)
    return torch.where(values.sum(-1) == 0, 0.0, rank.exp()).float()


def pca_rank(features: Tensor, kept: float = 0.99) -> Tensor:
    """Singular values needed for `kept` of the sum of their squares, of each matrix (…, n, d), not centred.

    >>> pca_rank(torch.diag(torch.tensor([10.0, 1.0, 0.1]))[None]).item()  # 100 of 101.01 is 99.0002 %
    1.0
    """
    squares = _squared_singular_values(features).flip(-1)
    reached = squares.cumsum(-1) / squares.sum(-1, keepdim=True)
    needed = (reached < kept).sum(-1) + 1.0
    total = squares.sum(-1)
    return torch.where(total == 0, 0.0, torch.where(total.isfinite(), needed, torch.nan)).float()


def dormant_share(features: Tensor, tau: float) -> Tensor:
    """Share of units with E|x| ≤ τ · (mean of E|x| over the layer's units), each matrix (…, n, d): Sokar et al. 2023.

    >>> dormant_share(torch.tensor([[[4.0, 0.0, 0.1, -4.0]]]), 0.1).item()
    0.5
    """
    activity = features.abs().mean(-2)
    return (activity <= tau * activity.mean(-1, keepdim=True)).float().mean(-1)


def representation(net: ActorCritic, parameters: Tensor) -> Values:
    """The first part of lnlab/quantities.toml, each (N,), for `parameters` (N, size) on the CPU."""
    parts = [_represent(net, rows) for rows in parameters.split(ROWS)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _represent(net: ActorCritic, parameters: Tensor) -> Values:
    tape = run_probes(net, parameters)
    inner = tape.state[1:] if net.recurrent else tape.gates[:-1]  # what the core's norm sees
    values = _before_norm("embed", tape.embed[:-1]) | _before_norm("core", inner)
    embed, core = (x[:-1].transpose(0, 1).flatten(1, 2) for x in (tape.active, tape.core))  # (N, 1000, H)
    values |= _layer("embed", embed) | _layer("core", core)
    values |= {"embed_mean": embed.mean((1, 2)), "embed_max": embed.amax((1, 2))}
    values |= {"core_rank_effective": effective_rank(core), "core_rank_pca": pca_rank(core)}
    if net.recurrent:
        values |= _recurrent(tape.state[1:], tape.gates[:-1])
    return where_finite(values, tape.out.transpose(0, 1))


def run_probes(net: ActorCritic, parameters: Tensor) -> Tape:
    """Activations (101, N, 10, …) of N learners on the probe sequences; the last slot holds the last state alone."""
    observations = probe_observations()
    steps, batch, _ = observations.shape
    tape, views = net.tape(steps, len(parameters), batch), net.layout.views(parameters)
    for t, observation in enumerate(observations):
        tape.obs[t] = observation
        net.step(views, tape, t)
    return tape


def _before_norm(place: str, x: Tensor) -> Values:
    """The two numbers that a LayerNorm at this place takes away from each sample; x (T, N, B, H)."""
    variance, mean = torch.var_mean(x, dim=-1, correction=0)
    return {f"{place}_pre_mean": mean.mean((0, 2)), f"{place}_pre_var": variance.mean((0, 2))}


def _layer(place: str, x: Tensor) -> Values:
    """Size, dormancy and likeness of the features x (N, n, H)."""
    length = x.norm(dim=-1)
    values = {f"{place}_norm_mean": length.mean(1), f"{place}_norm_max": length.amax(1)}
    values |= {f"{place}_dormant_{name}": dormant_share(x, tau) for name, tau in DORMANT.items()}
    return values | {f"{place}_cosine": pairwise_cosine(x, dim=1)}


def _recurrent(state: Tensor, gates: Tensor) -> Values:
    """Hidden states (T, N, B, H) after each step and gates r|z|n (T, N, B, 3H), once the start is forgotten."""
    state, (reset, update, new) = state[WARM:], gates[WARM:].chunk(3, dim=-1)
    size = state.abs()
    return {
        "state_abs_mean": size.mean((0, 2, 3)),
        "state_abs_max": size.amax((0, 2, 3)),
        "state_saturated": _share(size > SATURATED),
        "state_spread": state.std(0, correction=0).mean((1, 2)),
        "reset_shut": _share(reset < SHUT),
        "reset_open": _share(reset > OPEN),
        "update_shut": _share(update < SHUT),
        "update_open": _share(update > OPEN),
        "new_saturated": _share(new.abs() > SATURATED),
    }


def _share(condition: Tensor) -> Tensor:
    """Share of True over time, batch and units, (T, N, B, H) → (N,)."""
    return condition.float().mean((0, 2, 3))


def _squared_singular_values(features: Tensor) -> Tensor:
    """Squared singular values, ascending; the Gram matrix in double precision is far cheaper than an SVD of n rows."""
    features = features.double()
    gram = features.mT @ features
    finite = gram.isfinite().all(-1, keepdim=True).all(-2, keepdim=True)
    squares = torch.linalg.eigvalsh(torch.where(finite, gram, 0.0)).clamp_min(0.0)  # a NaN would raise for all
    return torch.where(finite.squeeze(-1), squares, torch.nan)
