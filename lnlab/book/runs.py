"""A page for each run of the book, from its data: what it did, what came out, where it comes from, what rests on it."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from lnlab.book import output, style, tidy, words
from lnlab.book.needs import stated
from lnlab.claims.studies import DRIVING, Data
from lnlab.config import EXECUTION, Config, RunConfig, TD3Config
from lnlab.diverged import sentence
from lnlab.paths import NOTEBOOKS
from lnlab.runs import Run
from lnlab.study import profiles

LABEL: dict[str, dict[str, str]] = {
    "algorithm": style.ALGORITHM_LABEL,
    "core": style.CORE_LABEL,
    "norm": style.NORM_LABEL,
    "actor_features": style.FEATURES_LABEL,
}
ALL = "all"  # column of what is not of one group of scenarios
ON_POLICY = {("return in training, last tenth", ALL): "return_final", ("value loss", ALL): "value_loss_all_mean"}
ON_POLICY |= {
    (f"test return, {mode}, {cloud}", style.GROUP_LABEL.get(group, ALL)): f"{test}.{mode}{group and '.' + group}"
    for mode in ("greedy", "sampled")
    for test, cloud in (("test", "cloud never refilled"), ("test_refilled", "cloud refilled"))
    for group in ("", *style.GROUP_LABEL)
}
OFF_POLICY = {
    ("return of the policy's training episodes", ALL): "policy.return",
    ("growth of the actor's features", ALL): "growth.actor_feature_norm_probe",
    ("saturated actions, late", ALL): "late.saturation",
}
WIDE, HIGH, LEFT, LOW, TOP, RIM = 420, 220, 48, 40, 24, 8  # of a curve, and its margins, in pixels
POINTS = 80  # of a curve


def pages(book: Path, data: Data) -> dict[str, str]:
    """The pages of all runs that have one (`Data.paged`), by name; the ledger in `book` tells what rests on them."""
    claims, needs, found = _claims(book), _needs(), dict[str, str]()
    for name, page in data.paged.items():
        run = data.run(name)
        users = [f"{{doc}}`{document} </{document.lower()}>` ({', '.join(each)})" for document, each in
                 (claims.get(page) or claims.get(name, {})).items()]  # fmt: skip
        users += [f"{{doc}}`/{each}`" for each, rests in needs.items() if rests & {name, page, run.dir.parent.name}]
        found[page] = "\n\n".join(part for part in _parts(data, name, run, users) if part) + "\n"
    return found


def _claims(book: Path) -> dict[str, dict[str, list[str]]]:
    """Run, by page or name → document → the claims whose verdict rests on it."""
    ledger, found = book / "figures" / "claims-verdicts.json", dict[str, dict[str, list[str]]]()
    for claim in json.loads(ledger.read_text(encoding="utf-8"))["claims"] if ledger.exists() else []:
        for run in claim["runs"].split():
            found.setdefault(run, {}).setdefault(claim["document"], []).append(claim["claim"])
    return found


def _needs() -> dict[str, set[str]]:
    """Page → the runs and profiles that its notebook says it needs."""
    needs = {path.stem: stated(path) for path in sorted(NOTEBOOKS.glob("*.ipynb"))}
    return {page: {each for kind in ("runs", "arms", "beside") for each in need.get(kind, [])}
            for page, need in needs.items()}  # fmt: skip


def _parts(data: Data, name: str, run: Run, users: list[str]) -> Iterator[str]:
    config, facts = run.config, run.provenance
    study = run.dir.parent.name
    about = f": {profiles()[study]}" if study in profiles() else ""
    yield "---\norphan: true\n---"  # in no menu
    yield f"# {title(config)}{f', {study}' * ('/' in name and study != DRIVING)}"
    speed = f" at {facts['steps_per_second']:,.0f} environment steps a second" if facts.get("steps_per_second") else ""
    yield f":::{{card}} Run `{run.id}` of the study `{study}`{about}"
    yield f"{extent(config)}, {minutes(facts['seconds'])} on {machine(facts)}{speed}. All runs: {{doc}}`/runs`."
    if gone := sentence(run):
        yield f"**Diverged:** {gone}; {{doc}}`/methods` tells how that counts."
    yield f"What rests on it: {', '.join(users)}." if users else "No page rests on it."
    yield f"Repeat it: `{command(config)}`"
    yield ":::"
    yield "## What came out"
    yield _curve(data, name, run)
    yield output.markdown(_results(data, name, ON_POLICY if run.has("curves") else OFF_POLICY))
    yield "## Settings\n\nThose that differ from the defaults, which are mostly the documents'."
    yield output.markdown(_changed(config))
    same = [f"`{each} = {value}`" for each, value in _kept(run).items() if each not in config.changed]
    yield f"The others: {', '.join(same)}."
    yield "## Where it comes from"
    yield output.markdown(pd.DataFrame(provenance(run)))
    yield "## Tables\n\n{doc}`/data-dictionary` explains their columns. The digests are SHA-256."
    yield output.markdown(pd.DataFrame(_tables(run)))
    seeds = f"seeds {config.seed_list[0]} to {config.seed_list[-1]}"
    yield f"To cite it: *lnlab*, run `{study}/{run.id}`, {seeds}, commit `{facts['commit'][:10]}`."


def title(config: Config) -> str:
    """Heading of a run's page, from its parameters.

    >>> title(RunConfig(norm="none", core="ff", rollout=10))
    'A3C, feedforward, no norm (T10)'
    """
    arm = ", ".join(LABEL[name].get(value, value) for name, value in config.labels.items())
    changed = config.run_id.removeprefix("-".join(config.labels.values())).strip("-")
    return f"{arm} ({changed})" if changed else arm


def command(config: Config) -> str:
    """The papermill line that repeats a run: every parameter that differs from its default, but for where it runs.

    >>> command(RunConfig(norm="none", seeds=30))
    "papermill notebooks/train.ipynb 'results/a3c-gru-none.ipynb' -p norm none -p seeds 30"
    """
    given = config.changed if isinstance(config, RunConfig) else {"algorithm": config.algorithm} | config.changed
    options = [f"-p {name} {getattr(config, name)}" for name in given if name not in EXECUTION]
    return " ".join(["papermill notebooks/train.ipynb", f"'results/{config.run_id}.ipynb'", *options])


def extent(config: Config) -> str:
    """How much was trained, in words."""
    if isinstance(config, RunConfig):
        return f"{config.seeds} seeds × {config.workers} workers × {config.episodes} episodes"
    steps = f"{config.seeds} seeds × {config.steps:,} steps"
    if not isinstance(config, TD3Config):
        return steps
    return f"{steps}, {config.updates:,} updates of {config.batch_size} transitions"


def machine(facts: Mapping[str, Any]) -> str:
    """Where a run was trained, for example `2 cores of AMD EPYC 7763`."""
    gpu = "a GPU (cuda) and " if facts.get("device", "cpu") != "cpu" else ""
    return f"{gpu}{facts['cores']} core{'s' * (facts['cores'] != 1)} of {facts['cpu']}"


def minutes(seconds: float) -> str:
    """A time in words."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _results(data: Data, name: str, measures: Mapping[Any, str]) -> pd.DataFrame:
    """Means over seeds with their intervals: a row each measure, a column each group of scenarios."""
    found = tidy.estimates(tidy.values(data, measures, [name], optional=True))
    rows = [(*row.measure, words.estimate(row)) for row in found.itertuples()]
    wide = pd.DataFrame(rows, columns=["measure", "group", "said"]).pivot(
        index="measure", columns="group", values="said"
    )
    first, second = (list(dict.fromkeys(row[place] for row in rows)) for place in (0, 1))
    shown = wide.loc[first, second].fillna("").reset_index()
    return shown.rename(columns={"measure": f"mean of {found.n.max()} seeds [95 %]"})


