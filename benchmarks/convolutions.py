"""What bounds an update of TD3 on images on a CPU: arithmetic, oneDNN's kernels, pages of memory asked for anew.

`operations` over `limit` is the least time of an update whose products are made one by one in single precision; no way
of writing the same algorithm down can be faster. `CANDIDATES` are ways of writing the convolutions down, each beside
the usual one, which the tests hold equal (tests/test_benchmarks.py).
"""

import ctypes
import os
import resource
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d, leaky_relu_
from torch.utils.flop_counter import FlopCounterMode
from tqdm.auto import tqdm

from benchmarks.machine import describe
from lnlab.models.cnn import CNN, CONVOLUTIONS, SLOPE
from lnlab.models.fast import Linear, available, product

FRAMES, SIDE = 4, 84
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # of malloc.h
LIMIT_SIZE = 2048  # of the matrices whose product is taken for the limit
Run = Callable[[], Any]
Layers = list[tuple[Tensor, Tensor, int]]  # weights, bias, stride of each convolution


# -- limits -----------------------------------------------------------------------------------------------------------


def operations(update: Run) -> float:
    """Floating-point operations of the products of one update, the mean of two, since the actor steps in every second.

    torch counts its own layers only, so products go through those meanwhile.
    """
    fast, Linear.fast = Linear.fast, False
    try:
        with FlopCounterMode(display=False) as counter:
            update()
            update()
    finally:
        Linear.fast = fast
    return counter.get_total_flops() / 2


def limit(seconds: float) -> float:
    """Operations per second of computing time that one thread reaches in a large product in single precision."""
    a, b = torch.randn(2, LIMIT_SIZE, LIMIT_SIZE)
    multiply = (lambda: product(a, b)) if available() else (lambda: a @ b)
    return 2 * LIMIT_SIZE**3 / _seconds(multiply, seconds)


def kernels(update: Run) -> dict[str, int]:
    """What oneDNN ran in an update, and how often, as its log names it: {"convolution brg_conv_fwd:avx512_core": 9}."""
    with tempfile.TemporaryFile() as log:
        kept = os.dup(1)
        os.dup2(log.fileno(), 1)  # the log comes from C++ and passes sys.stdout by
        try:
            with torch.backends.mkldnn.verbose(torch.backends.mkldnn.VERBOSE_ON):
                update()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
        log.seek(0)
        lines = [line.split(",") for line in log.read().decode(errors="replace").splitlines()]
    ran = [words[words.index("exec") :] for words in lines if words[0] == "onednn_verbose" and "exec" in words]
    return dict(Counter(f"{primitive} {kernel}" for _, _, primitive, kernel, *_ in ran))


def instruction_sets(found: dict[str, int]) -> list[str]:
    """Those in the names of `kernels`, without the copies between formats.

    >>> instruction_sets({"convolution brg_conv_fwd:avx512_core": 9, "reorder jit:uni": 3})
    ['avx512_core']
    """
    names = [name.split()[1].split("+")[0] for name in found if not name.startswith("reorder")]
    return sorted({name.partition(":")[2] or name for name in names})


def keep_memory() -> bool:
    """Have glibc keep what is given back, from now on, so that pages are mapped once; False with another C library."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, 2**30) and mallopt(M_TRIM_THRESHOLD, 2**31 - 1))


def paging(update: Run) -> dict[str, float]:
    """Pages of memory that the system maps anew in an update, and the share of computing time that it spends."""
    before = resource.getrusage(resource.RUSAGE_SELF)
    update()
    update()
    after = resource.getrusage(resource.RUSAGE_SELF)
    system, user = after.ru_stime - before.ru_stime, after.ru_utime - before.ru_utime
    return {"page_faults": (after.ru_minflt - before.ru_minflt) / 2, "system_share": system / (system + user)}


# -- ways of writing the convolutions down ----------------------------------------------------------------------------


def layers(seed: int = 0) -> Layers:
    """Of a CNN as TD3 has it."""
    torch.manual_seed(seed)
    net = CNN((FRAMES, SIDE, SIDE), "none", "linear").layers
    convolutions: list[Any] = [net[f"conv{index}"] for index in range(1, len(CONVOLUTIONS) + 1)]
    return [(each.weight.detach(), each.bias.detach(), each.stride[0]) for each in convolutions]


def images(batch: int, seed: int = 0) -> Tensor:
    """(B, C, H, W) in [−1, 1], channels last."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(batch, FRAMES, SIDE, SIDE, generator=generator) * 2 - 1).contiguous(
        memory_format=torch.channels_last
    )


def usual(x: Tensor, net: Layers) -> Tensor:
    """As in training: convolution, then activation in place."""
    for weight, bias, stride in net:
        x = leaky_relu_(conv2d(x, weight, bias, stride), SLOPE)
    return x


def fused(x: Tensor, net: Layers, activation: str = "leaky_relu") -> Tensor:
    """The activation inside oneDNN's convolution."""
    for weight, bias, stride in net:
        x = torch.ops.mkldnn._convolution_pointwise(
            x, weight, bias, [0, 0], [stride] * 2, [1, 1], 1, activation, [SLOPE], ""
        )
    return x


