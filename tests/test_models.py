"""The networks against torch's own layers, on equal weights: values and gradients."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from lnlab.models.actor_critic import make_actor_critic, seeded_rows
from lnlab.models.fast import LEAST, ImageNorm, Linear, available, pixels
from lnlab.models.norms import ACTOR_CRITIC, placed
from lnlab.models.stacked import KINDS, BatchNorm, Layout, WeightNorm

N, T, H, A, OBS = 3, 6, 16, 3, 48


class TorchNet(nn.Module):
    """The same network written the usual way, one learner, one sample at a time."""

    def __init__(self, core: str, norm: str, outputs: int = A + 1) -> None:
        super().__init__()
        self.embed, self.core = nn.Linear(OBS, H), nn.GRUCell(H, H) if core == "gru" else nn.Linear(H, H)
        self.embed_norm = nn.LayerNorm(H) if norm in ("ln", "ln_embed") else nn.Identity()
        self.core_norm = nn.LayerNorm(H) if norm in ("ln", "ln_core") else nn.Identity()
        self.heads = nn.Linear(H, outputs)

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


def torch_twin(views, row: int, core: str, norm: str, outputs: int = A + 1) -> TorchNet:
    twin = TorchNet(core, norm, outputs)
    parameters = dict(twin.named_parameters())
    assert {NAMES[name][0] for name in views} == set(parameters)
    for name, view in views.items():
        theirs, transpose = NAMES[name]
        parameters[theirs].data.copy_(view[row].T if transpose else view[row])
    return twin


SIDES = {"actor": A, "critic": 1}


def went_through(net) -> tuple:
    """A rollout of random numbers through random networks and back: views of parameters and gradients, tape, dout."""
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
    return p, g, tape, dout


@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize(("norm", "norm_in"), [("none", "both"), ("ln", "both"), ("ln", "actor"), ("ln", "critic")])
def test_separate_trunks_are_two_networks_each_with_the_gradient_of_its_own_outputs(
    core: str, norm: str, norm_in: str
) -> None:
    torch.manual_seed(0)
    net = make_actor_critic(core, norm, trunks="separate", norm_in=norm_in, hidden=H)
    p, g, tape, dout = went_through(net)
    states, outs, douts = tape.state.chunk(2, -1), tape.out.split([A, 1], -1), dout.split([A, 1], -1)
    for (side, outputs), state, out, part in zip(SIDES.items(), states, outs, douts, strict=True):
        own, gradients = (
            {name.removeprefix(f"{side}."): view for name, view in views.items() if name.startswith(side)}
            for views in (p, g)
        )
        for row in range(N):
            twin = torch_twin(own, row, core, norm if norm_in in ("both", side) else "none", outputs)
            h = state[0, row] if net.recurrent else torch.zeros(1, H)
            theirs = []
            for t in range(T + 1):
                each, h = twin(tape.obs[t, row], h)
                theirs.append(each)
            torch.testing.assert_close(torch.stack(theirs), out[:, row], rtol=1e-5, atol=1e-5)
            (torch.cat(theirs[:T]) * part[:, row]).sum().backward()
            wanted = {name: parameter.grad for name, parameter in twin.named_parameters()}
            for name, view in gradients.items():
                theirs_name, transpose = NAMES[name]
                grad = view[row].T if transpose else view[row]
                torch.testing.assert_close(grad, wanted[theirs_name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("core", ["gru", "ff"])
def test_separate_trunks_start_alike_whatever_the_norm_and_its_side_and_the_actor_as_the_shared_policy(
    core: str,
) -> None:
    def rows(norm: str, **settings: str) -> dict[str, Tensor]:
        net = make_actor_critic(core, norm, hidden=H, **settings)
        return net.layout.views(seeded_rows(net, [[1, 2, 0], [1, 2, 1]]))

    plain = rows("none", trunks="separate")
    for norm in ("ln", "weight", "ln_project", "batch"):
        for norm_in in ("both", *SIDES):
            other = rows(norm, trunks="separate", norm_in=norm_in)
            assert all(torch.equal(view, other[name]) for name, view in plain.items())
            sides = {name.partition(".")[0] for name in other.keys() - plain.keys()}
            assert sides == (set(SIDES) if norm_in == "both" else {norm_in})
    for name, view in rows("none").items():
        alike = view[..., :A] if name.startswith("heads") else view
        assert torch.equal(plain[f"actor.{name}"], alike)
        assert not name.endswith("weight") or not torch.equal(plain[f"critic.{name}"], view)
    head = plain["critic.heads.weight"]
    torch.testing.assert_close(head.norm(dim=(1, 2)), torch.ones(2))


@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize("norm", ["none", "ln", "ln_embed", "ln_core"])
def test_forward_and_backward_agree_with_autograd_through_torch_modules(core: str, norm: str) -> None:
    torch.manual_seed(0)
    net = make_actor_critic(core, norm, hidden=H)
    p, g, tape, dout = went_through(net)
    for row in range(N):
        twin = torch_twin(p, row, core, norm)
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
        assert all(torch.equal(view, other[name]) for other in views.values()), name
    embed, heads = views["none"]["embed.weight"][0], views["none"]["heads.weight"][0]
    torch.testing.assert_close(embed @ embed.T, torch.eye(48), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads[:, :3].T @ heads[:, :3], torch.eye(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(heads[:, 3].norm(), torch.tensor(1.0))
    assert not torch.equal(rows["none"][0], rows["none"][1])
    assert views["none"]["core.input.weight"].abs().max() <= 128**-0.5
    assert (views["ln"]["embed.norm.gain"] == 1).all()
    assert (views["ln"]["core.norm.bias"] == 0).all()


# -- every norm against torch's own -----------------------------------------------------------------------------------
def by_torch(norm: str, p: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    """A norm as torch has it: x (T, F) of one learner in training, its parameters by our names."""
    width, gain, bias = [x.shape[-1]], p.get(f"{name}.gain"), p.get(f"{name}.bias")
    if norm == "rms":
        return functional.rms_norm(x, width, gain, eps=1e-5)
    if norm == "unit":
        return functional.normalize(x, dim=-1, eps=1e-8)
    if norm == "long":
        return 4 * x
    if norm == "batch":
        return functional.batch_norm(x, None, None, gain, bias, training=True)
    return functional.layer_norm(x, width, gain, bias)


SIZES = {"of one size": 1.0, "huge": 1e6, "tiny": 1e-6, "constant": 0.0}


@pytest.mark.parametrize("scale", SIZES.values(), ids=SIZES)
@pytest.mark.parametrize("width", [1, 7, 128])
@pytest.mark.parametrize("kind", KINDS)
def test_every_norm_and_its_gradient_are_torchs(kind: str, width: int, scale: float) -> None:
    torch.manual_seed(width)
    norm = KINDS[kind]("n", width)
    layout = Layout(norm.shapes)
    p, g = (layout.views(torch.randn(N, max(layout.size, 1))) for _ in range(2))
    x = scale * torch.randn(T, N, width) if scale else torch.full((T, N, width), 0.3)
    dy = torch.randn(T, N, width)
    dx = norm.backward(p, g, x, dy)
    acted = norm.forward(p, x.transpose(0, 1))
    for row in range(N):
        own = {name: view[row].double().requires_grad_() for name, view in p.items()}
        given = x[:, row].double().requires_grad_()
        out = by_torch(kind, own, "n", given)
        trained = [name for name in own if not name.endswith((".mean", ".var"))]
        wanted = torch.autograd.grad(out, [given, *(own[name] for name in trained)], dy[:, row].double())
        if kind != "batch":  # which acts by its running statistics
            torch.testing.assert_close(acted[row].double(), out.detach(), rtol=1e-4, atol=1e-4)
        least = 1e-5 / (scale or 1.0) if kind == "unit" else 1e-6  # of what cancels where the width is 1
        atol = 1e-4 * wanted[0].abs().max().item() + least
        torch.testing.assert_close(dx[:, row].double(), wanted[0], rtol=1e-3, atol=atol)
        for name, gradient in zip(trained, wanted[1:], strict=True):
            torch.testing.assert_close(g[name][row].double(), gradient, rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("scale", [1.0, 1e6, 1e-6])
@pytest.mark.parametrize("width", [1, 7, 128])
def test_weight_norm_and_its_gradient_are_torchs(width: int, scale: float) -> None:
    torch.manual_seed(width)
    layer = WeightNorm("n", width, 5)
    layout = Layout(layer.shapes)
    p, g = (layout.views(torch.randn(N, layout.size)) for _ in range(2))
    x, dy = scale * torch.randn(T, N, width), torch.randn(T, N, 5)
    out = layer.forward(p, x.transpose(0, 1), torch.empty(N, T, 5))
    dx = layer.backward(p, g, x, dy)
    assert layer.backward(p, g, x, dy, need_dx=False) is None
    for row in range(N):
        v, b, scales = (p[f"n.{part}"][row].clone().requires_grad_() for part in ("weight", "bias", "scale"))
        given = x[:, row].clone().requires_grad_()
        theirs = given @ torch._weight_norm(v, scales.unsqueeze(0), 1) + b
        wanted = torch.autograd.grad(theirs, [given, v, b, scales], dy[:, row])
        torch.testing.assert_close(out[row], theirs.detach(), rtol=1e-4, atol=1e-4 * scale)
        found = (dx[:, row], *(g[f"n.{part}"][row] for part in ("weight", "bias", "scale")))
        for mine, other, size in zip(found, wanted, (1.0, scale, 1.0, scale), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-3, atol=1e-4 * size)


def written_out(core: str, norm: str, layers: tuple[str, ...], p: dict[str, Tensor], obs: Tensor, h: Tensor) -> Tensor:
    """The network of one learner over a rollout by torch's functions, as it is trained: obs (T, I) → (T, A + 1)."""

    def linear(name: str, x: Tensor, of: Callable[[Tensor], Tensor] = lambda y: y) -> Tensor:
        weight, scale = p[f"{name}.weight"], p.get(f"{name}.scale")
        weight = weight if scale is None else torch._weight_norm(weight, scale.unsqueeze(0), 1)
        return of(x @ weight) + p[f"{name}.bias"]

    def normed(place: str, x: Tensor) -> Tensor:
        return by_torch(norm, p, place, x) if place in layers else x

    def on_gates(part: str) -> Callable[[Tensor], Tensor]:
        if norm != "ln_gates":
            return lambda y: y
        gain = p[f"core.{part}.gain"]
        return lambda y: functional.layer_norm(y.unflatten(-1, (3, H)), [H]).flatten(-2) * gain

    active = torch.relu(normed("embed.norm", linear("embed", obs)))
    if core == "gru":
        states = []
        for x in active:
            i, s = linear("core.input", x, on_gates("input")), linear("core.state", h, on_gates("state"))
            r, z = torch.sigmoid(i[: 2 * H] + s[: 2 * H]).chunk(2)
            h = (1 - z) * torch.tanh(i[2 * H :] + r * s[2 * H :]) + z * h
            states.append(h)
        features = normed("core.norm", torch.stack(states))
    else:
        features = torch.relu(normed("core.norm", linear("core", active)))
    return linear("heads", normed("heads.norm", features))


