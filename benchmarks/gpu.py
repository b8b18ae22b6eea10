"""lnlab on a GPU in one command: does it compute what a CPU does, how fast is it, and what limits it?

Agreement comes first: where the two differ by more than the stated tolerances, nothing is timed. Then: environment
steps per second over the number of seeds, with the tick as one CUDA graph and as single launches; the card's own limits
and what a step takes of them; the time of the main matrix, from the speed of each arm; and TD3 on images against
Stable-Baselines3, where that is installed. The figures go to benchmarks/results/gpu.json, for the page on speed.

--device cpu runs the same code, smaller, where there is no GPU: a trial of the command, whose figures mean nothing.
"""

import argparse
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from tqdm.auto import tqdm

from benchmarks.machine import RESULTS, save
from benchmarks.roofline import FLOAT, bytes_per_step, work_per_step
from lnlab import evaluation
from lnlab.config import EPISODE_STEPS, RunConfig, parse
from lnlab.envs.offloading import draw_noise
from lnlab.study import expand
from lnlab.trainers import make_trainer
from lnlab.trainers.captured import CapturedUpdate
from lnlab.trainers.schedule import action_uniforms, push_order

SECONDS = 300.0  # of all measurements; making what is measured comes on top
SHARE = 0.7  # of the seconds, for clocks that run
LEAST = 2  # episodes, or pairs of updates, of one measurement, however little time is left
GOALS = {"steps_per_second": 1e6, "matrix_minutes": 10.0, "td3_ratio": 4.0}
TOLERANCES = {  # a GPU adds in another order; an action drawn at a limit may turn out the other way
    "A3C tick: returns, losses, norms": 5e-3,
    "A3C tick: parameters": 5e-4,
    "Individual tick: returns, losses, norms": 5e-3,
    "Individual tick: parameters": 5e-4,
    "evaluation: mean difference of scenarios' returns": 5e-2,
    "TD3 update: gradient of the critics": 1e-3,
    "TD3 update: gradient of the actor": 5e-2,  # behind a step of Adam, whose sign an error of rounding decides
}


class Sizes(NamedTuple):
    seeds: tuple[int, ...]  # side by side
    matrix: int  # seeds of an arm of the main matrix
    batch: int  # of TD3
    numbers: int  # read to measure the bandwidth
    width: int  # of the square matrices whose product measures the arithmetic
    episodes: int  # of a test scenario
    learners: int  # tested at once


FULL = Sizes((1, 3, 10, 30, 100, 300), matrix=30, batch=256, numbers=2**28, width=8192, episodes=30, learners=30)
TRIAL = Sizes((1, 2), matrix=1, batch=4, numbers=2**22, width=256, episodes=1, learners=1)


class DisagreementError(RuntimeError):
    """The GPU does not compute what the CPU does."""


class Clock:
    """Shares the seconds out among the measurements, and shows how far they are."""

    def __init__(self, seconds: float, measurements: int) -> None:
        self.each, self.end = SHARE * seconds / measurements, time.monotonic() + seconds
        self.bar = tqdm(total=measurements, desc="gpu", unit="figure", leave=False)

    def per_second(self, call: Callable[[], Any], device: str) -> float:
        """Calls a second; two at least, and no more once the time is up."""
        wait = torch.cuda.synchronize if device == "cuda" else lambda: None
        call()
        wait()
        seconds = self.each if time.monotonic() < self.end else 0.0
        start, calls = time.perf_counter(), 0
        while (elapsed := time.perf_counter() - start) < seconds or calls < LEAST:
            call()
            wait()
            calls += 1
        self.bar.update()
        return calls / elapsed


