"""An arm is what its name says, or it is refused: before its folder is made, when it starts, and at its end."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from lnlab import runs, study
from lnlab.book import run_page
from lnlab.cli import main
from lnlab.config import ConfigError, parse
from lnlab.models import actor_critic, cnn, norms, stacked
from lnlab.models.cnn import CNN, FEATURES, PLACES
from lnlab.models.stacked import LayerNorm, NoNorm, Views
from lnlab.paths import PUBLISHED
from lnlab.runs import Run
from lnlab.trainers import admission, driver
from lnlab.trainers.a3c import ActorCriticTrainer
from lnlab.trainers.td3 import OffPolicyTrainer

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
    (PENDULUM | {"norm": "ln"}, "norm='ln' is not allowed with env='Pendulum-v1': a norm stands in the CNN"),
    (PENDULUM | {"norm": "ln_output"}, "norm='ln_output' is not allowed with env='Pendulum-v1'"),
    (PENDULUM | {"algorithm": "ddpg", "norm": "ln"}, "norm='ln' is not allowed with env='Pendulum-v1'"),
    (PENDULUM | {"actor_features": "detached"}, "actor_features='detached' is not allowed with env='Pendulum-v1'"),
    (PENDULUM | {"final_activation": "linear"}, "final_activation='linear' is not allowed with env='Pendulum-v1'"),
    (PENDULUM | {"precision": "bfloat16"}, "precision='bfloat16' is not allowed"),
    (PENDULUM | {"target_cnn": True}, "target_cnn=True is not allowed"),
    (PENDULUM | {"capacity": 1}, "capacity=1 is not allowed: a transition of Pendulum-v1 takes 2 slots"),
    ({"algorithm": "td3", "capacity": 4}, "capacity=4 is not allowed: a transition of lnlab/Driving-v0 takes 5 slots"),
    (PENDULUM | {"env": "NoSuch-v0"}, "env='NoSuch-v0' is not allowed: no such environment; the nearest ids"),
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
        'env = "Pendulum-v1"}\n[experiments.vector.arms]\nnorm = ["none", "ln"]\n'
    )
    with pytest.raises(ConfigError, match="norm='ln' is not allowed with env='Pendulum-v1'"):
        study.execute("tiny", study=arms)
    assert not results.exists()


def test_the_control_alone_trains_on_vectors() -> None:
    run = driver.run(parse(SMALL | PENDULUM | {"steps": 100, "learning_starts": 90, "batch_size": 2, "hidden": 8}))
    assert run.complete
    assert run.provenance["norm_layers"] == []


# -- live parameters --------------------------------------------------------------------------------------------------
def without(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factories forget the norm."""
    monkeypatch.setattr(actor_critic, "make_norm", lambda norm, name, width: NoNorm(name, width))
    monkeypatch.setattr(cnn, "make_norm", lambda norm, layer, shape: nn.Identity())


def everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The factories put a norm where none is asked for."""
    monkeypatch.setattr(actor_critic, "make_norm", lambda norm, name, width: LayerNorm(name, width))
    monkeypatch.setattr(cnn, "make_norm", lambda norm, layer, shape: nn.LayerNorm(list(shape)))


def in_one_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of the places is forgotten."""
    make, make_image = stacked.make_norm, cnn.make_norm
    monkeypatch.setattr(
        actor_critic, "make_norm", lambda norm, name, w: make("none" if name == "core.norm" else norm, name, w)
    )
    monkeypatch.setattr(
        cnn, "make_norm", lambda norm, layer, s: make_image("none" if layer == "conv2" else norm, layer, s)
    )