CASES = [(core, norm, at) for core in ("gru", "ff") for norm in ACTOR_CRITIC for at in ("usual", "heads")]
CASES = [
    case for case in CASES if case[1:] not in {("none", "heads"), ("ln_gates", "heads")} and "_" not in case[1][:3]
]
CASES = [case for case in CASES if case[:2] != ("ff", "ln_gates")]


@pytest.mark.parametrize(("core", "norm", "at"), CASES)
def test_a_network_with_any_norm_has_the_gradient_of_autograd(core: str, norm: str, at: str) -> None:
    torch.manual_seed(0)
    net = make_actor_critic(core, norm, at=at, hidden=H)
    flat, grads = torch.randn(N, net.layout.size) * 0.3, torch.full((N, net.layout.size), 7.0)
    p, g = net.layout.views(flat), net.layout.views(grads)
    for name, view in p.items():
        if name.endswith(".var"):
            view.fill_(0.5)
    tape = net.tape(T, N)
    tape.obs.normal_()
    tape.state[0].normal_()
    for t in range(T + 1):
        net.step(p, tape, t)
    after = tape.state[T].clone()
    net.retrace(p, tape, T)
    dout = torch.randn(T, N, A + 1)
    net.backward(p, g, tape, dout)
    assert torch.equal(tape.state[T], after)  # acting goes on from where it was
    for row in range(N):
        own = {name: view[row].clone().requires_grad_() for name, view in p.items()}
        trained = [name for name in own if not name.endswith((".mean", ".var"))]
        h = tape.state[0, row, 0] if net.recurrent else torch.zeros(H)
        out = written_out(core, norm, placed(norm, at), own, tape.obs[:T, row, 0], h)
        torch.testing.assert_close(tape.out[:T, row, 0], out.detach(), rtol=1e-4, atol=1e-4)
        wanted = torch.autograd.grad(out, [own[name] for name in trained], dout[:, row])
        for name, gradient in zip(trained, wanted, strict=True):
            torch.testing.assert_close(g[name][row], gradient, rtol=1e-3, atol=1e-4)


