"""The networks against torch's own layers, on equal weights: values and gradients."""

import pytest
import torch
from torch import nn

from lnlab.models.actor_critic import make_actor_critic, seeded_rows
from lnlab.models.fast import LEAST, ImageNorm, Linear, available, pixels
from lnlab.models.norms import ACTOR_CRITIC

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


def test_parameter_counts_are_those_of_the_documents() -> None:
    arms = {("gru", "ln"): 106_372, ("gru", "none"): 105_860, ("ff", "none"): 23_300, ("ff", "ln"): 23_812}
    assert {arm: make_actor_critic(*arm).layout.count for arm in arms} == arms


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


needs_onednn = pytest.mark.skipif(not available(), reason="this build of torch has no oneDNN product")


def twins(inputs: int, outputs: int) -> tuple[Linear, nn.Linear]:
    ours, theirs = Linear(inputs, outputs), nn.Linear(inputs, outputs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@needs_onednn
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 3, LEAST), (7, 3136, 512)])
def test_values_and_gradients_are_torchs(rows: int, inputs: int, outputs: int) -> None:
    torch.manual_seed(0)
    x, towards = torch.randn(rows, inputs), torch.randn(rows, outputs)
    results = []
    for layer in twins(inputs, outputs):
        given = x.clone().requires_grad_()
        out = layer(given)
        gradients = torch.autograd.grad(out, [given, *layer.parameters()], towards)
        results.append([out.detach(), *gradients])
    torch.testing.assert_close(*results, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_the_norm_of_images_is_torchs_and_keeps_channels_last(layout: torch.memory_format) -> None:
    torch.manual_seed(0)
    ours, theirs = ImageNorm([8, 5, 6]), nn.LayerNorm([8, 5, 6])
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours.load_state_dict(theirs.state_dict())
    x, towards = (torch.randn(3, 8, 5, 6).contiguous(memory_format=layout) for _ in range(2))
    results = []
    for layer in (ours, theirs):
        given = x.clone(memory_format=torch.preserve_format).requires_grad_()
        out = layer(given)
        results.append([out.detach(), *torch.autograd.grad(out, [given, *layer.parameters()], towards)])
    torch.testing.assert_close(*results)
    assert results[0][0].is_contiguous(memory_format=torch.channels_last)
    assert isinstance(ours, nn.LayerNorm)  # where norm layers are counted


@pytest.mark.parametrize("frames", [1, 4])
def test_pixels_are_those_of_the_formula_to_the_bit_and_channels_last(frames: int) -> None:
    stacks = torch.randint(256, (3, frames + 1, 36, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for image in (stacks[:, :-1], stacks[:, 1:]):  # as a replay buffer gives them: views of one longer stack
        found = pixels(image, torch.device("cpu"))
        assert torch.equal(found, image.float() * torch.tensor(2 / 255) - 1)
        assert found.is_contiguous(memory_format=torch.channels_last)
