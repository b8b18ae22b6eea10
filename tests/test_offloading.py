"""The offloading world: the batch beside its plain Python rewriting, laws of every step, and its Gymnasium view."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import lnlab.envs  # noqa: F401  (registers the environment)
from lnlab.envs.gym_view import OffloadingEnv
from lnlab.envs.offloading import Noise, OffloadingBatch, channel_probabilities, draw_noise
from lnlab.envs.rules import CLOUDS, DISCARD, LOCAL, OFFLOAD, SLOTS, STEPS
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
    observation, fullest = batch.reset(noise), 0
    for t, action in enumerate(random_actions(1, batch.size)):
        assert np.array_equal(observation.numpy(), np.stack([v.observation() for v in vehicles])), t
        observation, reward = batch.step(action)
        rewards = {e: vehicles[e].step(int(action[e])) for e in queue_order(noise, t)}
        assert reward.tolist() == [float(np.float32(rewards[e])) for e in range(batch.size)], t
        assert batch.channel.tolist() == [v.channel for v in vehicles], t
        assert batch.cloud_slots.tolist() == [SLOTS - len(v.cloud) for v in vehicles], t
        assert batch.pool.tolist() == [v.pool.units for v in vehicles[:: MEMBERS if cloud == "shared" else 1]], t
        fullest = max(fullest, *(len(queue) for v in vehicles for queue in (v.local, v.cloud)))
    assert fullest == SLOTS or variant != "crowded"  # the limit was met where it should be


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


TABLE = {  # velocity: P(bad to good), P(good to bad), as the documents' specification prints them
    5: (0.0645, 0.0530), 10: (0.1290, 0.1061), 20: (0.2580, 0.2121), 35: (0.4516, 0.3713),
    50: (0.6451, 0.5304), 75: (0.9677, 0.7955), 90: (1.161, 0.9546), 100: (1.290, 1.061),
}  # fmt: skip


def test_channel_flips_as_often_as_the_table_says():
    for velocity, printed in TABLE.items():
        assert channel_probabilities(float(velocity)) == pytest.approx(printed, abs=6e-4)


def test_the_observation_has_the_documents_order_and_scales():
    """Capacity 150, 65 km/h: (65 - 30) / 70 = 0.5, clipped capacity 150 / 120 = 1; a task of 60 units and 10 steps."""
    observations, _ = play(OffloadingBatch(150, 65, groups=1), steady(60, 10), constant(LOCAL))
    seen = {i: round(x, 4) for i, x in enumerate(observations[1, 0].tolist()) if x}
    assert seen == {0: 0.6, 1: 0.99, 2: 0.4, 22: 0.18, 42: 0.4, 43: 0.2, 44: 1, 46: 0.5, 47: 1}
    assert observations[0, 0, 1] == 1
    assert observations[-1, 0, 1] == 0
    small, _ = play(OffloadingBatch(90, 30, groups=1), steady(180, 10), constant(LOCAL))
    assert small[0, 0, [42, 46, 47]].tolist() == [2, 0, 0.75]


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


def test_out_receives_the_observation_and_the_same_noise_gives_the_same_episode_again():
    batch, noise = make_batch("budget"), draw_noise(SEEDS, MEMBERS, 7, CAPACITIES * GROUPS)
    actions = random_actions(7, 15)
    expected, rewards = play(batch, noise, actions)
    kept = torch.empty(STEPS + 1, 15, 48)
    batch.reset(noise, out=kept[0])
    paid = [batch.step(action, out=kept[t + 1])[1] for t, action in enumerate(actions)]
    assert torch.equal(kept, expected)
    assert torch.equal(torch.stack(paid), rewards)


SETTINGS = [
    {"capacity": 100, "velocity": 100.0, "cloud": "refilled", "time_limit": "truncated", "render_mode": "ansi"},
    {"capacity": 150, "velocity": 5.0, "render_mode": "rgb_array"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_gymnasium_finds_no_fault(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("lnlab/Offloading-v0", **settings).unwrapped)


def as_noise(env: OffloadingEnv) -> Noise:
    """The random numbers of the running episode, as the batch takes them."""
    script = env.vehicle.script
    units, duration, channel = (torch.tensor(part)[:, None] for part in (script.units, script.duration, script.channel))
    return Noise(torch.tensor([script.channel0]), units, duration, channel, torch.zeros(STEPS, 1))


@pytest.mark.parametrize(
    ("capacity", "velocity", "cloud", "limit"),
    [(200, 10.0, "budget", "terminated"), (100, 35.0, "refilled", "truncated")],
)
def test_an_episode_equals_that_of_the_batch_and_its_end_is_told_as_asked(capacity, velocity, cloud, limit):
    env = gymnasium.make("lnlab/Offloading-v0", capacity=capacity, velocity=velocity, cloud=cloud, time_limit=limit)
    observation, _ = env.reset(seed=5)
    batch = OffloadingBatch(capacity, velocity, groups=1, cloud=cloud)
    expected = batch.reset(as_noise(env.unwrapped))
    for t, action in enumerate(np.random.default_rng(1).integers(0, 3, STEPS)):
        assert np.array_equal(observation, expected[0].numpy()), t
        assert env.observation_space.contains(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        expected, paid = batch.step(torch.tensor([action]))
        assert np.float32(reward) == paid.item(), t
        assert (info["channel_good"], info["cloud_units"]) == (batch.channel.item(), batch.pool.item())
        end = t == STEPS - 1
        assert (terminated, truncated) == (end and limit == "terminated", end and limit == "truncated")


def test_seeds_decide_everything_and_episodes_differ():
    def episode(env: gymnasium.Env, seed: int | None) -> np.ndarray:
        observations = [env.reset(seed=seed)[0]] + [env.step(t % 3)[0] for t in range(STEPS)]
        return np.stack(observations)

    env = gymnasium.make("lnlab/Offloading-v0")
    first, second = episode(env, 3), episode(env, None)
    assert np.array_equal(first, episode(gymnasium.make("lnlab/Offloading-v0"), 3))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, episode(env, 4))


def test_pictures_show_the_slots_and_the_rewards():
    text, pixels = (gymnasium.make("lnlab/Offloading-v0", render_mode=mode) for mode in ("ansi", "rgb_array"))
    for env in (text, pixels):
        env.reset(seed=0)
    empty = pixels.render()
    total = sum(text.step(LOCAL)[1] for _ in range(30))
    for _ in range(30):
        pixels.step(LOCAL)
    units, left = text.unwrapped.vehicle.local[0]
    assert f"{units:g}:{left:g}" in text.render()
    assert f"return {total:.2f}" in text.render()
    assert "step  30/100" in text.render()
    full = pixels.render()
    assert full.shape == empty.shape == (480, 640, 3)
    assert full.dtype == np.uint8
    assert (full != empty).any(axis=2).mean() > 0.05


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: OffloadingEnv(time_limit="never"), "time_limit='never' .*; choose one of terminated, truncated"),
        (lambda: OffloadingBatch(200, 10, groups=1, cloud="x"), "cloud='x' .*; choose one of shared, budget, refilled"),
        (lambda: OffloadingBatch(200, VELOCITIES, groups=2), "groups=2, 1 capacities and 5 velocities do not fit"),
        (lambda: OffloadingEnv().step(LOCAL), "call reset"),
    ],
)
def test_wrong_settings_are_named_with_the_right_ones_and_steps_outside_an_episode_refused(attempt, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        attempt()


def test_it_is_registered_by_importing_the_package_and_loads_no_torch():
    line = (
        "import sys, gymnasium, lnlab; shape = gymnasium.make('lnlab/Offloading-v0').reset(seed=1)[0].shape; "
        "print(shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(48,) False"
