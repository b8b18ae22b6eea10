"""Settings of a run: errors name the value and what is allowed; ids are readable, never shared, and stay."""

import json
from typing import Any, Literal, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lnlab import columns
from lnlab.config import DDPG, EXECUTION, EXTENT, ConfigError, RunConfig, TD3Config, parse
from lnlab.jobs import Job
from lnlab.paths import PUBLISHED

CLASSES = {"a3c": RunConfig, "td3": TD3Config}


def test_the_id_names_the_arm_and_what_differs_from_the_default():
    assert parse({"seeds": 30, "episodes": 2000, "cores": 2, "profile": "paper"}).run_id == "a3c-gru-ln"
    assert parse({"algorithm": "individual", "core": "ff", "norm": "none"}).run_id == "individual-ff-none"
    assert parse({"lr": 5e-5, "hidden": 64, "schedule": "sync"}).run_id == "a3c-gru-ln-h64-lr5e-5-sync"
    assert parse({"cloud": "budget", "gradient_carry": True}).run_id == "a3c-gru-ln-cloud-budget-carry"


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        ({"seeds": 0}, ["seeds=0 is not allowed", "greater than or equal to 1"]),
        ({"rollout": 30}, ["rollout=30 does not divide", "20, 25"]),
        ({"algorithm": "individual", "schedule": "sync"}, ["schedule='sync'", "a3c"]),
        ({"norm": "layer", "core": "lstm"}, ["norm='layer'", "core='lstm'"]),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(parameters, parts):
    with pytest.raises(ConfigError) as error:
        parse(parameters)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_every_size_has_a_largest_value():
    fields = [(a, *each) for a, cls in CLASSES.items() for each in cls.model_fields.items()]
    for algorithm, name, field in [each for each in fields if each[2].annotation is int]:
        (largest,) = [each.le for each in field.metadata if hasattr(each, "le")]
        with pytest.raises(ConfigError, match=f"{name}=.* less than or equal to {largest}"):
            parse({"algorithm": algorithm, name: largest + 100})


def test_the_id_of_a_run_fits_into_a_folders_name():
    odd = dict.fromkeys(("lr", "gamma", "tau", "target_noise", "noise_clip", "actor_clip"), 0.12345678901234568)
    odd |= dict.fromkeys(("critic_clip", "exploration_start", "exploration_end"), 0.12345678901234568)
    with pytest.raises(ConfigError, match="too many settings differ from the defaults: the run's name 'td3-"):
        parse({"algorithm": "td3", "env": "E" * 90} | odd)


def test_every_setting_but_where_and_how_is_science_and_shows_in_the_id_but_for_the_extent():
    assert set(parse({}).science) == set(RunConfig.model_fields) - EXECUTION
    assert parse({"cores": 1, "device": "cpu", "profile": "a", "resume": False}).science == parse({}).science
    for cls in CLASSES.values():
        assert {*cls.ARM, *cls.short()} == set(what(cls()))


def test_a_faulty_data_dictionary_is_refused(tmp_path):
    good = '[tables]\na = ["x"]\n[groups.x]\nseed = ["", "number"]\n'
    path = tmp_path / "columns.toml"
    faulty = {"y": good.replace('"x"', '"x", "y"'), "seed": good.replace("number", "")}
    for fault, text in (faulty | {"z": good + '[groups.z]\nt = ["s", "time"]'}).items():
        path.write_text(text)
        with pytest.raises(ValueError, match=fault):
            columns.read(path)


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
def test_runs_that_differ_in_a_setting_differ_in_their_id(algorithm: str, data: st.DataObject):
    one = parse({"algorithm": algorithm})
    cls = type(one)
    names = st.sampled_from(sorted(what(one)))
    for name in data.draw(st.lists(names, max_size=5)):
        one = changed(one, name, data.draw(values(cls, name)))
    name = data.draw(names)
    other = changed(one, name, data.draw(values(cls, name)))
    assert (one.run_id == other.run_id) == (what(one) == what(other))
    assert "/" not in one.run_id


def test_ddpgs_own_settings_go_without_saying():
    assert parse({"algorithm": "ddpg"} | DDPG).run_id == "ddpg-ln-leaky"
    config = parse({"algorithm": "ddpg", "critics": 2, "policy_delay": 2})
    assert config.run_id == "ddpg-ln-leaky-q2-delay2"
    command = Job(config).command
    assert command[command.index("critics") + 1] == "2"
    assert "critics" not in Job(parse({"algorithm": "ddpg"})).command


def test_ids_of_published_runs_stay():
    found = sorted(PUBLISHED.glob("*/*/config.json"))
    assert len(found) > 50
    for path in found:
        assert parse(json.loads(path.read_text())).run_id == path.parent.name


def test_a_switch_that_is_neither_is_answered_with_both_values():
    with pytest.raises(ConfigError, match="target_cnn='None' is not allowed: choose true or false"):
        parse({"algorithm": "td3", "target_cnn": "None"})
