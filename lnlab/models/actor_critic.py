"""Actor-critics of the offloading study over a stack of learners, with the norm by name.

    gru: obs → Linear → norm → ReLU → GRU → norm → heads     (the norm sees the GRU output; the carried state stays raw)
    ff:  obs → Linear → norm → ReLU → Linear → norm → ReLU → heads

The two norms are called embed.norm and core.norm; a third, heads.norm, may stand right before the heads.

One head product gives the policy's logits and the value. With separate trunks the actor and the critic are two such
networks side by side, one with the logits' head alone, the other with the value's.

Forward and backward are written out, since a rollout's activations are those of the acting pass (same weights, same
states): the differentiable pass has nothing left to compute forward. Checked against plain autograd through torch.nn
modules.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lnlab.models.norms import ACTOR_CRITIC, USUAL, placed
from lnlab.models.stacked import (
    GRU,
    AnyNorm,
    BatchNorm,
    GatesNorm,
    Layout,
    Linear,
    NoNorm,
    Projection,
    Views,
    WeightNorm,
    make_linear,
    make_norm,
)


class Tape(NamedTuple):
    """Activations of a rollout, time-major; T + 1 slots, the last for the bootstrap value. B = 1 environment a row in
    training."""

    obs: Tensor  # (T+1, N, B, I)
    state: Tensor  # (T+1, N, B, H)  recurrent state before each step; empty for ff
    embed: Tensor  # (T+1, N, B, H)  first Linear, before its norm
    active: Tensor  # (T+1, N, B, H)  after norm and ReLU
    gates: Tensor  # (T+1, N, B, 3H) gru: r|z|n;  ff: (…, H) second Linear, before its norm
    hidden: Tensor  # (T+1, N, B, 3H) gru: h U + b; ff: empty
    core: Tensor  # (T+1, N, B, H)  input of the heads
    out: Tensor  # (T+1, N, B, A+1) logits | value
    sides: tuple["Tape", ...]  # separate trunks: the actor's and the critic's, and nothing between state and out here
    left: Tensor  # (T+1,) share of the episode that is left, for a value that sees it; whoever plays writes it


class TimeLeft:
    """The share of the episode that is left, added to the value with as many weights as there are hidden units.

    All of them stay equal. There are so many since Adam moves every weight equally far: one alone would move the value
    that many times more slowly than the features do.
    """

    def __init__(self, heads: str, hidden: int) -> None:
        self.weight = f"{heads}.time"
        self.shapes: dict[str, tuple[int, ...]] = {self.weight: (hidden,)}

    def forward(self, p: Views, left: Tensor, out: Tensor) -> None:
        """left (), out (N, B, A+1), whose last number changes."""
        out[..., -1].add_(p[self.weight].sum(1, keepdim=True) * left)

    def backward(self, p: Views, g: Views, left: Tensor, dout: Tensor) -> None:
        """left (T,), dout (T, N, A+1); writes into `g`."""
        along = (dout[..., -1] * left.unsqueeze(1)).cumsum(0)[-1]  # in the order of time, whatever N
        g[self.weight].copy_(along.unsqueeze(1).expand_as(g[self.weight]))


class ReturnScale:
    """PopArt (van Hasselt et al. 2016): the value is learned on returns of mean 0 and deviation 1, as seen so far.

    The heads give a value in deviations from the mean; what the network says is in units of reward. Whenever the
    statistics move, the heads' weights are changed so that every value stays what it was. The statistics are the
    learner's own, kept in its row beside its parameters, and move after the gradient of an update, before its step.
    """

    rate = 0.01  # share of the way to the statistics of the newest rollouts; the article leaves it open
    least = 1e-4  # deviation

    def __init__(self, heads: str, linear: Linear, time: tuple[TimeLeft, ...]) -> None:
        self.mean, self.var = f"{heads}.mean", f"{heads}.var"
        self.shapes: dict[str, tuple[int, ...]] = {self.mean: (1,), self.var: (1,)}
        self.linear, self.time = linear, time
        self.seen: Tensor | None = None  # (T, N), returns of the newest rollouts

    def deviation(self, p: Views) -> Tensor:
        """(N, 1), in reward."""
        return p[self.var].sqrt().clamp_min(self.least)

    def forward(self, p: Views, left: Tensor, out: Tensor) -> None:
        """out (N, B, A+1): its last number, in deviations, becomes a value in reward."""
        out[..., -1].mul_(self.deviation(p)).add_(p[self.mean])

    def backward(self, p: Views, g: Views, left: Tensor, dout: Tensor) -> None:
        """dout (T, N, A+1) of an error in reward becomes that of the error in deviations, in place."""
        dout[..., -1].div_(self.deviation(p).squeeze(1))

    def move(self, parameters: Views, snapshot: Views, alive: Tensor) -> None:
        """Statistics of the learners (L, …) towards those of what their rows saw, in the rows' snapshots (N, …) too.

        Args:
            alive: (L,); the others' stay.
        """
        if self.seen is None:
            return
        steps, members = len(self.seen), len(snapshot[self.mean]) // len(alive)
        mean = self.seen.cumsum(0)[-1] / steps  # sums in the order of time and of rows, whatever N
        var = (self.seen - mean).square().cumsum(0)[-1] / steps
        mean, var = mean.view(-1, members), var.view(-1, members)
        whole = mean.cumsum(1)[:, -1:] / members  # (L, 1)
        spread = (var + (mean - whole).square()).cumsum(1)[:, -1:] / members
        away, keep = whole - parameters[self.mean], 1 - self.rate
        live = alive.unsqueeze(1)
        new_mean = torch.where(live, parameters[self.mean] + self.rate * away, parameters[self.mean])
        moved = keep * (parameters[self.var] + self.rate * away.square()) + self.rate * spread
        new_var = torch.where(live, moved, parameters[self.var])
        self.set(snapshot, new_mean.repeat_interleave(members, 0), new_var.repeat_interleave(members, 0))
        if members > 1:  # else the snapshot is the parameters
            self.set(parameters, new_mean, new_var)

    def set(self, p: Views, mean: Tensor, var: Tensor) -> None:
        """Other statistics (N, 1), the same values."""
        before, shift = self.deviation(p), p[self.mean] - mean
        p[self.var].copy_(var)
        p[self.mean].copy_(mean)
        after = self.deviation(p)
        factor = before / after
        p[self.linear.weight][..., -1].mul_(factor)
        bias = p[self.linear.bias][:, -1:]
        bias.mul_(factor).add_(shift / after)
        for each in self.time:
            p[each.weight].mul_(factor)


class ActorCritic:
    """What both networks share: embedding, heads, the flat layout and its initial values.

    Args:
        heads: outputs of each head, side by side in one product: the policy's and the value's, or one of them.
        prefix: before the name of every parameter and every norm: the side, where trunks are separate.
        time: the value sees how much of the episode is left.
        scaled: the value is learned on returns of mean 0 and deviation 1.
    """

    recurrent = False
    scale: ReturnScale | None = None
    keep: Tensor | None = None  # (T, N, 1): 0 where a step of the rollout ended its episode, else 1; None: none did

    def __init__(
        self, inputs: int, hidden: int, heads: tuple[int, ...], norm: str, at: str = USUAL, prefix: str = "",
        *, time: bool = False, scaled: bool = False,
    ) -> None:  # fmt: skip
        self.inputs, self.hidden, self.outputs, self.prefix = inputs, hidden, heads, prefix
        self.layers = tuple(prefix + layer for layer in placed(norm, at))
        self._acting_on: Tensor | None = None  # the state in which acting stands during an update
        self.embed = make_linear(self.layers, f"{prefix}embed", inputs, hidden)
        names = [f"{prefix}{part}.norm" for part in ("embed", "core", "heads")]
        self.norms = {name: make_norm(norm, self.layers, name, hidden) for name in names}
        self.embed_norm, self.core_norm, self.heads_norm = self.norms.values()
        self.heads = make_linear(self.layers, f"{prefix}heads", hidden, sum(heads))
        core = self._core(f"{prefix}core")
        named = {"embed": self.embed, "core": core, "heads": self.heads}
        self.products: dict[str, Linear | GRU] = {prefix + name: each for name, each in named.items()}
        left = (TimeLeft(f"{prefix}heads", hidden),) if time else ()
        self.scale = ReturnScale(f"{prefix}heads", self.heads, left) if scaled else None
        self.of_value: tuple[TimeLeft | ReturnScale, ...] = (*left, *((self.scale,) if self.scale else ()))
        parts = [self.embed, self.embed_norm, core, self.core_norm, self.heads_norm, self.heads, *self.of_value]
        self.layout = Layout({name: shape for part in parts for name, shape in part.shapes.items()})

    def _core(self, name: str) -> Linear | GRU:
        raise NotImplementedError

    def initial(self, generator: torch.Generator) -> Tensor:
        """One learner's row (size,): orthogonal weights of gain 1 and zero biases; GRU uniform in ±1/√H; of a norm gain
        1, bias 0, running mean 0 and variance 1.

        The draws do not depend on the norm, so arms that differ in the norm alone start from the same weights.
        """
        row = torch.zeros(1, self.layout.size)
        views = self.layout.views(row)
        for name, view in views.items():
            self._fill(name, view[0], generator)
        for product in self.products.values():
            for part in (product, *vars(product).values()):  # a GRU holds two
                if isinstance(part, WeightNorm):
                    part.start(views)
        return row[0]

    def _fill(self, name: str, view: Tensor, generator: torch.Generator) -> None:
        name = name.removeprefix(self.prefix)
        if name.endswith((".gain", ".var")):
            view.fill_(1.0)
        elif name.endswith((".scale", ".mean")) or ".norm." in name:
            return  # a weight norm's scale is the length of what is drawn
        elif name.startswith("core.") and self.recurrent:
            view.uniform_(-(self.hidden**-0.5), self.hidden**-0.5, generator=generator)
        elif name == "heads.weight":  # policy and value are two layers, each orthogonal by itself
            for head in view.split(self.outputs, 1):
                head.copy_(_orthogonal(head.shape[1], self.hidden, generator).T)
        elif name.endswith(".weight"):
            view.copy_(_orthogonal(view.shape[1], view.shape[0], generator).T)

    def tape(self, steps: int, rows: int, batch: int = 1, device: torch.device | str = "cpu") -> Tape:
        """Buffers for `steps` steps (and one for the bootstrap) of `rows` learners with `batch` environments each."""
        h, core = self.hidden, 3 * self.hidden if self.recurrent else self.hidden
        widths = (self.inputs, h * self.recurrent, h, h, core, core * self.recurrent, h, sum(self.outputs))
        left = torch.zeros(steps + 1, device=device)
        return Tape._make([*(torch.zeros(steps + 1, rows, batch, width, device=device) for width in widths), (), left])

    def step(self, p: Views, tape: Tape, t: int) -> Tensor:
        """Act at step t on tape.obs[t]: returns tape.out[t] (N, B, A+1); writes the next state to tape.state[t+1] if
        it has a slot."""
        embed = self.embed.forward(p, tape.obs[t], tape.embed[t])
        active = torch.clamp_min(self.embed_norm.forward(p, embed), 0.0, out=tape.active[t])
        self._core_step(p, tape, t, active)
        return self._heads(p, tape, t, self.heads_norm.forward(p, tape.core[t]))

    def _heads(self, p: Views, tape: Tape, t: int, x: Tensor) -> Tensor:
        out = self.heads.forward(p, x, tape.out[t])
        for part in self.of_value:
            part.forward(p, tape.left[t], out)
        return out

    def retrace(self, p: Views, tape: Tape, steps: int) -> None:
        """The first `steps` of a rollout once more, as they are trained: norms over the batch see all of it at once.

        Nothing is done where none does. `backward` puts the state after the last step back: acting goes on from it.
        """
        if not any(isinstance(each, BatchNorm) for each in self.norms.values()):
            return
        self._acting_on, t = tape.state[steps].clone(), slice(None, steps)
        tape.active[t] = torch.clamp_min(self._train(p, self.embed_norm, tape.embed[t]), 0.0)
        self._core_train(p, tape, steps)
        heads = self._train(p, self.heads_norm, tape.core[t])
        for step in range(steps):
            self._heads(p, tape, step, heads[step])

    def _train(self, p: Views, norm: AnyNorm, x: Tensor) -> Tensor:
        """A norm over a rollout, x (T, N, 1, H)."""
        return norm.train(p, x.squeeze(2).transpose(0, 1)).transpose(0, 1).unsqueeze(2)

    def move_statistics(self, parameters: Tensor, snapshot: Tensor, alive: Tensor) -> None:
        """After a push: running statistics of the learners (L, size) towards the rollouts', then into the rows' (N,
        size) snapshots."""
        views, rows = self.layout.views(parameters), self.layout.views(snapshot)
        if self.scale:
            self.scale.move(views, rows, alive)
        for norm in self.norms.values():
            if isinstance(norm, BatchNorm):
                norm.move(views, alive)
                for name in (norm.mean, norm.var):
                    rows[name].copy_(views[name].repeat_interleave(len(rows[name]) // len(alive), 0))

    def projection(self, parameters: Tensor) -> Projection | None:
        """What keeps the weights as long as those in `parameters` (N, size), of a side whose norm asks for it."""
        held = tuple(layer.removesuffix("weights") for layer in self.layers if layer.endswith("weights"))
        views = self.layout.views(parameters)
        return Projection({name: view for name, view in views.items() if name.startswith(held)}) if held else None

    def backward(self, p: Views, g: Views, tape: Tape, dout: Tensor) -> None:
        """Gradient of the loss from dout (T, N, A+1), written over every view in `g`. The tape must hold one
        environment a row; `dout` is changed where returns are scaled."""
        for part in reversed(self.of_value):
            part.backward(p, g, tape.left[: len(dout)], dout)
        obs, state, embed, active, gates, hidden, core = (x[: len(dout)].squeeze(2) for x in tape[:7])
        into = self.heads_norm.train(p, core.transpose(0, 1)).transpose(0, 1)
        d_into = self.heads.backward(p, g, into, dout)
        assert d_into is not None
        d_core = self.heads_norm.backward(p, g, core, d_into)
        d_active = self._core_backward(p, g, tape, (state, active, gates, hidden, core), d_core)
        d_embed = self.embed_norm.backward(p, g, embed, d_active.mul_(active > 0))
        self.embed.backward(p, g, obs, d_embed, need_dx=False)
        if self._acting_on is not None:
            tape.state[len(dout)].copy_(self._acting_on)

    def _core_step(self, p: Views, tape: Tape, t: int, active: Tensor) -> None:
        raise NotImplementedError

    def _core_train(self, p: Views, tape: Tape, steps: int) -> None:
        """The core over a rollout from its inputs, then its norm as it is trained."""
        raise NotImplementedError

    def _core_backward(self, p: Views, g: Views, tape: Tape, parts: tuple[Tensor, ...], d_core: Tensor) -> Tensor:
        raise NotImplementedError


class RecurrentActorCritic(ActorCritic):
    """48 → 128 → GRU 128 → 3 + 1 in the source documents: 105,860 parameters, 106,372 with LN."""

    recurrent = True

    def _core(self, name: str) -> GRU:
        gates = f"{name}.gates" in self.layers
        self.core = (
            GatesNorm(name, self.hidden, self.hidden) if gates else GRU(name, self.hidden, self.hidden, self.layers)
        )
        return self.core

    def _core_step(self, p: Views, tape: Tape, t: int, active: Tensor) -> None:
        last = t + 1 == len(tape.state)  # the bootstrap's slot: its next state is not wanted
        following = torch.empty_like(tape.state[t]) if last else tape.state[t + 1]
        h = self.core.forward(p, active, tape.state[t], tape.gates[t], tape.hidden[t], following)
        tape.core[t].copy_(self.core_norm.forward(p, h))

    def _core_train(self, p: Views, tape: Tape, steps: int) -> None:
        for t in range(steps):
            self.core.forward(p, tape.active[t], tape.state[t], tape.gates[t], tape.hidden[t], tape.state[t + 1])
            if self.keep is not None:
                tape.state[t + 1].mul_(self.keep[t].unsqueeze(-1))
        tape.core[:steps] = self._train(p, self.core_norm, self._output(tape, steps))

    def _output(self, tape: Tape, steps: int) -> Tensor:
        """What the GRU gave, (T, N, 1, H): the states that follow, but where an episode's end set them to zero."""
        if self.keep is None:
            return tape.state[1 : steps + 1]
        _, update, new = tape.gates[:steps].chunk(3, dim=-1)
        return torch.lerp(new, tape.state[:steps], update)

    def _core_backward(self, p: Views, g: Views, tape: Tape, parts: tuple[Tensor, ...], d_core: Tensor) -> Tensor:
        state, active, gates, hidden, _ = parts
        d_output = self.core_norm.backward(p, g, self._output(tape, len(d_core)).squeeze(2), d_core)
        return self.core.backward(p, g, active, state, gates, hidden, d_output, self.keep)


