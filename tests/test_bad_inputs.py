"""Bad inputs at every entry: one line that names the bad value or its key, an exit code that is not 0, nothing made.

They are drawn by hypothesis: 165, the same each time; with LNLAB_LONG_TESTS=1 in the environment 960 others.
"""

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

import nbformat
import numpy as np
import pytest
import yaml
from gymnasium.spaces import Box, Dict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lnlab.report import notebook

from lnlab import cli, paths, runs
from lnlab.claims.documents import Document, read
from lnlab.config import PROFILE, ConfigError, RunConfig, TD3Config, kind, parse
from lnlab.envs.driving import DrivingEnv
from lnlab.envs.gym_view import OffloadingEnv
from lnlab.envs.images import make_env
from lnlab.envs.offloading import OffloadingBatch
from lnlab.paths import NOTEBOOKS
from lnlab.runs import Run
from lnlab.study import Experiment, Profile, expand, profiles
from lnlab.trainers import driver
from lnlab.trainers.replay import Replay
from tests.fakes import train

LONG = bool(os.environ.get("LNLAB_LONG_TESTS"))
LONGEST = 2500  # letters of a message: those that list every measure are the longest

fuzzed = settings(
    max_examples=64 if LONG else 11,
    derandomize=not LONG,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where runs would lie; a bad input that passes for a good one must not train for hours."""
    for module in (runs, paths):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "data")
    monkeypatch.setattr(driver, "_train_all", lambda *_: pytest.fail("a bad input was trained"))
    return tmp_path / "results"


def one_line(said: str, *names: str) -> None:
    """The message is one line, not too long, and holds one of the names, on which spaces do not count."""
    assert said.strip()
    assert len(said.strip().splitlines()) == 1, said
    assert len(said) < LONGEST, said
    bare = "".join(said.split())
    assert any("".join(name.split()) in bare for name in names), (said, names)


def refused(attempt: Callable[[], object], *names: str, kind: type[Exception] = ValueError) -> None:
    with pytest.raises(kind) as error:
        attempt()
    one_line(str(error.value), *names)


def command(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """Exit code, output and errors of a command."""
    capsys.readouterr()
    try:
        code: Any = cli.main(words)
    except SystemExit as end:
        code = end.code
    said = capsys.readouterr()
    return code, said.out, said.err


# -- what is bad ------------------------------------------------------------------------------------------------------
TEXT = st.text(st.characters(), max_size=40) | st.text("a", min_size=300, max_size=301)
NO_NUMBER = TEXT.filter(lambda text: not any(letter.isnumeric() for letter in text))
ODD = st.none() | st.lists(st.integers(), max_size=2) | st.dictionaries(st.text(max_size=3), st.none(), max_size=1)
ENDLESS = st.sampled_from([math.inf, -math.inf, math.nan])
FRACTION = st.floats(0.01, 0.99)
HUGE = st.just(10**400)
TRUTH = {"0", "1", "true", "false", "t", "f", "yes", "no", "y", "n", "on", "off"}
NAME = st.text(string.ascii_lowercase, min_size=1, max_size=12)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(0, 1) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=4), inner, max_size=2),
    max_leaves=3,
)


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
        name = draw(TEXT.filter(lambda text: text not in {*RunConfig.model_fields, *TD3Config.model_fields}))
        return {"algorithm": algorithm, name: "1"}, name
    name = draw(st.sampled_from(sorted(cls.model_fields)))
    value = draw(bad_value(cls, name).filter(lambda each: name != "algorithm" or str(each) not in ("a3c", "td3")))
    return {"algorithm": algorithm, name: value}, name


# -- settings ---------------------------------------------------------------------------------------------------------
def of_setting(name: str) -> list[str]:
    """How a message may name a setting: as an unknown one is shown, or with its value."""
    return [f"{name}=", repr(name), repr(name)[:60]]


@fuzzed
@given(bad=bad_settings())
def test_of_settings(bad: tuple[dict[str, Any], str], results: Path) -> None:
    parameters, name = bad
    refused(lambda: parse(parameters), *of_setting(name), kind=ConfigError)
    assert not results.exists()


def notebook_parameters() -> dict[str, Any]:
    """The globals of notebooks/train.ipynb after its parameters cell."""
    cells = nbformat.read(NOTEBOOKS / "train.ipynb", as_version=4).cells
    (cell,) = (cell.source for cell in cells if "parameters" in cell.metadata.get("tags", []))
    exec(cell, found := dict[str, Any]())
    return {name: value for name, value in found.items() if not name.startswith("_")}


@fuzzed
@given(bad=bad_settings())
def test_of_a_notebooks_parameters(bad: tuple[dict[str, Any], str], results: Path) -> None:
    parameters, name = bad
    left_open = parameters[name] is None and name in notebook.OPEN
    if not name.strip("_") or (name.startswith("_") and name.strip("_") not in notebook.FIELDS) or left_open:
        return
    after = notebook_parameters() | parameters
    refused(lambda: notebook.settings({"before"}, after), *of_setting(name), kind=ConfigError)
    assert not results.exists()


# -- the command line -------------------------------------------------------------------------------------------------
@fuzzed
@given(data=st.data())
def test_of_words_for_train(data: st.DataObject, results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parameters, name = data.draw(bad_settings().filter(lambda bad: "=" not in bad[1]))
    if name == "profile" and re.fullmatch(PROFILE, str(parameters[name])):
        return  # good as text
    lone = data.draw(TEXT.filter(lambda text: "=" not in text and not text.startswith("-")))
    words, names = data.draw(
        st.sampled_from(
            [
                ([f"{key}={value}" for key, value in parameters.items()], [*of_setting(name), "cannot read"]),
                ([f"--{key}={value}" for key, value in parameters.items()], [*of_setting(name), "cannot read"]),
                ([lone], [repr(lone)]),
                (["norm=ln", f"norm={lone}"], ["norm is given twice"]),
                (["--norm"], ["--norm has no value"]),
                (["algorithm=td3", "norm=none", "env=" + data.draw(NAME) + "-v0"], ["env="]),
                ([f"resume=false{lone}x"], ["resume="]),
            ]
        )
    )
    code, out, err = command(capsys, "train", *words)
    assert (code, out) == (cli.USAGE, "")
    one_line(err, *names, *(f"{each.replace('-', '_')}" for each in names))
    assert not results.exists()


@fuzzed
@given(data=st.data())
def test_of_words_for_the_other_commands(
    data: st.DataObject, results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    word = data.draw(TEXT.filter(lambda text: not text.startswith("-") and text not in {*profiles(), *cli.COMMANDS}))
    unknown = "--" + data.draw(NAME.filter(lambda text: text not in ("jobs", "only", "list", "help", "check")))
    number = data.draw(NO_NUMBER | st.sampled_from(["0", "1.5", "1e3", "9" * 30]))
    words, names = data.draw(
        st.sampled_from(
            [
                ([word], [repr(word)]),
                (["study", word], [word, repr(word), repr(word)[:60]]),
                (["report", word], [word, repr(word), repr(word)[:60]]),
                (["runs", word], [word, repr(word), repr(word)[:60]]),
                (["publish", word, "--data-only"], [word, repr(word), repr(word)[:60]]),
                (["study", "smoke", unknown], [unknown]),
                (["runs", unknown], [unknown]),
                (["report", "smoke", unknown], [unknown]),
                (["study", "smoke", f"--jobs={number}"], [number, repr(number)]),
                (["study", "smoke", f"--only=_{word}"], [repr("_" + word), repr("_" + word)[:60]]),
                (["publish", "paper", "--digests"], ["--digests"]),
                (["study"], ["PROFILE"]),
            ]
        )
    )
    code, out, err = command(capsys, *words)
    assert code in (cli.ERROR, cli.USAGE)
    assert out == ""
    one_line(err, *names)
    assert list(tmp_path.iterdir()) == []


# -- study files ------------------------------------------------------------------------------------------------------
def toml(value: Any) -> str:
    """A value as TOML writes it in a line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(key))} = {toml(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return '"' + "".join(f"\\U{ord(letter):08x}" for letter in value) + '"'
    return str(value).lower()


def study_with(draw: st.DrawFn) -> tuple[dict[str, Any], str]:
    """A study with one fault, and what must be named."""
    profile: dict[str, Any] = {"experiments": ["main"], "seeds": 2}
    experiment: dict[str, Any] = {"fixed": {"workers": 2}, "arms": {"norm": ["none", "ln"]}}
    study: dict[str, Any] = {"profiles": {"tiny": profile}, "experiments": {"main": experiment}}
    scalar = st.integers() | st.booleans() | FRACTION | ENDLESS
    key = draw(NAME.filter(lambda name: name not in {*Profile.model_fields, *Experiment.model_fields}))
    fault = draw(st.integers(0, 8))
    if fault == 0:
        parameters, name = draw(bad_settings().filter(lambda bad: None not in bad[0].values() and bad[1] != "profile"))
        experiment |= {"fixed": parameters, "arms": {}}
        if isinstance(parameters[name], dict | list) or name in ("cores", "resume"):
            return study, ""
        return study, name if name in RunConfig.model_fields | TD3Config.model_fields else repr(name)[1:-1][:50]
    if fault == 1:
        draw(st.sampled_from([study, profile, experiment]))[key] = draw(scalar | TEXT.map(str))
        return study, key
    if fault == 2:
        place, name = draw(st.sampled_from([(study, "profiles"), (study, "experiments"), (experiment, "arms")]))
        place[name] = draw(scalar | TEXT)
        return study, name
    if fault == 3:
        profile["experiments"] = draw(scalar | st.lists(scalar, min_size=1, max_size=2) | st.just([]))
        return study, "experiments"
    if fault == 4:
        profile["experiments"] = [key]
        return study, key
    if fault == 5:
        name = draw(st.sampled_from(["seeds", "episodes", "first_seed", "eval_episodes"]))
        profile[name] = draw(TEXT | FRACTION | ENDLESS | st.booleans() | st.integers(max_value=-1) | HUGE)
        return study, name
    if fault == 6:
        name = draw(st.sampled_from(["profile", "cores", "resume"]))
        experiment["fixed"] = {name: draw(scalar | TEXT)}
        return study, name
    if fault == 7:
        experiment["arms"] = {"lr": draw(scalar | TEXT | st.just([]) | st.lists(st.just(1e-3), min_size=2, max_size=3))}
        return study, "lr"
    del study[name := draw(st.sampled_from(["profiles", "experiments"]))]
    return study, name


@fuzzed
@given(data=st.data())
def test_of_study_files(data: st.DataObject, results: Path, tmp_path: Path) -> None:
    study, name = study_with(data.draw)
    path = tmp_path / "study.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in study.items()))
    with pytest.raises(ConfigError) as error:
        expand("tiny", path)
    one_line(str(error.value), name, "lr1e-3")
    assert str(path) in str(error.value)
    assert not results.exists()


@fuzzed
@given(
    junk=st.binary(max_size=60).map(lambda junk: b"\xff" + junk)
    | TEXT.map(lambda text: f"={text}".encode("utf-8", "replace"))
)
def test_of_study_files_that_are_no_toml(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_bytes(junk)
    refused(lambda: expand("tiny", path), str(path), kind=ConfigError)


# -- claims -----------------------------------------------------------------------------------------------------------
VALUE = {"value": "return", "of": "return_mean", "arm": "a3c-gru-ln", "side": "above", "bound": "1 + 1"}
SUM = {"sum": "both", "formula": "1 + 2", "printed": "3"}


def claims_with(draw: st.DrawFn) -> dict[str, Any]:
    """A document's claims with one fault."""
    row = dict(draw(st.sampled_from([VALUE, SUM])))
    claim: dict[str, Any] = {"kind": "measured", "section": "1", "says": "so", "evidence": [row]}
    document: dict[str, Any] = {"title": "t", "sections": ["1"], "claims": {"D1.1": claim}}
    odd = (
        st.integers() | FRACTION | ENDLESS | st.none() | st.booleans() | st.lists(st.integers(), min_size=1, max_size=2)
    )
    place = draw(st.sampled_from([document, claim, row]))
    fault = draw(st.integers(0, 3))
    if fault == 0:
        place[draw(NAME.filter(lambda name: name not in ("note", "says", "value", "side", "bound", "arm")))] = draw(odd)
    elif fault == 1:
        needed = sorted(place.keys() - {"bound"})
        del place[draw(st.sampled_from(needed))]
    elif fault == 2:
        place[draw(st.sampled_from(sorted(place.keys() - {"bound", "printed"})))] = draw(odd)
    else:
        changed = dict(VALUE)
        key = draw(st.sampled_from(["of", "arm", "bound", "side"]))
        expression = st.sampled_from(["1 / 0", "nan", "1e999", "True", "2 ** 3", "9" * 400, "(" * 300, "1\0", "f(1)"])
        changed[key] = draw(NO_NUMBER.filter(lambda text: text != "return_mean") | expression)
        claim["evidence"] = [changed]
    return document


@fuzzed
@given(data=st.data())
def test_of_claims_files(data: st.DataObject, tmp_path: Path) -> None:
    path = tmp_path / "d1.yml"
    path.write_text(yaml.safe_dump(claims_with(data.draw), allow_unicode=False, sort_keys=False))
    refused(lambda: read(path, Document), f"{path}, line ", kind=ConfigError)


JUNK = ["", "\t", "[", "a: b: c", "a: &x [*x]", "!!python/name:os.system", "? [a]\n: b", "!!map [1]", "a: 2026-99-99"]
JUNK += [
    "a: 1\na: 2",
    "'",
    "a: *nowhere",
    "\x00",
    "[" * 1500,
    "--- a\n--- b",
    "!!int x",
    "!!binary é",
    "a: 1" + "0" * 5000,
]


@fuzzed
@given(
    junk=st.sampled_from(JUNK).map(str.encode)
    | TEXT.map(lambda text: text.encode("utf-8", "replace"))
    | st.binary(max_size=60)
)
def test_of_claims_files_that_are_no_yaml(junk: bytes, tmp_path: Path) -> None:
    path = tmp_path / "d1.yml"
    path.write_bytes(junk)
    refused(lambda: read(path, Document), str(path), kind=ConfigError)


# -- environments and the replay buffer -------------------------------------------------------------------------------
NEGATIVE = st.floats(max_value=-1e-9, allow_infinity=False) | st.integers(max_value=-1)
NO_SIZE = NEGATIVE | ENDLESS | st.text(max_size=9) | ODD
CHOICE = st.text(max_size=9) | st.integers() | ENDLESS | ODD
ENVIRONMENTS: list[tuple[type, str, st.SearchStrategy[Any]]] = [
    (OffloadingEnv, "capacity", NO_SIZE | HUGE | st.just(0)),
    (OffloadingEnv, "velocity", NO_SIZE | HUGE),
    (OffloadingEnv, "cloud", CHOICE),
    (OffloadingEnv, "time_limit", CHOICE),
    (OffloadingEnv, "render_mode", CHOICE.filter(lambda value: value is not None)),
    (DrivingEnv, "scenario", CHOICE),
    (DrivingEnv, "render_mode", CHOICE.filter(lambda value: value is not None)),
    (DrivingEnv, "track_seed", NO_SIZE | FRACTION),
    (DrivingEnv, "max_steps", NO_SIZE | FRACTION | st.just(0)),
    (DrivingEnv, "frame_skip", NO_SIZE | FRACTION | st.just(0)),
    (DrivingEnv, "route_length", NO_SIZE | HUGE | st.just(0)),
    (DrivingEnv, "terminate_off_lane", CHOICE.filter(lambda value: value not in (0, 1))),
    (DrivingEnv, "standing_bonus", CHOICE.filter(lambda value: value not in (0, 1))),
]


@fuzzed
@given(data=st.data())
def test_of_environments(data: st.DataObject) -> None:
    cls, name, bad = data.draw(st.sampled_from(ENVIRONMENTS))
    value = data.draw(bad)
    refused(lambda: cls(**{name: value}), f"{name}=")


@fuzzed
@given(bad=NEGATIVE | ENDLESS, good=st.integers(1, 99), data=st.data())
def test_of_batches_of_vehicles(bad: float, good: int, data: st.DataObject) -> None:
    capacity, velocity = data.draw(st.sampled_from([(bad, good), (good, bad), ([good, bad], good), (good, [bad] * 3)]))
    refused(lambda: OffloadingBatch(capacity, velocity, groups=1), f"{bad:g}")


@fuzzed
@given(name=TEXT.filter(lambda text: ":" not in text) | NAME.map(lambda name: f"no_{name}:X-v0"))
def test_of_ids_of_environments(name: str) -> None:
    refused(lambda: make_env(name), f"env={name!r}", f"env={name!r}"[:60], kind=ConfigError)


@fuzzed
@given(action=st.integers(3) | NEGATIVE | ENDLESS | FRACTION | st.text(max_size=9) | ODD)
def test_of_actions_of_a_vehicle(action: Any) -> None:
    env = OffloadingEnv()
    env.reset(seed=0)
    refused(lambda: env.step(action), f"action {action!r}")
    env.step(0)


@pytest.fixture(scope="module")
def driving() -> DrivingEnv:
    env = DrivingEnv()
    env.reset(seed=0)
    return env


@fuzzed
@given(data=st.data())
def test_of_actions_of_a_car(data: st.DataObject, driving: DrivingEnv) -> None:
    nan = st.sampled_from([[math.nan, 0.0], [0.0, math.nan], [math.nan, math.nan], [math.nan, math.inf]])
    lengths = st.lists(st.floats(-1, 1), max_size=4).filter(lambda action: len(action) != 2)
    action = data.draw(nan.map(np.float32) | lengths.map(np.float32) | NO_NUMBER | st.none() | FRACTION)
    refused(lambda: driving.step(action), "action")
    observation, *_ = driving.step(np.zeros(2, np.float32))
    assert np.isfinite(observation["vector"]).all()


@fuzzed
@given(capacity=st.integers(max_value=4) | FRACTION | st.just(9.5) | ENDLESS | ODD | st.text(max_size=9))
def test_of_sizes_of_the_replay_buffer(capacity: Any) -> None:
    space = Dict(image=Box(0, 255, (4, 84, 84), np.uint8))
    refused(lambda: Replay(capacity, space, Box(-1, 1, (2,), np.float32)), f"capacity={capacity!r}")


# -- run directories --------------------------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def healthy() -> Iterator[Path]:
    """A complete run in the profile `whole`, and a stopped one in `half`."""
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", Path(folder))
        for profile, until in (("whole", 4), ("half", 2)):
            run = Run.open(parse({"seeds": 2, "episodes": 4, "workers": 2, "profile": profile}))
            train(run, until=until)
            run.finish() if until == 4 else run.release()
        yield Path(folder)


TYPED = {  # values of which each must be of its kind
    "provenance.json": ("status", "files", "block", "opened", "parameters"),
    "manifest.json": ("episode", "serial", "chunks", "tables", "files", "sessions", "facts", "kept"),
    "config.json": ("seeds", "episodes", "norm", "algorithm"),
}


@st.composite
def damaged_text(draw: st.DrawFn, content: dict[str, Any], typed: tuple[str, ...]) -> str:
    """What may stand in a JSON file instead of `content`: values of another kind, no object, no JSON at all."""
    content.pop("sha256", None)
    wrong = {draw(st.sampled_from(typed)): draw(st.sampled_from(["odd", -1.5, [None]]))}
    no_object = JSON.filter(lambda value: not isinstance(value, dict)).map(json.dumps)
    no_json = TEXT.map(lambda text: "{" + text.encode(errors="replace").decode())
    return draw(st.just(json.dumps(content | wrong)) | no_object | no_json)


@fuzzed
@given(data=st.data())
def test_of_damaged_run_directories(
    data: st.DataObject, healthy: Path, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(results, ignore_errors=True)
    shutil.copytree(healthy, results)
    file = data.draw(st.sampled_from(sorted(TYPED)))
    profile = "half" if file == "manifest.json" else "whole"  # of a complete run the manifests count no more
    path = next((results / profile).rglob(file))
    path.write_text(data.draw(damaged_text(json.loads(path.read_text()), TYPED[file])))
    before = {each: each.read_bytes() for each in results.rglob("*") if each.is_file()}
    code, out, _ = command(capsys, "runs", profile)
    assert code == 0
    assert "damaged" in out
    assert str(path) in out
    code, out, _ = command(capsys, "runs", profile, "--check")
    assert code == cli.ERROR
    one_line(out, str(path))
    train_again = "train seeds=2 episodes=4 workers=2 profile=whole"
    for words in ("report whole", "publish whole --data-only --allow-dirty", train_again) if profile == "whole" else ():
        code, _, err = command(capsys, *words.split())
        assert code != 0, words
        one_line(err, str(path))
    assert before == {each: each.read_bytes() for each in results.rglob("*") if each.is_file()}