def packed(net: Layers, batch: int) -> Layers:
    """Weights in the format that oneDNN would bring them to in every call; they can't be trained in it."""
    found, x = [], images(batch)
    for weight, bias, stride in net:
        ours = torch._C._nn.mkldnn_reorder_conv2d_weight(weight.to_mkldnn(), [0, 0], [stride] * 2, [1, 1], 1, x.shape)
        found.append((ours, bias, stride))
        x = conv2d(x, weight, bias, stride)
    return found


def side_by_side(x: Tensor, one: Layers, other: Layers) -> Tensor:
    """Two CNNs on the same images: the first layers as one, then in groups; (B, 2 C, h, w)."""
    for index, (mine, theirs) in enumerate(zip(one, other, strict=True)):
        weight = torch.cat([mine[0], theirs[0]]).contiguous(memory_format=torch.channels_last)
        x = conv2d(x, weight, torch.cat([mine[1], theirs[1]]), mine[2], groups=2 if index else 1)
        x = leaky_relu_(x, SLOPE)
    return x


def folded(x: Tensor, weight: Tensor, bias: Tensor, stride: int) -> Tensor:
    """The convolution with `stride` neighbouring columns taken for channels: no copy of the images, wider vectors."""
    count, channels, height, width = x.shape
    columns = x.permute(0, 2, 3, 1).reshape(count, height, width // stride, stride * channels).permute(0, 3, 1, 2)
    out, _, rows, across = weight.shape
    split = weight.view(out, channels, rows, across // stride, stride).permute(0, 4, 1, 2, 3)  # (O, s, C, kh, kw / s)
    weight = split.reshape(out, stride * channels, rows, across // stride)
    return conv2d(columns, weight.contiguous(memory_format=torch.channels_last), bias, (stride, 1))


def both_ways(forward: Callable[..., Tensor], x: Tensor, layer: tuple[Tensor, Tensor, int]) -> list[Tensor]:
    """A layer's output, and the gradients of its sum of squares by input, weights and bias."""
    given = [each.detach().requires_grad_() for each in (x, *layer[:2])]
    found = forward(given[0], given[1], given[2], layer[2])
    return [found.detach(), *torch.autograd.grad(found, given, found.detach())]


def trained(forward: Callable[..., Tensor], x: Tensor, net: Layers) -> list[Tensor]:
    """What comes out of all layers, and the gradients of half its sum of squares by weights and biases."""
    given = [(weight.detach().requires_grad_(), bias.detach().requires_grad_(), stride) for weight, bias, stride in net]
    found = forward(x, given)
    parameters = [each for weight, bias, _ in given for each in (weight, bias)]
    return [found.detach(), *torch.autograd.grad(found, parameters, found.detach())]


def candidates(batch: int) -> dict[str, tuple[float, Run, Run]]:
    """By name: how often the usual way runs in an update, that way, and the other."""
    x, net, second = images(batch), layers(), layers(1)
    following, ready = images(batch, 1), packed(net, batch)
    pair = torch.cat([x, following])
    inner = conv2d(x, net[0][0], net[0][1], net[0][2])  # what the second layer sees
    found: dict[str, tuple[float, Run, Run]] = {
        "activation inside the convolution": (4.0, lambda: usual(x, net), lambda: fused(x, net)),
        "weights packed beforehand": (2.5, lambda: fused(x, net), lambda: fused(x, ready)),
        "observation and next one in one pass": (
            1.0, lambda: (usual(x, net), usual(following, net)), lambda: usual(pair, net),
        ),
        "both targets' CNNs side by side": (
            1.0, lambda: (usual(x, net), usual(x, second)), lambda: side_by_side(x, net, second),
        ),
        "columns for channels, second layer": (
            1.5, lambda: both_ways(conv2d, inner, net[1]), lambda: both_ways(folded, inner, net[1]),
        ),
    }  # fmt: skip
    if shutil.which("g++"):  # which inductor needs
        ours = torch.compile(usual)
        found["compiled by inductor"] = (1.5, lambda: trained(usual, x, net), lambda: trained(ours, x, net))
    return found


def compare_candidates(batch: int, pairs: int, seconds: float, update: Run) -> list[dict[str, Any]]:
    """Each candidate and the usual way in turn.

    `saved` is the share of an update's time that it would save, `first_seconds` what its first run takes of this
    process: inductor compiles then, unless its cache has the code; g++ is a process of its own and does not count.
    """
    rows, whole = [], _seconds(update, seconds)
    with torch.no_grad():
        for name, (times, usually, otherwise) in tqdm(candidates(batch).items(), desc="candidates", leave=False):
            spent: dict[Run, list[float]] = {usually: [], otherwise: []}
            start = time.process_time()
            with torch.enable_grad():
                otherwise()
            first = time.process_time() - start
            for index in range(pairs):
                for each in [*spent][:: 1 if index % 2 == 0 else -1]:
                    with torch.enable_grad():
                        spent[each].append(_seconds(each, seconds / 10))
            each_pair = [*zip(spent[usually], spent[otherwise], strict=True)]
            saved = [times * (a - b) / whole for a, b in each_pair]
            ratio = describe([a / b for a, b in each_pair])
            rows.append({"candidate": name, "ratio": ratio, "saved": describe(saved), "first_seconds": first})
    return rows


def _seconds(run: Run, seconds: float) -> float:
    """Computing time of a run, the mean over so many seconds, after one that does not count."""
    run()
    start, runs = time.process_time(), 0
    while (elapsed := time.process_time() - start) < seconds or not runs:
        run()
        runs += 1
    return elapsed / runs