def _changed(config: Config) -> pd.DataFrame:
    defaults, fields = config.defaults(), type(config).model_fields
    changed = {name: value for name, value in config.changed.items() if name not in EXECUTION}
    rows = [{"setting": f"`{name}`", "value": str(value), "default": str(defaults[name]),
             "meaning": str(fields[name].description)} for name, value in changed.items()]  # fmt: skip
    return pd.DataFrame(rows, columns=["setting", "value", "default", "meaning"])


def _kept(run: Run) -> dict[str, Any]:
    """The settings as the run has stored them: later versions may know more."""
    return dict(json.loads((run.dir / "config.json").read_text(encoding="utf-8")))


def provenance(run: Run) -> list[dict[str, str]]:
    """Code, seeds, machine, time and versions of a run, as rows of two columns."""
    facts, seeds = run.provenance, run.config.seed_list
    commits = dict.fromkeys([facts["commit"], *(each["commit"] for each in facts.get("sources", []))])
    changed = ", with uncommitted changes" * facts["dirty"]
    told = {
        "commit": ", ".join(f"{{commit}}`{each}`" for each in commits) + changed,
        "seeds": f"{seeds[0]} to {seeds[-1]}",
        "trained": f"{facts['started'][:16].replace('T', ' ')} to {facts['finished'][:16].replace('T', ' ')} UTC",
        "machine": f"{machine(facts)}, {facts['platform']}",
        "parameters of a learner": f"{facts['parameter_count']:,}",
        "norm layers found in them": ", ".join(f"`{name}`" for name in facts.get("norm_layers") or []) or "none",
    }
    if ends := [f"{each['from']:,} {each['setting']}" for each in facts.get("continued", [])]:
        told["continued from"] = ", ".join(ends)
    told |= {f"package {name}": version for name, version in facts["versions"].items()}
    return [{"what": name, "value": value} for name, value in told.items()]


