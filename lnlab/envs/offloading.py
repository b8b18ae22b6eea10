"""Task offloading of vehicles to a cloud, a whole batch of vehicles per tensor operation.

Every step brings each vehicle one task (units, duration). It computes the task itself (LOCAL), sends it over a
fading channel to a cloud (OFFLOAD) or drops it (DISCARD); a task pays its units when it finishes. The rules are
those of the documents D1 to D4; the tests compare them step by step with a plain Python rewriting
(`lnlab.envs.scalar`) and with the measured scores of reference policies.

Quirks kept because the documents' numbers rest on them:
- observations leave [0, 1] when the capacity is below 199: tasks need 1 to 199 units whatever the capacity;
- only the first task of an episode is bounded by the capacity;
- the observed velocity is clipped, so that every velocity up to 30 km/h shows as 0;
- a success flag stays until the same action is taken again (stale flags);
- the initial channel is a fair coin, not the stationary law;
- the cloud's slots, its pool and the channel are not observed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lnlab.envs.rules import (
    CLOUD_UNITS,
    LOCAL,
    OBSERVATION,
    OFFLOAD,
    REWARD_DIVISOR,
    SLOTS,
    STEPS,
    TASK_DURATION,
    channel_probabilities,
    check_cloud,
    episode_numbers,
    training_velocities,
    uniform_rows,
)

__all__ = ["Noise", "OffloadingBatch", "channel_probabilities", "draw_noise", "training_velocities"]

PURPOSE = 1  # the stream of a seed that feeds the environment; initial weights and action sampling take others


class Noise(NamedTuple):
    """Every random number of one episode of T = 100 steps and E vehicles, drawn beforehand."""

    channel0: Tensor  # (E,) bool; whether the channel starts good
    units: Tensor  # (T+1, E) float32; units[0] in 1 … capacity, the later in 1 … 199
    duration: Tensor  # (T+1, E) float32 in 1 … 50
    channel: Tensor  # (T, E) float32 uniform on [0, 1); the channel flips where it is below the probability
    priority: Tensor  # (T, E) float32 uniform on [0, 1); a shared cloud serves a step's requests by rising priority


def draw_noise(
    seeds: Sequence[int],
    workers: int,
    episode: int,
    capacity: float | Sequence[float] | np.ndarray,
    *,
    device: str | torch.device = "cpu",
    steps: int = STEPS,
) -> Noise:
    """Random numbers of an episode for E = len(seeds) * workers vehicles, seed by seed; capacity: one or E numbers.

    Stateless: the numbers of a seed depend on (seed, workers, episode) alone, never on the other seeds.
    """
    uniform = np.empty((len(seeds), uniform_rows(steps), workers), dtype=np.float32)
    for row, seed in zip(uniform, seeds, strict=True):
        np.random.default_rng([seed, PURPOSE, episode]).random(out=row, dtype=np.float32)
    flat = uniform.swapaxes(0, 1).reshape(uniform_rows(steps), -1)  # (4T+3, E)
    return Noise(*(torch.from_numpy(part).to(device) for part in episode_numbers(flat, capacity)))


class OffloadingBatch:
    """E = groups * members vehicles that step together; vehicle e belongs to group e // members.

    Randomness enters by the `Noise` given to `reset` alone. `step` never asks the device for a value and its shapes
    are fixed, so that it can be captured in a CUDA graph (the step counter lives on the device).

    State to read: `free` (E,) local units, `units` and `remaining` (E, 20) of the local slots, packed from the first
    on, `cloud_slots` (E,) free ones, `channel` (E,) bool, `pool` (groups,) if shared, else (E,), and `t` (1,).

    Args:
        capacity: local units of a vehicle, one number or E.
        velocity: km/h, one number or E. Two single numbers mean one vehicle a group.
        groups: how many sets of vehicles share a cloud; divides E.
        cloud: "shared", "budget" or "refilled", see `lnlab.envs.rules.CLOUDS`.

    Raises:
        ValueError: an unknown cloud, a capacity below 1, a negative velocity, or groups that do not divide E.
    """

    def __init__(
        self,
        capacity: float | Sequence[float] | Tensor,
        velocity: float | Sequence[float] | Tensor,
        *,
        groups: int,
        cloud: str = "shared",
        device: str | torch.device = "cpu",
    ) -> None:
        check_cloud(cloud)
        capacities, velocities = _per_vehicle(capacity, velocity, groups)
        self.cloud, self.groups, self.size, self.device = cloud, groups, len(capacities), torch.device(device)
        self.members = self.size // groups
        self.capacity = capacities.float().to(device)
        self._to_good, self._to_bad = (p.float().to(device) for p in channel_probabilities(velocities))
        self._allocate_state()
        self._allocate_scratch()
        self._show_constants(velocities)

    def _allocate_state(self) -> None:
        size, zeros = self.size, self._zeros
        self.t = zeros(1, dtype=torch.int64)
        self.channel = zeros(size, dtype=torch.bool)
        self._stock = zeros(2, size)
        self.free, self.cloud_slots = self._stock
        self.pool = zeros(self.groups if self.cloud == "shared" else size)
        # Units and remaining time. Column 0 takes what is thrown away, the last column the task coming in.
        self._slots = zeros(2, size, SLOTS + 2)
        self.units, self.remaining = self._slots[:, :, 1:-1]
        # What each step to come gives back: local units, cloud slots, cloud units.
        self._due = zeros(STEPS + TASK_DURATION, 3, size)
        # What each step needs: units a pool misses afterwards if it grants the task, units, duration, channel number;
        # and what is observed afterwards: time left, next task (2).
        self._script = zeros(STEPS, 7, size)
        # Step in which the task would finish; which vehicle stands at this place of the cloud's queue.
        self._index_script = zeros(STEPS, 2, size, dtype=torch.int64)
        self._obs = zeros(size, OBSERVATION)

    def _allocate_scratch(self) -> None:
        """Buffers of a step, and names for their parts: a view made anew costs as much as a small operation."""
        size, zeros = self.size, self._zeros
        self._row, self._index_row = zeros(1, 7, size), zeros(1, 2, size, dtype=torch.int64)
        self._asking, self._task, self._number = self._row[0, :2], self._row[0, 1:3], self._row[0, 3]
        self._finish, self._order = self._index_row[:, :1].expand(1, 3, size), self._index_row[0, 1]
        self._chosen, self._allowed = zeros(2, size, dtype=torch.bool), zeros(2, size, dtype=torch.bool)
        self._success = zeros(2, size)
        self._taken, self._back = zeros(1, 3, size), zeros(1, 3, size)  # local units, cloud slots, cloud units
        self._last_slot, self._incoming = self._slots[1, :, -2], self._slots[:, :, -1]
        self._keep = zeros(size, SLOTS + 1, dtype=torch.bool)
        self._column = zeros(size, SLOTS + 1, dtype=torch.int64)
        self._kept = zeros(2, size, SLOTS + 1)
        self._flip_chance, self._flip = zeros(size), zeros(size, dtype=torch.bool)
        self._allocate_queue()

    def _allocate_queue(self) -> None:
        """The cloud's queue, (members, groups); a private cloud has a queue of one."""
        shape = (self.members, self.groups) if self.cloud == "shared" else (1, self.size)
        self._request = self._zeros(3, self.size)  # by vehicle: units missed afterwards, units asked, units given back
        self._queue = self._zeros(3, *shape) if shape[0] > 1 else self._request.view(3, *shape)
        self._granted = self._zeros(*shape)

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def _show_constants(self, velocities: Tensor) -> None:
        """Write what never changes in an observation, and name the parts that do."""
        self._actions = torch.tensor([[LOCAL], [OFFLOAD]], device=self.device)
        scale = torch.stack([self.capacity, torch.full_like(self.capacity, TASK_DURATION)])
        self._task_scale, self._slot_scale = scale, scale.T[:, :, None]
        self._obs[:, 46] = ((velocities - 30) / 70).clamp(0, 1).float()
        self._obs[:, 47] = (self.capacity.double() / 120).clamp(0, 1).float()
        self._shown_free, self._shown_time = self._obs[:, 0], self._obs[:, 1]
        self._shown_slots = self._obs[:, 2:42].unflatten(1, (2, SLOTS))
        self._shown_task, self._flags = self._obs[:, 42:44].T, self._obs[:, 44:46].T

    def reset(self, noise: Noise, out: Tensor | None = None) -> Tensor:
        """Start the episode of `noise`; its first observation (E, 48), written to `out` or to a fresh tensor."""
        for state in (self.t, self._slots, self._due, self._flags):
            state.zero_()
        self.free.copy_(self.capacity)
        self.cloud_slots.fill_(SLOTS)
        self.pool.fill_(CLOUD_UNITS)
        self.channel.copy_(noise.channel0)
        self._load(noise)
        self._shown_time.fill_(1)
        torch.div(torch.stack([noise.units[0], noise.duration[0]]), self._task_scale, out=self._shown_task)
        return self._observe(out)

    def _load(self, noise: Noise) -> None:
        """Lay the episode's numbers out step by step, with all that does not depend on the actions."""
        steps = torch.arange(STEPS, device=self.device)[:, None]
        tasks = torch.stack([noise.units, noise.duration], dim=1)  # (T+1, 2, E)
        outlives = tasks[:-1, 1] > 1 if self.cloud != "budget" else 1  # a task of one step is given back within it
        self._script[:, 0] = tasks[:-1, 0] * outlives
        self._script[:, 1:3] = tasks[:-1]
        self._script[:, 3] = noise.channel
        self._script[:, 4] = (STEPS - 1 - steps).float() / STEPS
        torch.div(tasks[1:], self._task_scale, out=self._script[:, 5:])
        self._index_script[:, 0] = steps + noise.duration[:-1].long() - 1
        if len(self._granted) > 1:
            order = noise.priority.view(STEPS, self.groups, self.members).argsort(dim=2, stable=True)
            first = torch.arange(0, self.size, self.members, device=self.device)[:, None]
            self._index_script[:, 1] = (order + first).transpose(1, 2).flatten(1)

    def step(self, action: Tensor, out: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """One step of every vehicle; an episode has exactly 100.

        In a shared cloud the vehicles of a group go through the step one after another, by rising priority: what
        finishes in the step of one is there for the next.

        Args:
            action: (E,) int64: 0 LOCAL, 1 OFFLOAD, 2 DISCARD.
            out: where to write the observation, (E, 48) float32; a fresh tensor if not given.

        Returns:
            observation (E, 48) and reward (E,), a fresh tensor: units of the tasks finished in this step / 20.
        """
        torch.index_select(self._script, 0, self.t, out=self._row)
        torch.index_select(self._index_script, 0, self.t, out=self._index_row)
        self._admit(action)
        self._flip_channel()
        reward = self._complete()
        self._pack_slots()
        self._shown_time.copy_(self._row[0, 4])
        self._shown_task.copy_(self._row[0, 5:])
        self.t += 1
        return self._observe(out), reward

    def _admit(self, action: Tensor) -> None:
        """Take units for the tasks that are accepted; a refused task is lost, at no cost."""
        torch.eq(action, self._actions, out=self._chosen)
        (local, offload), taken = self._allowed, self._taken[0]
        torch.le(self._task[0], self.free, out=local)
        local.logical_and_(self._last_slot == 0)
        torch.gt(self.cloud_slots, 0, out=offload)
        offload.logical_and_(self.channel)
        self._allowed.logical_and_(self._chosen)
        torch.mul(self._task[0], local, out=taken[0])
        torch.mul(self._asking, offload, out=self._request[:2])
        self._serve(taken[2])
        torch.gt(taken[::2], 0, out=self._success)  # a task needs at least one unit
        taken[1] = self._success[1]
        torch.where(self._chosen, self._success, self._flags, out=self._flags)

    def _serve(self, taken: Tensor) -> None:
        """Let the pools grant the units asked of them, all or none, one vehicle after another; `taken` (E,)."""
        queue, granted = self._queue, self._granted
        if self.cloud != "budget":
            torch.index_select(self._due, 0, self.t, out=self._back)
            self._request[2] = self._back[0, 2]
        if len(granted) > 1:
            torch.index_select(self._request, 1, self._order, out=queue.flatten(1))
        # By conservation a refilled pool cannot exceed its 1000 units: the cap of the documents never binds.
        for missed, asked, back, grant in zip(*queue, granted, strict=True):
            torch.le(asked, self.pool, out=grant)
            self.pool.addcmul_(missed, grant, value=-1).add_(back)
        granted.mul_(queue[1])
        if len(granted) > 1:
            taken.scatter_(0, self._order, granted.view(-1))
        else:
            taken.copy_(granted[0])

    def _flip_channel(self) -> None:
        torch.where(self.channel, self._to_bad, self._to_good, out=self._flip_chance)
        torch.lt(self._number, self._flip_chance, out=self._flip)
        self.channel.logical_xor_(self._flip)

    def _complete(self) -> Tensor:
        """Give back what the tasks finishing now hold; reward (E,)."""
        self._due.scatter_add_(0, self._finish, self._taken)
        torch.index_select(self._due, 0, self.t, out=self._back)
        taken, back = self._taken[0], self._back[0]
        self._stock.sub_(taken[:2]).add_(back[:2])
        return (back[0] + back[2]).div_(REWARD_DIVISOR)

    def _pack_slots(self) -> None:
        """Append the accepted local task, let one step pass, and squeeze the finished tasks out, order kept."""
        torch.mul(self._task, self._success[0], out=self._incoming)
        after = self._slots[:, :, 1:]  # (2, E, 21)
        after[1].sub_(1)
        torch.gt(after[1], 0, out=self._keep)
        torch.cumsum(self._keep, dim=1, out=self._column)
        self._column.mul_(self._keep)
        torch.mul(after, self._keep, out=self._kept)
        self._slots.zero_()
        self._slots.scatter_(2, self._column.expand_as(self._kept), self._kept)

    def _observe(self, out: Tensor | None) -> Tensor:
        torch.div(self.free, self.capacity, out=self._shown_free)
        torch.div(self._slots[:, :, 1:-1].transpose(0, 1), self._slot_scale, out=self._shown_slots)
        return self._obs.clone() if out is None else out.copy_(self._obs)

    def state_dict(self) -> dict[str, Tensor]:
        """Copies of everything that changes, enough to go on bit for bit in the middle of an episode."""
        return {name: getattr(self, name).clone() for name in STATE}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` of a batch with the same settings gave.

        Raises:
            ValueError: names are missing, or a tensor has the shape of another batch.
        """
        for name in STATE:
            own, other = getattr(self, name), state.get(name)
            if other is None or other.shape != own.shape:
                found = "nothing" if other is None else tuple(other.shape)
                raise ValueError(f"state {name!r} should have shape {tuple(own.shape)}; got {found}")
            own.copy_(other)


STATE = ("t", "channel", "pool", "_stock", "_slots", "_due", "_script", "_index_script", "_obs")


def _per_vehicle(capacity: Any, velocity: Any, groups: int) -> tuple[Tensor, Tensor]:
    """Capacity and velocity (E,) in double precision, checked."""
    pair = [torch.as_tensor(x, dtype=torch.float64, device="cpu").reshape(-1) for x in (capacity, velocity)]
    size = max(groups, *(len(x) for x in pair)) if groups >= 1 else 0
    if groups < 1 or size % groups or any(len(x) not in (1, size) for x in pair):
        raise ValueError(
            f"groups={groups}, {len(pair[0])} capacities and {len(pair[1])} velocities do not fit: "
            "capacity and velocity are single numbers or one for each of E vehicles, and groups divides E"
        )
    capacities, velocities = (x.expand(size).clone() for x in pair)
    if capacities.min() < 1 or velocities.min() < 0:
        raise ValueError(
            f"capacity must be at least 1 unit and velocity at least 0 km/h; "
            f"got {capacities.min():g} units and {velocities.min():g} km/h"
        )
    return capacities, velocities
