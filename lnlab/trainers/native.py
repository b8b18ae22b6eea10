"""A tick of A3C and Individual as one call of compiled code, native.cpp: the numbers of torch's path but for rounding.

The code is compiled for this processor when it is first wanted, and kept in a cache folder. What it does not know
(separate trunks, norms of gates, features times a constant, carried gradients, a GPU), and a machine without a
compiler, take torch's path. A run goes on to the same bits on a like processor with the same compiler.
"""

import ctypes
import functools
import hashlib
import math
import os
import re
import subprocess
import sys
import tempfile
from collections import ChainMap
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from lnlab.envs.rules import REWARD_DIVISOR
from lnlab.models.actor_critic import ActorCritic
from lnlab.models.stacked import BatchNorm, LayerNorm, LayerNormOnly, Layout, NoNorm, RMSNorm, UnitNorm, WeightNorm
from lnlab.trainers.steps import LayerSteps

SOURCE = Path(__file__).with_suffix(".cpp")
FLAGS = ["-std=gnu++17", "-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-fPIC", "-shared"]
WIDTH = 16  # hidden widths are multiples of it
KINDS = {NoNorm: 0, LayerNorm: 1, LayerNormOnly: 1, RMSNorm: 2, UnitNorm: 3, BatchNorm: 4}  # as the code numbers them
PLAIN: dict[str, Any] = {"trunks": "shared", "gradient_carry": False}


def knows(config: Any, net: ActorCritic, device: torch.device) -> bool:
    """Whether the code has what these settings of the offloading task ask for."""
    plain = all(getattr(config, name) == value for name, value in PLAIN.items()) and config.hidden % WIDTH == 0
    plain &= not config.clip_percentile or config.schedule == "async"  # the norm of an average is not known before it
    batch = config.rollout > 1  # one sample has no variance
    normed = all(type(norm) in KINDS and (batch or type(norm) is not BatchNorm) for norm in net.norms.values())
    normed &= all(each.norm in (None, WeightNorm.norm) for each in net.products.values())
    return plain and normed and device.type == "cpu"


@functools.cache
def library() -> ctypes.CDLL | None:
    """The compiled code; None, and one line on stderr, where it cannot be made."""
    compiler = os.environ.get("CXX", "g++")
    try:
        for_what = _run(compiler, "-march=native", "-E", "-dM", "-x", "c++", os.devnull)  # processor and version
        key = hashlib.sha256(b"\0".join([SOURCE.read_bytes(), " ".join(FLAGS).encode(), for_what])).hexdigest()[:16]
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lnlab"
        path = folder / f"native-{key}.so"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as fresh:  # others may compile at the same time
                _run(compiler, *FLAGS, str(SOURCE), "-o", f"{fresh}/native.so")
                os.replace(f"{fresh}/native.so", path)
        return ctypes.CDLL(str(path))
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", b"") or str(error).encode()
        print(f"backend=native: trained by torch, for want of compiled code: {said.decode()[:200]}", file=sys.stderr)
        return None


def _run(*command: str) -> bytes:
    return subprocess.run(command, check=True, capture_output=True).stdout


def _fields() -> list[tuple[str, str, bool]]:
    """Type, name and whether it is a pointer, of each field of `Job` in the code."""
    (body,) = re.findall(r"struct Job \{(.*?)\n\};", SOURCE.read_text(encoding="utf-8"), re.DOTALL)
    lines = re.findall(r"(\w+) ([^;]+);", re.sub(r"//.*", "", body))
    return [(kind, name.strip(" *\n"), "*" in name) for kind, names in lines for name in names.split(",")]


def _spans(layout: Layout) -> dict[str, tuple[int, int, int]]:
    """Start, end of the weights and end of each layer in a row; without those of norms."""
    spans: dict[str, tuple[int, int, int]] = {}
    offset = 0
    for name, shape in layout.shapes.items():
        layer, end = name.rpartition(".")[0], offset + math.prod(shape)
        if not layer.endswith(".norm"):
            start, weights, _ = spans.get(layer, (offset, end, end))
            spans[layer] = start, weights, end
        offset = end
    return spans


NUMBERS = {"int64_t": ctypes.c_int64, "double": ctypes.c_double}
TYPES = {"float": torch.float32, "int64_t": torch.int64, "uint8_t": torch.bool}
DTYPES = {name: TYPES[kind] for kind, name, pointer in _fields() if pointer}
FIELDS: dict[str, Any] = {name: ctypes.c_void_p if pointer else NUMBERS[kind] for kind, name, pointer in _fields()}


class Job(ctypes.Structure):
    """What the code works on: sizes, numbers and addresses."""

    _fields_: ClassVar[Any] = [*FIELDS.items()]


