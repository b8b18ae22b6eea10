"""The batched offloading world: agreement with the plain Python rewriting, and laws that must hold at every step."""

import numpy as np
import pytest
import torch

from lnlab.envs.gym_view import OffloadingEnv
from lnlab.envs.offloading import Noise, OffloadingBatch, channel_probabilities, draw_noise, training_velocities
from lnlab.envs.rules import CLOUD_UNITS, CLOUDS, DISCARD, LOCAL, OFFLOAD, SLOTS, STEPS
from lnlab.envs.scalar import Pool, Script, Vehicle

GROUPS, MEMBERS = 3, 5
SEEDS = [11, 12, 13]
VELOCITIES = [5.0, 25.0, 35.0, 78.0, 100.0]
CAPACITIES = [100.0, 150.0, 200.0, 90.0, 200.0]


def crowd(noise: Noise) -> Noise:
    """Long tasks of a few units, so that slots run out before units do."""
    return noise._replace(units=(noise.units / 25).ceil(), duration=(noise.duration / 10).ceil() + 45)


def rush(noise: Noise) -> Noise:
    """Tasks of one or two steps, so that most are given back in the step that takes them."""
    return noise._replace(duration=(noise.duration / 25).ceil())


def crave(noise: Noise) -> Noise:
    """Units in hundreds, so that the members of a group fight for the pool."""
    return noise._replace(units=(noise.units / 50).ceil() * 100)


VARIANTS = {"as drawn": lambda noise: noise, "crowded": crowd, "rushed": rush, "craving": crave}


def make_batch(cloud: str, groups: int = GROUPS) -> OffloadingBatch:
    return OffloadingBatch(CAPACITIES * groups, VELOCITIES * groups, groups=groups, cloud=cloud)


