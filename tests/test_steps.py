"""Steps taken from another arm: what is imposed is what the other did, and nothing else changes."""

import io

import numpy as np
import pytest
import torch

from lnlab.config import ConfigError, parse
from lnlab.inside.actor_critic import diagnose
from lnlab.trainers.a3c import ActorCriticTrainer

SMALL = {"hidden": 8, "workers": 2, "seeds": 2, "episodes": 6, "core": "ff", "lr": 1e-3}


def trainer(**settings: object) -> ActorCriticTrainer:
    return ActorCriticTrainer(parse(SMALL | settings))


@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize(("norm", "leader"), [("none", "ln"), ("ln", "none")])
def test_every_layer_moves_as_far_as_the_leaders(core, algorithm, norm, leader, monkeypatch):
    both = trainer(core=core, algorithm=algorithm, norm=norm, steps_of=leader)
    alone = trainer(core=core, algorithm=algorithm, norm=leader)
    plain = trainer(core=core, algorithm=algorithm, norm=norm)
    shares: dict[int, list] = {id(both): [], id(alone): []}

    def noted(of):
        step, layout = of._step_adam, of.net.layout

        def watched():
            before = of.parameters.clone()
            step()
            moved, whole = layout.layer_norms(of.parameters - before), layout.layer_norms(before)
            shares[id(of)].append({name: moved[name] / whole[name] for name in whole})

        monkeypatch.setattr(of, "_step_adam", watched)

    noted(both)
    noted(alone)
    for _ in range(3):
        both.train_episode(), alone.train_episode(), plain.train_episode()
    layers = [name for name in shares[id(alone)][0] if name and not name.endswith(".norm")]
    assert len(layers) == (4 if core == "gru" else 3)
    assert len(shares[id(both)]) == len(shares[id(alone)]) >= 15
    for one, other in zip(shares[id(both)], shares[id(alone)], strict=True):
        for layer in set(layers) & one.keys():
            assert torch.allclose(one[layer], other[layer], rtol=2e-3), layer
    assert torch.equal(both.leader.parameters, alone.parameters)  # nothing changes for the leader
    assert not torch.allclose(both.parameters, plain.parameters, rtol=1e-3)


def test_an_arm_with_its_own_steps_imposed_is_itself():
    imposed, plain = trainer(norm="none", steps_of="none"), trainer(norm="none")
    for _ in range(3):
        one, other = imposed.train_episode(), plain.train_episode()
    assert np.allclose(one["value_loss_all"], other["value_loss_all"], rtol=1e-4)
    assert torch.allclose(imposed.parameters, plain.parameters, atol=1e-5)


def test_it_resumes_to_the_same_bits_and_is_diagnosed_on_copies():
    whole, second = trainer(steps_of="none", norm="ln"), trainer(steps_of="none", norm="ln")
    whole.train_episode()
    buffer = io.BytesIO()
    torch.save(whole.state_dict(), buffer)
    buffer.seek(0)
    second.load_state_dict(torch.load(buffer, weights_only=True))
    found = diagnose(whole)  # trains an episode of a copy, and leaves the trainer as it is
    for each in (whole, second):
        each.train_episode()
    assert torch.equal(whole.parameters, second.parameters)
    assert torch.equal(whole.leader.parameters, second.leader.parameters)
    assert np.isfinite(found[found.quantity == "step.embed"].value).all()


def test_a_seed_does_not_depend_on_the_seeds_beside_it():
    both, alone = trainer(steps_of="ln", norm="none"), trainer(steps_of="ln", norm="none", seeds=1, first_seed=1)
    for _ in range(2):
        one, other = both.train_episode(), alone.train_episode()
    assert np.array_equal(one["return"][1:], other["return"])
    assert torch.equal(both.parameters[1:], alone.parameters)


def test_its_run_id_tells_and_a_wrong_name_is_refused():
    assert parse({"norm": "none", "steps_of": "ln"}).run_id == "a3c-gru-none-steps-ln"
    with pytest.raises(ConfigError, match="steps_of='layer'"):
        parse({"steps_of": "layer"})
