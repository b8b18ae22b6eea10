"""An arm is what its name says, or it is refused: before its folder is made, when it starts, and at its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lnlab import runs, study
from lnlab.cli import main
from lnlab.config import ConfigError, parse
from lnlab.models import actor_critic, cnn, norms
from lnlab.models.cnn import CNN, FEATURES, PLACES
from lnlab.models.stacked import LayerNorm, NoNorm
from lnlab.paths import PUBLISHED
from lnlab.runs import Run
from lnlab.trainers import admission, driver
from lnlab.trainers.a3c import ActorCriticTrainer

PENDULUM: dict[str, Any] = {"algorithm": "td3", "env": "Pendulum-v1", "norm": "none"}
SMALL = {"seeds": 1, "eval_episodes": 0, "device": "cpu", "cores": 1, "profile": "test"}
ON_POLICY = SMALL | {"core": "ff", "hidden": 8, "episodes": 2}
DRIVING = SMALL | {
    "algorithm": "td3",
    "steps": 100,
    "learning_starts": 99,
    "batch_size": 2,
    "hidden": 8,
    "tensorboard": False,
}


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (runs, study):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results", raising=False)
    return tmp_path / "results"


# -- before the folder is made ----------------------------------------------------------------------------------------
IMPOSSIBLE = [
    (PENDULUM | {"norm": "ln_output"}, "norm='ln_output' has no place in the networks on vectors of env='Pendulum-v1'"),
    ({"algorithm": "td3", "norm": "rms"}, "has no place in the CNN of env='lnlab/Driving-v0'; choose one of none, ln,"),
    (PENDULUM | {"actor_features": "detached"}, "actor_features='detached' is not allowed with env='Pendulum-v1'"),
    (PENDULUM | {"target_cnn": True}, "target_cnn=True is not allowed"),
    ({"algorithm": "td3", "capacity": 4}, "capacity=4 is not allowed: a transition of lnlab/Driving-v0 takes 5 slots"),
    (PENDULUM | {"env": "CartPole-v1"}, "env='CartPole-v1' is not allowed: it acts by"),
]


@pytest.mark.parametrize(("settings", "message"), IMPOSSIBLE)
def test_what_an_environment_cannot_carry_is_refused_before_anything_is_made(
    settings: dict[str, Any], message: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        driver.run(parse(settings), progress=False)
    assert message in str(refused.value)
    assert main(["train", *(f"{name}={value}" for name, value in settings.items())]) == 2
    assert message in capsys.readouterr().err
    assert not results.exists()


def test_a_study_is_refused_before_its_first_run_starts(results: Path, tmp_path: Path) -> None:
    arms = tmp_path / "study.toml"
    arms.write_text(
        '[profiles.tiny]\nexperiments = ["vector"]\nsteps = 100\n[experiments.vector]\nfixed = {algorithm = "td3", '
        'env = "Pendulum-v1"}\n[experiments.vector.arms]\nnorm = ["none", "ln_output"]\n'
    )
    with pytest.raises(ConfigError, match="norm='ln_output' has no place in the networks on vectors"):
        study.execute("tiny", study=arms)
    assert not results.exists()


# -- live parameters --------------------------------------------------------------------------------------------------
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factories forget the norm."""
    monkeypatch.setattr(actor_critic, "make_norm", lambda *given: NoNorm(*given[2:]))
    monkeypatch.setattr(cnn, "make_norm", lambda norm, layer, shape: nn.Identity())


def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factories put a norm where none is asked for."""
    monkeypatch.setattr(actor_critic, "make_norm", lambda *given: LayerNorm(*given[2:]))
    monkeypatch.setattr(cnn, "make_norm", lambda norm, layer, shape: nn.LayerNorm(list(shape)))


def no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of norms itself has lost the layers of one."""
    row = norms.NORMS["ln"]._replace(actor_critic=(), cnn=())
    monkeypatch.setitem(norms.NORMS, "ln", row)


