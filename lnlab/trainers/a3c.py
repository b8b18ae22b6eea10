"""A3C and Individual as one tensor program over a stack of learners (Mnih et al. 2016; documents D1 to D4).

A learner is one set of parameters with its Adam; its members are the workers that share it: A3C has `seeds` learners
of `workers` members, Individual has seeds·workers learners of one member each. Rows (seed-major: seed, worker) are the
workers.

Asynchrony is an explicit schedule. Each worker acts with its own snapshot of the shared parameters, taken when it last
pushed. A tick is: every worker rolls out T steps on its snapshot; then, in an order drawn from the seed, each worker's
gradient (computed on its snapshot) is clipped and applied with the shared Adam, and that worker takes a new snapshot.
So a gradient is about workers − 1 updates old, as with real asynchronous processes, and the run is exactly repeatable.
"""

import math
from bisect import insort
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lnlab.config import EPISODE_STEPS, OWN
from lnlab.envs.offloading import OffloadingBatch, draw_noise, training_velocities
from lnlab.envs.rules import ACTIONS, OBSERVATION
from lnlab.evaluation import SCENARIOS, SWEEP, evaluate, evaluate_ensemble
from lnlab.models.actor_critic import norm_layers, of_settings, seeded_rows
from lnlab.models.norms import USUAL
from lnlab.trainers import native
from lnlab.trainers.actions import Actions, Choice
from lnlab.trainers.adam import Adam
from lnlab.trainers.captured import CapturedTick
from lnlab.trainers.native import NativeTick
from lnlab.trainers.returns import Boundaries, Losses, actor_critic_gradient, n_step_returns, over_time
from lnlab.trainers.schedule import Purpose, action_uniforms, push_order
from lnlab.trainers.steps import LayerSteps

CAPACITY = 200  # local units of every training worker
TOTALS = ("return", "value_loss", "grad_norm", "clipped")  # summed over the rollouts of an episode
LOSSES = ("policy_loss", "value_loss", "value_loss_all", "entropy")  # looked at where a learner diverges
Report = dict[str, np.ndarray]
Tick = Callable[[Tensor, Tensor, Tensor], None]


class AutoClip:
    """Limits of gradient norms: a percentile of all norms of a learner so far (Seetharaman et al. 2020).

    The newest count too, as in the article; those of the workers of a learner all at once.
    """

    def __init__(self, learners: int, percentile: float) -> None:
        self.share = percentile / 100
        self.seen: list[list[float]] = [[] for _ in range(learners)]  # rising

    def limits(self, norm: Tensor, learners: slice = slice(None)) -> Tensor:
        """Norms (L, members) of some learners, of which those that are not finite are left out → limits (L, 1)."""
        seen = self.seen[learners]
        for own, new in zip(seen, norm.tolist(), strict=True):
            for each in new:
                if math.isfinite(each):
                    insort(own, each)
        return norm.new_tensor([[self._percentile(own)] for own in seen])

    def _percentile(self, rising: list[float]) -> float:
        """As numpy has it; 0 of nothing."""
        if not rising:
            return 0.0
        whole, part = divmod(self.share * (len(rising) - 1), 1)
        low, high = rising[int(whole)], rising[min(int(whole) + 1, len(rising) - 1)]
        return low + part * (high - low)

    def state(self) -> list[Tensor]:
        return [torch.tensor(own) for own in self.seen]

    def load(self, state: list[Tensor]) -> None:
        self.seen = [own.tolist() for own in state]


