"""The speed of driving from images, and that TD3 learns: what the benchmarks of the second system keep, as tables."""

from typing import Any

import pandas as pd

from lnlab.report import output
from lnlab.report.speed import ratio_words, result

POLICY = {"CnnPolicy": "image", "MultiInputPolicy": "image and 53 numbers"}
WIRING = {"same": "as Stable-Baselines3", "original": "as the document's code"}


def environment() -> output.TableOutput:
    """Steps per second of the driving environment and its peers, against stock CarRacing-v3 in the same rounds."""
    found = result("driving")
    rows = [
        {
            "environment": name[0].upper() + name[1:],
            "steps/s": f"{peer['steps_per_second']['median']:,.0f}",
            "× stock": ratio_words(peer["ratio_stock"]),
        }
        for name, peer in found["peers"].items()
    ]
    rounds = found["peers"]["stock CarRacing-v3"]["ratio_stock"]["rounds"]
    caption = (
        f"Driving, one process: decisions per second, median of {rounds} rounds in turn on a busy machine, with the "
        f"lowest and highest ratio of a round. As trained: two physics steps a decision. The goal is "
        f"{found['goal_ratio']:.0f} times stock; EnvPool {found['envpool']}, one environment and one thread."
    )
    data = pd.json_normalize([{"environment": name, **peer} for name, peer in found["peers"].items()], sep="_")
    return output.table("driving", pd.DataFrame(rows), caption=caption, data=data)


def updates() -> output.TableOutput:
    """Updates per second and bytes per transition against Stable-Baselines3's TD3."""
    found = result("td3")
    rows = [
        {
            "observation": POLICY[case["policy"]],
            "wiring": WIRING[case["wiring"]],
            "batch": str(case["batch"]),
            "precision": case["precision"],
            "updates/s": f"{case['updates_per_second']['median']:.1f}",
            "Stable-Baselines3": _theirs(case),
            "ratio": ratio_words(case["ratio"], 2),
            "bytes a transition": f"{case['bytes_per_transition']:,.0f}",
            "theirs": f"{case['sb3_bytes_per_transition']:,.0f}",
        }
        for case in found["cases"]
    ]
    caption = (
        f"TD3 on {found['device']}: updates in a second of computing of one thread, medians of {found['rounds']} "
        f"rounds in turn, with the lowest and highest ratio of a round. {_judged()}{_bound()} The original's wiring "
        "has no target CNNs and so less to do; Stable-Baselines3 runs its own. It has no setting for the precision: "
        "its speed and the ratio are those of float32, and in brackets stands what it does under torch.autocast."
    )
    data = pd.json_normalize(found["cases"], sep="_")
    return output.table("updates", pd.DataFrame(rows), caption=caption, data=data)


def _theirs(case: dict[str, Any]) -> str:
    autocast = case.get("sb3_autocast_updates_per_second")
    return f"{case['sb3_updates_per_second']['median']:.1f}" + (f" ({autocast['median']:.1f})" if autocast else "")


def _judged() -> str:
    """Whether the goal is reached in either precision, in a sentence."""
    found = result("td3")
    goal, batch = found["goal_ratio"], found["goal_batch"]
    ratios: dict[str, list[float]] = {}
    for case in found["cases"]:
        if case["wiring"] == "same" and case["batch"] == batch:
            ratios.setdefault(case["precision"], []).append(case["ratio"]["median"])
    said = [f"{'reached' if min(each) >= goal else 'not reached'} in {name}" for name, each in ratios.items()]
    return f"The goal, {goal:.0f} times at batch {batch} and equal wiring, is {' and '.join(said)}."


def _bound() -> str:
    """How fast the products of the CNNs are by themselves, in a sentence; "" for figures without them."""
    found = [case for case in result("td3")["cases"] if "products_per_second" in case]
    if not found:
        return ""
    ratios = [case["products_per_second"]["median"] / case["sb3_updates_per_second"]["median"] for case in found]
    speeds = [case["products_per_second"]["median"] for case in found]
    return (
        f" The layers of the CNNs alone, as often as an update runs them in float32, can be run {_range(speeds)} times "
        f"a second: {_range(ratios)} times Stable-Baselines3's updates, the most that is left to reach."
    )


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def pendulum() -> output.Text:
    """That the trainer learns a task on which TD3's returns are known, in a sentence."""
    found = result("pendulum")
    returns, code = list(found["return_by_seed"].values()), found["code"]
    source = f"`{code['commit'][:8]}`" + (" with changes not committed" if code["dirty"] else "")
    return output.Text(
        f"That the trainer learns is seen on Pendulum-v1: after {found['steps']:,} steps the greedy return is "
        f"{min(returns):.0f} to {max(returns):.0f} on {len(returns)} seeds (the goal: better than "
        f"{found['goal']:.0f}; code {source})."
    )