def test_batch_norm_acts_by_running_statistics_that_move_as_torchs_do() -> None:
    torch.manual_seed(0)
    ours, theirs = BatchNorm("n", 4), [nn.BatchNorm1d(4) for _ in range(2)]
    p = Layout(ours.shapes).views(torch.zeros(2, Layout(ours.shapes).size))
    for name in (ours.gain, ours.var):
        p[name].fill_(1.0)
    for _ in range(3):
        x = torch.randn(2, T, 4) * 3 + 1
        out = ours.train(p, x)
        ours.move(p, torch.ones(2, dtype=torch.bool))
        for row, module in enumerate(theirs):
            torch.testing.assert_close(out[row], module(x[row]).detach())
            torch.testing.assert_close(p[ours.mean][row], module.running_mean)
            torch.testing.assert_close(p[ours.var][row], module.running_var)
            module.eval()
            torch.testing.assert_close(ours.forward(p, x)[row], module(x[row]).detach())
            module.train()
    before = p[ours.mean].clone()
    one = torch.randn(2, 1, 4)
    torch.testing.assert_close(ours.train(p, one), ours.forward(p, one))  # of one sample torch makes an error
    ours.move(p, torch.ones(2, dtype=torch.bool))
    assert torch.equal(p[ours.mean], before)
    ours.train(p, x)
    ours.move(p, torch.tensor([True, False]))  # the second is frozen
    assert (p[ours.mean] != before).any(1).tolist() == [True, False]


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