class NativeTick:
    """The tick of a trainer whose settings `knows`; made anew when its tensors have moved.

    All seeds share the memory of the first one's gradients: after a tick `trainer.gradient` is of no use.
    """

    def __init__(self, trainer: Any, code: ctypes.CDLL) -> None:
        config, net, env, group = trainer.config, trainer.net, trainer.env, trainer.adam.param_groups[0]
        start, zeros = trainer.parameters.data_ptr(), trainer.reward.new_zeros
        places = {  # of a parameter in its row
            re.sub(r"^core\.(weight|bias|scale)$", r"core.input.\1", name).replace(".", "_"):
            (view.data_ptr() - start) // view.element_size()
            for name, view in net.layout.views(trainer.parameters).items()
        }  # fmt: skip
        own = {
            "steps": config.rollout, "size": net.layout.size, "inputs": net.inputs, "recurrent": net.recurrent,
            "shared": env.cloud == "shared", "refilled": env.cloud != "budget", "divisor": REWARD_DIVISOR,
            "lr": group["lr"], "beta1": group["betas"][0], "beta2": group["betas"][1], "eps": group["eps"],
            "continues": 1.0, "sums": trainer.tape.hidden, "hidden": config.hidden,
            "dout": zeros(config.rollout, trainer.rows, 4), "returns": zeros(config.rollout, trainer.rows),
            "norm": zeros(trainer.rows), "limits": zeros(trainer.learners) + trainer.limit,
            "draws": zeros(config.rollout, trainer.rows), "seen": zeros(trainer.rows, 6, config.hidden),
            "order": trainer.action.new_zeros(trainer.members, trainer.learners),
            "averaged": trainer.members > 1 and config.schedule == "sync", **self._of_layers(trainer),
        }  # fmt: skip
        normed = any(each.norm is not None for each in net.products.values())
        own["effective"] = trainer.snapshot.clone() if normed else trainer.snapshot
        own |= {name.replace(".", "_"): KINDS[type(norm)] for name, norm in net.norms.items()}
        sources = [own, places, env.buffers(), trainer.adam.state[trainer.parameters], trainer.tape._asdict()]
        known: ChainMap[str, Any] = ChainMap(*sources, vars(trainer), config.model_dump())
        absent = {name: -1 for name, type_ in FIELDS.items() if type_ is ctypes.c_int64}
        self.autoclip, self.members = trainer.autoclip, trainer.members
        self.code, self.tensors = code, {name: known[name] for name in DTYPES}
        numbers = {name: known.get(name, absent.get(name)) for name in FIELDS if name not in DTYPES}
        self.job = Job(**numbers)
        for name, tensor in self.tensors.items():
            self._point(name, tensor)

    def _of_layers(self, trainer: Any) -> dict[str, Any]:
        """What the code needs where the steps of layers are noted or imposed, or weights held at their length."""
        self.sizes: LayerSteps | None = trainer.sizes
        spans = _spans(trainer.net.layout) if self.sizes or trainer.projection else {}
        lengths = [*trainer.projection.lengths.values()] if trainer.projection else []  # in the order of spans
        pushes = 1 if trainer.config.schedule == "sync" else trainer.members
        self.layers = [*spans]
        return {
            "layers": len(spans), "bounds": trainer.action.new_tensor([*spans.values()]), "held": bool(lengths),
            "following": self.sizes is not None and self.sizes.follow is not None,
            "shares": trainer.reward.new_zeros(pushes, len(spans), trainer.learners),
            "lengths": torch.stack(lengths) if lengths else trainer.reward.new_zeros(0),
        }  # fmt: skip

    def _point(self, name: str, tensor: Tensor) -> None:
        """Hand over a tensor, which must outlive the call."""
        if tensor.dtype != DTYPES[name] or not tensor.is_contiguous():
            raise TypeError(f"{name} is {tensor.dtype} with strides {tensor.stride()}; the code takes {DTYPES[name]}")
        setattr(self.job, name, tensor.data_ptr())

    def __call__(self, draws: Tensor, order: Tensor, continues: Tensor) -> None:
        """As `ActorCriticTrainer.tick`."""
        order = order.contiguous()
        self._point("draws", draws)
        self._point("order", order)
        self.job.continues = float(continues)
        shares = self.tensors["shares"]
        if self.sizes and self.sizes.follow:
            wanted = [self.sizes.follow.noted.pop(0) for _ in shares]
            shares.copy_(torch.stack([torch.stack([each[layer] for layer in self.layers]) for each in wanted]))
        self._take()
        if self.sizes and not self.sizes.follow:
            self.sizes.noted += [dict(zip(self.layers, each, strict=True)) for each in shares.clone()]

    def _take(self) -> None:
        """The tick in one call; where limits follow the norms of gradients, seed by seed and in two."""
        job = ctypes.byref(self.job)
        if self.autoclip is None:
            self.code.native_tick(job)
            return
        norm, limits, workers = self.tensors["norm"], self.tensors["limits"], int(self.job.workers)
        for first in range(0, len(norm), workers):
            self.code.native_roll(job, ctypes.c_int64(first))
            own = slice(first // self.members, (first + workers) // self.members)
            found = self.autoclip.limits(norm[first : first + workers].view(-1, self.members), own)
            limits[own] = found.squeeze(1)
            self.code.native_push(job, ctypes.c_int64(first))

    def step(self, t: int) -> None:
        """The networks of all rows at step t of the tape, as `ActorCritic.step`."""
        self.code.native_step(ctypes.byref(self.job), ctypes.c_int64(t))

    def backward(self, dout: Tensor) -> Tensor:
        """Gradients of all rows into the trainer's, from dout (T, N, 4); their norms (N,)."""
        self.tensors["dout"].copy_(dout)
        self.code.native_backward(ctypes.byref(self.job))
        return self.tensors["norm"]

    def update(self, order: Tensor) -> None:
        """Clip, Adam and snapshots, by the gradients and norms there are; order (members, L)."""
        self._point("order", order)
        self.code.native_update(ctypes.byref(self.job))
