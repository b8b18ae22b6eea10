"""D5's decision: the hyper-parameters beside the libraries', which alert fires when, and whether the agent is ready."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lnlab.analysis.claims import Direction
from lnlab.analysis.stats import wilson
from lnlab.config import TD3Config, parse
from lnlab.report import driving_reference, ledger, output, tables
from lnlab.report.cells import counted
from lnlab.report.d5 import shown
from lnlab.report.driving_data import ARMS, MAIN, Driving, one_q
from lnlab.report.driving_reference import Reference
from lnlab.report.evidence import Data
from lnlab.trainers.monitor import RULES, first_fired, original

READY = "D5.14"  # the claim whose conditions decide
RUNS = {1: "no norm (run 1)", 2: "LayerNorm (run 2)"}  # of the original, as `monitor.original` numbers them
ALERTS = {
    "td_error": "TD error > 50",
    "q_value": "mean Q > 1000",
    "return": "return of an episode < −500",
    "actor_critic_ratio": "actor's Q over the critic's > 10",
    "actor_mlp_gradient": "no gradient in the actor's own layers",
    "saturation": "saturated actions > 90 %",
    "feature_growth": "feature norm > 10 times its first",
    "actor_gradient": "actor's gradient before clipping > 1000",
    "diverged": "a loss, gradient or parameter is not finite",
}
SETTINGS = {
    "learning_starts": "first update after, steps",
    "random_steps": "random actions, steps",
    "batch_size": "batch",
    "lr": "learning rate",
    "gamma": "discount γ",
    "tau": "target rate τ",
    "policy_delay": "policy delay",
    "target_noise": "target noise",
    "noise_clip": "its clip",
    "exploration": "exploration noise",
    "updates": "updates",
    "capacity": "replay, transitions",
    "clip": "gradient clip, actor / critics",
}


# -- hyper-parameters ------------------------------------------------------------------------------------------------
def settings_table(data: Data) -> output.TableOutput:
    """What D5 prints, what was in force, what is run here, and the defaults of the libraries."""
    printed = ledger.documents()["D5"]["claims"]
    values = next(claim["values"] for claim in printed if claim["id"] == "D5.12")
    libraries = [driving_reference.STABLE_BASELINES3, driving_reference.SPINNING_UP, driving_reference.AUTHORS]
    columns = [Reference("D5 printed", values), _in_force(), *_here(data), *libraries]
    rows = {each.source: [_word(each, name) for name in SETTINGS] for each in columns}
    table = pd.DataFrame({"setting": list(SETTINGS.values())} | rows)
    caption = (
        "Settings of TD3: as D5 prints them, as they were in force by the run's log and code, here, and the defaults "
        f"of {libraries[0].source}, Spinning Up and the authors' code."
    )
    return output.table("settings", table, caption=caption)


def _in_force() -> Reference:
    return Reference("in force", _of(parse({"algorithm": "td3"})))


def _here(data: Data) -> list[Reference]:
    try:
        runs = Driving.of(data)
    except LookupError:
        return []
    config = runs.run(runs.arms()[0]).config  # the four main arms come first, and share these settings
    return [Reference("here", _of(config))] if isinstance(config, TD3Config) else []


def _of(config: TD3Config) -> dict[str, object]:
    """A configuration in the names of the table; the four main arms share all of them."""
    names = ("learning_starts", "batch_size", "gamma", "tau", "policy_delay", "target_noise", "noise_clip", "capacity")
    own = {name: getattr(config, name) for name in names}
    exploration = f"{config.exploration_start:g} to {config.exploration_end:g}"
    clip = f"{config.actor_clip:g} / {config.critic_clip:g}"
    return own | {"lr": TD3Config.model_fields["lr"].default, "updates": "1 per step", "exploration": exploration,
                  "clip": clip}  # fmt: skip


def _word(of: Reference, name: str) -> str:
    if name == "random_steps":
        name = name if name in of.settings else "learning_starts"
    if name not in of.settings:
        return ""
    value = of.settings[name]
    if value is None:
        return "none"
    if isinstance(value, float) and value < 1e-2:
        return f"{value:.0e}".replace("e-0", "e−") if name == "lr" else f"{value:g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


# -- alerts ------------------------------------------------------------------------------------------------------------
def original_alerts() -> output.TableOutput:
    """When each alert would have fired in the original's two runs, from the numbers that are published of them."""
    records, returns = original()
    fired = first_fired(records, returns)
    known = {name: _known(records, returns, name) for name in RULES}
    rows = []
    for name, rule in RULES.items():
        row = {"alert": ALERTS[name], "asked for by": "D5" if rule.published else "this page"}
        for run, title in RUNS.items():
            step = fired[(fired.rule == name) & (fired.seed == run)].step
            row[title] = _when(step, run in known[name])
        rows.append(row | {"why": rule.reason[0].upper() + rule.reason[1:]})
    table = pd.DataFrame(rows)
    caption = (
        "First step at which each alert fires in the original's runs, at the points published of them; not recorded: "
        "the original kept no such number. One run each, without an interval."
    )
    return output.table("alerts-original", table, caption=caption)


