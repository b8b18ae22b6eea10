"""Run ids: two runs whose settings differ in more than how much is run never share one, and published ids stay."""

import json
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlab.config import DDPG, EXTENT, ConfigError, RunConfig, TD3Config, parse
from lnlab.jobs import Job
from lnlab.paths import PUBLISHED

ENVS = ["lnlab/Driving-v0", "CarRacing-v3", "Pendulum-v1", "a/Pendulum-v1", "a_Pendulum-v1", "BipedalWalker-v3"]


def what(config: Any) -> dict[str, Any]:
    """What decides the numbers of a run, but for how much of it there is."""
    return {name: value for name, value in config.science.items() if name not in EXTENT}


def values(cls: Any, name: str) -> st.SearchStrategy[Any]:
    """Values of a field: every choice of those that have some, and numbers near and far from the default."""
    field = cls.model_fields[name]
    if name == "env":
        return st.sampled_from(ENVS)
    if get_origin(field.annotation) is Literal:
        return st.sampled_from(get_args(field.annotation))
    if field.annotation is bool:
        return st.booleans()
    if field.annotation is int:
        return st.integers(1, 200)
    return st.floats(0, 1) | st.floats(0, 1).map(lambda x: field.default * (1 + x * 1e-9))


def changed(config: Any, name: str, value: Any) -> Any:
    """`config` with another value; as it was where the value is not allowed."""
    try:
        return parse(config.model_dump() | {name: value})
    except ConfigError:
        return config


@pytest.mark.parametrize("algorithm", ["a3c", "individual", "td3", "ddpg"])
@given(data=st.data())
def test_runs_that_differ_in_a_setting_differ_in_their_id(algorithm: str, data: st.DataObject) -> None:
    one = parse({"algorithm": algorithm})
    cls = type(one)
    names = st.sampled_from(sorted(what(one)))
    for name in data.draw(st.lists(names, max_size=5)):
        one = changed(one, name, data.draw(values(cls, name)))
    name = data.draw(names)
    other = changed(one, name, data.draw(values(cls, name)))
    assert (one.run_id == other.run_id) == (what(one) == what(other))
    assert "/" not in one.run_id


@pytest.mark.parametrize("cls", [RunConfig, TD3Config])
def test_every_setting_but_the_extent_shows_in_the_id(cls: Any) -> None:
    shown = {*cls.ARM, *cls.short()}
    assert shown == set(what(cls()))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"algorithm": "ddpg"}, {"algorithm": "ddpg", "critics": 2}),
        ({"algorithm": "ddpg"}, {"algorithm": "ddpg", "target_noise": 0.2}),
        ({"algorithm": "td3"}, {"algorithm": "td3", "noise_clip": 0.4}),
        ({"algorithm": "td3"}, {"algorithm": "td3", "early_stopping": True}),
        ({"algorithm": "td3"}, {"algorithm": "td3", "exploration_end": 0.2}),
        ({"algorithm": "td3", "env": "a/b-v0"}, {"algorithm": "td3", "env": "a_b-v0"}),
        ({"gamma": 0.9999999}, {"gamma": 0.99999999}),
        ({"lr": 1e-3}, {"lr": 1.0000001e-3}),
    ],
)
def test_settings_that_shared_an_id(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert parse(one).run_id != parse(other).run_id


def test_ddpgs_own_settings_go_without_saying() -> None:
    assert parse({"algorithm": "ddpg"} | DDPG).run_id == "ddpg-ln-leaky"
    assert parse({"algorithm": "ddpg", "critics": 2, "policy_delay": 2}).run_id == "ddpg-ln-leaky-q2-delay2"


def test_ids_of_published_runs_stay() -> None:
    found = sorted(PUBLISHED.glob("*/*/config.json"))
    assert len(found) > 50
    for path in found:
        assert parse(json.loads(path.read_text())).run_id == path.parent.name


def test_a_study_passes_on_what_differs_from_the_algorithms_own_defaults() -> None:
    command = Job(parse({"algorithm": "ddpg", "critics": 2})).command
    assert command[command.index("critics") + 1] == "2"
    assert "critics" not in Job(parse({"algorithm": "ddpg"})).command
