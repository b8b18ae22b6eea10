"""How much work a training step is: counted, not timed, so that a change which doubles it is seen on any machine.

Counted are the operations that torch dispatches (the cost of small nets on a CPU and of launches on a GPU) and the
floating-point operations of the matrix products, which hand arithmetic gives.
"""

from collections import Counter
from typing import Any

import pytest
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from lnlab.config import parse
from lnlab.trainers import make_trainer

STEPS = 100


class OperationCounter(TorchDispatchMode):
    """Counts dispatched operations that do work; views and detachments cost nothing."""

    FREE = frozenset(
        {
            "view",
            "unsqueeze",
            "squeeze",
            "select",
            "slice",
            "transpose",
            "permute",
            "expand",
            "split",
            "detach",
            "alias",
            "t",
            "_unsafe_view",
        }
    )

    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        if name not in self.FREE:
            self.counts[name] += 1
        return func(*args, **(kwargs or {}))


def operations(seeds: int, **settings: object) -> int:
    trainer = make_trainer(parse({"seeds": seeds, "hidden": 32} | settings))
    trainer.train_episode()
    with OperationCounter() as counter:
        trainer.train_episode()
    return sum(counter.counts.values())


@pytest.mark.parametrize(
    ("settings", "bound"),
    [
        ({"core": "gru", "norm": "ln"}, 102),
        ({"core": "gru", "norm": "none"}, 95),
        ({"core": "ff", "norm": "ln"}, 85),
        ({"core": "ff", "norm": "none"}, 80),
    ],
)
def test_operations_per_step_stay_within_bounds(settings: dict[str, object], bound: int) -> None:
    assert operations(1, **settings) / STEPS < bound


def test_operations_do_not_grow_with_the_seeds() -> None:
    assert abs(operations(4) - operations(1)) < 10  # of some 9,500


def test_matrix_products_are_those_of_one_forward_and_one_backward_pass() -> None:
    """No second forward pass: the gradient uses what acting stored. Only the bootstrap value adds 5 of 100 steps."""
    hidden, seeds, workers = 32, 2, 5
    trainer = make_trainer(parse({"seeds": seeds, "hidden": hidden, "core": "gru"}))
    trainer.train_episode()
    with FlopCounterMode(display=False) as counter:
        trainer.train_episode()
    embed, gates, heads = 48 * hidden, 6 * hidden * hidden, hidden * 4  # multiply-adds of one sample
    forward = 105 * (embed + gates + heads)
    weights, inputs = 100 * (embed + gates + heads), 100 * (gates + heads)  # no gradient of the observations
    assert counter.get_total_flops() == 2 * seeds * workers * (forward + weights + inputs)