def _known(records: pd.DataFrame, returns: pd.DataFrame, name: str) -> set[int]:
    """Runs that have at least one number the rule looks at."""
    columns = list(RULES[name].columns)
    for table in (records, returns):
        if set(columns) <= set(table):
            seen = table.groupby("seed")[columns].apply(lambda rows: bool(rows.notna().any(axis=None)))
            return {int(run) for run in seen.index[seen]}
    return set()


def _when(step: pd.Series, known: bool) -> str:
    if not known:
        return "not recorded"
    return f"{int(step.iloc[0]):,}" if len(step) and step.notna().any() else "never"


@shown
def alert_table(data: Data) -> output.TableOutput:
    """In how many seeds of each main arm an alert fires, and when at first."""
    runs = Driving.of(data)
    rows = [row for arm in runs.arms(MAIN) for row in _alerts(runs, arm)]
    table = pd.DataFrame(rows)
    wide = table.pivot(index="alert", columns="arm", values="words")
    wide = wide.loc[list(dict.fromkeys(table.alert)), list(dict.fromkeys(table.arm))]
    wide = wide.reset_index().rename_axis(columns=None)
    caption = (
        "Seeds in which each alert fires and the median step of its first time, over all records and episodes; the "
        "download has Wilson's 95 % intervals of the shares. The first three are the document's. In detached arms the "
        "actor's Q is the critic's by construction. "
        f"n = {counted(table.n)} seeds an arm."
    )
    return output.table("alerts", wide, caption=caption, data=table.drop(columns="words"))


def _alerts(runs: Driving, arm: str) -> list[dict[str, object]]:
    fired = first_fired(runs.table(arm, "records"), runs.table(arm, "returns"))
    rows: list[dict[str, object]] = []
    for name in RULES:
        steps = fired[fired.rule == name].step
        count, n = int(steps.notna().sum()), runs.seeds(arm)
        first = float(steps.median()) if count else np.nan
        words = f"{count} of {n}" + (f", step {tables.number(first, 0)}" if count else "")
        if name == "actor_critic_ratio" and one_q(arm):
            words = "cannot fire"
        row = {"arm": ARMS[arm].says, "alert": ALERTS[name], "words": words, "first": first}
        rows.append(row | wilson(count, n)._asdict())
    return rows


# -- decision ----------------------------------------------------------------------------------------------------------
def decision(found: Sequence[ledger.Entry]) -> output.Text:
    """Go on to a million steps? Only if every condition holds; those that do not are named."""
    entry = next(each for each in found if each.id == READY)
    conditions = [each for each in entry.verdict.evidence if isinstance(each, Direction)]
    if not conditions:
        return output.Text(f"**No decision**: {entry.verdict.reason}.")
    lines = [
        f"- {each.what}: {ledger.interval_words(*each.found[:3])} (n = {each.found.n}); needed {_needed(each)}: "
        f"**{OUTCOME[each.outcome]}**."
        for each in conditions
    ]
    ready = all(each.outcome == "holds" for each in conditions)
    head = "**Ready for a long run**, by all conditions." if ready else "**Not ready for a long run.**"
    return output.Text("\n".join([head, "", *lines]))


OUTCOME = {"holds": "met", "opposes": "not met", "open": "open"}


def _needed(each: Direction) -> str:
    return f"{ledger.SIDE[each.side]}{'' if each.side == 'within' else ' '}{tables.number(each.threshold, 2)}"
