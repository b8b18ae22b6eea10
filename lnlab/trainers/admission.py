"""Whether a run is what its name says: asked before its folder is made, when its networks live, and at its end."""

from collections.abc import Sequence
from typing import Any

from lnlab.config import Config, ConfigError, GymConfig, TD3Config
from lnlab.models.norms import NORMS, placed

OF_IMAGES = ("final_activation", "precision", "actor_features", "target_cnn", "shift")  # besides the norm of the CNN


def refuse_impossible(config: Config) -> None:
    """Stop before anything is made for a run that its environment cannot carry.

    Raises:
        ConfigError: an environment that is not there, or that the algorithm cannot act in; or one in which the norm,
            another setting of TD3's CNN, the capacity of the replay buffer or the bounds of actions have no meaning.
    """
    if isinstance(config, GymConfig):
        _refuse_unfit(config)
    if not isinstance(config, TD3Config):
        return
    from lnlab.envs.images import make_env
    from lnlab.models.cnn import require_place
    from lnlab.trainers.replay import least_capacity

    env = make_env(config.env)
    space: Any = env.observation_space
    env.close()
    require_place(space, config)
    if "image" not in space.spaces:
        for name in OF_IMAGES:
            value, usual = getattr(config, name), config.defaults()[name]
            if value != usual:
                raise ConfigError(
                    f"{name}={value!r} is not allowed with env={config.env!r}: it is a setting for images, which this "
                    f"environment does not show; leave it at {usual!r}"
                )
    if config.capacity < (least := least_capacity(space)):
        raise ConfigError(
            f"capacity={config.capacity} is not allowed: a transition of {config.env} takes {least} slots"
        )


def _refuse_unfit(config: GymConfig) -> None:
    import gymnasium
    import numpy as np

    from lnlab.envs.stack import make_one
    from lnlab.trainers.actions import make_actions

    env = make_one(config.env)
    space: Any = env.action_space
    env.close()
    try:
        make_actions(space)
    except ValueError as error:
        raise ConfigError(f"env={config.env!r} is not allowed: {error}") from None
    bounds, named = (
        config.action_bounds,
        f"action_bounds={config.action_bounds!r} is not allowed with env={config.env!r}",
    )
    box = isinstance(space, gymnasium.spaces.Box)
    if bounds != config.defaults()["action_bounds"] and not box:
        raise ConfigError(f"{named}: it acts by {space}, and only a Box has bounds")
    if bounds == "squash" and box and not np.isfinite([space.low, space.high]).all():
        raise ConfigError(f"{named}: it acts by {space}, which has no bounds to squash to; choose clip")


def require_norm(config: Config, found: Sequence[str]) -> None:
    """Stop a run whose networks lack the norm of its name, or hold one that its name does not say.

    Args:
        found: the norm layers of the live networks, `norm_layers` of the trainer.

    Raises:
        RuntimeError: they are not those that `config.norm` stands for.
    """
    if sorted(found) != sorted(promised := _promised(config)) or bool(found) == (config.norm == "none"):
        raise RuntimeError(
            f"norm={config.norm!r} stands for {_words(promised)}, but the live networks hold {_words(found)}: "
            "such a run would pass for another arm"
        )


def _promised(config: Config) -> list[str]:
    sides = ("actor", "critic") if config.norm_in == "both" else (config.norm_in,)
    if not isinstance(config, TD3Config):
        layers = placed(config.norm, config.norm_at)
        return [*layers] if config.trunks == "shared" else [f"{who}.{layer}" for who in sides for layer in layers]
    from lnlab.envs.images import has_images
    from lnlab.models.cnn import PLACES

    norm = NORMS[config.norm]
    places = [PLACES[layer] for layer in norm.cnn or ()] if has_images(config.env) else norm.heads or ()
    return [f"{who}.{place}" for who in sides for place in places]


def _words(layers: Sequence[str]) -> str:
    return f"the norm layers {', '.join(sorted(layers))}" if layers else "no norm layer"
