"""Settings of a run: readable ids, and errors that name the value and what is allowed."""

import pytest

from lnlab.config import EPISODE_STEPS, EXECUTION, ConfigError, RunConfig, parse


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
        ({"norm": "layer"}, ["norm='layer' is not allowed", "'none', 'ln', 'ln_embed' or 'ln_core'"]),
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
    assert all(field.description for field in RunConfig.model_fields.values())
    assert EPISODE_STEPS % parse({}).rollout == 0
