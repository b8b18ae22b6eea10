"""What notebooks/train.ipynb calls: parameters into settings, curves while it trains, and what a finished run shows."""

import os
import time
from collections.abc import Mapping
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from lnlab.config import DDPG, Config, ConfigError, RunConfig, TD3Config, kind, parse
from lnlab.report import figures, notebook_td3, output, style, tables
from lnlab.runs import Report, Run
from lnlab.trainers.admission import require_norm

# sizes under LNLAB_SMALL=1, for tests of the notebook
SMALL = {"seeds": 2, "episodes": 4, "eval_episodes": 1, "cores": 1}
SMALL_TD3 = {"seeds": 2, "steps": 200, "learning_starts": 100, "batch_size": 4, "eval_episodes": 1, "cores": 1}
FIELDS = {**TD3Config.model_fields, **RunConfig.model_fields}  # every setting of any algorithm
OPEN = {*DDPG} | {  # settings that the algorithm decides where they are None: their defaults differ
    name
    for name in RunConfig.model_fields.keys() & TD3Config.model_fields.keys() - {"algorithm"}
    if RunConfig.model_fields[name].default != TD3Config.model_fields[name].default
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
    """The run's settings from a notebook's globals; shrunk under LNLAB_SMALL=1.

    Raises:
        ConfigError: a parameter is unknown, missing, or has a value that is not allowed.
    """
    parameters = given(before, after)
    if missing := [name for name in FIELDS if name not in parameters]:
        raise ConfigError(f"the parameters cell has not run, or does not define {', '.join(missing)}")
    config = parse(_that_apply(parameters))
    return _smaller(config) if os.environ.get("LNLAB_SMALL") == "1" else config


def _that_apply(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Without what was left to the algorithm, and without untouched settings of the other algorithms.

    One that was changed stays, so that it is refused: it would have no effect. So does None where the parameters cell
    does not offer it: `-p norm None` must not become the default, which is the treatment.
    """
    own = kind(parameters["algorithm"]).model_fields
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

    def __init__(self, config: RunConfig) -> None:
        self.arm, self.rows = config.labels, list[dict[str, Any]]()

    def add(self, report: Report) -> None:
        """Take one report: arrays (seeds, workers), with the seeds under "seed"."""
        returns = report["return"].mean(axis=1)
        self.rows += [self.arm | {"seed": seed, "worker": -1, "episode": int(report["episode"]), "return": value}
                      for seed, value in zip(report["seed"], returns, strict=True)]  # fmt: skip

    def draw(self) -> Figure:
        curves = pd.DataFrame(self.rows)
        curves["episode"] = _blocks(curves.episode)
        return figures.learning_curves(curves, "return", "return")


class Live:
    """Callback that draws what the run has reached while it trains, and removes the drawing at the end.

    Drawing takes at most about one hundredth of the time: after each drawing it waits a hundred times as long.
    """

    def __init__(self, config: Config, wait: float = 3.0) -> None:
        self.picture = Returns(config) if isinstance(config, RunConfig) else notebook_td3.Rewards()
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
    if isinstance(run.config, RunConfig):
        return learning_curve(run, "return", "return per episode")
    return notebook_td3.returns(run)


def value_curve(run: Run) -> output.FigureOutput:
    """How well the critic is doing: its loss; for TD3 and DDPG its values, in the actor's eyes and its own."""
    if isinstance(run.config, RunConfig):
        return learning_curve(run, "value_loss_all", "value loss", log=True)
    return notebook_td3.values(run)


def inner_curve(run: Run) -> output.FigureOutput:
    """What goes on inside: the policy's entropy; for TD3 and DDPG the length of the features."""
    if isinstance(run.config, RunConfig):
        return learning_curve(run, "entropy", "entropy of the policy, nats")
    return notebook_td3.features(run)


def learning_curve(run: Run, quantity: str, label: str, *, log: bool = False) -> output.FigureOutput:
    """One quantity of a finished run over training, per seed and on average."""
    curves = _labelled(run, "curves")
    n = curves.seed.nunique()
    name = quantity.replace("_", "-")
    caption = (
        f"{label[0].upper()}{label[1:]} of {run.id} over training: each of {n} seeds (thin; mean of its "
        f"{run.config.workers} workers), their mean (thick) and its pointwise 95 % interval (shaded)."
    )
    means = figures.band(curves, quantity)
    first, last = means["mean"].iloc[0], means["mean"].iloc[-1]
    alt = f"Learning curve: {label} of {run.id} goes from {first:.3g} to {last:.3g}, mean of {n} seeds."
    return output.figure(
        name, figures.learning_curves(curves, quantity, label, log=log), alt=alt, caption=caption, data=means
    )


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

    For TD3 and DDPG: greedy episodes on other tracks.
    """
    if not isinstance(run.config, RunConfig):
        return notebook_td3.tests(run)
    if not run.config.eval_episodes:
        return output.Text("`eval_episodes=0`: this run was not tested.")
    found = tables.estimates(tables.by_group(_labelled(run, "evaluation")), ["cloud", "mode", "type"], "return_mean")
    rows = pd.concat([found.rename(columns={"mode": "who"}), tables.reference_policies()], ignore_index=True)
    shown = tables.pivot_words(rows, ["cloud", "who"], "type")
    who = [tables.POLICY_LABEL.get(who, f"{run.id}, {who}") for who in shown.who]
    shown = shown.assign(who=who).rename(columns={"who": "policy"}).sort_values("cloud", kind="stable")
    caption = (
        f"Mean test return of {run.id} over {run.config.seeds} seeds with 95 % intervals over seeds "
        f"({run.config.eval_episodes} episodes a scenario), and of reference policies that learn nothing "
        f"({tables.REFERENCE_EPISODES} episodes a scenario, no interval). Cloud budget: never refilled."
    )
    return output.table("test", shown, caption=caption, data=rows)


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
    on_policy = isinstance(run.config, RunConfig)
    tables, tests = (["curves", "metrics"], "evaluation") if on_policy else (["records"], "checks")
    if not on_policy:
        run.table("returns")  # may lack a seed: in a short run no episode need end
    for name in [*tables, *([tests] if run.config.eval_episodes else [])]:
        if missing := set(run.config.seed_list) - set(run.table(name).seed):
            raise RuntimeError(f"table {name} of run {run.id} lacks seeds {sorted(missing)}")


def _smaller(config: Config) -> Config:
    sizes = SMALL if isinstance(config, RunConfig) else SMALL_TD3
    return config.model_copy(update={name: min(getattr(config, name), size) or size for name, size in sizes.items()})


def _blocks(episodes: pd.Series, points: int = 100) -> pd.Series:
    size = max(1, -(-int(episodes.max()) // points))
    return (episodes // size) * size


def _labelled(run: Run, table: str) -> pd.DataFrame:
    return run.table(table).assign(**run.config.labels)