@pytest.mark.parametrize("settings", [ON_POLICY | {"core": "gru"}, DRIVING], ids=["a3c", "td3"])
@pytest.mark.parametrize(("sabotage", "norm"), [(without, "ln"), (everywhere, "none"), (no_row, "ln")])
def test_a_run_whose_networks_do_not_hold_the_norm_of_its_name_never_completes(
    settings: dict[str, Any], sabotage: Callable[[pytest.MonkeyPatch], None], norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse(settings | {"norm": norm})
    sabotage(monkeypatch)
    with pytest.raises(RuntimeError, match=f"norm='{norm}' stands for .*, but the live networks hold "):
        driver.run(config, progress=False)
    assert Run.at(config).status == "failed"


def test_a_norm_that_is_lost_on_the_way_is_noticed_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    config, seen = parse(ON_POLICY | {"norm": "ln"}), list[Any]()
    right = admission._promised(config)
    lost = property(lambda _: right if seen.append(1) or len(seen) < 3 else [])
    monkeypatch.setattr(ActorCriticTrainer, "norm_layers", lost)
    with pytest.raises(RuntimeError, match="but the live networks hold no norm layer"):
        driver.run(config, progress=False)
    assert Run.at(config).status == "failed"


def test_a_shard_that_an_earlier_session_trained_without_its_norm_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = parse(ON_POLICY | {"norm": "ln"})
    run = Run.open(config, block=1)
    (shard,) = run.shards
    driver.train_shard(config, shard, "cpu", lambda _: None, lambda: False)
    shard.record(norm_layers=[])
    shard.checkpoint(ActorCriticTrainer(config).state_dict() | {"episode": 2})
    run.release()
    monkeypatch.setattr(driver, "train_shard", lambda *_: True)
    with pytest.raises(RuntimeError, match="hold no norm layer"):
        driver.run(config, progress=False)
    assert not run.complete


def test_every_published_run_holds_the_norm_of_its_name() -> None:
    for folder in PUBLISHED.glob("*/*/config.json"):
        run = Run(folder.parent)
        admission.require_norm(run.config, run.provenance["norm_layers"])


@pytest.mark.parametrize("env", ["lnlab/Offloading-v0", "CartPole-v1"])
def test_a_run_with_the_norm_on_one_side_says_where_from_the_command_line_on(env: str) -> None:
    extent = {"episodes": 2, "eval_episodes": 1} if env == "lnlab/Offloading-v0" else {"steps": 1000, "env": env}
    settings = {"seeds": 1, "cores": 1, "profile": "test", "hidden": 8, "trunks": "separate", "norm_in": "critic"}
    settings |= extent
    assert main(["train", *(f"{name}={value}" for name, value in settings.items())]) == 0
    run = Run.at(parse(settings))
    assert run.id.startswith("a3c-gru-ln-separate-norm-critic")
    assert run.provenance["norm_layers"] == ["critic.embed.norm", "critic.core.norm"]
    assert run.status == "complete"
    assert not (run.dir / "diagnostics.parquet").exists()  # which speaks of features that both share


# -- every kind of norm counts ----------------------------------------------------------------------------------------
class Scale:
    """A norm of our own, with parameters of other names, or with none."""

    def __init__(self, name: str, width: int) -> None:
        self.shapes: dict[str, tuple[int, ...]] = {f"{name}.rho": (width,)} if width else {}


@pytest.mark.parametrize("norm", [Scale, lambda name, width: Scale(name, 0), LayerNorm])
def test_a_norm_of_any_class_is_counted_in_the_stacked_networks(norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_critic, "make_norm", lambda *given: norm(*given[2:]))
    net = actor_critic.make_actor_critic("ff", "ln", hidden=4)
    rows = torch.ones(2, net.layout.size)
    assert actor_critic.norm_layers(net, rows) == [*net.norms] == ["embed.norm", "core.norm", "heads.norm"]
    lost = actor_critic.norm_layers(net, torch.zeros_like(rows))
    assert lost == ([] if norm in (Scale, LayerNorm) else [*net.norms])


def test_a_norm_of_any_class_is_counted_in_the_cnn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "make_norm", lambda norm, layer, shape: nn.GroupNorm(4, shape[0]))
    assert CNN((4, 84, 84), "ln", "linear").norm_layers == [*PLACES.values()]


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.spectral_norm])
def test_a_layer_whose_weight_is_normed_is_counted(wrap: Callable[[nn.Module], nn.Module]) -> None:
    net = CNN((4, 84, 84), "none", "linear")
    assert net.norm_layers == []
    wrap(net.layers["conv2"])
    wrap(net.layers["fc"])
    assert net.norm_layers == ["norm2", "norm4"]
    assert net(torch.zeros(1, 4, 84, 84)).shape == (1, FEATURES)


def test_the_norms_of_the_table_are_those_that_are_found() -> None:
    for name, norm in norms.NORMS.items():
        if norm.actor_critic is not None:
            for at in ("usual", *norm.places):
                net = actor_critic.make_actor_critic("gru", name, at=at, hidden=4)
                found = actor_critic.norm_layers(net, actor_critic.seeded_rows(net, [[0]]))
                admission.require_norm(parse({"norm": name, "norm_at": at}), found)
                for side in ("both", "actor", "critic") if name != "none" else ():
                    settings = {"trunks": "separate", "norm_in": side}
                    net = actor_critic.make_actor_critic("gru", name, at=at, hidden=4, **settings)
                    found = actor_critic.norm_layers(net, actor_critic.seeded_rows(net, [[0]]))
                    assert all(place.startswith(("actor.", "critic.") if side == "both" else side) for place in found)
                    admission.require_norm(parse({"norm": name, "norm_at": at} | settings), found)
        if norm.cnn is not None:
            places = CNN((4, 84, 84), name, "linear").norm_layers
            found = [f"{who}.{place}" for who in ("critic", "actor") for place in places]
            admission.require_norm(parse({"algorithm": "td3", "norm": name}), found)
