"""Every norm in a training: resumed to the bit, untouched by the seeds beside it, refused where it has no place."""

from typing import Any

import numpy as np
import pytest
import torch

from lnlab.config import ConfigError, parse
from lnlab.evaluation import evaluate
from lnlab.models.norms import ACTOR_CRITIC, NORMS
from lnlab.trainers.a3c import ActorCriticTrainer

OWN = [name for name in ACTOR_CRITIC if not NORMS[name].kind and name not in ("none", "ln")]


def trainer(**settings: object) -> ActorCriticTrainer:
    return ActorCriticTrainer(
        parse({"seeds": 1, "episodes": 4, "hidden": 32, "workers": 2, "eval_episodes": 1} | settings)
    )


SHARED: dict[str, Any] = {"trunks": "shared"}
SEPARATE: dict[str, Any] = {"trunks": "separate", "norm_in": "critic"}


@pytest.mark.parametrize(
    ("norm", "trunks"), [*((norm, SHARED) for norm in OWN), ("batch", SEPARATE), ("rms", SEPARATE | {"core": "ff"})]
)
def test_a_seed_is_resumed_to_the_bit_and_does_not_depend_on_the_seeds_beside_it(
    norm: str, trunks: dict[str, Any]
) -> None:
    straight, stopped, beside = (trainer(norm=norm, seeds=seeds, **trunks) for seeds in (1, 1, 3))
    reports = list(straight)
    next(iter(stopped))
    again = trainer(norm=norm, **trunks)
    again.load_state_dict(stopped.state_dict())
    for report, resumed in zip(reports[1:], again, strict=True):
        for name in report:
            np.testing.assert_array_equal(report[name], resumed[name], err_msg=name)
    for report, three in zip(reports, beside, strict=True):
        np.testing.assert_array_equal(report["return"][0], three["return"][0])
    assert torch.equal(straight.parameters, again.parameters)
    assert torch.equal(straight.parameters[0], beside.parameters[0])
    assert np.isfinite(evaluate(straight.config, straight.parameters)["return_mean"]).all()


def test_projected_weights_keep_their_length_and_all_else_moves() -> None:
    held = trainer(norm="ln_project", lr=0.03)
    before = {name: view.clone() for name, view in held.net.layout.views(held.parameters).items()}
    again = trainer(norm="ln_project", lr=0.03)
    list(held)
    for name, view in held.net.layout.views(held.parameters).items():
        assert not torch.equal(view, before[name])
        if name.endswith(".weight"):
            torch.testing.assert_close(view.norm(), before[name].norm())
    again.load_state_dict(held.state_dict() | {"episode": 3})
    list(again)  # lengths are those at first, not those at the checkpoint
    weight = again.net.layout.views(again.parameters)["embed.weight"]
    torch.testing.assert_close(weight.norm(), before["embed.weight"].norm())


def test_weights_are_held_on_the_side_that_has_the_norm() -> None:
    held = trainer(norm="ln_project", trunks="separate", norm_in="actor", lr=0.03)
    before = {name: view.norm() for name, view in held.net.layout.views(held.parameters).items()}
    list(held)
    for name, view in held.net.layout.views(held.parameters).items():
        if name.endswith(".weight"):
            assert torch.isclose(view.norm(), before[name], rtol=1e-4) == name.startswith("actor.")


def test_running_statistics_are_the_learners_and_its_workers_act_by_them() -> None:
    ours = trainer(norm="batch")
    list(ours)
    rows, snapshots = (ours.net.layout.views(each) for each in (ours.parameters, ours.snapshot))
    for name in ("embed.norm.mean", "embed.norm.var"):
        assert (rows[name] - (1.0 if name.endswith("var") else 0.0)).abs().max() > 1e-3
        assert torch.equal(snapshots[name], rows[name].expand(2, -1))
    assert ours.parameter_count == trainer(norm="ln").parameter_count  # statistics are no parameters


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"norm": "ln_gates", "core": "ff"}, "norm='ln_gates' stands in a GRU"),
        ({"norm": "none", "norm_at": "core"}, "norm_at='core' has no meaning with norm='none'; choose usual"),
        ({"norm": "ln_core", "norm_at": "embed"}, "choose usual"),
        ({"norm": "ln_gates", "norm_at": "embed"}, "choose usual or core"),
        ({"norm": "ln_output"}, "norm='ln_output' is not allowed"),
        ({"norm_in": "actor"}, "norm_in='actor' has no meaning with trunks='shared': actor and critic see the same"),
        (
            {"norm_in": "critic", "norm": "none", "trunks": "separate"},
            "norm_in='critic' has no meaning with norm='none'",
        ),
        ({"norm_in": "value", "trunks": "separate"}, "norm_in='value' is not allowed"),
        ({"trunks": "apart"}, "trunks='apart' is not allowed"),
    ],
)
def test_a_norm_without_a_place_is_refused(settings: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(settings)


def test_layernorm_at_one_of_its_two_places_has_the_published_name() -> None:
    assert parse({"norm": "ln", "norm_at": "core"}) == parse({"norm": "ln_core"})
    assert parse({"norm": "ln", "norm_at": "heads"}).run_id == "a3c-gru-ln-at-heads"
    assert parse({"norm": "rms", "norm_at": "core"}).run_id == "a3c-gru-rms-at-core"
