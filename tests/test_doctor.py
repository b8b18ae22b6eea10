"""Planted faults are found, each alone, and sound networks have none."""

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm

from lnlab import cli
from lnlab.config import parse
from lnlab.doctor import examine
from lnlab.inside import run
from lnlab.models.norms import ACTOR_CRITIC, NORMS, OFF_POLICY
from lnlab.paths import PUBLISHED
from lnlab.patient import of, patient
from lnlab.policy import make_policy
from lnlab.trainers import make_trainer
from tests.fakes import refusal

OBS, ACT, WIDTH = 6, 2, 32


def mlp(*norms, inputs=OBS, outputs=3):
    return nn.Sequential(nn.Linear(inputs, WIDTH), *norms, nn.ReLU(), nn.Linear(WIDTH, outputs))


class NeverCalled(nn.Module):
    def __init__(self):
        super().__init__()
        self.net, self.norm = mlp(), nn.LayerNorm(WIDTH)

    def forward(self, obs):
        return self.net(obs)


class NotUsed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(OBS, WIDTH), nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, obs):
        features = self.first(obs)
        self.norm(features)
        return self.last(features.relu())


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(OBS, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, obs):
        return self.last(layer_norm(self.first(obs), (WIDTH,)).relu())


class ByHand(nn.Module):
    """Standardises each observation by itself, or by numbers that were stored."""

    def __init__(self, stored=False):
        super().__init__()
        self.net, self.stored = mlp(nn.LayerNorm(WIDTH)), stored

    def forward(self, obs):
        if self.stored:
            return self.net((obs - 0.1) / torch.full((OBS,), 2.0) / 3)
        centred = obs - obs.mean(1, keepdim=True)
        return self.net(centred / centred.std(1, keepdim=True))


class Critic(nn.Module):
    def __init__(self, over_actions=False, apart=False):
        super().__init__()
        self.over_actions, self.apart = over_actions, apart
        self.net, self.joint = mlp(nn.LayerNorm(WIDTH), inputs=OBS + ACT, outputs=1), nn.LayerNorm(OBS + ACT)

    def forward(self, obs, action):
        if self.apart:
            action = layer_norm(action, (ACT,))
        both = torch.cat([obs, action], 1)
        return self.net(self.joint(both) if self.over_actions else both)


class SoundCritic(Critic):
    def __init__(self):
        super().__init__()
        del self.joint


class OnlyActionsCritic(SoundCritic):
    def forward(self, obs, action):
        return self.net(torch.cat([obs, layer_norm(action, (ACT,))], 1))


class Pair(nn.Module):
    """An off-policy agent; `wiring` is how the actor's loss sees the encoder."""

    def __init__(self, wiring):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(OBS, 16), nn.LayerNorm(16), nn.ReLU())
        self.actor, self.critic = Head(self.encoder, None, 16, ACT), Head(self.encoder, wiring, 16 + ACT, 1)


class Head(nn.Module):
    def __init__(self, encoder, wiring, inputs, outputs):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(OBS, 16), nn.LayerNorm(16), nn.ReLU()) if wiring == "own" else encoder
        self.wiring, self.net = wiring, mlp(inputs=inputs, outputs=outputs)

    def forward(self, obs, action=None):
        features = self.encoder(obs)
        if action is None:
            return self.net(features).tanh()
        return self.net(torch.cat([features.detach() if self.wiring == "detached" else features, action], 1))


class Recurrent(nn.Module):
    def __init__(self, fault=""):
        super().__init__()
        self.cell, self.norm, self.last, self.fault = (
            nn.GRUCell(OBS, WIDTH),
            nn.LayerNorm(WIDTH),
            nn.Linear(WIDTH, 3),
            fault,
        )

    def initial_state(self, batch):
        return torch.zeros(batch, WIDTH)

    def forward(self, obs, state, done):
        keep = (1 - done).unsqueeze(1)
        if self.fault == "always":
            keep = keep * 0
        before = state * keep if self.fault not in ("late", "never") else state
        after = self.cell(obs, before)
        out = self.last(self.norm(after))
        return out, after * keep if self.fault == "late" else after


