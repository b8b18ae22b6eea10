"""Settings of a run: readable ids, and errors that name the value and what is allowed."""

import math
from typing import get_args

import pytest

from lnlab import columns
from lnlab.config import EXECUTION, ConfigError, RunConfig, TD3Config, parse

NORMS = get_args(RunConfig.model_fields["norm"].annotation)
CLASSES = {"a3c": RunConfig, "td3": TD3Config}
NUMBERS = [
    (algorithm, name)
    for algorithm, cls in CLASSES.items()
    for name, field in cls.model_fields.items()
    if field.annotation in (int, float)
]


@pytest.mark.parametrize(
    ("parameters", "run_id"),
    [
        ({}, "a3c-gru-ln"),
        ({"algorithm": "individual", "core": "ff", "norm": "none"}, "individual-ff-none"),
        ({"lr": 5e-5, "hidden": 64}, "a3c-gru-ln-h64-lr5e-5"),
        ({"schedule": "sync", "gradient_carry": True}, "a3c-gru-ln-sync-carry"),
        ({"cloud": "budget"}, "a3c-gru-ln-cloud-budget"),
        ({"seeds": 30, "episodes": 2000, "cores": 2, "profile": "paper"}, "a3c-gru-ln"),
    ],
)
def test_the_id_names_the_arm_and_what_differs_from_the_default(parameters, run_id):
    assert parse(parameters).run_id == run_id


@pytest.mark.parametrize(
    ("parameters", "parts"),
    [
        ({"nrom": "ln"}, ["unknown parameter 'nrom'", "did you mean 'norm'?", "algorithm, core, norm"]),
        ({"norm": "layer"}, ["norm='layer' is not allowed", *(repr(norm) for norm in NORMS)]),
        ({"seeds": 0}, ["seeds=0 is not allowed", "greater than or equal to 1"]),
        ({"rollout": 30}, ["rollout=30 does not divide", "20, 25"]),
        ({"algorithm": "individual", "schedule": "sync"}, ["schedule='sync'", "a3c"]),
        ({"profile": "../x"}, ["profile='../x' is not allowed"]),
        ({"norm": "layer", "core": "lstm"}, ["norm='layer'", "core='lstm'"]),
    ],
)
def test_errors_name_the_value_and_what_is_allowed(parameters, parts):
    with pytest.raises(ConfigError) as error:
        parse(parameters)
    assert all(part in str(error.value) for part in parts), str(error.value)


def test_text_from_the_command_line_becomes_numbers():
    config = parse({"seeds": "3", "lr": "1e-3", "gradient_carry": "true"})
    assert (config.seeds, config.lr, config.gradient_carry) == (3, 1e-3, True)
    assert parse({"algorithm": "td3", "critics": "1", "target_cnn": "true"}).critics == 1


@pytest.mark.parametrize(("algorithm", "name"), NUMBERS)
def test_what_no_number_can_be_is_refused_in_one_short_line(algorithm, name):
    for value in (True, False, math.inf, -math.inf, math.nan, "inf", "nan", 10**400, "9" * 5000, -1, None, "", [1]):
        with pytest.raises(ConfigError, match=f"^{name}=.* is not allowed: ") as error:
            parse({"algorithm": algorithm, name: value})
        assert len(str(error.value)) < 200
        assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("algorithm", "name"), [(a, n) for a, n in NUMBERS if CLASSES[a].model_fields[n].annotation is int]
)
def test_every_size_has_a_largest_value(algorithm, name):
    (largest,) = [each.le for each in CLASSES[algorithm].model_fields[name].metadata if hasattr(each, "le")]
    with pytest.raises(ConfigError, match=f"{name}=.* less than or equal to {largest}"):
        parse({"algorithm": algorithm, name: largest + 100})


@pytest.mark.parametrize(
    "settings",
    [
        {"profile": "a" * 300},
        {"algorithm": "td3", "env": "E" * 300},
        {"algorithm": "td3", "env": "../../etc\n"},
        {"profile": "a\n"},
        {"a" * 300: 1},
        {"norm": "layer " * 300},
    ],
)
def test_what_cannot_name_a_folder_is_refused_in_one_short_line(settings):
    with pytest.raises(ConfigError) as error:
        parse(settings)
    assert len(str(error.value)) < 800
    assert "\n" not in str(error.value)


def test_the_id_of_a_run_fits_into_a_folders_name():
    odd = dict.fromkeys(("lr", "gamma", "tau", "target_noise", "noise_clip", "actor_clip"), 0.12345678901234568)
    odd |= dict.fromkeys(("critic_clip", "exploration_start", "exploration_end"), 0.12345678901234568)
    with pytest.raises(ConfigError, match="too many settings differ from the defaults: the run's name 'td3-"):
        parse({"algorithm": "td3", "env": "E" * 90} | odd)


def test_every_setting_but_where_and_how_is_science():
    assert set(parse({}).science) == set(RunConfig.model_fields) - EXECUTION
    assert parse({"cores": 1, "device": "cpu", "profile": "a", "resume": False}).science == parse({}).science


def test_seeds_are_consecutive_and_can_be_split():
    config = parse({"first_seed": 10, "seeds": 4})
    assert config.seed_list == [10, 11, 12, 13]
    assert config.with_seeds([12, 13]).seed_list == [12, 13]
    assert config.with_seeds([12, 13]).run_id == config.run_id


def test_individual_has_a_learner_for_each_worker():
    assert parse({"workers": 3}).learners_per_seed == 1
    assert parse({"workers": 3, "algorithm": "individual"}).learners_per_seed == 3


def test_settings_cannot_change_and_every_one_is_described():
    with pytest.raises(ValueError, match="frozen"):
        parse({}).seeds = 7
    assert all(field.description for cls in CLASSES.values() for field in cls.model_fields.values())


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[tables]\na = ["x", "y"]\n[groups.x]\nseed = ["", "number"]', "y"),
        ('[tables]\na = ["x"]\n[groups.x]\nseed = ["", "number"]\n[groups.z]\nt = ["s", "time"]', "z"),
        ('[tables]\na = ["x"]\n[groups.x]\nseed = ["", ""]', "seed"),
        ('[tables]\na = ["x"]\n[groups.x]\nseed = "number"', "seed"),
    ],
)
def test_a_faulty_data_dictionary_is_refused(text, fault, tmp_path):
    (tmp_path / "columns.toml").write_text(text)
    with pytest.raises(ValueError, match=fault):
        columns.read(tmp_path / "columns.toml")
