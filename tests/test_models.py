"""The stacked networks against torch.nn modules: same weights, same numbers, forward and backward."""

import pytest
import torch
from torch import nn

from lnlab.models.actor_critic import make_actor_critic, norm_layers, seeded_rows
from lnlab.models.norms import ACTOR_CRITIC
from lnlab.models.stacked import Layout, make_norm

N, T, H, A, OBS = 3, 6, 16, 3, 48


class TorchNet(nn.Module):
    """The same network written the usual way, one learner, one sample at a time."""

    def __init__(self, core: str, norm: str) -> None:
        super().__init__()
        self.embed, self.core = nn.Linear(OBS, H), nn.GRUCell(H, H) if core == "gru" else nn.Linear(H, H)
        self.embed_norm = nn.LayerNorm(H) if norm in ("ln", "ln_embed") else nn.Identity()
        self.core_norm = nn.LayerNorm(H) if norm in ("ln", "ln_core") else nn.Identity()
        self.heads = nn.Linear(H, A + 1)

    def forward(self, obs: torch.Tensor, h: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        active = torch.relu(self.embed_norm(self.embed(obs)))
        if isinstance(self.core, nn.GRUCell):
            h = self.core(active, h)
            return self.heads(self.core_norm(h)), h
        return self.heads(torch.relu(self.core_norm(self.core(active)))), h


NAMES = {
    "embed.weight": ("embed.weight", True),
    "embed.bias": ("embed.bias", False),
    "embed.norm.gain": ("embed_norm.weight", False),
    "embed.norm.bias": ("embed_norm.bias", False),
    "core.input.weight": ("core.weight_ih", True),
    "core.input.bias": ("core.bias_ih", False),
    "core.state.weight": ("core.weight_hh", True),
    "core.state.bias": ("core.bias_hh", False),
    "core.weight": ("core.weight", True),
    "core.bias": ("core.bias", False),
    "core.norm.gain": ("core_norm.weight", False),
    "core.norm.bias": ("core_norm.bias", False),
    "heads.weight": ("heads.weight", True),
    "heads.bias": ("heads.bias", False),
}


def torch_twin(net, views, row: int, core: str, norm: str) -> TorchNet:
    twin = TorchNet(core, norm)
    parameters = dict(twin.named_parameters())
    assert {NAMES[name][0] for name in views} == set(parameters)
    for name, view in views.items():
        theirs, transpose = NAMES[name]
        parameters[theirs].data.copy_(view[row].T if transpose else view[row])
    return twin


@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize("norm", ACTOR_CRITIC)
def test_forward_and_backward_agree_with_autograd_through_torch_modules(core: str, norm: str) -> None:
    torch.manual_seed(0)
    net = make_actor_critic(core, norm, hidden=H)
    flat = torch.randn(N, net.layout.size) * 0.3
    grads = torch.full_like(flat, 7.0)  # stale values must be overwritten, not added to
    p, g = net.layout.views(flat), net.layout.views(grads)
    tape = net.tape(T, N)
    tape.obs.normal_()
    tape.state[0].normal_()
    for t in range(T + 1):
        net.step(p, tape, t)
    dout = torch.randn(T, N, A + 1)
    net.backward(p, g, tape, dout)
    for row in range(N):
        twin = torch_twin(net, p, row, core, norm)
        h = tape.state[0, row] if net.recurrent else torch.zeros(1, H)
        outs = []
        for t in range(T + 1):
            out, h = twin(tape.obs[t, row], h)
            outs.append(out)
        torch.testing.assert_close(torch.stack(outs), tape.out[:, row], rtol=1e-5, atol=1e-5)
        (torch.cat(outs[:T]) * dout[:, row]).sum().backward()
        theirs = {name: parameter.grad for name, parameter in twin.named_parameters()}
        for name, view in g.items():
            wanted = theirs[NAMES[name][0]]
            torch.testing.assert_close(view[row].T if NAMES[name][1] else view[row], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("core", "norm", "count"),
    [("gru", "ln", 106_372), ("gru", "none", 105_860), ("ff", "none", 23_300), ("ff", "ln", 23_812)],
)
def test_parameter_counts_are_those_of_the_documents(core: str, norm: str, count: int) -> None:
    assert make_actor_critic(core, norm).layout.count == count


def test_initial_weights_do_not_depend_on_the_norm_and_are_orthogonal() -> None:
    rows = {norm: seeded_rows(_net := make_actor_critic("gru", norm), [[1, 2, 0], [1, 2, 1]]) for norm in ACTOR_CRITIC}
    views = {norm: make_actor_critic("gru", norm).layout.views(rows[norm]) for norm in ACTOR_CRITIC}
    for name, view in views["none"].items():
        assert torch.equal(view, views["ln"][name])
    embed, heads = views["none"]["embed.weight"][0], views["none"]["heads.weight"][0]
    torch.testing.assert_close(embed @ embed.T, torch.eye(48), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads[:, :3].T @ heads[:, :3], torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads[:, 3].norm(), torch.tensor(1.0))
    assert not torch.equal(rows["none"][0], rows["none"][1])
    assert views["none"]["core.input.weight"].abs().max() <= 128**-0.5
    assert (views["ln"]["embed.norm.gain"] == 1).all()
    assert (views["ln"]["core.norm.bias"] == 0).all()


def test_norm_layers_are_read_from_the_live_parameters() -> None:
    both = {"none": [], "ln": ["embed.norm", "core.norm"], "ln_embed": ["embed.norm"], "ln_core": ["core.norm"]}
    for norm, found in both.items():
        net = make_actor_critic("gru", norm)
        assert norm_layers(net, seeded_rows(net, [[0]])) == found


def test_the_carried_state_is_not_normalised() -> None:
    net = make_actor_critic("gru", "ln", hidden=H)
    flat = seeded_rows(net, [[0]])
    net.layout.views(flat)["core.norm.gain"].fill_(100.0)
    tape = net.tape(2, 1)
    tape.obs.normal_()
    for t in range(2):
        net.step(net.layout.views(flat), tape, t)
    assert tape.state.abs().max() < 1 < tape.core.abs().max()


def test_layout_views_are_windows_on_the_buffer() -> None:
    flat = torch.zeros(2, Layout({"a": (2, 3), "b": (4,)}).size)
    Layout({"a": (2, 3), "b": (4,)}).views(flat)["b"][1] = 5.0
    assert flat[1, 6:10].eq(5).all()
    assert flat.sum() == 20


def test_a_wrong_name_is_answered_with_the_right_ones() -> None:
    with pytest.raises(ValueError, match="unknown norm 'lm'; choose one of none, ln, ln_embed, ln_core"):
        make_norm("lm", "embed.norm", 4)
    with pytest.raises(ValueError, match="unknown core 'rnn'; choose one of gru, ff"):
        make_actor_critic("rnn", "ln")