def dead():
    net = mlp(nn.LayerNorm(WIDTH))
    nn.init.constant_(net[1].bias, -20.0)
    return net


def saturated():
    net = nn.Sequential(mlp(nn.LayerNorm(WIDTH)), nn.Tanh())
    nn.init.constant_(net[0][-1].bias, 30.0)
    return net


OBSERVATIONS = torch.randn(64, OBS, generator=torch.Generator().manual_seed(0))
ACTIONS = torch.rand(64, ACT, generator=torch.Generator().manual_seed(1)) * 2 - 1


def found(module, **given):
    given = {"expects_norm": True} | given
    return [each.what for each in examine(module, OBSERVATIONS, ACTIONS, **given)]


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (NeverCalled, ["nothing normalises", "never called"]),
        (mlp, ["nothing normalises"]),
        (NotUsed, ["not used"]),
        (lambda: nn.Sequential(nn.LayerNorm(OBS), mlp()), ["ten times the observation"]),
        (ByHand, ["ten times the observation"]),
        (lambda: Critic(over_actions=True), ["raw actions"]),
        (OnlyActionsCritic, ["raw actions"]),
        (lambda: Pair("shared"), ["actor's loss"]),
        (lambda: Recurrent("late"), ["one step late"]),
        (lambda: Recurrent("never"), ["state of the last one"]),
        (lambda: Recurrent("always"), ["where no episode begins"]),
        (dead, ["zero for every observation"]),
        (saturated, ["sit at their bound"]),
    ],
)
def test_a_planted_fault_is_found_and_no_other(make, says):
    torch.manual_seed(0)
    said = found(make())
    assert len(said) == len(says)
    for each, words in zip(said, says, strict=True):
        assert words in each


