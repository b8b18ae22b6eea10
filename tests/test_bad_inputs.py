"""Bad inputs at every entry: one line that names the bad value or its key, an exit code that is not 0, nothing made.

They are drawn by hypothesis: 99, the same each time; with LNLAB_LONG_TESTS=1 in the environment 576 others.
"""

import functools
import json
import math
import os
import re
import shutil
import string
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import numpy as np
import pytest
import yaml
from gymnasium.spaces import Box, Dict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from papermill import inspect_notebook

from lnlab import cli, runs
from lnlab.book import run_page
from lnlab.claims.documents import Document, read
from lnlab.config import PROFILE, ConfigError, GymConfig, RunConfig, TD3Config, kind, parse
from lnlab.envs.driving import DrivingEnv
from lnlab.envs.gym_view import OffloadingEnv
from lnlab.envs.images import make_env
from lnlab.envs.offloading import OffloadingBatch
from lnlab.paths import NOTEBOOKS
from lnlab.runs import Run
from lnlab.study import Experiment, Profile, expand, profiles
from lnlab.trainers import driver
from lnlab.trainers.replay import Replay
from tests.fakes import finished, small, train

LONG = bool(os.environ.get("LNLAB_LONG_TESTS"))

fuzzed = settings(max_examples=64 if LONG else 11, derandomize=not LONG, database=None, deadline=None)
fuzzed = settings(fuzzed, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def _untrained(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bad input that passes for a good one must not train for hours."""
    monkeypatch.setattr(driver, "_train_all", lambda *_: pytest.fail("a bad input was trained"))


def one_line(said: str, *names: str) -> None:
    """The message is one line, not too long, and holds one of the names, on which spaces do not count."""
    assert said.strip()
    assert len(said.strip().splitlines()) == 1, said
    assert len(said) < 2500, said
    bare = "".join(said.split())
    assert any("".join(name.split()) in bare for name in names), (said, names)


def refused(attempt: Callable[[], object], *names: str, kind: type[Exception] = ValueError) -> None:
    with pytest.raises(kind) as error:
        attempt()
    one_line(str(error.value), *names)


def command(capsys, *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    capsys.readouterr()
    try:
        code: Any = cli.main(words)
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


TEXT = st.text(st.characters(), max_size=40) | st.text("a", min_size=300, max_size=301)
NO_NUMBER = TEXT.filter(lambda text: not any(letter.isnumeric() for letter in text))
ODD = st.none() | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=3), st.none(), max_size=1)
ENDLESS = st.sampled_from([math.inf, -math.inf, math.nan])
FRACTION = st.floats(0.01, 0.99)
HUGE = st.just(10**400)
TRUTH = {"0", "1", "true", "false", "t", "f", "yes", "no", "y", "n", "on", "off"}
NAME = st.text(string.ascii_lowercase, min_size=1, max_size=12)


def bad_value(cls: type, name: str) -> st.SearchStrategy[Any]:
    """Values that a setting cannot have."""
    field = cls.model_fields[name]  # type: ignore[attr-defined]
    if get_origin(field.annotation) is not None:
        return TEXT.filter(lambda text: text not in get_args(field.annotation)) | st.integers() | ENDLESS | ODD
    if field.annotation is bool:
        return TEXT.filter(lambda text: text.lower() not in TRUTH) | st.integers(2) | FRACTION | ENDLESS | ODD
    if field.annotation is str:
        return TEXT.map(lambda text: f"{text}?") | st.integers() | ENDLESS | ODD
    wrong = NO_NUMBER | ENDLESS | HUGE | st.booleans() | ODD | st.integers(max_value=-1)
    return wrong | FRACTION if field.annotation is int else wrong | st.floats(max_value=-1e-9)


@st.composite
def bad_settings(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """Settings of which one is bad, and the name of that one."""
    algorithm = draw(st.sampled_from(["a3c", "individual", "td3", "ddpg"]))
    cls = kind(algorithm)
    if draw(st.integers(0, 9)) == 0:
        name = draw(
            TEXT.filter(
                lambda text: text not in {n for cls in (RunConfig, GymConfig, TD3Config) for n in cls.model_fields}
            )
        )
        return {"algorithm": algorithm, name: "1"}, name
    name = draw(st.sampled_from(sorted(cls.model_fields)))
    value = draw(bad_value(cls, name).filter(lambda each: name != "algorithm" or str(each) not in ("a3c", "td3")))
    return {"algorithm": algorithm, name: value}, name


def of_setting(name: str) -> list[str]:
    """How a message may name a setting: as an unknown one is shown, or with its value."""
    return [f"{name}=", repr(name), repr(name)[:60]]


@functools.cache
def notebook_parameters() -> dict[str, Any]:
    """The globals of notebooks/train.ipynb after its parameters cell."""
    return {name: eval(each["default"]) for name, each in inspect_notebook(str(NOTEBOOKS / "train.ipynb")).items()}


@fuzzed
@given(bad=bad_settings())
def test_of_settings_and_a_notebooks_parameters(bad: tuple[dict[str, Any], str], results: Path) -> None:
    parameters, name = bad
    refused(lambda: parse(parameters), *of_setting(name), kind=ConfigError)
    left_open = parameters[name] is None and name in run_page.OPEN
    if not name.strip("_") or (name.startswith("_") and name.strip("_") not in run_page.FIELDS) or left_open:
        return
    after = notebook_parameters() | parameters
    refused(lambda: run_page.settings({"before"}, after), *of_setting(name), kind=ConfigError)
    assert not results.exists()


@fuzzed
@given(data=st.data())
def test_of_words_for_train(data: st.DataObject, results: Path, capsys) -> None:
    parameters, name = data.draw(bad_settings().filter(lambda bad: "=" not in bad[1]))
    if name == "profile" and re.fullmatch(PROFILE, str(parameters[name])):
        return  # good as text
    lone = data.draw(TEXT.filter(lambda text: "=" not in text and not text.startswith("-")))
    cases = [
        ([f"{key}={value}" for key, value in parameters.items()], [*of_setting(name), "cannot read"]),
        ([f"--{key}={value}" for key, value in parameters.items()], [*of_setting(name), "cannot read"]),
        ([lone], [repr(lone)]),
        (["norm=ln", f"norm={lone}"], ["norm is given twice"]),
        (["--norm"], ["--norm has no value"]),
        (["algorithm=td3", "norm=none", "env=" + data.draw(NAME) + "-v0"], ["env="]),
    ]
    words, names = data.draw(st.sampled_from(cases))
    code, out, err = command(capsys, "train", *words)
    assert (code, out) == (cli.USAGE, "")
    one_line(err, *names, *(f"{each.replace('-', '_')}" for each in names))
    assert not results.exists()


@fuzzed
@given(data=st.data())
def test_of_words_for_the_other_commands(data: st.DataObject, tmp_path: Path, capsys):
    word = data.draw(TEXT.filter(lambda text: not text.startswith("-") and text not in {*profiles(), *cli.COMMANDS}))
    unknown = "--" + data.draw(NAME.filter(lambda text: text not in ("jobs", "only", "list", "help", "check")))
    number = data.draw(NO_NUMBER | st.sampled_from(["0", "1.5", "1e3", "9" * 30]))
    cases = [
        *(([*before, word], [word, repr(word)[:60]]) for before in ([], ["study"], ["report"], ["runs"], ["publish"])),
        (["study", "smoke", unknown], [unknown]),
        (["runs", unknown], [unknown]),
        (["study", "smoke", f"--jobs={number}"], [number, repr(number)]),
        (["study", "smoke", f"--only=_{word}"], [repr("_" + word)[:60]]),
        (["study"], ["PROFILE"]),
    ]
    words, names = data.draw(st.sampled_from(cases))
    code, out, err = command(capsys, *words)
    assert code in (cli.ERROR, cli.USAGE)
    assert out == ""
    one_line(err, *names)
    assert list(tmp_path.iterdir()) == []


def toml(value: Any) -> str:
    """A value as TOML writes it in a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value).lower()


@st.composite
def study_with(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A study with one fault, and what must be named."""
    profile: dict[str, Any] = {"experiments": ["main"], "seeds": 2}
    experiment: dict[str, Any] = {"fixed": {"workers": 2}, "arms": {"norm": ["none", "ln"]}}
    study: dict[str, Any] = {"profiles": {"tiny": profile}, "experiments": {"main": experiment}}
    scalar = st.integers() | st.booleans() | FRACTION | ENDLESS
    key = draw(NAME.filter(lambda name: name not in {*Profile.model_fields, *Experiment.model_fields}))
    decided = st.sampled_from(["profile", "cores", "resume"])
    rates = scalar | TEXT | st.just([]) | st.lists(st.just(1e-3), min_size=2, max_size=3)
    faults: list[tuple[dict[str, Any], st.SearchStrategy[str], st.SearchStrategy[Any]]] = [
        *((place, st.just(key), scalar | TEXT) for place in (study, profile, experiment)),
        (study, st.sampled_from(["profiles", "experiments"]), scalar | TEXT | st.just({})),
        (experiment, st.just("arms"), scalar | TEXT),
        (experiment["arms"], st.just("lr"), rates),
        (experiment["fixed"], decided, scalar | TEXT),
        (profile, st.just("experiments"), scalar | st.lists(scalar, min_size=1, max_size=2) | st.just([])),
        (profile, st.sampled_from(["seeds", "episodes", "first_seed"]), NO_NUMBER | FRACTION | ENDLESS | HUGE),
    ]
    place, names, values = draw(st.sampled_from(faults))
    place[name := draw(names)] = draw(values)
    return study, name


@fuzzed
@given(data=st.data())
def test_of_study_files(data: st.DataObject, results: Path, tmp_path: Path) -> None:
    study, name = data.draw(study_with())
    path = tmp_path / "study.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in study.items()))
    with pytest.raises(ConfigError) as error:
        expand("tiny", path)
    one_line(str(error.value), name, "lr1e-3")
    assert str(path) in str(error.value)
    assert not results.exists()


VALUE = {"value": "return", "of": "return_mean", "arm": "a3c-gru-ln", "side": "above", "bound": "1 + 1"}
CLAIM = {"kind": "measured", "section": "1", "says": "so"}
JUNK = ["", "[", "a: &x [*x]", "!!python/name:os.system", "? [a]\n: b", "a: 2026-99-99", "a: 1\na: 2", "[" * 1500]
JUNK += ["--- a\n--- b", "!!binary é", "a: 1" + "0" * 5000]
EXPRESSIONS = ["1 / 0", "nan", "1e999", "True", "2 ** 3", "9" * 400, "(" * 300, "1\0", "f(1)"]


@fuzzed
@given(data=st.data())
def test_of_claims_files(data: st.DataObject, tmp_path: Path) -> None:
    """A key too many, one too few, a value of another kind, what is no expression, and what is no YAML."""
    row = dict(data.draw(st.sampled_from([VALUE, {"sum": "both", "formula": "1 + 2", "printed": "3"}])))
    claim: dict[str, Any] = CLAIM | {"evidence": [row]}
    document = {"title": "t", "sections": ["1"], "claims": {"D1.1": claim}}
    odd = st.integers() | FRACTION | ENDLESS | st.none() | st.lists(st.integers(), min_size=1, max_size=2)
    place = data.draw(st.sampled_from([document, claim, row]))
    name = data.draw(st.sampled_from(sorted(place.keys() - {"bound", "printed"})))
    fault = data.draw(st.sampled_from(["more", "less", "kind", "expression"]))
    if fault == "less":
        del place[name]
    elif fault == "expression":
        wrong = data.draw(NO_NUMBER.filter(lambda text: text != "return_mean") | st.sampled_from(EXPRESSIONS))
        claim["evidence"] = [VALUE | {data.draw(st.sampled_from(["of", "arm", "bound", "side"])): wrong}]
    else:
        known = {"note", *VALUE, *CLAIM}
        place[name if fault == "kind" else data.draw(NAME.filter(lambda each: each not in known))] = data.draw(odd)
    path = tmp_path / "d1.yml"
    path.write_text(yaml.safe_dump(document, allow_unicode=False, sort_keys=False))
    refused(lambda: read(path, Document), f"{path}, line ", kind=ConfigError)
    junk = (st.sampled_from(JUNK) | TEXT).map(lambda text: text.encode("utf-8", "replace")) | st.binary()
    path.write_bytes(data.draw(junk))
    refused(lambda: read(path, Document), str(path), kind=ConfigError)


NEGATIVE = st.floats(max_value=-1e-9, allow_infinity=False) | st.integers(max_value=-1)
NO_SIZE = NEGATIVE | ENDLESS | st.text(max_size=9) | ODD
CHOICE = st.text(max_size=9) | st.integers() | ENDLESS | ODD
NO_ACTION = st.integers(3) | NEGATIVE | ENDLESS | FRACTION | st.text(max_size=9) | ODD
NAN = st.sampled_from([[math.nan, 0.0], [0.0, math.nan], [math.nan, math.inf]]).map(np.float32)
LENGTHS = st.lists(st.floats(-1, 1), max_size=4).filter(lambda action: len(action) != 2).map(np.float32)
IMAGES, ACTIONS = Dict(image=Box(0, 255, (4, 84, 84), np.uint8)), Box(-1, 1, (2,), np.float32)


@functools.cache
def begun(cls: type) -> Any:
    """An environment in the first step of an episode."""
    env = cls()
    env.reset(seed=0)
    return env


ATTEMPTS: list[tuple[Callable[[Any], object], str, st.SearchStrategy[Any]]] = [
    (lambda value: OffloadingEnv(capacity=value), "capacity=", NO_SIZE | HUGE | st.just(0)),
    (lambda value: OffloadingEnv(velocity=value), "velocity=", NO_SIZE | HUGE),
    (lambda value: OffloadingEnv(cloud=value), "cloud=", CHOICE),
    (lambda value: DrivingEnv(scenario=value), "scenario=", CHOICE),
    (lambda value: DrivingEnv(view=value), "view=", CHOICE),
    (lambda value: DrivingEnv(cars=value), "cars=", NO_SIZE | FRACTION),
    (lambda value: DrivingEnv(render_mode=value), "render_mode=", CHOICE.filter(lambda value: value is not None)),
    (lambda value: DrivingEnv(track_seed=value), "track_seed=", NO_SIZE | FRACTION),
    (lambda value: DrivingEnv(route_length=value), "route_length=", NO_SIZE | HUGE | st.just(0)),
    (lambda value: DrivingEnv(standing_bonus=value), "standing_bonus=", CHOICE.filter(lambda x: x not in (0, 1))),
    (lambda value: OffloadingBatch([5, value], 5, groups=1), "", NEGATIVE | ENDLESS),
    (lambda value: Replay(value, IMAGES, ACTIONS), "capacity=", NO_SIZE | FRACTION | st.just(9.5)),
    (make_env, "env=", TEXT.filter(lambda text: ":" not in text) | NAME.map(lambda name: f"no_{name}:X-v0")),
    (lambda value: begun(OffloadingEnv).step(value), "action ", NO_ACTION),
    (lambda value: begun(DrivingEnv).step(value), "action", NAN | LENGTHS | NO_NUMBER | st.none() | FRACTION),
]


@settings(fuzzed, max_examples=400 if LONG else 60)
@given(data=st.data())
def test_of_environments_actions_and_buffers(data: st.DataObject) -> None:
    attempt, name, bad = data.draw(st.sampled_from(ATTEMPTS))
    value = data.draw(bad)
    refused(lambda: attempt(value), name)
    if name == "action ":  # a bad one changes nothing
        begun(OffloadingEnv).step(0)
    elif name == "action":
        assert np.isfinite(begun(DrivingEnv).step(np.zeros(2, np.float32))[0]["vector"]).all()


@pytest.fixture(scope="module")
def healthy() -> Iterator[Path]:
    """A complete run in the profile `whole`, and a stopped one in `half`."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", Path(folder))
        finished(profile="whole")
        train(run := Run.open(small(profile="half")), until=2)
        run.release()
        yield Path(folder)


TYPED = {"provenance.json": "status", "manifest.json": "episode", "config.json": "seeds"}  # an entry of each file


@st.composite
def damaged_text(draw: st.DrawFn, content: dict[str, Any], entry: str) -> str:
    """What may stand in a JSON file instead of `content`: another value, or one of another kind, no object, no JSON."""
    wrong = json.dumps(content | {entry: draw(st.sampled_from(["odd", -1.5, [None]]))})
    no_json = st.sampled_from(["", "[]", "5", "null", "\x00" * 40, "[" * 100_000])
    return draw(st.just(wrong) | no_json | NO_NUMBER.map(lambda text: "{" + text))


@fuzzed
@given(data=st.data())
def test_of_damaged_run_directories(data: st.DataObject, healthy: Path, results: Path, capsys):
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(healthy, results)
    file = data.draw(st.sampled_from(sorted(TYPED)))
    profile = "half" if file == "manifest.json" else "whole"  # of a complete run the manifests count no more
    path = next((results / profile).rglob(file))
    path.write_text(data.draw(damaged_text(json.loads(path.read_text()), TYPED[file])), errors="replace")

    def content():  # a lock that was taken and given back has another number
        return {each: each.read_bytes() for each in results.rglob("*") if each.is_file() and ".lock" not in each.parts}

    before = content()
    code, out, _ = command(capsys, "runs")
    assert code == 0
    assert any("damaged" in line and str(path) in line for line in out.splitlines())
    assert sum(line.startswith("  a3c-gru-ln-w2 ") for line in out.splitlines()) == 2  # the other run is listed too
    code, out, _ = command(capsys, "runs", profile, "--check")
    assert code == cli.ERROR
    one_line(out, str(path))
    train_again = "train seeds=3 episodes=6 workers=2 profile=whole"
    for words in ("report whole", "publish whole --data-only --allow-dirty", train_again) if profile == "whole" else ():
        code, _, err = command(capsys, *words.split())
        assert code != 0, words
        one_line(err, str(path))
    assert before == content()