def _tables(run: Run) -> list[dict[str, str]]:
    """The files of a run with their digests."""
    digests, folder = run.provenance.get("files", {}), f"/data/{run.dir.parent.name}/{run.dir.name}"
    named = {"config.json": "", "provenance.json": ""} | {name: f"`{digest}`" for name, digest in digests.items()}
    return [{"file": f"{{download}}`{name} <{folder}/{name}>`", "digest": digest} for name, digest in named.items()
            if (run.dir / name).exists()]  # fmt: skip


def _curve(data: Data, name: str, run: Run) -> str:
    """Mean and interval through training, as a small drawing in the page; the numbers lie in its tables."""
    if run.has("curves"):
        x, what, table = "episode", "return in training", "curves"
        rows = tidy.curves(data, {"": "return"}, [name])
    elif run.table("records").actor_feature_norm_probe.notna().any():
        x, what, table = "updates", "norm of the actor's features, log10", "records"
        rows = tidy.through_records(data, {"": "actor_feature_norm_probe"}, [name])
        rows = rows.assign(value=np.log10(rows.value))
    elif not run.has("checks"):
        return ""
    else:  # on vectors there is no CNN
        x, what, table = "step", "return of greedy tests", "checks"
        rows = run.table("checks").groupby(["seed", "step"])["return"].mean().rename("value").reset_index()
        rows = rows.assign(quantity="", arm=name, run=name, norm=run.config.norm)
    bands = tidy.bands(rows, x)
    bands = bands[np.isfinite(bands["mean"])]  # early in training no episode may have ended
    if bands.empty:
        return ""
    bands = bands.assign(low=bands.low.fillna(bands["mean"]), high=bands.high.fillna(bands["mean"]))  # of one seed
    bands = bands.iloc[:: max(1, len(bands) // POINTS)]
    ends = f"{bands['mean'].iloc[0]:.3g} to {bands['mean'].iloc[-1]:.3g}".replace("-", "−")
    told = f"Mean {what} of {bands.n.max()} seeds through training, with its pointwise 95 % interval: from {ends}."
    return f"{_drawing(bands, x, what, told)}\n\n*{told} Numbers: the table {table} below.*"


def _drawing(bands: pd.DataFrame, x: str, what: str, told: str) -> str:
    """Inline SVG in the colours of the page (`.run-curve` in the style sheet)."""
    right, low, high = bands[x].max(), bands.low.min(), bands.high.max()

    def across(value: Any) -> Any:
        return LEFT + (WIDE - LEFT - 2 * RIM) * value / right

    def up(value: Any) -> Any:
        return TOP + (HIGH - LOW - TOP) * (high - value) / (high - low or 1)

    def points(column: str) -> list[str]:
        return [f"{a:.1f},{b:.1f}" for a, b in zip(across(bands[x]), up(bands[column]), strict=True)]

    def text(a: float, b: float, words: str, place: str = "middle") -> str:
        return f'<text x="{a:.1f}" y="{b:.1f}" text-anchor="{place}">{words}</text>'

    beside, below = MaxNLocator(4).tick_values(low, high), MaxNLocator(4).tick_values(0, right)
    ticks = [text(LEFT - 6, up(at) + 4, f"{at:g}", "end") for at in beside if low <= at <= high]
    ticks += [text(across(at), HIGH - LOW + 16, f"{at:g}") for at in below if at <= right]
    ticks += [text(WIDE / 2, HIGH - 6, x), text(2, 13, what, "start")]
    return (
        f'<svg class="run-curve" role="img" aria-label="{told}" viewBox="0 0 {WIDE} {HIGH}">'
        f'<polygon points="{" ".join([*points("low"), *points("high")[::-1]])}"/>'
        f'<polyline points="{" ".join(points("mean"))}"/>'
        f'<path d="M{LEFT} {TOP}V{HIGH - LOW}H{WIDE - RIM}"/>{"".join(ticks)}</svg>'
    )
