"""What notebooks/train.ipynb calls: parameters into settings, curves while it trains, and what a finished run shows."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lnlab.analysis.stats import interval
from lnlab.book import output, plot, style, tidy, words
from lnlab.config import DDPG, ActorCriticConfig, Config, ConfigError, GymConfig, RunConfig, TD3Config, kind, parse
from lnlab.evaluation import evaluate_policies
from lnlab.runs import Report, Run
from lnlab.trainers.admission import require_norm

CLASSES = (TD3Config, GymConfig, RunConfig)
FIELDS = {name: field for cls in CLASSES for name, field in cls.model_fields.items()}  # of any algorithm
TYPE_LABEL = {"seen": "Seen", "intra": "Intra", "extra": "Extra", "all": "All 18"}
OPEN = {*DDPG} | {  # settings that the algorithm decides where they are None: their defaults differ
    name
    for cls in CLASSES
    for name, field in cls.model_fields.items()
    if name != "algorithm" and field.default != FIELDS[name].default
}


def given(before: set[str], after: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters a notebook was given: all settings by name, and every other name that appeared since `before`.

    Papermill defines parameters as plain globals, mistyped ones too; a later re-run of the cells finds the settings
    again. Names that begin with an underscore are those of IPython and editors, but for that of a setting.

    >>> given({"In", "norm"}, {"In": [], "norm": "ln", "nrom": "ln", "_core": "ff", "_i1": ""})
    {'norm': 'ln', 'nrom': 'ln', '_core': 'ff'}
    """
    hidden = {name for name in after if name.startswith("_") and name.strip("_") not in FIELDS}
    return {name: value for name, value in after.items() if name in FIELDS or name not in before | hidden}


def settings(before: set[str], after: Mapping[str, Any]) -> Config:
    """The run's settings from a notebook's globals.

    Raises:
        ConfigError: a parameter is unknown, missing, or has a value that is not allowed.
    """
    parameters = given(before, after)
    if missing := [name for name in FIELDS if name not in parameters]:
        raise ConfigError(f"the parameters cell has not run, or does not define {', '.join(missing)}")
    return parse(_that_apply(parameters))


