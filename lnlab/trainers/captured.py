"""A trainer's tick as one CUDA graph: small kernels by the thousand, one launch.

The graph replays the very program that the CPU runs, on buffers that keep their place. Needs a GPU; that the tick never
asks the device for a value is tested without one, on torch's `meta` device.
"""

from collections.abc import Callable

import torch
from torch import Tensor

WARM_UPS = 3  # lets the libraries choose their kernels and make their workspaces before the capture


class CapturedTick:
    """Captures `tick` on construction; calling it replays the graph.

    Args:
        tick: the program, of the tensors `inputs` and of buffers that it closes over.
        inputs: of the shapes and types of every later call, with values that the program can bear.
        changing: buffers that a tick changes and the next episode does not set anew: they are left as they were.
        clock: counter of the environment's steps, at zero when an episode begins.
    """

    def __init__(
        self, tick: Callable[..., None], inputs: tuple[Tensor, ...], changing: list[Tensor], *, clock: Tensor
    ) -> None:
        self.inputs, kept = inputs, [buffer.clone() for buffer in changing]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                clock.zero_()  # the warm-up must not run past the end of an episode
                tick(*inputs)
        torch.cuda.current_stream().wait_stream(stream)
        clock.zero_()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            tick(*inputs)
        for buffer, value in zip(changing, kept, strict=True):
            buffer.copy_(value)

    def __call__(self, *inputs: Tensor) -> None:
        for own, given in zip(self.inputs, inputs, strict=True):
            own.copy_(given)
        self.graph.replay()
