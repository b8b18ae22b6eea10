"""The memory that a run asks for: near what live trainers hold, and refused before anything is made."""

import gc

import pytest
import torch

from lnlab import memory, runs
from lnlab.config import ConfigError, parse
from lnlab.trainers import driver, make_trainer


def tensor_bytes() -> int:
    """Memory of all tensors that Python can reach; storages that several share count once."""
    gc.collect()
    plain = (torch.Tensor, torch.nn.Parameter)  # torch keeps fake ones of what another test traced, without memory
    tensors = [each for each in gc.get_objects() if type(each) in plain]
    storages = {each.untyped_storage().data_ptr(): each.untyped_storage().nbytes() for each in tensors}
    return sum(storages.values())


@pytest.mark.parametrize(
    "sizes",
    [
        {"hidden": 256, "workers": 20, "seeds": 2},
        {"hidden": 256, "workers": 20, "seeds": 2, "trunks": "separate", "eval_episodes": 0},
        {"hidden": 16, "workers": 300, "seeds": 2, "gradient_carry": True, "eval_episodes": 0},
        {"algorithm": "td3", "capacity": 20_000, "hidden": 512, "seeds": 1, "batch_size": 32},
        {"algorithm": "td3", "capacity": 200_000, "hidden": 1024, "seeds": 1, "env": "Pendulum-v1", "norm": "none"},
    ],
)
def test_the_estimate_is_near_what_trainers_hold(sizes):
    config = parse(sizes)
    before = tensor_bytes()
    trainer = make_trainer(config)
    state = trainer.state_dict()
    held = tensor_bytes() - before
    assert state
    asked = memory.needed(config, 1, config.seeds)
    assert held < asked < 4 * held + 200e6  # Adam's moments come with the first update


@pytest.mark.parametrize(
    "sizes",
    [
        {"seeds": 10_000, "episodes": 10**7},
        {"eval_episodes": 10_000, "hidden": 8192, "workers": 1},
        {"algorithm": "td3", "capacity": 10**8},
    ],
)
def test_a_run_that_cannot_fit_is_refused_before_its_folder_is_made(sizes, tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(memory, "available", lambda device: 32 * 10**9)
    name = max(sizes, key=lambda name: sizes[name] if name != "algorithm" else 0)
    said = rf"needs about [\d,.]+ GB of memory.*there are 32.0 GB.*{name}={sizes[name]}"
    with pytest.raises(ConfigError, match=said):
        driver.run(parse(sizes))
    assert not runs.RESULTS.exists()


def test_the_machine_has_memory_and_a_container_may_allow_less(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CGROUPS", (tmp_path / "memory.max", tmp_path / "not there"))
    machine = memory.available()
    assert machine is None or machine > 10**8
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.available() == machine
    (tmp_path / "memory.max").write_text("1000000\n")
    assert memory.available() == (machine and 10**6)