def make_vehicles(cloud: str, noise: Noise) -> list[Vehicle]:
    """The same vehicles in plain Python, at the start of the same episode."""
    shared = [Pool(refill=True) for _ in range(GROUPS)]
    pools = [shared[e // MEMBERS] if cloud == "shared" else Pool(cloud == "refilled") for e in range(GROUPS * MEMBERS)]
    vehicles = [Vehicle(c, v, pool) for c, v, pool in zip(CAPACITIES * GROUPS, VELOCITIES * GROUPS, pools, strict=True)]
    for e, vehicle in enumerate(vehicles):
        columns = (part[:, e].tolist() for part in (noise.units, noise.duration, noise.channel))
        vehicle.reset(Script(bool(noise.channel0[e]), *columns))
    return vehicles


def queue_order(noise: Noise, t: int) -> list[int]:
    """Vehicles in the order in which they go through step t: by group, then by priority."""
    return sorted(range(GROUPS * MEMBERS), key=lambda e: (e // MEMBERS, noise.priority[t, e].item()))


def random_actions(seed: int, size: int) -> torch.Tensor:
    """(T, E) actions, mostly OFFLOAD so that the cloud is contested."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.choice([LOCAL, OFFLOAD, DISCARD], p=[0.3, 0.6, 0.1], size=(STEPS, size)))


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_equals_plain_python_step_by_step(cloud, variant):
    noise = VARIANTS[variant](draw_noise(SEEDS, MEMBERS, 4, CAPACITIES * GROUPS))
    batch, vehicles = make_batch(cloud), make_vehicles(cloud, noise)
    observation = batch.reset(noise)
    for t, action in enumerate(random_actions(1, batch.size)):
        assert np.array_equal(observation.numpy(), np.stack([v.observation() for v in vehicles])), t
        observation, reward = batch.step(action)
        rewards = {e: vehicles[e].step(int(action[e])) for e in queue_order(noise, t)}
        assert reward.tolist() == [float(np.float32(rewards[e])) for e in range(batch.size)], t
        assert batch.channel.tolist() == [v.channel for v in vehicles], t
        assert batch.cloud_slots.tolist() == [SLOTS - len(v.cloud) for v in vehicles], t
        assert batch.pool.tolist() == [v.pool.units for v in vehicles[:: MEMBERS if cloud == "shared" else 1]], t
    assert np.array_equal(observation.numpy(), np.stack([v.observation() for v in vehicles]))


def steady(units: float, duration: float, size: int = 1) -> Noise:
    """Equal tasks for every vehicle, a channel that starts good, and priority by number."""
    return Noise(
        channel0=torch.ones(size, dtype=torch.bool),
        units=torch.full((STEPS + 1, size), units),
        duration=torch.full((STEPS + 1, size), duration),
        channel=torch.full((STEPS, size), 0.5),
        priority=torch.arange(float(size)).expand(STEPS, size) / size,
    )


def play(batch: OffloadingBatch, noise: Noise, actions: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Observations (T+1, E, 48) and rewards (T, E) of an episode."""
    observations, rewards = [batch.reset(noise)], []
    for action in actions:
        observation, reward = batch.step(action)
        observations.append(observation)
        rewards.append(reward)
    return torch.stack(observations), torch.stack(rewards)


def constant(action: int, size: int = 1) -> torch.Tensor:
    return torch.full((STEPS, size), action)


def test_a_local_task_pays_its_units_in_its_last_step_and_holds_them_until_then():
    """Tasks of 80 units and 3 steps, capacity 200: two fit at once, so steps 0, 1, then again 3, 4 accept one."""
    observations, rewards = play(OffloadingBatch(200, 0, groups=1), steady(80, 3), constant(LOCAL))
    assert rewards[:9, 0].tolist() == [0, 0, 4, 4, 0, 4, 4, 0, 4]
    assert (200 * observations[:7, 0, 0]).round().tolist() == [200, 120, 40, 120, 120, 40, 120]
    assert observations[:7, 0, 44].tolist() == [0, 1, 1, 0, 1, 1, 0]  # local success: the third task found no room
    assert (50 * observations[2, 0, 22:25]).round().tolist() == [1, 2, 0]  # oldest first, packed


def test_the_budget_is_spent_once_and_the_refilled_pool_never_ends():
    """Tasks of 100 units and one step: a budget of 1000 pays ten of them, 50 in all; a refilled one all hundred."""
    returns = {}
    for cloud in CLOUDS:
        batch = OffloadingBatch(200, 0, groups=1, cloud=cloud)
        returns[cloud] = play(batch, steady(100, 1), constant(OFFLOAD))[1].sum().item()
    assert returns == {"shared": 500, "budget": 50, "refilled": 500}


def test_a_shared_pool_serves_by_priority_what_it_has():
    """Five vehicles ask for 300 of 1000 units: the first three in the queue get them and hold them for 50 steps."""
    noise = steady(300, 50, size=5)._replace(priority=torch.tensor([0.4, 0.1, 0.9, 0.3, 0.8]).expand(STEPS, 5))
    batch = OffloadingBatch(200, [0.0] * 5, groups=1)
    observations, rewards = play(batch, noise, constant(OFFLOAD, 5))
    assert observations[1, :, 45].tolist() == [1, 1, 0, 1, 0]
    assert rewards[:49].sum() == 0
    assert rewards[49].tolist() == [15, 15, 0, 15, 0]
    # Now 100 units are left: the first asks in vain, then gives 300 back, as the next two do after they took 300.
    assert observations[50, :, 45].tolist() == [1, 0, 0, 1, 1]


def test_discarding_earns_nothing_and_keeps_the_flags():
    actions = constant(DISCARD)
    actions[0], actions[1] = LOCAL, OFFLOAD
    observations, rewards = play(OffloadingBatch(200, 0, groups=1), steady(100, 50), actions)
    assert observations[-1, 0, 44:46].tolist() == [1, 1]
    assert rewards.sum() == 2 * 100 / 20
    assert play(OffloadingBatch(200, 0, groups=1), steady(100, 1), constant(DISCARD))[1].abs().sum() == 0


def test_every_unit_paid_was_accepted_and_finished_in_time():
    """Return times 20 = units of the accepted tasks whose last step lies in the episode, read off the flags alone."""
    noise, actions = draw_noise(SEEDS, MEMBERS, 0, CAPACITIES * GROUPS), random_actions(2, GROUPS * MEMBERS)
    observations, rewards = play(make_batch("shared"), noise, actions)
    accepted = torch.where(actions == LOCAL, observations[1:, :, 44], observations[1:, :, 45]) * (actions != DISCARD)
    finish = torch.arange(STEPS)[:, None] + noise.duration[:-1] - 1
    for t in range(STEPS):
        paid = (noise.units[:-1] * accepted * (finish == t)).sum(dim=0)
        assert torch.equal((rewards[t] * 20).round(), paid), t


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_units_are_conserved_and_slots_packed(cloud, variant):
    batch = make_batch(cloud)
    batch.reset(VARIANTS[variant](draw_noise(SEEDS, MEMBERS, 1, CAPACITIES * GROUPS)))
    most = 0
    for action in random_actions(3, batch.size):
        batch.step(action)
        busy = batch.remaining > 0
        assert torch.equal(batch.free + batch.units.sum(dim=1), batch.capacity)
        assert torch.equal(busy, batch.units > 0)
        assert torch.equal(busy, torch.arange(SLOTS) < busy.sum(dim=1, keepdim=True))
        assert batch.free.min() >= 0
        assert batch.pool.min() >= 0
        assert batch.pool.max() <= CLOUD_UNITS
        most = max(most, busy.sum(dim=1).max().item(), (SLOTS - batch.cloud_slots).max().item())
    assert most <= SLOTS
    assert most == SLOTS or variant != "crowded"  # the limit was met where it should be


TABLE = {  # velocity: P(bad to good), P(good to bad), as the documents' specification prints them
    5: (0.0645, 0.0530), 10: (0.1290, 0.1061), 20: (0.2580, 0.2121), 35: (0.4516, 0.3713),
    50: (0.6451, 0.5304), 75: (0.9677, 0.7955), 90: (1.161, 0.9546), 100: (1.290, 1.061),
}  # fmt: skip


@pytest.mark.parametrize("velocity", TABLE)
def test_channel_flips_as_often_as_the_table_says(velocity):
    expected = TABLE[velocity]
    assert channel_probabilities(float(velocity)) == pytest.approx(expected, abs=6e-4)
    size = 400
    batch = OffloadingBatch(200, velocity, groups=size, cloud="budget")
    batch.reset(draw_noise(range(size), 1, 0, 200))
    states = [batch.channel.clone()]
    for action in constant(DISCARD, size):
        batch.step(action)
        states.append(batch.channel.clone())
    before, after = torch.stack(states[:-1]), torch.stack(states[1:])
    for start, chance in ((False, min(expected[0], 1)), (True, min(expected[1], 1))):
        flips = (after != before)[before == start].double()
        standard_error = (chance * (1 - chance) / len(flips)) ** 0.5
        assert flips.mean().item() == pytest.approx(chance, abs=4 * standard_error + 6e-4 * (chance < 1))


def test_the_observation_has_the_documents_order_and_scales():
    """Capacity 150, 65 km/h: (65 - 30) / 70 = 0.5, clipped capacity 150 / 120 = 1; a task of 60 units and 10 steps."""
    observations, _ = play(OffloadingBatch(150, 65, groups=1), steady(60, 10), constant(LOCAL))
    seen = {i: round(x, 4) for i, x in enumerate(observations[1, 0].tolist()) if x}
    assert seen == {0: 0.6, 1: 0.99, 2: 0.4, 22: 0.18, 42: 0.4, 43: 0.2, 44: 1, 46: 0.5, 47: 1}
    assert observations[0, 0, 1] == 1
    assert observations[-1, 0, 1] == 0
    small, _ = play(OffloadingBatch(90, 30, groups=1), steady(180, 10), constant(LOCAL))
    assert small[0, 0, [42, 46, 47]].tolist() == [2, 0, 0.75]


def test_training_velocities_of_the_documents():
    assert {n: training_velocities(n) for n in (1, 3, 5, 10)} == {
        1: [10], 3: [5, 15, 25], 5: [5, 10, 15, 20, 25], 10: [5, 7, 9, 11, 13, 16, 18, 20, 22, 25],
    }  # fmt: skip


def test_noise_has_the_ranges_of_the_documents():
    noise = draw_noise(range(200), 5, 0, np.tile([100, 120, 150, 180, 200], 200))
    assert [noise.units[0, i::5].max().item() for i in range(5)] == pytest.approx([100, 120, 150, 180, 200], abs=4)
    assert noise.units.min() == 1
    assert noise.units[1:].max() == 199
    assert noise.duration.unique().tolist() == [*range(1, 51)]
    assert noise.units[1:].mean().item() == pytest.approx(100, abs=4 * 57.4 / 1e5**0.5)
    assert noise.channel0.double().mean().item() == pytest.approx(0.5, abs=0.07)
    assert noise.channel.min() >= 0
    assert noise.channel.max() < 1


def test_a_seed_does_not_depend_on_its_neighbours_and_episodes_differ():
    alone, together = draw_noise([7], MEMBERS, 2, 200), draw_noise([3, 7, 5], MEMBERS, 2, 200)
    for one, three in zip(alone, together, strict=True):
        assert torch.equal(one, three[..., MEMBERS : 2 * MEMBERS])
    assert not torch.equal(alone.units, draw_noise([7], MEMBERS, 3, 200).units)
    actions = random_actions(4, 3 * MEMBERS)
    seven = slice(MEMBERS, 2 * MEMBERS)
    observations, rewards = play(OffloadingBatch(200, VELOCITIES, groups=1), alone, actions[:, seven])
    batched = play(OffloadingBatch(200, VELOCITIES * 3, groups=3), together, actions)
    assert torch.equal(observations, batched[0][:, seven])
    assert torch.equal(rewards, batched[1][:, seven])


def test_the_same_noise_gives_the_same_episode_again():
    batch, noise = make_batch("shared"), draw_noise(SEEDS, MEMBERS, 5, CAPACITIES * GROUPS)
    first, again = (play(batch, noise, random_actions(5, 15)) for _ in range(2))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_state_goes_on_bit_for_bit_in_the_middle_of_an_episode(cloud):
    noise, actions = draw_noise(SEEDS, MEMBERS, 6, CAPACITIES * GROUPS), random_actions(6, 15)
    one, two = make_batch(cloud), make_batch(cloud)
    one.reset(noise)
    for action in actions[:40]:
        one.step(action)
    two.load_state_dict(one.state_dict())
    for action in actions[40:]:
        for mine, yours in zip(one.step(action), two.step(action), strict=True):
            assert torch.equal(mine, yours)


def test_out_receives_the_observation_and_without_it_each_is_fresh():
    batch, noise = make_batch("budget"), draw_noise(SEEDS, MEMBERS, 7, CAPACITIES * GROUPS)
    actions = random_actions(7, 15)
    expected, rewards = play(batch, noise, actions)
    kept = torch.empty(STEPS + 1, 15, 48)
    batch.reset(noise, out=kept[0])
    paid = [batch.step(action, out=kept[t + 1])[1] for t, action in enumerate(actions)]
    assert torch.equal(kept, expected)
    assert torch.equal(torch.stack(paid), rewards)


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_step_never_asks_the_device_for_a_value(cloud):
    """On the meta device tensors have shapes but no values: a step that read one would fail."""
    batch = OffloadingBatch(200, VELOCITIES * 2, groups=2, cloud=cloud, device="meta")
    batch.reset(draw_noise([0, 1], 5, 0, 200, device="meta"))
    observation, reward = batch.step(torch.zeros(10, dtype=torch.int64, device="meta"))
    assert observation.shape == (10, 48)
    assert reward.shape == (10,)


@pytest.mark.parametrize("number", [torch.nan, torch.inf, -torch.inf, -1.0])
def test_a_capacity_or_velocity_that_is_no_quantity_is_refused_by_every_implementation(number):
    for capacity, velocity in ((number, 10.0), (200.0, number)):
        with pytest.raises(ValueError, match=f"got {capacity:g} units and {velocity:g} km/h"):
            OffloadingBatch([100.0, capacity], [10.0, velocity], groups=1)
        with pytest.raises(ValueError, match=f"={number} is not allowed; it must be a finite number, [01] "):
            Vehicle(capacity, velocity, Pool(refill=True))
        with pytest.raises(ValueError, match=f"={number} is not allowed; it must be a finite number, [01] "):
            OffloadingEnv(capacity, velocity)
    for given in (number, [200.0, number]):
        with pytest.raises(ValueError, match=f"capacity={number} is not allowed"):
            draw_noise([0], 2, 0, given)


def test_wrong_settings_are_named_with_the_right_ones():
    with pytest.raises(ValueError, match="unknown cloud 'sharde'; choose one of shared, budget, refilled"):
        OffloadingBatch(200, 10, groups=1, cloud="sharde")
    with pytest.raises(ValueError, match="groups=2, 1 capacities and 5 velocities do not fit"):
        OffloadingBatch(200, VELOCITIES, groups=2)
    with pytest.raises(ValueError, match="got 0 units and 10 km/h"):
        OffloadingBatch(0, 10, groups=1)
    with pytest.raises(ValueError, match=r"state 't' should have shape \(1,\); got nothing"):
        make_batch("shared").load_state_dict({})
