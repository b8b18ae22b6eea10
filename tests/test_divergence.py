"""Where a learner stopped being finite: seed, worker, episode and cause, in the reports and in the run's summary."""

from typing import Any

import numpy as np
import pytest
import torch

from lnlab import runs
from lnlab.config import parse
from lnlab.trainers import driver
from lnlab.trainers.a3c import ActorCriticTrainer

SMALL = {"core": "ff", "hidden": 8, "seeds": 3, "workers": 2, "episodes": 4, "first_seed": 5, "eval_episodes": 1}


class Ill(ActorCriticTrainer):
    """One rollout's number is not finite: `what` of `row` in the second of its episodes."""

    def __init__(self, what: str, row: int, value: float = torch.nan, **settings: object) -> None:
        super().__init__(parse(SMALL | settings))
        self.what, self.row, self.value = what, row, value

    def _differentiate(self, continues: torch.Tensor) -> Any:
        losses = super()._differentiate(continues)
        if self.episode == 1:
            if self.what == "gradient":
                self.gradient[self.row, 3] = self.value
            if self.what == "loss":
                losses.value[self.row] = self.value
                self.gradient[self.row] = self.value
        return losses


def followed(trainer: ActorCriticTrainer) -> list[dict[str, Any]]:
    for _ in trainer:
        pass
    return trainer.diverged


@pytest.mark.parametrize("settings", [{}, {"algorithm": "individual"}, {"norm": "none", "gradient_carry": True}])
def test_finite_learners_have_no_entry(settings: dict[str, object]) -> None:
    assert followed(ActorCriticTrainer(parse(SMALL | settings))) == []


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_the_first_number_that_is_not_finite_is_named_once(algorithm: str, what: str, value: float) -> None:
    trainer = Ill(what, row=3, value=value, algorithm=algorithm)
    assert followed(trainer) == [{"seed": 6, "worker": 1, "episode": 2, "what": what}]
    assert trainer.alive.sum() == trainer.learners - 1


def test_an_averaged_gradient_is_traced_to_the_worker_whose_loss_tells() -> None:
    assert followed(Ill("loss", row=5, schedule="sync")) == [{"seed": 7, "worker": 1, "episode": 2, "what": "loss"}]


@pytest.mark.parametrize(("algorithm", "worker"), [("a3c", -1), ("individual", 1)])
def test_a_parameter_is_seen_though_its_last_gradient_was_finite(algorithm: str, worker: int) -> None:
    trainer = ActorCriticTrainer(parse(SMALL | {"algorithm": algorithm}))
    for _ in range(3):
        trainer.train_episode()
    report = trainer.train_episode()
    trainer.parameters[{"a3c": 1, "individual": 3}[algorithm], 0] = torch.inf  # as a step of Adam can leave it
    entry = {"seed": 6, "worker": worker, "episode": 4, "what": "parameter"}
    assert trainer._first_divergences(report) == [entry]
    trainer.diverged.append(entry)
    assert trainer._first_divergences(report) == []


def test_two_learners_of_a_seed_have_an_entry_each() -> None:
    trainer = Ill("gradient", row=2, algorithm="individual")
    trainer.parameters[3] *= 1e30
    assert [(entry["seed"], entry["worker"], entry["episode"]) for entry in followed(trainer)] == [(6, 1, 1), (6, 0, 2)]


@pytest.fixture
def results(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    return tmp_path


def test_the_summary_of_a_run_names_the_diverged_learners_of_all_its_shards(results: Any) -> None:
    config = parse(SMALL | {"lr": 1e38, "seeds": 2, "cores": 1, "device": "cpu", "core": "gru"})
    runs.Run.open(config, block=1).release()
    run = driver.run(config, progress=False)
    assert run.complete
    assert len(run.table("episodes")) == 2 * 2 * 4
    told = run.provenance["diverged"]
    assert [entry["seed"] for entry in told] == [5, 6]
    assert {*told[0]} == {"seed", "worker", "episode", "what"}
    dead = run.table("episodes").query("~alive").groupby("seed").episode.min()
    assert all(entry["episode"] <= dead[entry["seed"]] for entry in told)
    assert run.table("evaluation").return_mean.notna().all()


@pytest.mark.parametrize("algorithm", ["a3c", "individual"])
@pytest.mark.parametrize("core", ["gru", "ff"])
@pytest.mark.parametrize("norm", ["none", "ln"])
def test_a_run_with_an_absurd_learning_rate_completes(results: Any, algorithm: str, core: str, norm: str) -> None:
    settings = SMALL | {"lr": 1e30, "seeds": 1, "cores": 1, "device": "cpu", "episodes": 2, "eval_episodes": 0}
    run = driver.run(parse(settings | {"algorithm": algorithm, "core": core, "norm": norm}), progress=False)
    assert run.complete
    assert len(run.table("episodes")) == 2 * 2
    shown = run.table("episodes")
    finite = np.isfinite(shown[["value_loss", "policy_loss", "grad_norm"]]).all(axis=None) and shown.alive.all()
    assert bool(run.provenance["diverged"]) == (not finite)


def test_entries_survive_a_stop(results: Any) -> None:
    config = parse(SMALL | {"seeds": 1, "lr": 1e38, "device": "cpu", "core": "gru", "episodes": 8, "eval_episodes": 0})
    run = runs.Run.open(config, block=1)
    asked = iter([False] * 4 + [True])
    (shard,) = run.shards
    assert not driver.train_shard(config, shard, "cpu", lambda _: None, lambda: next(asked))
    told = shard.manifest["facts"]["diverged"]
    run.release()
    assert len(told) == 1
    again = driver.run(config, progress=False)
    assert again.provenance["diverged"] == told
