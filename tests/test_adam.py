"""The optimizer: torch's own numbers, without the time that loading torch's compiler takes."""

import subprocess
import sys
from typing import Any

import pytest
import torch

from lnlab.trainers.adam import Adam

SETTINGS = [
    {},
    {"env": "CartPole-v1"},
    {"algorithm": "td3", "seeds": 1, "steps": 300, "learning_starts": 100, "env": "Pendulum-v1"},
    {"algorithm": "td3", "seeds": 1, "steps": 100, "learning_starts": 50, "batch_size": 16},
]
FIRST_REPORT = """
import sys
from lnlab.config import parse
from lnlab.trainers import make_trainer
trainer = make_trainer(parse({}))
next(iter(trainer))
trainer.load_state_dict(trainer.state_dict())
print("torch" in sys.modules, "torch._dynamo" in sys.modules)
"""


@pytest.mark.parametrize("fused", [True, False])
def test_it_steps_saves_and_goes_on_to_the_bits_of_torchs(fused: bool) -> None:
    ends = []
    for kind in (torch.optim.Adam, Adam):
        torch.manual_seed(0)
        weights = torch.nn.Parameter(torch.randn(5, 7))
        steps: list[int] = []
        saved: dict[str, Any] = {}
        for _ in range(2):
            optimizer = kind([weights], lr=1e-3, fused=fused)
            optimizer.register_step_post_hook(lambda *_, steps=steps: steps.append(1))
            if saved:
                optimizer.load_state_dict(saved)
            for _ in range(3):
                weights.grad = torch.randn(5, 7)
                optimizer.step()
                optimizer.zero_grad()
            saved = optimizer.state_dict()
        ends.append(weights.detach().clone())
        assert len(steps) == 6
        assert float(saved["state"][0]["step"]) == 6
    assert torch.equal(*ends)


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_training_begins_without_torchs_compiler(settings: dict[str, object]) -> None:
    told = subprocess.run(
        [sys.executable, "-c", FIRST_REPORT.replace("{}", repr(settings))], check=True, capture_output=True, text=True
    )
    assert told.stdout.split() == ["True", "False"]
