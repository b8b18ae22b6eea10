"""Planted faults are found, each alone, and sound networks have none."""

import pytest
import torch
from torch import nn
from torch.nn.functional import layer_norm

from lnlab.doctor import examine

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
