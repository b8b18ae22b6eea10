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
    CLOUDS,
    LOCAL,
    OBSERVATION,
    OFFLOAD,
    REWARD_DIVISOR,
    SLOTS,
    STEPS,
    TASK_DURATION,
    UNIFORM_ROWS,
    channel_probabilities,
    check_choice,
    episode_numbers,
    training_velocities,
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
    capacity: float | Sequence[float] | np.ndarray | Tensor,
    *,
    device: str | torch.device = "cpu",
) -> Noise:
    """Random numbers of an episode for E = len(seeds) * workers vehicles, seed by seed; capacity: one or E numbers.

    Stateless: the numbers of a seed depend on (seed, workers, episode) alone, never on the other seeds.
    """
    uniform = np.empty((len(seeds), UNIFORM_ROWS, workers), dtype=np.float32)
    for row, seed in zip(uniform, seeds, strict=True):
        np.random.default_rng([seed, PURPOSE, episode]).random(out=row, dtype=np.float32)
    flat = uniform.swapaxes(0, 1).reshape(UNIFORM_ROWS, -1)
    return Noise(*(torch.from_numpy(part).to(device) for part in episode_numbers(flat, np.asarray(capacity))))


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
        ValueError: an unknown cloud, a capacity below 1, a negative velocity, one that is infinite or NaN, or groups
            that do not divide E.
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
        check_choice("cloud", cloud, CLOUDS)
        capacities, velocities = _per_vehicle(capacity, velocity, groups)
        self.cloud, self.groups, self.size, self.device = cloud, groups, len(capacities), torch.device(device)
        self.members = self.size // groups
        self.capacity = capacities.float().to(device)
        self._to_good, self._to_bad = (p.float().to(device) for p in channel_probabilities(velocities))
        self._allocate_state()
        self._allocate_decision()
        self._allocate_queue()
        self._lay_out_observation(velocities)

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
        # What each step needs: units a pool misses afterwards if it grants the task, units, duration, number that
        # decides the channel; and what is shown afterwards: steps left, next task (2).
        self._script = zeros(STEPS, 7, size)
        # Step in which the task would finish; which vehicle stands at this place of the cloud's queue.
        self._index_script = zeros(STEPS, 2, size, dtype=torch.int64)
        self._shown = zeros(size, OBSERVATION)  # the observation before its normalisation

    def _allocate_decision(self) -> None:
        """Buffers of a step and names for their parts: making a view anew, or passing a number, costs an operation."""
        size, zeros = self.size, self._zeros
        self._zero, self._divisor = torch.tensor([0.0, REWARD_DIVISOR], device=self.device)
        self._actions = torch.tensor([[LOCAL], [OFFLOAD]], device=self.device)
        self._row, self._index_row = zeros(1, 7, size), zeros(1, 2, size, dtype=torch.int64)
        self._asking, self._task, self._task_units, self._number = _parts(self._row[0], slice(0, 2), slice(1, 3), 1, 3)
        self._next_time, self._next_task = _parts(self._row[0], 4, slice(5, 7))
        self._finish, self._order = self._index_row[:, :1].expand(1, 3, size), self._index_row[0, 1]
        self._chosen, self._allowed = zeros(2, size, dtype=torch.bool), zeros(2, size, dtype=torch.bool)
        self._allowed_local, self._allowed_offload = self._allowed
        self._success, self._slot_free = zeros(2, size), zeros(size, dtype=torch.bool)
        self._flip_chance, self._flip = zeros(size), zeros(size, dtype=torch.bool)
        self._taken, self._back = zeros(1, 3, size), zeros(1, 3, size)  # local units, cloud slots, cloud units
        self._taken_stock, self._taken_slot, self._taken_units = _parts(self._taken[0], slice(0, 2), 1, slice(0, 3, 2))
        self._taken_local, self._taken_cloud = self._taken_units
        self._back_stock, self._back_local, self._back_cloud = _parts(self._back[0], slice(0, 2), 0, 2)
        self._last_slot, self._incoming = self._slots[1, :, -2], self._slots[:, :, -1]
        self._before, self._pass = self._slots[:, :, 1:], torch.tensor([0.0, 1.0], device=self.device)[:, None, None]
        self._after = zeros(2, size, SLOTS + 1)
        self._left = self._after[1]
        self._keep, self._rank = zeros(size, SLOTS + 1), zeros(size, SLOTS + 1)
        self._column = zeros(size, SLOTS + 1, dtype=torch.int64)
        self._columns = self._column.expand(2, size, SLOTS + 1)

    def _allocate_queue(self) -> None:
        """The cloud's queue, (members, groups); a private cloud has a queue of one."""
        shape = (self.members, self.groups) if self.cloud == "shared" else (1, self.size)
        self._request = self._zeros(3, self.size)  # by vehicle: units missed afterwards, units asked, units given back
        self._queue = self._zeros(*self._request.shape) if shape[0] > 1 else self._request
        self._granted, self._change = self._zeros(*shape), self._zeros(shape[1])
        self._turns = list(zip(*self._queue.view(3, *shape), self._granted, strict=True))
        self._queue_units, self._granted_units = self._queue[1], self._granted.view(-1)
        self._wish, self._returned, self._due_cloud = self._request[:2], self._request[2:], self._due[:, 2]

    def _zeros(self, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.zeros(shape, dtype=dtype, device=self.device)

    def _lay_out_observation(self, velocities: Tensor) -> None:
        """Name the parts of an observation, and write what never changes."""
        shown, scale = self._shown, torch.ones_like(self._shown)
        scale[:, [0, *range(2, 22), 42]] = self.capacity[:, None]
        scale[:, [*range(22, 42), 43]] = TASK_DURATION
        scale[:, 1] = STEPS
        shown[:, 46] = ((velocities - 30) / 70).clamp(0, 1).float().to(self.device)
        shown[:, 47] = (self.capacity.double() / 120).clamp(0, 1).float()
        self._scale = scale
        self._shown_free, self._shown_time, self._shown_task = shown[:, 0], shown[:, 1], shown[:, 42:44].T
        self._shown_slots, self._flags = shown[:, 2:42].unflatten(1, (2, SLOTS)).transpose(0, 1), shown[:, 44:46].T

    def buffers(self) -> dict[str, Tensor]:
        """The state and the episode's numbers where they lie, for compiled code that steps in place."""
        return {
            "clock": self.t, "channel": self.channel, "stock": self._stock, "pool": self.pool, "slots": self._slots,
            "due": self._due, "script": self._script, "places": self._index_script, "shown": self._shown,
            "scale": self._scale, "to_good": self._to_good, "to_bad": self._to_bad,
        }  # fmt: skip

    def reset(self, noise: Noise, out: Tensor | None = None) -> Tensor:
        """Start the episode of `noise`; its first observation (E, 48), written to `out` or to a fresh tensor."""
        for state in (self.t, self._slots, self._due, self._flags):
            state.zero_()
        self.free.copy_(self.capacity)
        self.cloud_slots.fill_(SLOTS)
        self.pool.fill_(CLOUD_UNITS)
        self.channel.copy_(noise.channel0)
        self._load(noise)
        self._next_time.fill_(STEPS)
        self._next_task.copy_(torch.stack([noise.units[0], noise.duration[0]]))
        return self._observe(out)

    def _load(self, noise: Noise) -> None:
        """Lay the episode's numbers out step by step, with all that does not depend on the actions."""
        script, steps = self._script, torch.arange(STEPS, device=self.device)[:, None]
        # A task of one step is given back within it, so that a refilled pool does not miss it afterwards.
        torch.mul(noise.units[:-1], noise.duration[:-1] > int(self.cloud != "budget"), out=script[:, 0])
        script[:, 1], script[:, 5] = noise.units[:-1], noise.units[1:]
        script[:, 2], script[:, 6] = noise.duration[:-1], noise.duration[1:]
        script[:, 3], script[:, 4] = noise.channel, STEPS - 1 - steps
        self._index_script[:, 0] = steps + noise.duration[:-1].long() - 1
        if len(self._turns) > 1:
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
        self.t.add_(1)
        return self._observe(out), reward

    def _admit(self, action: Tensor) -> None:
        """Take units for the tasks that are accepted; a refused task is lost, at no cost."""
        local, offload = self._allowed_local, self._allowed_offload
        torch.eq(action, self._actions, out=self._chosen)
        torch.le(self._task_units, self.free, out=local)
        local.logical_and_(torch.eq(self._last_slot, self._zero, out=self._slot_free))
        torch.gt(self.cloud_slots, self._zero, out=offload)
        offload.logical_and_(self.channel)
        self._allowed.logical_and_(self._chosen)
        torch.mul(self._task_units, local, out=self._taken_local)
        torch.mul(self._asking, offload, out=self._wish)
        self._serve()
        torch.gt(self._taken_units, self._zero, out=self._success)  # a task needs at least one unit
        self._taken_slot.copy_(self._success[1])
        torch.where(self._chosen, self._success, self._flags, out=self._flags)

    def _serve(self) -> None:
        """Let the pools grant the units asked of them, all or none, one vehicle after another."""
        if self.cloud != "budget":
            torch.index_select(self._due_cloud, 0, self.t, out=self._returned)
        if len(self._turns) > 1:
            torch.index_select(self._request, 1, self._order, out=self._queue)
        # By conservation a refilled pool cannot exceed its 1000 units: the cap of the documents never binds.
        for missed, asked, returned, granted in self._turns:
            torch.le(asked, self.pool, out=granted)
            self.pool.add_(torch.addcmul(returned, missed, granted, value=-1, out=self._change))
        if len(self._turns) > 1:
            self._taken_cloud.scatter_(0, self._order, self._granted_units.mul_(self._queue_units))
        else:
            torch.mul(self._granted_units, self._queue_units, out=self._taken_cloud)

    def _flip_channel(self) -> None:
        torch.where(self.channel, self._to_bad, self._to_good, out=self._flip_chance)
        self.channel.logical_xor_(torch.lt(self._number, self._flip_chance, out=self._flip))

    def _complete(self) -> Tensor:
        """Give back what the tasks finishing now hold; reward (E,)."""
        self._due.scatter_add_(0, self._finish, self._taken)
        torch.index_select(self._due, 0, self.t, out=self._back)
        self._stock.sub_(self._taken_stock).add_(self._back_stock)
        return torch.add(self._back_local, self._back_cloud).div_(self._divisor)

    def _pack_slots(self) -> None:
        """Append the accepted local task, let one step pass, and squeeze the finished tasks out, order kept."""
        torch.mul(self._task, self._success[0], out=self._incoming)
        torch.sub(self._before, self._pass, out=self._after)  # (2, E, 21)
        torch.gt(self._left, self._zero, out=self._keep)
        torch.cumsum(self._keep, dim=1, out=self._rank)
        self._column.copy_(self._rank.mul_(self._keep))
        self._slots.zero_()
        self._slots.scatter_(2, self._columns, self._after.mul_(self._keep))

    def _observe(self, out: Tensor | None) -> Tensor:
        self._shown_free.copy_(self.free)
        self._shown_time.copy_(self._next_time)
        self._shown_task.copy_(self._next_task)
        self._shown_slots.copy_(self._slots[:, :, 1:-1])
        return torch.div(self._shown, self._scale, out=out)


def _parts(tensor: Tensor, *rows: int | slice) -> list[Tensor]:
    """Views of the rows of a tensor."""
    return [tensor[row] for row in rows]


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
    wrong = ~((capacities >= 1) & (capacities < torch.inf) & (velocities >= 0) & (velocities < torch.inf))  # NaN too
    if wrong.any():
        first = int(wrong.nonzero()[0])
        raise ValueError(
            f"capacity must be at least 1 unit and velocity at least 0 km/h, both finite; "
            f"got {capacities[first]:g} units and {velocities[first]:g} km/h"
        )
    return capacities, velocities