@pytest.mark.parametrize(
    "make",
    [
        lambda: mlp(nn.LayerNorm(WIDTH)),
        lambda: mlp(nn.RMSNorm(WIDTH)),
        lambda: mlp(nn.BatchNorm1d(WIDTH)),
        lambda: nn.Sequential(nn.BatchNorm1d(OBS), mlp()),
        Functional,
        lambda: ByHand(stored=True),
        SoundCritic,
        lambda: Pair("detached"),
        lambda: Pair("own"),
        Recurrent,
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_sound_network_has_no_finding(make, seed):
    torch.manual_seed(seed)
    assert found(make()) == []


def test_examining_leaves_the_module_as_it_was():
    torch.manual_seed(0)
    module = mlp(nn.BatchNorm1d(WIDTH)).train()
    before = {name: each.clone() for name, each in module.state_dict().items()}
    found(module)
    assert module.training
    assert all(torch.equal(each, before[name]) for name, each in module.state_dict().items())
    assert all(each.grad is None for each in module.parameters())
    assert not module[0]._forward_hooks


@pytest.mark.parametrize(
    ("module", "observations", "says"),
    [
        (nn.ReLU(), OBSERVATIONS, "no parameters"),
        (mlp(), OBSERVATIONS * torch.nan, "not finite"),
        (mlp(), OBSERVATIONS[:, :3], "could not be called"),
    ],
)
def test_what_cannot_be_examined_is_said(module, observations, says):
    with pytest.raises(ValueError, match=says):
        examine(module, observations)


# -- runs -------------------------------------------------------------------------------------------------------------
def untrained(**settings):
    """The learner of the second seed as its trainer starts it."""
    config = parse({"seeds": 2, "norm": "none"} | settings)
    state = make_trainer(config).state_dict()
    return of(make_policy(config, state, seed=config.seed_list[-1]), state, config.seed_list)


def faults(met, **given):
    return [each.what for each in examine(met.module, met.observations, **{"expects_norm": met.expects_norm} | given)]


CORES = [(norm, core) for norm in ACTOR_CRITIC for core in ("gru", "ff") if (norm, core) != ("ln_gates", "ff")]


@pytest.mark.parametrize(("norm", "core"), CORES)
@pytest.mark.parametrize("env", ["CartPole-v1", "lnlab/Offloading-v0"])
def test_every_norm_and_core_of_the_registry_is_sound(norm, core, env):
    met = untrained(env=env, norm=norm, core=core, workers=2)
    assert met.expects_norm == (norm not in ("none", "long"))
    assert met.observations.unique(dim=0).shape[0] > 200  # as the environment shows them, of 256
    assert faults(met) == []


@pytest.mark.parametrize("norm", [name for name in OFF_POLICY if NORMS[name].heads is not None])
@pytest.mark.parametrize("algorithm", ["td3", "ddpg"])
def test_td3_and_ddpg_on_vectors_are_sound_with_every_norm(norm, algorithm):
    assert faults(untrained(algorithm=algorithm, env="Pendulum-v1", norm=norm)) == []


def test_a_network_is_built_with_the_weights_of_its_seed():
    config = parse({"algorithm": "td3", "env": "Pendulum-v1", "norm": "ln", "seeds": 2})
    trainer = make_trainer(config)
    for seed in (0, 1):
        state = trainer.state_dict()
        met = of(make_policy(config, state, seed), state, config.seed_list)
        both = met.observations.expand(2, -1, -1)
        action = torch.from_numpy(trainer.learner.act(both.numpy()))
        torch.testing.assert_close(met.module.actor(met.observations), action[seed], atol=1e-6, rtol=1e-5)
        q1 = trainer.learner.q1(both, action)[seed]
        torch.testing.assert_close(met.module.critic(met.observations, action[seed])[:, 0], q1, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("wiring", "found"), [("detached", []), ("leaky", ["actor's loss reaches the features that the critic sees"])]
)
@pytest.mark.parametrize("norm", ["none", "ln", "ln_output"])
def test_a_leaky_wiring_of_td3_is_found_with_any_norm_and_a_detached_one_is_sound(wiring, found, norm, monkeypatch):
    monkeypatch.setattr("lnlab.patient.OF_IMAGES", 16)
    settings = {"algorithm": "td3", "env": "lnlab/Driving-v0", "actor_features": wiring, "capacity": 100}
    said = faults(untrained(seeds=1, norm=norm, **settings))
    assert len(said) == len(found)
    assert all(words in each for words, each in zip(found, said, strict=True))


def test_settings_that_ask_for_a_norm_which_is_not_there_are_found_out():
    (said,) = faults(untrained(env="CartPole-v1", core="ff"), expects_norm=True)
    assert "nothing normalises" in said


def test_a_run_is_examined_with_its_trained_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("lnlab.runs.RESULTS", tmp_path)
    monkeypatch.setattr("lnlab.play.RESULTS", tmp_path)
    done = run(parse({"env": "CartPole-v1", "core": "ff", "norm": "ln", "seeds": 2, "steps": 500}), progress=False)
    assert cli.main(["doctor", str(done.dir)]) == 0
    assert cli.main(["doctor", done.id, "--seed", "1"]) == 0
    assert capsys.readouterr().out == f"{done.dir}: nothing found\n{done.id}: nothing found\n"
    observations = patient(done, 1).observations
    for seed, own in ((0, False), (1, True)):
        outputs, _ = patient(done, seed).module(observations)
        assert torch.equal(outputs, done.policy(1).module()(observations)[0]) == own


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["a3c-no-such-run"], "there is no run 'a3c-no-such-run'"),
        (["my_agent.py"], "of a module write package.module:name or path/to/file.py:name"),
        ([str(PUBLISHED / "paper" / "a3c-gru-ln")], "keeps no weights"),
        ([str(PUBLISHED / "paper" / "a3c-gru-ln"), "--observations", "x.npy"], "leave out --observations"),
        (["torch.nn:ReLU"], "has no parameters"),
        (["torch.nn:ReLU", "--seed", "1"], "--seed names the learner of a run"),
    ],
)
def test_what_the_doctor_cannot_see_is_said_in_one_line(words, says, capsys):
    assert says in refusal(capsys, "doctor", *words)