class Launches(TorchDispatchMode):
    """Counts operations that do work: what a GPU launches at the least."""

    FREE = ("view", "unsqueeze", "squeeze", "select", "slice", "transpose", "permute", "expand", "split", "detach", "t")

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (name := func.overloadpacket.__name__) not in self.FREE:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def lacking() -> str:
    """What is missing for a GPU to be used; "" if nothing is."""
    if torch.version.cuda is None:
        return f"this torch, {torch.__version__}, is built without CUDA; https://pytorch.org/get-started has others"
    if not torch.cuda.is_available():
        return "torch finds no GPU; does nvidia-smi show one, and a driver?"
    return ""


def card() -> dict[str, Any]:
    """Name, memory and driver of the GPU."""
    asked = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader", "--id=0"]
    try:
        driver = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    found = torch.cuda.get_device_properties(0)
    return {
        "name": found.name, "memory_gb": found.total_memory / 1e9, "driver": driver, "cuda": torch.version.cuda,
        "capability": f"{found.major}.{found.minor}", "processors": found.multi_processor_count,
    }  # fmt: skip


# -- agreement --------------------------------------------------------------------------------------------------------


@contextmanager
def single_precision() -> Iterator[None]:
    """Convolutions in float32 throughout; torch's default on a GPU, TF32, keeps 10 bits of what they multiply."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def agreement(device: str, sizes: Sizes) -> list[dict[str, Any]]:
    """Errors beside their tolerances.

    Raises:
        DisagreementError: one exceeds its tolerance, or is no number.
    """
    with single_precision():
        errors = _errors_of_ticks(device) | _errors_of_tests(device, sizes) | _errors_of_updates(device)
    rows = [{"what": what, "error": errors[what], "tolerance": most} for what, most in TOLERANCES.items()]
    wrong = [f"{row['what']} {row['error']:.2g} over {row['tolerance']:g}" for row in rows if not _holds(row)]
    if wrong:
        raise DisagreementError(f"{device} does not agree with a CPU, so nothing is timed: {'; '.join(wrong)}")
    return rows


def _holds(row: dict[str, Any]) -> bool:
    return bool(row["error"] <= row["tolerance"])


def _errors_of_ticks(device: str) -> dict[str, float]:
    """Of an episode, five ticks, as one graph each."""
    found = {}
    for name, algorithm in (("A3C", "a3c"), ("Individual", "individual")):
        config = parse({"algorithm": algorithm, "seeds": 2, "lr": 1e-4})
        here, there = make_trainer(config), captured(make_trainer(config, device))
        one, other = here.train_episode(), there.train_episode()
        keys = ("return", "value_loss", "entropy", "grad_norm")
        apart = [abs(other[key] - one[key]) / (abs(one[key]) + 1) for key in keys]
        found[f"{name} tick: returns, losses, norms"] = float(max(each.max() for each in apart))
        moved = (there.parameters.detach().cpu() - here.parameters.detach()).abs()
        found[f"{name} tick: parameters"] = moved.max().item()
    return found


def _errors_of_tests(device: str, sizes: Sizes) -> dict[str, float]:
    config = parse({"seeds": 1, "eval_episodes": sizes.episodes})
    parameters = make_trainer(config).parameters.detach()
    one, other = (evaluation.evaluate(config, parameters.to(each)).return_mean for each in ("cpu", device))
    return {"evaluation: mean difference of scenarios' returns": float((one - other).abs().mean())}


def _errors_of_updates(device: str) -> dict[str, float]:
    """Of the gradients that Adam's first moments hold after an update of the critics, and one of critics and actor."""
    import numpy as np

    from benchmarks.td3 import ACTION, IMAGE, POLICIES, make_learner
    from lnlab.trainers.replay import Replay

    space, rng, batch = POLICIES["CnnPolicy"], np.random.default_rng(0), 16
    space.seed(0)
    replay = Replay(64, space, ACTION)
    replay.start({"image": IMAGE.sample()})
    for _ in range(40):
        action = rng.uniform(-1, 1, 2).astype(np.float32)
        replay.add(action, rng.normal(), False, {"image": IMAGE.sample()}, ended=False)
    given, noise = replay.sample(batch, rng), torch.from_numpy(rng.standard_normal((batch, 2), np.float32))
    here, there = (make_learner(space, "same", each) for each in ("cpu", device))
    update, errors = CapturedUpdate(there, given, noise), {}
    for who in ("critic", "actor"):
        here.update(given, noise)
        update(given, noise)
        one, other = (_moments(getattr(each, who)) for each in (here, there))
        sides = "critics" if who == "critic" else who
        errors[f"TD3 update: gradient of the {sides}"] = ((one - other).norm() / one.norm()).item()
    return errors


