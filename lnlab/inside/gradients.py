"""How a learner moves: weights, gradients and steps, measured on copies of a trainer.

Two copies: one trains its next episode as the live trainer will, watched at each step; the other plays probe episodes
and differentiates without ever stepping, so that the gradients of all workers belong to the same parameters. Both
reuse the trainer's own update; nothing of it is written twice here.
"""

from typing import Any

import torch
from torch import Tensor

from lnlab.config import RunConfig
from lnlab.inside.probes import PROBE_EPISODE, Values, mean_ratio, pairwise_cosine, probe_seeds
from lnlab.models.actor_critic import ActorCritic
from lnlab.models.stacked import STATISTICS
from lnlab.trainers.a3c import ActorCriticTrainer
from lnlab.trainers.returns import Losses

REPLICATES = 2  # probe episodes of each worker at the same parameters: the gradient's own noise
State = dict[str, Any]


def weights(net: ActorCritic, parameters: Tensor) -> Values:
    """Sizes of the parameters (N, size): each layer's norm, and the root mean square of the LN gains and biases."""
    values = _named("weight_norm", net.layout.layer_norms(parameters))
    for name, view in net.layout.views(parameters).items():
        layer, _, part = name.rpartition(".")
        if layer.endswith(".norm") and not name.endswith(STATISTICS):
            values[f"{part}_rms.{layer}"] = view.square().mean(1).sqrt()
    return values


def cut(state: State, learners: slice, workers: slice) -> State:
    """A trainer's `state_dict` for some of its seeds, on the CPU.

    Everything is copied: an optimizer's state_dict holds its live moments, and loading it would share them.
    """
    moments = {
        index: {name: _copy(x, learners) if x.ndim else _copy(x, ...) for name, x in each.items()}
        for index, each in state["adam"]["state"].items()
    }
    rows = {"parameters": learners, "alive": learners, "snapshot": workers, "carried": workers}
    parts = {name: None if state[name] is None else _copy(state[name], part) for name, part in rows.items()}
    leader = state.get("leader")
    leader = None if leader is None else cut(leader, learners, workers)
    norms = state.get("norms") and [_copy(each, ...) for each in state["norms"][learners]]
    adam = {"state": moments}
    return {"episode": state["episode"], "diverged": [], "adam": adam, "leader": leader, "norms": norms, **parts}


def _copy(x: Tensor, part: Any) -> Tensor:
    return x[part].to("cpu", copy=True)


def next_update(config: RunConfig, state: State) -> tuple[Values, Values]:
    """Train one episode of a copy: numbers per learner (its steps) and per worker (its gradients)."""
    copy = _Watched(config, state)
    before = copy.parameters.clone()
    report = copy.train_episode()
    moved = (copy.parameters - before).norm(dim=1) / before.norm(dim=1)
    norms = {name: torch.stack(each).mean(0) for name, each in copy.norms.items()}
    steps = {name: torch.stack(each).mean(0) for name, each in copy.steps.items()}
    clipped = torch.from_numpy(report["clipped"]).flatten()
    return _named("step", steps) | {"step_episode": moved}, _named("grad_norm", norms) | {"clipped": clipped}


class _Watched(ActorCriticTrainer):
    """A copy that notes the size of each gradient as it is pushed and of each step as it is taken."""

    def __init__(self, config: RunConfig, state: State) -> None:
        super().__init__(config)
        groups = self.adam.state_dict()["param_groups"]  # those of the CPU, wherever the state was made
        leader = state["leader"]
        whole = [each and each | {"adam": {**each["adam"], "param_groups": groups}} for each in (state, leader)]
        self.load_state_dict(whole[0] | {"leader": whole[1]})
        self.norms: dict[str, list[Tensor]] = {}
        self.steps: dict[str, list[Tensor]] = {}
        self.before = self.parameters.clone()

    def _push(self, order: Tensor) -> Tensor:
        for name, norm in self.net.layout.layer_norms(self.gradient).items():
            self.norms.setdefault(name, []).append(norm)
        return super()._push(order)

    def _step_adam(self) -> None:
        super()._step_adam()
        sizes, moved = (self.net.layout.layer_norms(x) for x in (self.before, self.parameters - self.before))
        for name, size in sizes.items():
            self.steps.setdefault(name, []).append(moved[name] / size)
        self.before.copy_(self.parameters)