class FeedForwardActorCritic(ActorCritic):
    """48 → 128 → 128 → 3 + 1 in the source documents: 23,300 parameters; LN before each ReLU is our definition (512
    more)."""

    def _core(self, name: str) -> Linear:
        self.core = make_linear(self.layers, name, self.hidden, self.hidden)
        return self.core

    def _core_step(self, p: Views, tape: Tape, t: int, active: Tensor) -> None:
        second = self.core.forward(p, active, tape.gates[t])
        torch.clamp_min(self.core_norm.forward(p, second), 0.0, out=tape.core[t])

    def _core_train(self, p: Views, tape: Tape, steps: int) -> None:
        for t in range(steps):
            self.core.forward(p, tape.active[t], tape.gates[t])
        tape.core[:steps] = torch.clamp_min(self._train(p, self.core_norm, tape.gates[:steps]), 0.0)

    def _core_backward(self, p: Views, g: Views, tape: Tape, parts: tuple[Tensor, ...], d_core: Tensor) -> Tensor:
        _, active, second, _, core = parts
        d_second = self.core_norm.backward(p, g, second, d_core.mul_(core > 0))
        d_active = self.core.backward(p, g, active, d_second)
        assert d_active is not None
        return d_active


class SeparateActorCritic(ActorCritic):
    """An actor and a critic with a trunk each, side by side in one layout: `actor.embed.weight`, `critic.embed.weight`.

    The recurrent states stand side by side too, as the outputs do.
    """

    def __init__(self, actor: ActorCritic, critic: ActorCritic) -> None:
        self.sides = actor, critic
        self.recurrent = actor.recurrent
        self.layers = actor.layers + critic.layers
        self.norms, self.products = actor.norms | critic.norms, actor.products | critic.products
        self.layout = Layout(actor.layout.shapes | critic.layout.shapes)
        self.scale = critic.scale

    def _fill(self, name: str, view: Tensor, generator: torch.Generator) -> None:
        for side in self.sides:
            if name.startswith(side.prefix):
                side._fill(name, view, generator)

    def tape(self, steps: int, rows: int, batch: int = 1, device: torch.device | str = "cpu") -> Tape:
        own = [side.tape(steps, rows, batch, device) for side in self.sides]
        obs, nothing = own[0].obs, own[0].obs.new_empty(0)
        state, out = torch.cat([each.state for each in own], -1), torch.cat([each.out for each in own], -1)
        parts = zip(own, state.chunk(2, -1), self._by_side(out), strict=True)
        left = own[0].left
        sides = tuple(each._replace(obs=obs, state=half, out=part, left=left) for each, half, part in parts)
        return Tape._make([obs, state, *[nothing] * 5, out, sides, left])

    def _by_side(self, out: Tensor) -> tuple[Tensor, ...]:
        return out.split([sum(side.outputs) for side in self.sides], -1)

    def step(self, p: Views, tape: Tape, t: int) -> Tensor:
        for side, own in zip(self.sides, tape.sides, strict=True):
            side.step(p, own, t)
        return tape.out[t]

    def retrace(self, p: Views, tape: Tape, steps: int) -> None:
        for side, own in zip(self.sides, tape.sides, strict=True):
            side.keep = self.keep
            side.retrace(p, own, steps)

    def backward(self, p: Views, g: Views, tape: Tape, dout: Tensor) -> None:
        for side, own, part in zip(self.sides, tape.sides, self._by_side(dout), strict=True):
            side.keep = self.keep
            side.backward(p, g, own, part)
            g[side.heads.bias].copy_(part.cumsum(0)[-1])  # the last bits of torch.sum over a single output go by N