def no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table of norms itself has lost the layers of one."""
    row = norms.NORMS["ln"]._replace(actor_critic=(), cnn=())
    monkeypatch.setitem(norms.NORMS, "ln", row)


@pytest.mark.parametrize(
    "settings", [ON_POLICY, ON_POLICY | {"algorithm": "individual", "core": "gru"}, DRIVING], ids=["a3c", "ind", "td3"]
)
@pytest.mark.parametrize(
    ("sabotage", "norm"), [(without, "ln"), (everywhere, "none"), (in_one_place, "ln"), (no_row, "ln")]
)
def test_a_run_whose_networks_do_not_hold_the_norm_of_its_name_never_completes(
    settings: dict[str, Any], sabotage: Callable[[pytest.MonkeyPatch], None], norm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = parse(settings | {"norm": norm})
    sabotage(monkeypatch)
    with pytest.raises(RuntimeError, match=f"norm='{norm}' stands for .*, but the live networks hold "):
        driver.run(config, progress=False)
    assert Run.at(config).status == "failed"


@pytest.mark.parametrize("settings", [ON_POLICY, DRIVING], ids=["a3c", "td3"])
def test_a_norm_that_is_lost_on_the_way_is_noticed_at_the_end(
    settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    config, seen = parse(settings | {"norm": "ln"}), list[Any]()
    right = admission._promised(config)
    trainer = ActorCriticTrainer if settings is ON_POLICY else OffPolicyTrainer
    monkeypatch.setattr(trainer, "norm_layers", property(lambda _: right if seen.append(1) or len(seen) < 3 else []))
    monkeypatch.setattr(OffPolicyTrainer, "_look", lambda *_: None)  # takes a while
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


def test_the_page_of_a_run_that_lacks_its_norm_is_not_made(monkeypatch: pytest.MonkeyPatch) -> None:
    run = driver.run(parse(ON_POLICY | {"norm": "ln"}), progress=False)
    run_page.require_complete(run)
    run.record(norm_layers=[])
    with pytest.raises(RuntimeError, match="but the live networks hold no norm layer"):
        run_page.require_complete(run)


def test_every_published_run_holds_the_norm_of_its_name() -> None:
    for folder in PUBLISHED.glob("*/*/config.json"):
        run = Run(folder.parent)
        admission.require_norm(run.config, run.provenance["norm_layers"])


# -- every kind of norm counts ----------------------------------------------------------------------------------------
class Scale:
    """A norm of our own, with parameters of other names: divides by the root mean square."""

    def __init__(self, name: str, width: int) -> None:
        self.rho = f"{name}.rho"
        self.shapes: dict[str, tuple[int, ...]] = {self.rho: (width,)}

    def forward(self, p: Views, x: torch.Tensor) -> torch.Tensor:
        return x


class Unit(Scale):
    """One without parameters."""

    def __init__(self, name: str, width: int) -> None:
        self.shapes = {}


@pytest.mark.parametrize("norm", [Scale, Unit, LayerNorm])
def test_a_norm_of_any_class_is_counted_in_the_stacked_networks(norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(actor_critic, "make_norm", lambda _, name, width: norm(name, width))
    net = actor_critic.make_actor_critic("ff", "ln", hidden=4)
    rows = torch.ones(2, net.layout.size)
    assert actor_critic.norm_layers(net, rows) == ["embed.norm", "core.norm"]
    lost = actor_critic.norm_layers(net, torch.zeros_like(rows))
    assert lost == (["embed.norm", "core.norm"] if norm is Unit else [])


def any_norm(kind: str, channels: int, shape: Any) -> nn.Module:
    made: dict[str, Callable[[], nn.Module]] = {
        "rms": lambda: nn.RMSNorm(list(shape)),
        "batch": lambda: nn.BatchNorm2d(channels) if len(shape) == 3 else nn.BatchNorm1d(channels),
        "group": lambda: nn.GroupNorm(4, channels),
        "own": lambda: type("Own", (nn.Module,), {"forward": lambda self, x: x / x.norm()})(),
    }
    return made[kind]()


@pytest.mark.parametrize("kind", ["rms", "batch", "group", "own"])
def test_a_norm_of_any_class_is_counted_in_the_cnn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cnn, "make_norm", lambda norm, layer, shape: any_norm(kind, shape[0], shape))
    assert CNN((4, 84, 84), "ln", "linear").norm_layers == [*PLACES.values()]


@pytest.mark.parametrize("wrap", [nn.utils.parametrizations.weight_norm, nn.utils.weight_norm, nn.utils.spectral_norm])
@pytest.mark.filterwarnings("ignore::FutureWarning")
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
            net = actor_critic.make_actor_critic("ff", name, hidden=4)
            found = actor_critic.norm_layers(net, actor_critic.seeded_rows(net, [[0]]))
            admission.require_norm(parse({"norm": name}), found)
        if norm.cnn is not None:
            places = CNN((4, 84, 84), name, "linear").norm_layers
            found = [f"{who}.{place}" for who in ("critic", "actor") for place in places]
            admission.require_norm(parse({"algorithm": "td3", "norm": name}), found)