def _that_apply(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was left to the algorithm, and without untouched settings of the other algorithms.

    One that was changed stays, so that it is refused: it would have no effect. So does None where the parameters cell
    does not offer it: `-p norm None` must not become the default, which is the treatment.
    """
    own = kind(parameters["algorithm"], parameters["env"]).model_fields
    return {
        name: value
        for name, value in parameters.items()
        if (value is not None or name not in OPEN)
        and (name in own or name not in FIELDS or value != FIELDS[name].default)
    }


def parameter_table(config: Config) -> output.TableOutput:
    """Every parameter of the run with its default and meaning; those that differ from the default come first."""
    defaults = config.defaults()
    rows = [
        {
            "parameter": name,
            "value": str(getattr(config, name)),
            "default": str(defaults[name]),
            "meaning": field.description,
        }
        for name, field in type(config).model_fields.items()
    ]
    rows.sort(key=lambda row: row["value"] == row["default"])
    caption = f"Parameters of {config.run_id}; those that differ from the source documents' settings come first."
    return output.table("parameters", pd.DataFrame(rows), caption=caption)


class Returns:
    """Collects the reports of an A3C or Individual run, and draws the mean return so far."""

    def __init__(self, config: ActorCriticConfig) -> None:
        self.arm, self.rows = {"arm": _title(config), "norm": config.norm}, list[dict[str, Any]]()

    def add(self, report: Report) -> None:
        """Take one report: arrays (seeds, workers), with the seeds under "seed"."""
        returns = report["return"].mean(axis=1)
        self.rows += [self.arm | {"seed": seed, "episode": int(report["episode"]), "value": value}
                      for seed, value in zip(report["seed"], returns, strict=True)]  # fmt: skip

    def draw(self) -> Figure:
        rows = pd.DataFrame(self.rows)
        return _drawn(rows.assign(episode=_blocks(rows.episode)), "return")[0]


class Live:
    """Callback that draws what the run has reached while it trains, and removes the drawing at the end.

    Drawing takes at most about one hundredth of the time: after each drawing it waits a hundred times as long.
    """

    def __init__(self, config: Config, wait: float = 3.0) -> None:
        self.picture = Returns(config) if isinstance(config, ActorCriticConfig) else Rewards()
        self.next, self.wait, self.display = time.monotonic() + wait, wait, None

    def __call__(self, report: Report) -> None:
        """Take one report; draw when it is time."""
        first = not self.picture.rows
        self.picture.add(report)
        if not first and time.monotonic() >= self.next:
            self._draw()

    def close(self) -> None:
        """Take the drawing away: the finished run is shown from its tables."""
        if self.display is not None:
            from IPython.display import HTML

            self.display.update(HTML(""))

    def _draw(self) -> None:
        from IPython.display import HTML, display

        start = time.monotonic()
        shown = HTML(style.svg(self.picture.draw()))
        if self.display is None:
            self.display = display(shown, display_id=True)
        else:
            self.display.update(shown)
        self.next = time.monotonic() + max(self.wait, 100 * (time.monotonic() - start))


def return_curve(run: Run) -> output.FigureOutput:
    """What the agent is trained for, over training."""
    if isinstance(run.config, ActorCriticConfig):
        return learning_curve(run, "return", "return per episode")
    return episode_returns(run)


def value_curve(run: Run) -> output.FigureOutput:
    """How well the critic is doing: its loss; for TD3 and DDPG its values, in the actor's eyes and its own."""
    if isinstance(run.config, ActorCriticConfig):
        return learning_curve(run, "value_loss_all", "value loss", log=True)
    return q_values(run)


def inner_curve(run: Run) -> output.FigureOutput:
    """What goes on inside: the policy's entropy; for TD3 and DDPG the length of the features."""
    if isinstance(run.config, ActorCriticConfig):
        return learning_curve(run, "entropy", "entropy of the policy, nats")
    return feature_norms(run)


def learning_curve(run: Run, quantity: str, label: str, *, log: bool = False) -> output.FigureOutput:
    """One quantity of a finished run over training, per seed and on average."""
    rows = run.table("curves").rename(columns={quantity: "value"}).assign(arm=_title(run.config), norm=run.config.norm)
    elsewhere = "step" in rows  # than in the offloading task: episodes have any length
    rows = rows.assign(episode=rows.step) if elsewhere else rows
    drawn, means = _drawn(rows, label, log=log, xlabel="environment steps" if elsewhere else "episodes per worker")
    n = rows.seed.nunique()
    caption = (
        f"{label[0].upper()}{label[1:]} of {run.id} over training: each of {n} seeds (thin; mean of its "
        f"{run.config.workers} workers), their mean (thick) and its pointwise 95 % interval (shaded)."
    )
    first, last = means["mean"].iloc[0], means["mean"].iloc[-1]
    alt = f"Learning curve: {label} of {run.id} goes from {first:.3g} to {last:.3g}, mean of {n} seeds."
    data = means.assign(**run.config.labels)[[*run.config.labels, "episode", "mean", "low", "high", "n"]]
    data = data.rename(columns={"episode": "step"}) if elsewhere else data
    return output.figure(quantity.replace("_", "-"), drawn, alt=alt, caption=caption, data=data)


def _drawn(
    rows: pd.DataFrame, label: str, *, log: bool = False, xlabel: str = "episodes per worker"
) -> tuple[Figure, pd.DataFrame]:
    """The figure and its bands, from columns arm, norm, seed, episode, value."""
    seeds = rows.groupby(["arm", "norm", "seed", "episode"], as_index=False).value.mean().assign(quantity=label, run="")
    means = tidy.bands(seeds)
    return plot.curves(seeds, means, y=label, log=log, xlabel=xlabel), means


def _title(config: ActorCriticConfig) -> str:
    return f"{style.ALGORITHM_LABEL[config.algorithm]}, {style.CORE_LABEL[config.core]}"


def norm_layers(run: Run) -> output.Text:
    """One sentence: the norm layers found in the trained parameters, which is what the run's name promises."""
    found = run.provenance.get("norm_layers") or []
    layers = f"the norm layers {' and '.join(f'`{name}`' for name in found)}" if found else "no norm layer"
    count = run.provenance["parameter_count"]
    return output.Text(
        f"Asked for `norm={run.config.norm}`; the trained parameters hold {layers} ({count:,} numbers a learner)."
    )


def test_table(run: Run) -> output.TableOutput | output.Text:
    """Test returns by scenario group, greedy and sampled, both clouds, beside the reference policies.

    For TD3 and DDPG: greedy episodes on other tracks. Elsewhere: the last episodes of training.
    """
    if isinstance(run.config, GymConfig):
        return last_episodes(run)
    if not isinstance(run.config, RunConfig):
        return driving_tests(run)
    if not run.config.eval_episodes:
        return output.Text("`eval_episodes=0`: this run was not tested.")
    tests = run.table("evaluation")
    parts = {"seen": ["seen"], "intra": ["intra"], "extra": ["extra"], "all": ["seen", "intra", "extra"]}
    rows = [
        {"cloud": cloud, "who": mode, "type": name, **_known(mine[mine.group.isin(groups)])}
        for name, groups in parts.items()
        for (cloud, mode), mine in tests.groupby(["cloud", "mode"], sort=False)
    ]
    rows += [
        {"cloud": cloud, "who": policy, "type": name, "estimate": mine[mine.group.isin(groups)].return_mean.mean()}
        for name, groups in parts.items()
        for (cloud, policy), mine in evaluate_policies(50).groupby(["cloud", "policy"], sort=False)
    ]
    data = pd.DataFrame(rows).fillna({"n": 1})
    said = data.assign(words=[words.estimate(row) for row in data.itertuples()])
    shown = said.pivot(index=["cloud", "who"], columns="type", values="words")
    shown = shown.loc[
        said.drop_duplicates(["cloud", "who"]).set_index(["cloud", "who"]).index, list(parts)
    ].reset_index()
    who = [style.POLICY_LABEL.get(name, f"{run.id}, {name}") for name in shown.who]
    shown = shown.assign(who=who).rename(columns={"who": "policy", **TYPE_LABEL}).rename_axis(columns=None)
    caption = (
        f"Mean test return of {run.id} over {run.config.seeds} seeds with 95 % intervals over seeds "
        f"({run.config.eval_episodes} episodes per scenario), and of fixed policies "
        "(50 episodes per scenario, no interval). Cloud budget: never refilled."
    )
    return output.table("test", shown.sort_values("cloud", kind="stable"), caption=caption, data=data)


def last_episodes(run: Run, count: int = 100) -> output.TableOutput:
    """Mean return and length of the last training episodes of each seed, which are played as they are trained."""
    rows = run.table("finished").sort_values(["seed", "step"], kind="stable").groupby("seed").tail(count)
    found = rows.groupby("seed").agg(
        **{"return": ("return", "mean"), "length": ("length", "mean"), "episodes": ("step", "size")}
    )
    caption = f"Mean over the last {count} training episodes of each seed of {run.id}, actions drawn from the policy."
    return output.table("test", found.round(2).reset_index(), caption=caption)


def _known(tests: pd.DataFrame) -> dict[str, float]:
    """The mean over seeds with its interval; unknown where a seed has no score."""
    seeds = tests.groupby("seed").return_mean.mean().to_numpy()
    if np.isfinite(seeds).all():
        return interval(seeds)._asdict()
    return {"estimate": np.nan, "low": np.nan, "high": np.nan, "n": len(seeds)}


def provenance_table(run: Run) -> output.TableOutput:
    """Where the run comes from: code, versions, machine, time and speed."""
    facts = run.provenance
    flat = {"commit": facts["commit"] + (" with uncommitted changes" if facts["dirty"] else "")}
    flat |= {
        name: str(facts[name])
        for name in ("started", "finished", "device", "cpu", "cores", "platform")
        if name in facts
    }
    flat |= {"time of training": f"{facts['seconds']:.0f} s", "environment steps": f"{facts['env_steps']:,}"}
    flat |= {"steps per second": f"{facts['steps_per_second']:,.0f}"} if facts.get("steps_per_second") else {}
    flat |= {name: str(version) for name, version in facts["versions"].items()}
    flat |= {"other than the pinned versions": "; ".join(others)} if (others := facts.get("other_versions")) else {}
    ends = [f"{each['from']:,} {each['setting']}" for each in facts.get("continued", [])]
    flat |= {"continued from": ", ".join(ends)} if ends else {}
    table = pd.DataFrame({"what": list(flat), "value": list(flat.values())})
    return output.table("provenance", table, caption=f"Provenance of {run.id}.")


def require_complete(run: Run) -> None:
    """Stop a notebook whose run left something out, before it passes for a result.

    Raises:
        RuntimeError: the run is not complete, its networks lack the norm of its name, or a table lacks a seed.
    """
    if not run.complete:
        raise RuntimeError(f"run {run.id} is {run.status}, not complete")
    require_norm(run.config, run.provenance.get("norm_layers") or [])
    on_policy = isinstance(run.config, ActorCriticConfig)
    tables, tests = (["curves", "metrics"], "evaluation") if on_policy else (["records"], "checks")
    if not on_policy or isinstance(run.config, GymConfig):
        run.table("finished" if on_policy else "returns")  # may lack a seed: in a short run no episode need end
    for name in [*tables, *([tests] if getattr(run.config, "eval_episodes", 0) else [])]:
        if missing := set(run.config.seed_list) - set(run.table(name).seed):
            raise RuntimeError(f"table {name} of run {run.id} lacks seeds {sorted(missing)}")


def _blocks(episodes: pd.Series, points: int = 100) -> pd.Series:
    size = max(1, -(-int(episodes.max()) // points))
    return (episodes // size) * size


# -- TD3 and DDPG ----------------------------------------------------------------------------------------------------
PHASE_COLOUR = {"random": style.GREY, "mixed": "#8d5fb5", "policy": style.NORM_COLOUR["ln"]}
Lines = Mapping[str, Sequence[str]]  # title of a panel → columns drawn in it
COLOURS = (style.NORM_COLOUR["none"], style.NORM_COLOUR["ln"])


@style.styled
def live(rows: list[tuple[int, int, float]]) -> Figure:
    """Mean reward of each hundred steps so far, a line a seed; rows are (seed, step, reward)."""
    frame = pd.DataFrame(rows, columns=["seed", "step", "reward"])
    figure, (panel,) = style.axes()
    for seed, line in frame.groupby("seed"):
        panel.plot(line.step, line.reward, linewidth=1, label=f"seed {seed}")
    panel.set(xlabel="environment steps", ylabel="mean reward of 100 steps")
    figure.legend(loc="outside lower center", ncols=6, fontsize=9)
    return figure


class Rewards:
    """Collects the reports of a run for `live`."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, float]] = []

    def add(self, report: Report) -> None:
        columns = report["seed"], report["step"][:, 0], report["reward"][:, 0]
        self.rows += [(int(seed), int(step), float(value)) for seed, step, value in zip(*columns, strict=True)]

    def draw(self) -> Figure:
        return live(self.rows)


def episode_returns(run: Run) -> output.FigureOutput:
    """Every training episode by its end: where random actions end, and what the policy makes of it."""
    rows = run.table("returns")
    means = rows.groupby("phase")["return"].mean()
    told = ", ".join(f"{means[phase]:.4g} ({phase})" for phase in PHASE_COLOUR if phase in means) or "no episode ended"
    caption = (
        f"Return of every training episode of {run.id}, {rows.seed.nunique()} seeds, by who chose the actions. "
        f"Mean: {told}."
    )
    kept = rows[["seed", "episode", "step", "length", "return", "phase"]]
    return output.figure("return", _episodes(rows), alt=f"Dots: {caption}", caption=caption, data=kept)


def q_values(run: Run) -> output.FigureOutput:
    """Q as it stands in the actor's loss beside Q of the same actions as the critic sees them."""
    panels = {"|Q| in the actor loss": ["actor_q"], "|Q| on the critic's features": ["critic_q"]}
    what = "Mean |Q1| of the policy's actions on the replay batch, in the actor's loss and on the critic CNN's features"
    return _records(run, "values", panels, "|Q1|", what)


def feature_norms(run: Run) -> output.FigureOutput:
    """Feature norms of both CNNs on the fixed probe."""
    panels = {"actor CNN": ["actor_feature_norm_probe"], "critic CNN": ["critic_feature_norm_probe"]}
    return _records(
        run, "features", panels, "feature norm", "Mean L2 norm of the 512 features on 64 fixed observations"
    )


def driving_tests(run: Run) -> output.TableOutput | output.Text:
    """Greedy test episodes on tracks that training did not see: mean over seeds with intervals."""
    if not run.config.eval_episodes:
        return output.Text("`eval_episodes=0`: this run was not tested.")
    rows = run.table("checks").assign(reached=lambda checks: checks.goal.astype(float))
    found = []
    for step, group in rows.groupby("step"):
        seeds = group.groupby("seed")[["return", "length", "off_lane", "reached"]].mean()
        found.append({"step": step} | {name: _mean_words(seeds[name].to_numpy(float)) for name in seeds})
    shown = pd.DataFrame(found).rename(columns={"off_lane": "share that left the lane", "reached": "share at the goal"})
    caption = (
        f"Greedy tests of {run.id}: {run.config.eval_episodes} episodes on other tracks, mean over "
        f"{rows.seed.nunique()} seeds with 95 % intervals over seeds."
    )
    return output.table("test", shown, caption=caption, data=rows.drop(columns="reached"))


def _mean_words(seeds: np.ndarray) -> str:
    found = interval(seeds)
    return f"{found.estimate:.4g} [{found.low:.4g}, {found.high:.4g}]" if len(seeds) > 1 else f"{seeds[0]:.4g}"


def _records(run: Run, name: str, panels: Lines, label: str, what: str) -> output.FigureOutput:
    rows = run.table("records")
    columns = [column for each in panels.values() for column in each]
    last = rows[rows.step == rows.step.max()][columns].abs().median()
    ends = ", ".join(f"{title} {last[each[0]]:.3g}" for title, each in panels.items())
    caption = f"{what}, {run.id}, a line for each of {rows.seed.nunique()} seeds. At the last record, median: {ends}."
    data = rows[["seed", "step", "updates", *columns]]
    return output.figure(name, _lines(rows, panels, label), alt=f"Curves: {caption}", caption=caption, data=data)


@style.styled
def _lines(rows: pd.DataFrame, panels: Lines, label: str) -> Figure:
    figure, axes = style.axes(1, len(panels), sharey=True)
    for panel, (title, columns), colour in zip(axes, panels.items(), COLOURS, strict=False):
        for _, line in rows.groupby("seed"):
            panel.plot(line.step, line[columns[0]].abs(), color=colour, linewidth=1)
        panel.set(title=title, xlabel="environment steps")
    axes[0].set(yscale="log", ylabel=label)
    return figure


@style.styled
def _episodes(rows: pd.DataFrame) -> Figure:
    figure, (panel,) = style.axes()
    for phase, colour in PHASE_COLOUR.items():
        here: Any = rows[rows.phase == phase]
        if len(here):
            panel.plot(here.step, here["return"], ".", color=colour, markersize=4, label=phase, alpha=0.6)
    panel.set(xlabel="environment steps", ylabel="return of the episode")
    if len(rows):
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure
