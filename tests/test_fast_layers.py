"""Layers made fast against torch's own: values, gradients, and where they must step aside."""

import pytest
import torch
from torch import nn

from lnlab.models import fast
from lnlab.models.fast import LEAST, ImageNorm, Linear, available, pixels

needs_onednn = pytest.mark.skipif(not available(), reason="this build of torch has no oneDNN product")


def twins(inputs: int, outputs: int) -> tuple[Linear, nn.Linear]:
    ours, theirs = Linear(inputs, outputs), nn.Linear(inputs, outputs)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@needs_onednn
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(1, 3, LEAST), (32, 565, 256), (7, 3136, 512)])
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


@needs_onednn
def test_it_takes_views_and_gives_only_the_gradients_asked_for() -> None:
    ours, theirs = twins(8, LEAST)
    x, towards = torch.randn(8, 5).t(), torch.randn(LEAST, 5).t()
    mine, other = (torch.autograd.grad(layer(x), layer.weight, towards)[0] for layer in (ours, theirs))
    torch.testing.assert_close(mine, other)


@needs_onednn
def test_it_is_oneDNN_that_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, ...]] = []
    monkeypatch.setattr(fast, "product", lambda x, w, b=None: calls.append(x.shape) or x @ w.t())
    layer = Linear(4, LEAST)
    layer(torch.randn(3, 4)).sum().backward()
    assert calls == [(3, 4), (LEAST, 3)]


@pytest.mark.parametrize("outputs", [1, LEAST])
@pytest.mark.parametrize("shape", [(4,), (2, 3, 4), (3, 4)])
def test_elsewhere_it_is_torchs_layer(shape: tuple[int, ...], outputs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    if len(shape) == 2 and outputs == LEAST:
        monkeypatch.setattr(Linear, "fast", False)
    ours, theirs = twins(4, outputs)
    x = torch.randn(shape)
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.double()(x.double()), theirs.double()(x.double()))


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


@pytest.mark.parametrize("frames", [1, 4, 7])
def test_pixels_are_those_of_the_formula_to_the_bit_and_channels_last(frames: int) -> None:
    stacks = torch.randint(256, (3, frames + 1, 36, 40), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    for image in (stacks[:, :-1], stacks[:, 1:]):  # as a replay buffer gives them: views of one longer stack
        found = pixels(image, torch.device("cpu"))
        assert torch.equal(found, image.float() * torch.tensor(2 / 255) - 1)
        assert found.is_contiguous(memory_format=torch.channels_last)