class ActorCriticTrainer:
    """Trains every seed of a run side by side; iterating yields one report an episode, arrays (seeds, workers).

    This one in the offloading task, whose episodes all have 100 steps; `lnlab.trainers.anywhere` in any other.

    The result of a seed does not depend on the other seeds. A learner whose gradient stops being finite is frozen at
    its last finite parameters, reported with alive = False, and touches no other.
    """

    TABLES: tuple[str, ...] = ("evaluation", "sweep", "ensemble")
    stopped_early = None

    def __init__(self, config: Any, device: torch.device | str = "cpu") -> None:
        self.config: Any = config
        self.device = torch.device(device)
        self.seeds, self.workers = config.seed_list, config.workers
        self.members = 1 if config.algorithm == "individual" else config.workers
        self.rows = len(self.seeds) * self.workers
        self.learners = self.rows // self.members
        self.episode = 0
        self.diverged: list[dict[str, Any]] = []
        self.env, inputs, self.actions = self._world()
        self.net = of_settings(config, inputs=inputs, actions=self.actions.outputs, gaussian=self.actions.gaussian)
        self._allocate()
        self.leader: ActorCriticTrainer | None = None  # trains beside, and says how far each layer moves
        self.sizes: LayerSteps | None = None
        if getattr(config, "steps_of", OWN) != OWN:
            changed = {"norm": config.steps_of, "norm_at": USUAL, "steps_of": OWN}
            self.leader = ActorCriticTrainer(config.model_copy(update=changed), device)
            self.leader.sizes = LayerSteps(self.leader.parameters, self.leader.net.layout)
            self.sizes = LayerSteps(self.parameters, self.net.layout, self.leader.sizes)

    def _world(self) -> tuple[Any, int, Actions]:
        """The environments, the numbers of an observation, and how they are acted in."""
        env = OffloadingBatch(
            CAPACITY,
            torch.tensor(training_velocities(self.workers), dtype=torch.float32).repeat(len(self.seeds)),
            groups=len(self.seeds),
            cloud=self.config.cloud,
            device=self.device,
        )
        return env, OBSERVATION, Choice(len(ACTIONS))

    @property
    def parameter_count(self) -> int:
        """Parameters of one learner."""
        return self.net.layout.count

    @property
    def backend(self) -> str:
        """What trains: native, or torch, also where native was asked for in vain."""
        return "native" if self.compiled else "torch"

    @property
    def norm_layers(self) -> list[str]:
        """Norm layers found in the live parameters."""
        return norm_layers(self.net, self.parameters)

    @property
    def done(self) -> bool:
        return self.episode >= self.config.episodes

    def __iter__(self) -> Iterator[Report]:
        while not self.done:
            report = self.train_episode()
            self.diverged += self._first_divergences(report)
            yield report

    def table(self, name: str) -> pd.DataFrame | None:
        """The test scenarios; None where the settings ask for no test."""
        if not self.config.eval_episodes:
            return None
        if name == "ensemble":
            return evaluate_ensemble(self.config, self.parameters.detach()) if self.config.ensemble else None
        groups = {"evaluation": SCENARIOS, "sweep": SWEEP}[name]
        return evaluate(self.config, self.parameters.detach(), groups=groups)

    def _allocate(self) -> None:
        config, net = self.config, self.net
        keys = [
            [seed, Purpose.INIT, worker] for seed in self.seeds for worker in range(self.learners // len(self.seeds))
        ]
        self.parameters = seeded_rows(net, keys).to(self.device)
        self.parameters.grad = self.shared_gradient = torch.zeros_like(self.parameters)
        kind = self.device.type
        self.adam = Adam([self.parameters], lr=config.lr, fused=kind == "cpu", capturable=kind == "cuda")
        self._start_adam()
        self.projection = net.projection(self.parameters)
        if (hold := self.projection) is not None:
            views = net.layout.views(self.parameters)
            self.adam.register_step_post_hook(lambda *_: hold(views))
        shared = self.members > 1
        self.snapshot = self.parameters.repeat_interleave(self.members, 0) if shared else self.parameters
        self.gradient = torch.zeros_like(self.snapshot) if shared else self.shared_gradient
        self.carried = torch.zeros_like(self.gradient) if config.gradient_carry else None
        self.autoclip = AutoClip(self.learners, config.clip_percentile) if config.clip_percentile else None
        self.limit: float | Tensor = config.clip_norm or torch.finfo(torch.float32).max  # over which no gradient goes
        self.alive = torch.ones(self.learners, dtype=torch.bool, device=self.device)
        self.tape = net.tape(config.rollout, self.rows, device=self.device)
        self.reward = torch.zeros(config.rollout, self.rows, device=self.device)
        shape = (config.rollout, self.rows, *self.actions.shape)
        self.action = torch.zeros(shape, dtype=self.actions.dtype, device=self.device)
        self.totals = torch.zeros(len(TOTALS), self.rows, device=self.device)
        self.last = torch.zeros(len(Losses._fields), self.rows, device=self.device)
        self._captured: Tick | None = None
        asked = getattr(config, "backend", "torch") == "native" and native.knows(config, net, self.device)
        # a class that changes a part of the tick needs its parts
        self.compiled = native.library() if asked and type(self) is ActorCriticTrainer else None
        self.snapshot_views, self.gradient_views = net.layout.views(self.snapshot), net.layout.views(self.gradient)

    def _start_adam(self) -> None:
        """Let Adam make its moments now: a CUDA graph must find them at their place. A zero gradient moves nothing."""
        self.adam.step()
        self.adam.state[self.parameters]["step"].zero_()

    @torch.no_grad()
    def train_episode(self) -> Report:
        """One episode of 100 steps for every worker: five rollouts and updates of 20 steps in the documents."""
        if self.leader:
            self.leader.train_episode()
        rollout, updates = self.config.rollout, EPISODE_STEPS // self.config.rollout
        noise = draw_noise(self.seeds, self.workers, self.episode, CAPACITY, device=self.device)
        uniforms = action_uniforms(self.seeds, self.workers, self.episode, EPISODE_STEPS).to(self.device)
        order = push_order(self.seeds, self.workers, self.episode, updates).to(self.device)
        continues = torch.tensor([1.0] * (updates - 1) + [0.0]).to(self.device)  # the time limit counts as terminal
        left = (1 - torch.arange(EPISODE_STEPS + 1) / EPISODE_STEPS).to(self.device)
        tick = self._fastest_tick()
        self.tape.obs[0].squeeze(1).copy_(self.env.reset(noise))
        self.tape.state[0].zero_()
        self.totals.zero_()
        for update in range(updates):
            self.tape.left.copy_(left[update * rollout : (update + 1) * rollout + 1])
            tick(uniforms[update * rollout : (update + 1) * rollout], order[update], continues[update])
        self.episode += 1
        return self._report(updates)

    def _fastest_tick(self) -> Tick:
        """The tick as it is on a CPU, where `captured` has nothing to gain, beside a leader, or where the host reads
        gradient norms; one launch of a graph on a GPU; one call of compiled code where the settings ask for it."""
        if self.compiled:
            self._captured = self._captured or NativeTick(self, self.compiled)
            return self._captured
        if self.device.type != "cuda" or self.sizes or self.autoclip:
            return self.tick
        self._captured = self._captured or self.captured()
        return self._captured

    def captured(self) -> CapturedTick:
        """The tick as one CUDA graph; the buffers are left as they are."""
        first = torch.arange(len(self.seeds), device=self.device) * self.workers  # the shape that `push_order` has
        order = first + torch.arange(self.workers, device=self.device).unsqueeze(1)
        inputs = self.tape.obs.new_zeros(self.config.rollout, self.rows), order, self.tape.obs.new_ones(())
        changing = [self.parameters, self.snapshot, self.alive, *self.adam.state[self.parameters].values()]
        changing += [] if self.carried is None else [self.carried]
        return CapturedTick(self.tick, inputs, changing, clock=self.env.t)

    def tick(self, draws: Tensor, order: Tensor, continues: Tensor) -> None:
        """A rollout and an update of every worker; no value is read by the host on a GPU, and all shapes are fixed.

        Args:
            draws: (T, N, …), random numbers that pick the actions.
            order: (members, learners), the rows that push first, second, …
            continues: scalar, 1 if the episode goes on after this rollout, else 0.
        """
        self._roll_out(draws)
        losses = self._differentiate(continues)
        norm = self._push(order)
        clipped = (norm > self.limit).float()
        self.totals.add_(torch.stack([over_time(self.reward), losses.value, norm, clipped]))
        self.last.copy_(torch.stack(losses))
        self.tape.obs[0].copy_(self.tape.obs[-1])
        self.tape.state[0].copy_(self.tape.state[-1])

    def _roll_out(self, draws: Tensor) -> None:
        """T steps of every worker on its snapshot; the tape keeps what the gradient needs."""
        log_std = self.snapshot_views.get("log_std")
        for t, draw in enumerate(draws):
            out = self.net.step(self.snapshot_views, self.tape, t).squeeze(1)
            self.action[t] = self.actions.sample(out[:, :-1], draw, log_std)
            self._step(t)

    def _step(self, t: int) -> None:
        """Take the actions of step t: its reward, and the next observation on the tape."""
        self.reward[t] = self.env.step(self.action[t], self.tape.obs[t + 1].squeeze(1))[1]

    def _boundaries(self) -> Boundaries | None:
        """Where episodes end within the rollout: nowhere; `continues` tells of its end."""

    def _differentiate(self, continues: Tensor) -> Losses:
        """Gradient of every worker's rollout on its own snapshot, into `self.gradient`."""
        config, steps = self.config, self.config.rollout
        bootstrap = self.net.step(self.snapshot_views, self.tape, steps)[:, 0, -1] * continues
        returns = n_step_returns(self.reward, bootstrap, config.gamma, self._boundaries())
        if self.net.scale:
            self.net.scale.seen = returns
        self.net.retrace(self.snapshot_views, self.tape, steps)
        out = self.tape.out[:steps].squeeze(2)
        dout, losses = actor_critic_gradient(
            out, self.action, returns, value_cost=config.value_cost, entropy_cost=config.entropy_cost,
            huber=config.value_huber, actions=self.actions, log_std=self.snapshot_views.get("log_std"),
            d_log_std=self.gradient_views.get("log_std"),
        )  # fmt: skip
        self.net.backward(self.snapshot_views, self.gradient_views, self.tape, dout)
        return losses

    def _push(self, order: Tensor) -> Tensor:
        """Clip and apply the gradients, one worker of each learner after the other; returns the norms before clipping
        (N,)."""
        gradient = self.gradient
        if self.carried is not None:  # the original never cleared it: the last clipped gradient is added to the new one
            gradient = self.carried.add_(self.gradient)
        if self.members > 1 and self.config.schedule == "sync":
            return self._push_average(gradient)
        norm = torch.linalg.vector_norm(gradient, dim=1)
        self._freeze(norm)
        self.net.move_statistics(self.parameters, self.snapshot, self.alive)
        gradient.mul_(self._clip_factor(norm).unsqueeze(1))
        if self.members == 1:
            self._step_adam()
            return norm
        for rows in order:
            torch.index_select(gradient, 0, rows, out=self.shared_gradient)
            self._step_adam()
            self.snapshot.index_copy_(0, rows, self.parameters)
        return norm

    def _push_average(self, gradient: Tensor) -> Tensor:
        """A2C: the members' gradients are averaged, clipped and applied in one step."""
        torch.mean(gradient.view(self.learners, self.members, -1), 1, out=self.shared_gradient)
        norm = torch.linalg.vector_norm(self.shared_gradient, dim=1).repeat_interleave(self.members)
        self._freeze(norm)
        self.net.move_statistics(self.parameters, self.snapshot, self.alive)
        self.shared_gradient.mul_(self._clip_factor(norm)[:: self.members].unsqueeze(1))
        self._step_adam()
        self.snapshot.view(self.learners, self.members, -1).copy_(self.parameters.unsqueeze(1))
        return norm

    def _step_adam(self) -> None:
        if self.sizes:
            self.sizes.begin()
        self.adam.step()
        if self.sizes:
            self.sizes.end()

    def _clip_factor(self, norm: Tensor) -> Tensor:
        """min(1, limit / (norm + 1e-6)) as torch.nn.utils.clip_grad_norm_ has it, for norms (N,)."""
        if self.autoclip:
            pushed = norm.view(self.learners, self.members)  # of an average all are the same
            limits = self.autoclip.limits(pushed[:, :1] if self.config.schedule == "sync" else pushed)
            self.limit = limits.expand_as(pushed).flatten()
        return (self.limit / (norm + 1e-6)).clamp_max(1.0)

    def _freeze(self, norm: Tensor) -> None:
        """Learners with a gradient that is not finite stop for good: no gradient, no momentum, hence no step."""
        self.alive &= torch.isfinite(norm).view(self.learners, self.members).all(1)
        if self.device.type == "cpu" and bool(self.alive.all()):
            return  # a look that a GPU would have to wait for, but that saves a CPU two passes over the gradients
        dead = ~self.alive.unsqueeze(1)
        for buffer in (self.gradient, self.carried):
            if buffer is not None:
                buffer.view(self.learners, -1).masked_fill_(dead, 0.0)
        self.shared_gradient.masked_fill_(dead, 0.0)
        for moment in self._moments():
            moment.masked_fill_(dead, 0.0)
        norm.nan_to_num_(nan=torch.inf, posinf=torch.inf)

    def _moments(self) -> list[Tensor]:
        state = self.adam.state[self.parameters]
        return [state["exp_avg"], state["exp_avg_sq"]]

    def _report(self, updates: int) -> Report:
        """The episode's numbers; `value_loss`, `policy_loss` and `entropy` are of its last rollout, as in the logs."""
        alive = self.alive.repeat_interleave(self.members).float().unsqueeze(0)
        rows = torch.cat([self.totals[:1], self.totals[1:] / updates, self.last, alive]).cpu()
        shape = (len(rows), len(self.seeds), self.workers)
        returns, value_all, norm, clipped, policy, value, entropy, living = rows.view(shape).numpy()
        return {
            "episode": np.array(self.episode),
            "return": returns,
            "value_loss": value,
            "value_loss_all": value_all,
            "policy_loss": policy,
            "entropy": entropy,
            "grad_norm": norm,
            "clipped": clipped,
            "alive": living.astype(bool),
        }

    def _first_divergences(self, report: Report) -> list[dict[str, Any]]:
        """Entries for the learners that are not finite as of `report`, the newest, and have none in `diverged`."""
        loss = ~np.isfinite([report[name] for name in LOSSES]).all(0)
        gradient = ~np.isfinite(report["grad_norm"])
        if report["alive"].all() and not loss.any() and not gradient.any() and not self.done:
            return []
        parameter = ~self.parameters.isfinite().all(1).cpu().numpy()
        rows = {"loss": loss, "gradient": gradient, "dead": ~report["alive"]}
        by_learner = {name: each.reshape(self.learners, self.members) for name, each in rows.items()}
        wrong = parameter | np.logical_or.reduce([each.any(1) for each in by_learner.values()])
        found = []
        for learner in np.flatnonzero(wrong):
            seed, own = divmod(int(learner) * self.members, self.workers)  # own: the learner's first worker
            told = [entry["worker"] for entry in self.diverged if entry["seed"] == self.seeds[seed]]
            if own in told or (told and self.members > 1):
                continue
            kinds = [name for name in ("loss", "gradient") if by_learner[name][learner].any()]
            worker = own + int(by_learner[kinds[0]][learner].argmax()) if kinds else (own if self.members == 1 else -1)
            what = "parameter" if parameter[learner] or not kinds else kinds[0]
            found.append({"seed": self.seeds[seed], "worker": worker, "episode": self.episode, "what": what})
        return found

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on to the same bits; taken between episodes, when environments and recurrent states
        start anew."""
        return {
            "episode": self.episode,
            "parameters": self.parameters.clone(),
            "snapshot": self.snapshot.clone(),
            "carried": None if self.carried is None else self.carried.clone(),
            "alive": self.alive.clone(),
            "adam": self.adam.state_dict(),
            "diverged": [*self.diverged],
            "leader": self.leader.state_dict() if self.leader else None,
            "norms": self.autoclip.state() if self.autoclip else None,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take up where `state` was saved; buffers keep their place in memory."""
        self.episode, self.diverged = state["episode"], [*state.get("diverged", [])]
        self.parameters.copy_(state["parameters"])
        self.snapshot.copy_(state["snapshot"])
        self.alive.copy_(state["alive"])
        if self.carried is not None:
            self.carried.copy_(state["carried"])
        self.adam.load_state_dict(state["adam"])
        if not self.adam.state:  # a state from before the first update
            self._start_adam()
        self._captured = None  # Adam's moments have moved
        if self.leader:
            self.leader.load_state_dict(state["leader"])
        if self.autoclip:
            self.autoclip.load(state["norms"])