CORES: dict[str, type[ActorCritic]] = {"gru": RecurrentActorCritic, "ff": FeedForwardActorCritic}


def make_actor_critic(
    core: str,
    norm: str,
    *,
    at: str = USUAL,
    trunks: str = "shared",
    norm_in: str = "both",
    inputs: int = 48,
    hidden: int = 128,
    actions: int = 3,
    gaussian: bool = False,
    value_sees_time: bool = False,
    return_scale: bool = False,
) -> ActorCritic:
    """The network of an arm, by name.

    Args:
        at: the only part that has the norm; usual: where its row says.
        trunks: shared by actor and critic, or separate.
        norm_in: both, or the only side of separate trunks that has the norm: actor or critic.
        gaussian: with a log standard deviation for each action, 0 at first.
        value_sees_time, return_scale: what they are in lnlab.config.

    Raises:
        ValueError: `core` or `norm` is unknown; the message names the allowed ones.

    >>> make_actor_critic("gru", "ln").layout.count, make_actor_critic("gru", "none").layout.count
    (106372, 105860)
    """
    if core not in CORES:
        raise ValueError(f"unknown core {core!r}; choose one of {', '.join(CORES)}")
    if norm not in ACTOR_CRITIC:
        raise ValueError(f"unknown norm {norm!r}; choose one of {', '.join(ACTOR_CRITIC)}")
    of_value: dict[str, Any] = {"time": value_sees_time, "scaled": return_scale}
    if trunks == "shared":
        net = CORES[core](inputs, hidden, (actions, 1), norm, at, **of_value)
    else:
        norms = {side: norm if norm_in in ("both", side) else "none" for side in ("actor", "critic")}
        actor = CORES[core](inputs, hidden, (actions,), norms["actor"], at, "actor.")
        critic = CORES[core](inputs, hidden, (1,), norms["critic"], at, "critic.", **of_value)
        net = SeparateActorCritic(actor, critic)
    if gaussian:
        net.layout = Layout(net.layout.shapes | {"log_std": (actions,)})
    return net


