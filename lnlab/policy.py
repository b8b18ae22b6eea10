"""A trained policy by itself: it acts in plain NumPy, and becomes a module of torch's own layers.

policy = run.policy(seed=0)
env, state = policy.make_env(), None
observation, _ = env.reset(seed=1)
while True:
    action, state = policy.act(observation, state)
    observation, reward, terminated, truncated, _ = env.step(action)
    ...                                            # where an episode ends, `state = None` again
"""

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from lnlab.config import RECORD_STEPS, Config, ConfigError, RunConfig, TD3Config
from lnlab.models import single
from lnlab.models.actor_critic import of_settings
from lnlab.models.mlp import MLP

if TYPE_CHECKING:
    import gymnasium


class Policy:
    """What a learner does at its last checkpoint; `Run.policy` makes it.

    `config` has the settings of its run; `seed`, `worker` and `reports`, so many reports after its start, say which
    learner it is.
    """

    state_size = 0  # numbers it carries from step to step, S

    def __init__(self, config: Any, seed: int, worker: int, reports: int) -> None:
        self.config, self.seed, self.worker, self.reports = config, seed, worker, reports

    def act(
        self,
        observation: Any,
        state: np.ndarray | None = None,
        *,
        greedy: bool = True,
        rng: np.random.Generator | None = None,
    ) -> tuple[Any, np.ndarray]:
        """The action for an observation, as `make_env` gives and takes them.

        Args:
            observation: one; or several as rows of numbers (B, I), I as `gymnasium.spaces.flatten` counts. Images of
                TD3: a dict, of one observation or with B in front of every part.
            state: what the last call returned, (S,) or (B, S); None where an episode begins.
            greedy: the likeliest action, or the middle of a Gaussian. Else it is drawn: from the policy, or of TD3 and
                DDPG with the noise of exploration at this step.
            rng: draws it.

        Returns:
            the action, or B of them; and the state that follows. S is 0 where nothing is carried.

        Raises:
            ValueError: the observation or the state has another shape, or there is no `rng` to draw with.
        """
        if not greedy and rng is None:
            raise ValueError("greedy=False draws actions: give rng=numpy.random.default_rng(seed)")
        rows, alone = self._rows(observation)
        many = _length(rows)
        before = np.zeros((many, self.state_size), np.float32)
        if state is not None:
            wanted = (self.state_size,) if alone else before.shape
            if np.shape(state) != wanted:
                raise ValueError(f"the state has shape {np.shape(state)}; expected {wanted}")
            before = np.asarray(state, np.float32).reshape(before.shape)
        action, after = self._act(rows, before, None if greedy else rng)
        return (action[0], after[0]) if alone else (action, after)

    def module(self) -> nn.Module:
        """The network by torch's own layers, float32, for evaluation (`train()` to train it on); a new one each call.

        Of A3C and Individual: observations (B, I) and states (B, S) → outputs, values, states
        (`lnlab.models.single.ActorCriticModule`); `log_std` is of a Gaussian. Of TD3 and DDPG the actor: vectors (B, V)
        → actions (B, A) in [−1, 1]; on images (`ImageActor`) images in [−1, 1] (B, C, H, W) come first.
        """
        raise NotImplementedError

    def make_env(self, **options: Any) -> "gymnasium.Env[Any, Any]":
        """The environment that it was trained in; offloading: with the speed of `worker`, alone with its cloud.

        Args:
            options: passed on to it, such as render_mode="rgb_array".

        Raises:
            ConfigError: it cannot be made here.
        """
        from lnlab.envs.images import made
        from lnlab.envs.rules import training_velocities

        offloading = isinstance(self.config, RunConfig)
        speed = {"velocity": training_velocities(self.config.workers)[self.worker]} if offloading else {}
        return made(self.config.env, speed | options)

    def _rows(self, observation: Any) -> tuple[Any, bool]:
        """Observations (B, I), and whether it was one alone."""
        raise NotImplementedError

    def _act(self, rows: Any, state: np.ndarray, rng: np.random.Generator | None) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError


def make_policy(config: Config, state: dict[str, Any], seed: int, worker: int = 0) -> Policy:
    """The policy of a learner from the state of its trainer.

    Args:
        config: settings of the trainer, so with its seeds alone.
        state: what the trainer's `state_dict` gave.
        worker: of Individual, whose model; in the offloading task also whose speed.

    Raises:
        ConfigError: there is no such seed or worker, or the environment cannot be made here.
    """
    if seed not in config.seed_list:
        raise ConfigError(f"seed={seed} is not there: the seeds are {config.seed_list[0]} to {config.seed_list[-1]}")
    workers = 1 if isinstance(config, TD3Config) else config.workers
    if not 0 <= worker < workers:
        raise ConfigError(f"worker={worker} is not there: the workers are 0 to {workers - 1}")
    kind: Any = ActorCriticPolicy
    if isinstance(config, TD3Config):
        from lnlab.envs.images import has_images

        kind = ImagePolicy if has_images(config.env) else VectorPolicy
    return kind(config, state, seed, worker)


