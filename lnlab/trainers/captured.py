"""A trainer's tick, or the update of TD3, as one CUDA graph: small kernels by the hundred or thousand, one launch.

The graph replays the very program that the CPU runs, on buffers that keep their place. Only a GPU has graphs. All else
here runs on any device: what a program asks of the host, the buffers it leaves out, and numbers on the wrong device are
found without a GPU (tests/test_captured.py).
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

WARM_UPS = 3  # lets the libraries choose their kernels and make their workspaces before the capture
LOSS, GRADIENT = 0, 1  # what was not finite first; of the actor two more
WHAT = ("critic loss", "critic gradient", "actor loss", "actor gradient")


class CapturedTick:
    """Captures `tick` on construction; calling it replays the graph. Where there is no GPU it calls `tick`.

    Args:
        tick: the program, of the tensors `inputs` and of buffers that it closes over.
        inputs: of the shapes and types of every later call, with values that the program can bear.
        changing: buffers that a tick changes and the next episode does not set anew: they are left as they were.
        clock: counter of the environment's steps, at zero when an episode begins.
    """

    def __init__(
        self, tick: Callable[..., None], inputs: tuple[Tensor, ...], changing: list[Tensor], *,
        clock: Tensor | None = None,
    ) -> None:  # fmt: skip
        self.tick, self.inputs, self.clock = tick, inputs, clock
        kept = [buffer.detach().clone() for buffer in changing]
        self.graph = torch.cuda.CUDAGraph() if inputs[0].device.type == "cuda" else None
        if self.graph is None:
            self._warm_up()
        else:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                self._warm_up()
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(self.graph):
                tick(*inputs)
        with torch.no_grad():
            for buffer, value in zip(changing, kept, strict=True):
                buffer.copy_(value)

    def _warm_up(self) -> None:
        for _ in range(WARM_UPS):
            self._rewind()
            self.tick(*self.inputs)
        self._rewind()

    def _rewind(self) -> None:
        """A tick must not run past the end of an episode."""
        if self.clock is not None:
            self.clock.zero_()

    def __call__(self, *inputs: Tensor) -> None:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        if self.graph is None:
            self.tick(*self.inputs)
        else:
            self.graph.replay()


class CapturedUpdate:
    """`TD3.update` as two graphs: critics alone, and critics, actor and targets.

    The host would ask after every step whether the gradient was finite. Here a flag on the device tells: once raised it
    holds Adam and the targets still, as `TD3` does with a learner that is no longer alive. `look` takes the news to it.

    Args:
        learner: of `lnlab.trainers.td3`; from now on also its own `update` goes by the flag.
        transitions: a batch of the size of every later one; what it holds does not matter.
        noise: of a batch, (B, A).
    """

    def __init__(self, learner: Any, transitions: Any, noise: Tensor) -> None:
        self.learner, device = learner, learner.device
        self.flag = torch.zeros((), device=device)
        self.count = torch.tensor(learner.updates, device=device)
        self.first = torch.zeros(2, dtype=torch.int64, device=device)  # update at which the flag was raised, and WHAT
        learner.tau = torch.tensor(learner.config.tau, device=device)
        sides = learner.critic, learner.actor
        for place, side in enumerate(sides):
            side.watch = lambda loss, norm, place=place: self._watch(place, loss, norm)
            side.optimizer.found_inf = self.flag  # a fused Adam takes no step where it is 1
            for group in side.optimizer.param_groups:
                group["capturable"] = device.type == "cuda"
            self._make_moments(side)
        modules = [module for pair in learner._pairs for module in pair]
        changing = [each for module in modules for each in module.parameters()]
        changing += [each for side in sides for each in side.parameters]
        changing += [each for side in sides for state in side.optimizer.state.values() for each in state.values()]
        changing += [self.flag, self.count, self.first, learner.tau]
        self.fields = [name for name, value in transitions._asdict().items() if value is not None]
        self.empty = transitions._replace(**dict.fromkeys(self.fields))
        inputs = *(getattr(transitions, name).to(device).clone() for name in self.fields), noise.to(device).clone()
        self.ticks = [
            CapturedTick(lambda *given, acts=acts: self._improve(acts, *given), inputs, changing)
            for acts in (False, True)
        ]

    def __call__(self, transitions: Any, noise: Tensor) -> None:
        """As `TD3.update`, with no look at the numbers."""
        self.learner.updates += 1
        if not self.learner.alive:
            return
        acts = self.learner.updates % self.learner.config.policy_delay == 0
        self.ticks[acts](*(getattr(transitions, name) for name in self.fields), noise)

    def look(self) -> None:
        """Tell the learner whether it is still finite, and since when it is not. The host waits for the device."""
        if self.learner.alive and self.flag.item():
            update, what = self.first.tolist()
            self.learner.alive, self.learner.diverged = False, {"update": update, "what": WHAT[what]}

    def _improve(self, acts: bool, *given: Tensor) -> None:
        *parts, noise = given
        transitions = self.empty._replace(**dict(zip(self.fields, parts, strict=True)))
        self.learner.improve(transitions, noise, acts=acts)

    def _watch(self, place: int, loss: Tensor, norm: Tensor) -> None:
        """Called with the loss and the norm of its gradient before a step of Adam; place 0: the critics', 1: the
        actor's."""
        with torch.no_grad():
            if place == 0:
                self.count.add_(1)
            finite = norm.isfinite()
            what = 2 * place + loss.isfinite().long() * (GRADIENT - LOSS)
            fell = torch.stack([self.count, what])
            self.first.copy_(torch.where(finite | (self.flag > 0), self.first, fell))
            self.flag.copy_(torch.maximum(self.flag, (~finite).float()))
            self.learner.tau.mul_(1 - self.flag)

    def _make_moments(self, side: Any) -> None:
        """A graph must find Adam's moments at their place; with the flag up, making them moves nothing."""
        if side.optimizer.state:
            return
        self.flag.fill_(1)
        for parameter in side.parameters:
            parameter.grad = torch.zeros_like(parameter)
        side.optimizer.step()
        self.flag.zero_()