def of_settings(config: Any, **sizes: Any) -> ActorCritic:
    """The network of a run of A3C or Individual; `sizes`: inputs, actions and gaussian of another task."""
    return make_actor_critic(
        config.core, config.norm, at=config.norm_at, trunks=config.trunks, norm_in=config.norm_in, hidden=config.hidden,
        value_sees_time=config.value_sees_time, return_scale=config.return_scale, **sizes,
    )  # fmt: skip


def norm_layers(net: ActorCritic, parameters: Tensor) -> list[str]:
    """Places with a norm of any kind: what the factories made there, its parameters found in live `parameters` (N,
    size); `weights` where these are held at their length.

    Read from the network, not from the settings.
    """
    views = net.layout.views(parameters)
    found = {place: part.shapes for place, part in net.norms.items() if not isinstance(part, NoNorm)}
    found |= {name + part.norm: part.shapes for name, part in net.products.items() if part.norm is not None}
    hold = net.projection(parameters)
    held = [name.replace("heads.weight", "weights") for name in hold.lengths if "heads." in name] if hold else []
    return [place for place, shapes in found.items() if _lives(shapes, views)] + held


def _lives(shapes: Mapping[str, tuple[int, ...]], views: Views) -> bool:
    """Whether parameters of these names are there and not all zero; a norm without any needs none."""
    own = [views[name] for name in shapes if name in views]
    return len(own) == len(shapes) and (not own or any(bool((view != 0).any()) for view in own))


def _orthogonal(outputs: int, inputs: int, generator: torch.Generator) -> Tensor:
    return torch.nn.init.orthogonal_(torch.empty(outputs, inputs), generator=generator)


def seeded_rows(net: ActorCritic, keys: list[list[int]]) -> Tensor:
    """Initial parameters (N, size), one row per key; a key is a list of integers such as [seed, purpose, worker]."""
    states = [int(np.random.SeedSequence(key).generate_state(1)[0]) for key in keys]
    return torch.stack([net.initial(torch.Generator().manual_seed(state)) for state in states])
