"""A trainer's tick as one CUDA graph: small kernels by the thousand, one launch.

The graph replays the very program that the CPU runs (`tick`), on buffers that keep their place. Needs a GPU; that the
tick never asks the device for a value is tested without one, on torch's `meta` device.
"""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lnlab.trainers.a3c import ActorCriticTrainer

WARM_UPS = 3  # lets the libraries choose their kernels and make their workspaces before the capture


class CapturedTick:
    """Captures `trainer.tick` on construction, leaving the trainer as it was; calling it replays the graph."""

    def __init__(self, trainer: "ActorCriticTrainer") -> None:
        config, device = trainer.config, trainer.device
        self.uniforms = torch.zeros(config.rollout, trainer.rows, device=device)
        first = torch.arange(trainer.learners, device=device) * trainer.members
        self.order = first + torch.arange(trainer.members, device=device).unsqueeze(1)
        self.continues = torch.ones((), device=device)
        kept = [(buffer, buffer.clone()) for buffer in _changing(trainer)]
        self._warm_up(trainer)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            trainer.tick(self.uniforms, self.order, self.continues)
        for buffer, value in kept:
            buffer.copy_(value)

    def __call__(self, uniforms: Tensor, order: Tensor, continues: Tensor) -> None:
        self.uniforms.copy_(uniforms)
        self.order.copy_(order)
        self.continues.copy_(continues)
        self.graph.replay()

    def _warm_up(self, trainer: "ActorCriticTrainer") -> None:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                trainer.env.t.zero_()  # the warm-up must not run past the end of an episode
                trainer.tick(self.uniforms, self.order, self.continues)
        torch.cuda.current_stream().wait_stream(stream)
        trainer.env.t.zero_()


def _changing(trainer: "ActorCriticTrainer") -> list[Tensor]:
    """What a tick changes and the next episode does not set anew."""
    buffers = [trainer.parameters, trainer.snapshot, trainer.alive, *trainer.adam.state[trainer.parameters].values()]
    return buffers if trainer.carried is None else [*buffers, trainer.carried]