def acting(config: Config, state: dict[str, Any]) -> dict[str, Any]:
    """The part of a trainer's state that `make_policy` reads: without optimiser, critics and replay buffer."""
    kept = {"episode": state["episode"]}
    if not isinstance(config, TD3Config):
        kept["parameters"] = state["parameters"].clone()
        if getattr(config, "obs_norm", False):
            kept["world"] = {"moments": state["world"]["moments"][:1]}
        return kept
    actor = state["learner"]["actor"]
    parts = ("parameters",) if "parameters" in actor else ("cnn", "heads")  # of a stack of vectors, or of images
    return kept | {"learner": {"actor": {part: actor[part] for part in parts}}}


class ActorCriticPolicy(Policy):
    """Of A3C or Individual."""

    def __init__(self, config: Any, state: dict[str, Any], seed: int, worker: int) -> None:
        from lnlab.trainers.actions import make_actions

        super().__init__(config, seed, worker, state["episode"])
        self.seen_space, self.space = _spaces(config)
        from gymnasium import spaces

        self.inputs, kind = spaces.flatdim(self.seen_space), make_actions(self.space)
        self.sizes = getattr(kind, "sizes", [kind.outputs])  # of the parts of the outputs from which one is chosen
        self.gaussian = kind.gaussian
        row = config.seed_list.index(seed) * config.learners_per_seed
        row += worker if config.learners_per_seed > 1 else 0
        self._net = of_settings(config, inputs=self.inputs, actions=kind.outputs, gaussian=self.gaussian)
        self._p = self._net.layout.views(state["parameters"][row : row + 1].clone())
        moments = state["world"]["moments"][0] if getattr(config, "obs_norm", False) else None
        self._seen = None if moments is None else _scale(moments[1][row], moments[2][row])
        module = self.module()
        self._forward, self.state_size = single.plain(module), sum(module.sizes)
        self._std = module.log_std.detach().exp().numpy() if self.gaussian else np.zeros(0)

    def module(self) -> single.ActorCriticModule:
        return single.ActorCriticModule(self._net, self._p, self._seen).eval()

    def _rows(self, observation: Any) -> tuple[np.ndarray, bool]:
        return _flat(self.seen_space, self.inputs, observation)

    def _act(
        self, rows: np.ndarray, state: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        from lnlab.envs.stack import fitting

        outputs, _, after = self._forward(rows, state)
        if self.gaussian:
            drawn = outputs if rng is None else outputs + self._std * rng.standard_normal(outputs.shape, np.float32)
        else:
            parts = np.split(outputs, np.cumsum(self.sizes)[:-1], -1)
            drawn = np.stack([part.argmax(-1) if rng is None else _sample(part, rng) for part in parts], -1)
        return fitting(self.space, getattr(self.config, "action_bounds", ""), drawn), after


class OffPolicy(Policy):
    """Of TD3 or DDPG: the actor alone; `make_env` is `lnlab.envs.images.make_env`, whose actions lie in [−1, 1]."""

    def make_env(self, **options: Any) -> "gymnasium.Env[Any, Any]":
        from lnlab.envs.images import make_env

        return make_env(self.config.env, **options)

    def _noisy(self, action: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
        """As in training: 0 where a diverged learner has no number, and the noise of this step."""
        from lnlab.trainers.td3 import exploration_noise

        action = np.nan_to_num(action, nan=0.0)
        if rng is None:
            return action
        noise = exploration_noise(self.config, self.reports * RECORD_STEPS) * rng.standard_normal(action.shape)
        return np.clip(action + noise, -1, 1).astype(np.float32)

    @property
    def _norm(self) -> str:
        return str(self.config.norm if self.config.norm_in != "critic" else "none")


class VectorPolicy(OffPolicy):
    """On vectors: of a stack, which has a row for each seed."""

    def __init__(self, config: TD3Config, state: dict[str, Any], seed: int, worker: int) -> None:
        super().__init__(config, seed, worker, state["episode"])
        env: Any = self.make_env()
        self.width = env.observation_space["vector"].shape[0]
        self._net = MLP(self.width, config.hidden, env.action_space.shape[0], self._norm)
        env.close()
        row = config.seed_list.index(seed)
        self._p = self._net.layout.views(state["learner"]["actor"]["parameters"][row : row + 1].clone())
        self._forward = single.plain(self.module())

    def module(self) -> nn.Sequential:
        return single.mlp(self._net, self._p).eval()

    def _rows(self, observation: Any) -> tuple[np.ndarray, bool]:
        given = np.asarray(observation["vector"] if isinstance(observation, dict) else observation, np.float32)
        if given.shape[-1:] != (self.width,) or given.ndim > 2:
            raise ValueError(f"the observation has shape {given.shape}; expected ({self.width},) or rows of them")
        return given.reshape(-1, self.width), given.ndim == 1

    def _act(
        self, rows: np.ndarray, state: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        return self._noisy(self._forward(rows), rng), state


class ImagePolicy(OffPolicy):
    """On images, alone or beside a vector; in single precision, whatever the training's."""

    def __init__(self, config: TD3Config, state: dict[str, Any], seed: int, worker: int) -> None:
        from lnlab.models.cnn import make_actor, make_cnn, state_size

        super().__init__(config, seed, worker, state["episode"])
        env: Any = self.make_env()
        self._space = env.observation_space
        cnn: Any = make_cnn(self._space, config, "actor")
        heads = make_actor(state_size(self._space), env.action_space.shape[0], config)
        env.close()
        for part, name in ((cnn, "cnn"), (heads, "heads")):
            part.load_state_dict(state["learner"]["actor"][name])
        self._cnn, self._heads = cnn, heads
        module = self.module()
        self._features, self._forward = single.plain(module.cnn), single.plain(module.heads)

    def module(self) -> single.ImageActor:
        return single.ImageActor(self._cnn, self._heads).eval()

    def _rows(self, observation: Any) -> tuple[dict[str, np.ndarray], bool]:
        parts = {name: np.asarray(observation[name]) for name in self._space.spaces}
        alone = parts["image"].ndim == 3
        rows = {name: part[None] if alone else part for name, part in parts.items()}
        for name, part in rows.items():
            if part.shape[1:] != self._space[name].shape:
                raise ValueError(f"{name} has shape {part.shape[alone:]}; expected {self._space[name].shape}")
        return rows, alone

    def _act(
        self, rows: dict[str, np.ndarray], state: np.ndarray, rng: np.random.Generator | None
    ) -> tuple[np.ndarray, np.ndarray]:
        image = rows["image"].astype(np.float32) * np.float32(2 / 255) - np.float32(1)
        found = [self._features(image), *([rows["vector"].astype(np.float32)] if "vector" in rows else [])]
        return self._noisy(self._forward(np.concatenate(found, -1)), rng), state


def _spaces(config: Any) -> tuple[Any, Any]:
    """What is observed, and how it is acted."""
    from lnlab.envs.images import made

    env = made(config.env, {"disable_env_checker": True})
    env.close()
    return env.observation_space, env.action_space


def _scale(mean: torch.Tensor, var: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, float]:
    from lnlab.envs.stack import LIMIT, Moments

    seen = Moments(0)
    seen.var = var.numpy()
    return mean.clone(), torch.from_numpy(seen.deviation), LIMIT


def _sample(logits: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw from softmax(logits), (B, A) → (B,), by inverting the distribution function as training does."""
    chance = np.exp(logits - logits.max(-1, keepdims=True))
    cumulative = (chance / chance.sum(-1, keepdims=True)).cumsum(-1)[:, :-1]
    return (rng.random((len(logits), 1), np.float32) >= cumulative).sum(-1)


def _flat(space: Any, width: int, observation: Any) -> tuple[np.ndarray, bool]:
    """Observations of a space as rows of numbers (B, I), and whether it was one alone."""
    from gymnasium import spaces

    shape = np.shape(observation) if isinstance(observation, np.ndarray | list | tuple | np.generic | int) else None
    if isinstance(space, spaces.Box) and shape == space.shape:
        return np.asarray(observation, np.float32).reshape(1, width), True
    if shape is not None and len(shape) == 2 and shape[1] == width:
        return np.asarray(observation, np.float32), False
    if not isinstance(space, spaces.Box) and space.contains(observation):
        return np.asarray(spaces.flatten(space, observation), np.float32).reshape(1, width), True
    if shape == (width,):
        return np.asarray(observation, np.float32).reshape(1, width), True
    told = f"has shape {shape}" if shape is not None else f"is {type(observation).__name__}"
    raise ValueError(f"the observation {told}; expected one of {space}, or rows of {width} numbers")


def _length(rows: Any) -> int:
    return len(next(iter(rows.values()))) if isinstance(rows, dict) else len(rows)
