"""Everything judged again on seeds that the rules had not seen: verdicts, hypotheses and contrasts from these alone.

The verdict rules, the evidence and the tests were finished while the published runs trained, by authors who had seen
the feedforward arms and the first ten seeds of the recurrent ones. So all is computed once more as if the later seeds
were the only ones. These are fewer, so that some verdicts change by chance alone; as many seeds drawn at random from
all of them tell how many do.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lnlab.analysis.claims import Direction, Sum
from lnlab.report import beside, effects, hypotheses, ledger, output, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Data, Missing
from lnlab.report.predictions import HYPOTHESES
from lnlab.runs import Study

FIRST_NEW = 10  # the first ten seeds of the recurrent arms were there when the rules were finished
DOCUMENTS = ("D1", "D2", "D3", "D4")
DRAWS, FEW_DRAWS = 9, 1  # random choices of seeds, for scale; the latter under LNLAB_SMALL=1, in tests
RESTS = {  # what a claim's evidence rests on, and how to call it
    "recurrent": "recurrent arms alone: none of these seeds had been seen",
    "feedforward": "feedforward arms too: theirs had been seen",
    "other": "runs of other profiles too",
    "none": "no measurement: arithmetic, or untestable",
}
Entries = Sequence[ledger.Entry]


@dataclass(frozen=True)
class Again:
    """What comes out of the new seeds, beside what all of them give."""

    new: list[int]
    seen: list[int]
    verdicts: pd.DataFrame  # as of `judged_again`
    chance: list[int]  # verdicts that as many seeds, drawn at random, change: one number a draw
    hypotheses: pd.DataFrame  # as of `hypotheses_again`

    @property
    def comparable(self) -> pd.DataFrame:
        """The verdicts that rest on measurements, of which the new seeds give as many."""
        return self.verdicts[(self.verdicts.rests != "none") & self.verdicts.comparable]


def judge(data: Data) -> Again:
    """Judge everything on the new seeds, and the verdicts on as many random ones several times.

    Raises:
        Missing: the recurrent arms have no new seeds.
    """
    new, seen = split(data)
    parts = {"new": data.only(new), "seen": data.only(seen)}
    every = verdicts(data)
    found = judged_again(every, *(verdicts(part) for part in parts.values()))
    draws = FEW_DRAWS if os.environ.get("LNLAB_SMALL") == "1" else DRAWS
    chance = by_chance(data, every, len(new), draws)
    return Again(new, seen, found, chance, hypotheses_again({"every": data, **parts}))


def shared_seeds(data: Data) -> list[int]:
    """The seeds that every complete recurrent arm has."""
    arms = [set(run.config.seed_list) for run in data.main.runs if run.complete and beside.settings(run).core == "gru"]
    return sorted(set.intersection(*arms)) if arms else []


def split(data: Data) -> tuple[list[int], list[int]]:
    """The shared seeds that nobody had seen when the rules were finished, and those that were there.

    Raises:
        Missing: of one kind there are fewer than two.
    """
    seeds = shared_seeds(data)
    new, seen = [seed for seed in seeds if seed >= FIRST_NEW], [seed for seed in seeds if seed < FIRST_NEW]
    if min(len(new), len(seen)) < 2:
        raise Missing(f"needs two seeds or more from seed {FIRST_NEW} on, and two before, of every recurrent arm")
    return new, seen


def verdicts(data: Data) -> list[ledger.Entry]:
    """Every claim of D1 to D4 with its verdict."""
    return [entry for document in DOCUMENTS for entry in ledger.entries(data, document)]


# -- claims ---------------------------------------------------------------------------------------------------------


def judged_again(every: Entries, new: Entries, seen: Entries) -> pd.DataFrame:
    """The verdicts of the same claims from all seeds, from new ones and from those seen before, side by side.

    Columns claim, says, rests (a key of RESTS), every, new, seen, comparable, same. Verdicts are comparable where the
    new seeds give as much evidence as all of them: a run that lacks these seeds takes some away. `same` is of `every`
    and `new`.
    """
    rows = [
        {
            "claim": one.id,
            "says": one.claim["says"],
            "rests": rests(one),
            "every": one.verdict.verdict,
            "new": two.verdict.verdict,
            "seen": three.verdict.verdict,
            "comparable": len(one.verdict.evidence) == len(two.verdict.evidence),
            "same": one.verdict.verdict == two.verdict.verdict,
        }
        for one, two, three in zip(every, new, seen, strict=True)
    ]
    return pd.DataFrame(rows)


def rests(entry: ledger.Entry) -> str:
    """What the evidence of a claim rests on, a key of RESTS."""
    measured = [each for each in entry.verdict.evidence if not isinstance(each, Sum)]
    if not measured:
        return "none"
    runs = entry.verdict.runs
    if any("/" in run for run in runs):
        return "other"
    return "feedforward" if any("-ff-" in run for run in runs) else "recurrent"


def by_chance(data: Data, every: Entries, size: int, draws: int) -> list[int]:
    """How many comparable verdicts differ from those of all seeds, each time `size` seeds are drawn at random."""
    seeds, rng = shared_seeds(data), np.random.default_rng(0)
    found = []
    for _ in range(draws):
        some = verdicts(data.only(rng.choice(seeds, size, replace=False).tolist()))
        rows = judged_again(every, some, some)
        found.append(int((rows.comparable & ~rows.same).sum()))
    return found


def verdict_summary(again: Again) -> output.Text:
    """How many verdicts stay, by what they rest on, and how many would change by chance."""
    found, there = again.verdicts, again.comparable
    measured, apart = found[found.rests != "none"], there.new == there.seen
    lines = [
        f"Of {len(found)} verdicts {len(measured)} rest on measurements. From {span(again.new)} alone "
        f"(n = {len(again.new)}) {len(there)} of these can be judged on the same evidence, and "
        f"{beside.share(there.same)} come out the same.",
        "",
        *(f"- Claims on {words}: {beside.share(mine.same)}." for words, mine in _kinds(there)),
        f"- On {span(again.seen)} and on the new ones, which share none: {beside.share(apart)} the same.",
    ]
    if lacking := measured[~measured.comparable].claim.tolist():
        lines.append(f"- Not judged again, for want of runs with these seeds: {', '.join(lacking)}.")
    return output.Text("\n".join([*lines, "", scale(again)]))


def scale(again: Again) -> str:
    """The verdicts that the new seeds change beside those that as many random seeds change."""
    if not again.chance:
        return ""
    return (
        f"For scale: {len(again.new)} seeds drawn at random from all of them, {len(again.chance)} times, changed "
        f"{counted(again.chance)} verdicts (mean {np.mean(again.chance):.1f}); the new seeds change "
        f"{int((~again.comparable.same).sum())}. Fewer seeds have wider intervals, so that some effects that held come "
        "out open."
    )


def _kinds(rows: pd.DataFrame) -> Iterable[tuple[str, pd.DataFrame]]:
    return ((words, rows[rows.rests == name]) for name, words in RESTS.items() if (rows.rests == name).any())


def span(seeds: Sequence[int]) -> str:
    """Seeds in words.

    >>> span([10, 11, 12]), span([1, 3])
    ('seeds 10 to 12', 'seeds 1, 3')
    """
    whole = list(seeds) == list(range(seeds[0], seeds[-1] + 1))
    return f"seeds {seeds[0]} to {seeds[-1]}" if whole else f"seeds {', '.join(map(str, seeds))}"


def verdict_table(again: Again) -> output.TableOutput | output.Text:
    """The claims whose verdict from the new seeds is another; all of them are in the download."""
    changed = again.comparable[~again.comparable.same]
    if changed.empty:
        return output.Text("No verdict is another one.")
    names = {"every": "all seeds", "new": span(again.new), "seen": span(again.seen)}
    shown = changed[["claim", "says", *names]].rename(columns=names)
    caption = (
        f"Verdicts that are others from {span(again.new)} alone (n = {len(again.new)} seeds an arm), beside those from "
        f"{span(again.seen)} (n = {len(again.seen)}); the download has all {len(again.verdicts)}. Each rests on its "
        "own 95 % intervals."
    )
    return output.table("verdicts", shown, caption=caption, data=again.verdicts)


# -- hypotheses on the mechanism ------------------------------------------------------------------------------------


def hypotheses_again(parts: dict[str, Data]) -> pd.DataFrame:
    """How the hypotheses on the mechanism fare: columns hypothesis, says, and one each of the data, by its name."""
    columns = {name: hypotheses.tested(data) for name, data in parts.items()}
    return pd.DataFrame(
        {"hypothesis": each.name, "says": each.says}
        | {name: _settled(found[each.name]) for name, found in columns.items()}
        for each in HYPOTHESES
    )


def _settled(found: list[Direction] | str) -> str:
    return "not tested" if isinstance(found, str) else hypotheses.verdict(found)


def hypothesis_summary(again: Again) -> output.Text:
    """How many hypotheses fare the same, and which do not."""
    found = again.hypotheses
    there = found[(found.every != "not tested") & (found.new != "not tested")]
    same = there.every == there.new
    changed = [f"*{row.hypothesis}* ({row.every}, now {row.new})" for row in there[~same].itertuples()]
    text = f"Of {len(found)} hypotheses {len(there)} can be tested on {span(again.new)} (n = {len(again.new)})"
    others = f" Others: {', '.join(changed)}." if changed else ""
    return output.Text(f"{text}: {beside.share(same)} fare the same.{others}")


# -- contrasts ------------------------------------------------------------------------------------------------------


def contrasts_again(data: Data) -> pd.DataFrame:
    """The contrasts from all seeds and from the new ones, each corrected for all of its own.

    Columns outcome, algorithm, core, and estimate, low, high, n, p, p_holm, sign, the latter ones with _new; seeds (the
    new ones, in words); same (the estimates have one sign, and both are clear or neither).

    Raises:
        Missing: there are no new seeds, or the arms do not all have the same ones.
    """
    new, _ = split(data)
    every, fresh = (_contrasts(each.main) for each in (data, data.only(new)))
    rows = every.merge(fresh, on=["outcome", *effects.PAIR], suffixes=("", "_new"))
    same_sign = np.sign(rows.estimate) == np.sign(rows.estimate_new)
    return rows.assign(seeds=span(new), same=same_sign & (rows.sign == rows.sign_new))


def _contrasts(study: Study) -> pd.DataFrame:
    try:
        found = effects.effects(study)
    except ValueError as error:  # an arm lacks seeds of the one it is paired with
        raise Missing(f"needs the same seeds in every arm: {error}") from error
    return found.assign(sign=[effects.sign(row) for row in found.itertuples()])


def contrast_summary(found: pd.DataFrame) -> output.Text:
    """How many contrasts have the same sign and are clear on the new seeds as on all."""
    sign = np.sign(found.estimate) == np.sign(found.estimate_new)
    clear = found.sign == found.sign_new
    recurrent = found[found.core == "gru"]
    return output.Text(
        f"Of {len(found)} contrasts {beside.share(sign)} keep their sign from {found.seeds.iloc[0]}, and "
        f"{beside.share(clear)} are clear, or not, as before. Of the {len(recurrent)} of recurrent agents, whose new "
        f"seeds nobody had seen, both hold for {int(recurrent.same.sum())}."
    )


def contrast_table(found: pd.DataFrame) -> output.TableOutput:
    """The contrasts from all seeds beside those from the new ones."""
    new = str(found.seeds.iloc[0])
    shown = pd.DataFrame(
        [_contrast(row, agent, new) for agent, row in zip(tables.pairs(found), found.itertuples(), strict=True)]
    )
    caption = (
        f"The {len(found)} contrasts, LayerNorm minus no norm, from all seeds (n = {counted(found.n)}) and from {new} "
        f"(n = {counted(found.n_new)}), with 95 % intervals; p of the sign-flip test of whether two arms are "
        "alike, corrected by Holm's method within each. Same: one sign, and both clear or neither. The value loss is "
        "compared in percent."
    )
    return output.table("contrasts", shown, caption=caption, data=found)


def _contrast(row: Any, agent: str, new: str) -> dict[str, str]:
    """A line of the table; `row` has all seeds' numbers, and the new ones' by the names with _new."""
    outcome = next(each for each in effects.OUTCOMES if each.name == row.outcome)
    fresh = pd.Series({name: getattr(row, f"{name}_new") for name in ("estimate", "low", "high")})
    return {
        "outcome": outcome.title,
        "agent": agent,
        "all seeds": tables.words(row, outcome.digits),
        "p (Holm)": effects.probability(row.p_holm),
        new: tables.words(fresh, outcome.digits),
        "p (Holm), new": effects.probability(row.p_holm_new),
        "same": "yes" if row.same else "no",
    }
