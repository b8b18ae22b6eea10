"""A trainer that learns nothing, for tests of the store: every number is a function of seed, worker and episode."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
import torch

from lnlab.cli import USAGE, main
from lnlab.config import RunConfig, parse
from lnlab.runs import Report, Run

QUANTITIES = ("return", "value_loss", "value_loss_all", "policy_loss", "entropy", "grad_norm", "clipped")

LONG = bool(os.environ.get("LNLAB_LONG_TESTS"))
only_long = pytest.mark.skipif(not LONG, reason="LNLAB_LONG_TESTS=1 runs it")


class FakeTrainer:
    def __init__(self, config: RunConfig) -> None:
        self.config, self.episode = config, 0

    def __iter__(self) -> Iterator[Report]:
        while self.episode < self.config.episodes:
            self.episode += 1
            yield self.report()

    def report(self) -> Report:
        seed, worker = np.meshgrid(self.config.seed_list, np.arange(self.config.workers), indexing="ij")
        base = (1000.0 * seed + 100.0 * worker + self.episode).astype(np.float32)
        report: Report = {name: base + i for i, name in enumerate(QUANTITIES)}
        return report | {"episode": np.array(self.episode), "alive": np.ones(base.shape, bool)}

    def state_dict(self) -> dict[str, Any]:
        return {"episode": self.episode, "parameters": torch.full((4,), float(self.episode))}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.episode = state["episode"]


def small(**settings: Any) -> RunConfig:
    return parse({"seeds": 3, "episodes": 6, "workers": 2, "profile": "test"} | settings)


def finished(**settings: Any) -> Run:
    run = Run.open(small(**settings))
    train(run)
    run.finish()
    return run


def refusal(capsys: Any, *words: str) -> str:
    """The one line with which a command refuses its words; nothing else is printed."""
    capsys.readouterr()
    try:
        code: Any = main(words)
    except SystemExit as end:  # of argparse
        code = end.code
    told = capsys.readouterr()
    assert (code, told.out, told.err.count("\n")) == (USAGE, "", 1), told
    return str(told.err)


def wait_until(true: Callable[[], object], seconds: float = 180) -> None:
    """Machines are shared: they may be slow, but nothing may hang."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def write_template(folder: Path, parameters: str, code: str) -> None:
    """notebooks/train.ipynb of two cells, below `folder`."""
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": python})
    notebook.cells = [nbformat.v4.new_code_cell(parameters), nbformat.v4.new_code_cell(code)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    (folder / "notebooks").mkdir()
    nbformat.write(notebook, folder / "notebooks" / "train.ipynb")


def train(run: Run, *, until: int | None = None, every: int = 2) -> None:
    """Train the shards of a run from their checkpoints up to episode `until`, keeping one every `every` episodes."""
    for shard in run.shards:
        trainer = FakeTrainer(run.config.with_seeds(shard.seeds))
        if (state := shard.load()) is not None:
            trainer.load_state_dict(state)
        shard.record(norm_layers=["core.norm"], parameter_count=7, device="cpu")
        for report in trainer:
            shard.append(report)
            if trainer.episode % every == 0 or trainer.episode == run.config.episodes:
                shard.checkpoint(trainer.state_dict())
            if trainer.episode == until:
                break