def agreement(config: RunConfig, parameters: Tensor) -> tuple[Values, Values]:
    """Likeness of gradients at the same parameters (N, size): numbers per seed (A3C's workers) and per worker."""
    probe = _Frozen(config, parameters)
    probe.train_episode()
    return probe.between_workers(), probe.within_worker()


class _Frozen(ActorCriticTrainer):
    """A copy that plays and differentiates but never steps, with `REPLICATES` probe episodes side by side.

    Its "seeds" are (replicate, seed), each with its own environment.
    """

    def __init__(self, config: RunConfig, parameters: Tensor) -> None:
        super().__init__(config.model_copy(update={"seeds": REPLICATES * config.seeds}))
        self.shape = (REPLICATES, config.seeds, config.workers)
        self.parameters.copy_(parameters.repeat(REPLICATES, 1))
        self.snapshot.copy_(self.parameters.repeat_interleave(self.members, 0))
        self.seeds = probe_seeds(config.seed_list, REPLICATES)
        self.episode = PROBE_EPISODE
        self.tallies: dict[str, list[Values]] = {"": [], ".policy": [], ".value": []}
        self.sums = {part: torch.zeros(*self.shape[1:], self.net.layout.size) for part in self.tallies}

    def _differentiate(self, continues: Tensor) -> Losses:
        """The gradient twice, without the value's loss and whole: they add up, so the rest is the value's."""
        whole = self.config
        self.config = whole.model_copy(update={"value_cost": 0.0})
        super()._differentiate(continues)
        policy = self.gradient.clone()
        self.config = whole
        losses = super()._differentiate(continues)
        self._tally("", self.gradient)
        self._tally(".policy", policy)
        self._tally(".value", torch.sub(self.gradient, policy, out=policy))
        return losses

    def _push(self, order: Tensor) -> Tensor:
        return torch.zeros(self.rows)

    def _tally(self, part: str, gradient: Tensor) -> None:
        """Take in one rollout of all workers and replicates, gradient (replicates · seeds · workers, size)."""
        gradient = gradient.view(*self.shape, -1)
        self.sums[part] += gradient.mean(0)
        values = {"norm": gradient.norm(dim=-1).mean(0), "episodes": pairwise_cosine(gradient, dim=0)}
        if self.members > 1:
            values |= {"workers": pairwise_cosine(gradient, dim=2).mean(0), "kept": mean_ratio(gradient, dim=2).mean(0)}
        self.tallies[part].append(values)

    def _mean(self, part: str, name: str) -> Tensor:
        """Mean over the rollouts of the episode, flat."""
        return torch.stack([values[name] for values in self.tallies[part]]).mean(0).flatten()

    def between_workers(self) -> Values:
        """Per seed; nothing for Individual, whose learners have parameters of their own."""
        if self.members == 1:
            return {}
        values = {f"grad_cosine_workers{part}": self._mean(part, "workers") for part in self.tallies}
        return values | {f"grad_kept_workers{part}": self._mean(part, "kept") for part in self.tallies}

    def within_worker(self) -> Values:
        """Per worker."""
        values = {f"grad_norm{part}": self._mean(part, "norm") for part in self.tallies if part}
        for part, tally in self.tallies.items():
            signal = self.sums[part].norm(dim=-1).flatten() / len(tally)
            values[f"grad_cosine_episodes{part}"] = self._mean(part, "episodes")
            values[f"grad_kept{part}"] = signal / self._mean(part, "norm")
        return values


def _named(quantity: str, by_layer: Values) -> Values:
    return {f"{quantity}.{layer}" if layer else quantity: value for layer, value in by_layer.items()}