def _moments(side: Any) -> torch.Tensor:
    return torch.cat([state["exp_avg"].flatten().cpu() for state in side.optimizer.state.values()])


# -- speed ------------------------------------------------------------------------------------------------------------


def captured(trainer: Any) -> Any:
    """The trainer with its tick as a graph; on a CPU with all of it but the graph."""
    tick = trainer.captured()
    trainer._fastest_tick = lambda: tick
    return trainer


def steps_per_second(config: RunConfig, device: str, clock: Clock, *, graph: bool = True) -> float:
    """Environment steps of all seeds and workers."""
    trainer = make_trainer(config, device)
    if graph:
        captured(trainer)
    else:
        trainer._fastest_tick = lambda: trainer.tick
    return clock.per_second(trainer.train_episode, device) * config.seeds * config.steps_per_report


def scaling(device: str, sizes: Sizes, clock: Clock) -> list[dict[str, Any]]:
    """Over the number of seeds side by side; with the share of an episode in which the host draws its numbers."""
    rows = []
    for seeds in sizes.seeds:
        config = parse({"seeds": seeds})
        fast, slow = (steps_per_second(config, device, clock, graph=graph) for graph in (True, False))
        start = time.perf_counter()
        draw_noise(config.seed_list, config.workers, 0, 200)
        action_uniforms(config.seed_list, config.workers, 0, EPISODE_STEPS)
        push_order(config.seed_list, config.workers, 0, EPISODE_STEPS // config.rollout)
        drawn = time.perf_counter() - start
        share = drawn * fast / (seeds * config.steps_per_report)
        rows.append({"seeds": seeds, "steps_per_second": fast, "eager_steps_per_second": slow, "share_of_host": share})
    return rows


def operations() -> int:
    """Of a tick of A3C with GRU and LayerNorm, however many seeds there are."""
    trainer = make_trainer(parse({"seeds": 1}))
    order = torch.arange(trainer.members).unsqueeze(1)
    with torch.no_grad(), Launches() as seen:
        trainer.tick(torch.rand(trainer.config.rollout, trainer.rows), order, torch.ones(()))
    return sum(seen.counts.values())


def roofline(device: str, sizes: Sizes, clock: Clock, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The card's limits, and the share of each that the fastest number of seeds reaches."""
    config, best = parse({}), max(rows, key=lambda row: row["steps_per_second"])
    big, square = torch.ones(sizes.numbers, device=device), torch.randn(sizes.width, sizes.width, device=device)
    out = torch.empty_like(square)
    read = clock.per_second(big.sum, device) * sizes.numbers * FLOAT
    product = clock.per_second(lambda: torch.mm(square, square, out=out), device) * 2 * sizes.width**3
    speed, launched = best["steps_per_second"], operations()
    ticks = speed / (best["seeds"] * config.workers * config.rollout)
    return {
        "bandwidth_gb": read / 1e9, "gflops": product / 1e9, "seeds": best["seeds"],
        "bytes_per_step": bytes_per_step(config), "flop_per_step": work_per_step(config),
        "share_of_bandwidth": speed * bytes_per_step(config) / read,
        "share_of_gflops": speed * work_per_step(config) / product,
        "operations_per_tick": launched, "us_per_operation": 1e6 / (ticks * launched),
    }  # fmt: skip


def matrix(device: str, sizes: Sizes, clock: Clock) -> dict[str, Any]:
    """Minutes that the study's main matrix would take, an arm after the other, from its arms' speeds."""
    arms, training, testing = {}, 0.0, 0.0
    for config in expand("paper"):
        assert isinstance(config, RunConfig)
        part = config.with_seeds(list(range(sizes.matrix)))
        arms[config.run_id] = speed = steps_per_second(part, device, clock)
        training += config.env_steps / speed
        learners = config.seeds * config.learners_per_seed
        tested = config.model_copy(update={"eval_episodes": sizes.episodes}).with_seeds(list(range(sizes.learners)))
        parameters = make_trainer(tested, device).parameters.detach()[: sizes.learners]
        start = time.perf_counter()
        evaluation.evaluate(tested, parameters)
        scenarios = 1 + sum(map(len, evaluation.SWEEP.values())) / sum(map(len, evaluation.SCENARIOS.values()))
        episodes = config.eval_episodes / sizes.episodes
        testing += (time.perf_counter() - start) * scenarios * episodes * learners / len(parameters)
    first = expand("paper")[0]
    return {
        "seeds": first.seeds, "measured_seeds": sizes.matrix, "episodes": first.reports, "arms": arms,
        "training_minutes": training / 60, "testing_minutes": testing / 60,
    }  # fmt: skip


# -- TD3 --------------------------------------------------------------------------------------------------------------


def td3(device: str, sizes: Sizes, clock: Clock) -> list[dict[str, Any]]:
    """Updates per second with the batch drawn: as graphs, as single launches, and Stable-Baselines3's."""
    import numpy as np

    from benchmarks.td3 import POLICIES, fill_ours, fill_theirs, make_learner, make_model

    peer = has_peer()
    rows = []
    for policy, space in POLICIES.items():
        rng, replay, batch = np.random.default_rng(0), fill_ours(space, device), sizes.batch
        eager, fast = (make_learner(space, "same", device) for _ in range(2))

        def drawn(replay: Any = replay, rng: Any = rng, batch: int = batch) -> Any:
            noise = torch.from_numpy(rng.standard_normal((batch, 2), dtype=np.float32))
            return replay.sample(batch, rng), noise

        update = CapturedUpdate(fast, *drawn())
        calls = {
            "updates_per_second": _pair(lambda update=update, drawn=drawn: update(*drawn())),
            "eager_updates_per_second": _pair(lambda eager=eager, drawn=drawn: eager.update(*drawn())),
        }
        if peer:
            model = make_model(policy, space, device)
            fill_theirs(model, space)
            calls["sb3_updates_per_second"] = _pair(
                lambda model=model, batch=batch: model.train(gradient_steps=1, batch_size=batch)
            )
        speeds = {name: 2 * clock.per_second(call, device) for name, call in calls.items()}
        theirs = speeds.get("sb3_updates_per_second")
        ratio = {"ratio": speeds["updates_per_second"] / theirs} if theirs else {}
        update.look()
        rows.append({"policy": policy, "batch": batch, "alive": fast.alive} | speeds | ratio)
    return rows


def _pair(update: Callable[[], Any]) -> Callable[[], None]:
    """Two updates, since the actor steps in every second."""

    def twice() -> None:
        update()
        update()

    return twice


def has_peer() -> bool:
    import importlib.util

    return importlib.util.find_spec("stable_baselines3") is not None


# -- the command ------------------------------------------------------------------------------------------------------


def measure(device: str, seconds: float) -> dict[str, Any]:
    """All figures, printed as they come."""
    sizes = FULL if device == "cuda" else TRIAL
    torch.set_num_threads(1)
    who = card() if device == "cuda" else {"name": "a CPU, for trial"}
    print(f"{who['name']}, torch {torch.__version__}", flush=True)
    agreed = agreement(device, sizes)
    for row in agreed:
        print(f"  {row['what']:<52}{row['error']:>9.1e}  (at most {row['tolerance']:g})")
    if not has_peer():
        print("Stable-Baselines3 is not installed, so TD3 is timed alone: pip install -e '.[bench]'", flush=True)
    clock = Clock(seconds, 2 * len(sizes.seeds) + 2 + len(expand("paper")) + 2 * (2 + has_peer()))
    with clock.bar:
        clock.bar.set_description("seeds side by side")
        rows = scaling(device, sizes, clock)
        clock.bar.set_description("limits")
        limits = roofline(device, sizes, clock, rows)
        clock.bar.set_description("main matrix")
        arms = matrix(device, sizes, clock)
        clock.bar.set_description("TD3")
        cases = td3(device, sizes, clock)
    found = {"card": who, "device": device, "seconds": seconds, "goals": GOALS, "agreement": agreed}
    return found | {"scaling": rows, "roofline": limits, "matrix": arms, "td3": cases}


def told(found: dict[str, Any]) -> str:
    """The figures, for a terminal."""
    lines = [f"{'seeds':>6}{'steps/s':>12}{'no graph':>12}{'drawing':>9}"]
    lines += [
        f"{row['seeds']:>6}{row['steps_per_second']:>12,.0f}{row['eager_steps_per_second']:>12,.0f}"
        f"{row['share_of_host']:>9.0%}"
        for row in found["scaling"]
    ]
    limit, arms, goals = found["roofline"], found["matrix"], found["goals"]
    lines.append(
        f"limits: {limit['bandwidth_gb']:,.0f} GB/s ({limit['share_of_bandwidth']:.0%} used), "
        f"{limit['gflops']:,.0f} GFLOP/s ({limit['share_of_gflops']:.0%}); {limit['operations_per_tick']:,} operations "
        f"a tick, {limit['us_per_operation']:.2f} µs each"
    )
    lines += [f"{name:<24}{speed:>12,.0f} steps/s" for name, speed in arms["arms"].items()]
    lines.append(
        f"main matrix, {len(arms['arms'])} arms × {arms['seeds']} seeds × {arms['episodes']:,} episodes: "
        f"{arms['training_minutes']:.1f} minutes, and {arms['testing_minutes']:.1f} of tests"
    )
    for case in found["td3"]:
        theirs = case.get("sb3_updates_per_second")
        beside = f"; Stable-Baselines3 {theirs:.1f}, ratio {case['ratio']:.2f}" if theirs else ""
        ours = f"{case['updates_per_second']:.1f} updates/s, {case['eager_updates_per_second']:.1f} without graphs"
        lines.append(f"TD3 {case['policy']}, batch {case['batch']}: {ours}{beside}")
    lines.append(
        f"goals: {goals['steps_per_second']:,.0f} steps/s, {goals['matrix_minutes']:.0f} minutes of training, "
        f"{goals['td3_ratio']:.0f} times Stable-Baselines3"
    )
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """`lnlab bench gpu`: 0 done, 1 where GPU and CPU disagree, 2 where there is no GPU."""
    parser = argparse.ArgumentParser(
        prog="lnlab bench gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"of all measurements (default {SECONDS:.0f})")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu tries the command, smaller")
    parser.add_argument("--out", type=Path, help="file for the figures (default gpu.json beside the others; cpu: none)")
    options = parser.parse_args(arguments)
    if not options.seconds > 0:
        parser.error(f"--seconds must be above 0; got {options.seconds:g}")
    if options.device == "cuda" and (missing := lacking()):
        print(f"lnlab bench gpu: {missing}", file=sys.stderr)
        return 2
    try:
        found = measure(options.device, options.seconds)
    except DisagreementError as error:
        print(f"lnlab bench gpu: {error}", file=sys.stderr)
        return 1
    print(told(found))
    out = options.out or (RESULTS / "gpu.json" if options.device == "cuda" else None)
    if out:
        print(save(out.stem, found, out.parent))
    return 0
