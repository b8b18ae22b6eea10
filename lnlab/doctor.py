"""Does the norm do what its flag says? Known faults of normalised agents, looked for in seconds, without training.

A module is called on a batch of observations while everything that torch computes is watched: layers and functions
alike, so `torch.nn.LayerNorm` and `torch.nn.functional.layer_norm` are the same to it. Each fault has a public case.
"""

import importlib
import importlib.util
import inspect
import itertools
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

NORM_FUNCTIONS = {"layer_norm", "rms_norm", "group_norm", "batch_norm", "instance_norm", "normalize", "_weight_norm"}
QUOTIENTS = {"div", "div_", "__truediv__", "__itruediv__", "true_divide"}  # of which a norm may be written by hand
NORM_MODULES = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm, nn.modules.batchnorm._NormBase)
RELUS = {"relu", "relu_", "clamp_min", "clamp_min_"}
BOUNDED = {"tanh", "tanh_", "sigmoid", "sigmoid_"}
STARTS = ("starts", "episode_starts", "is_init", "reset", "resets", "done", "dones")  # 1 where an episode begins
CONTINUES = ("mask", "masks", "not_done")  # 0 where an episode begins
STATES = ("state", "states", "hidden", "hx", "h", "carry", "lstm_state", "lstm_states", "rnn_state")
ACTIONS = ("action", "actions", "act", "acts", "a")
DEAD, FIXED = 0.5, 0.9  # shares of a layer's units: none of them moves, all of them sit at a bound
EDGE = 0.99  # of tanh, and of 2 sigmoid − 1
SAME = 1e-4  # relative
IN_PLACE = ("relu_", "clamp_min_", "tanh_", "sigmoid_", "div_", "__itruediv__")


class Finding(NamedTuple):
    """A fault: what it is, where it was seen, where the public met it, and what to do."""

    what: str
    where: str
    case: str
    todo: str

    def __str__(self) -> str:
        return f"{self.what}\n  where: {self.where}\n  known from: {self.case}\n  to do: {self.todo}"


class Call(NamedTuple):
    """One call of a norm or an activation: its function, the innermost module around it, its input and output."""

    function: str
    where: str
    given: Tensor
    made: Tensor


def examine(
    module: nn.Module, observations: Tensor, actions: Tensor | None = None, *, expects_norm: bool = False
) -> list[Finding]:
    """The faults of `module`, none if it is sound.

    Args:
        module: any module that takes observations; observations and actions; or observations, a recurrent state and
            a flag that an episode begins. One with the attributes `actor` and `critic` is looked at as a pair.
        observations: (B, …), such as the module meets in training.
        actions: (B, A) for a module that takes them; without, uniform within ±1.
        expects_norm: its settings ask for a norm.

    Raises:
        ValueError: the module has no parameters, or cannot be called so; the message says how it was called.
    """
    _refuse_empty(module)
    if not torch.isfinite(observations).all():
        raise ValueError("the observations hold a number that is not finite")
    if isinstance(q_net := getattr(module, "q_net", None), nn.Module):  # of DQN; the policy around it takes the arg max
        module = q_net
    training = module.training
    module.eval()
    try:
        return [*_examine(module, observations, actions, expects_norm)]
    finally:
        module.train(training)


def _refuse_empty(module: nn.Module) -> None:
    if not any(True for _ in module.parameters()):
        raise ValueError(f"{type(module).__name__} has no parameters, so there is nothing to examine")


def _examine(module: nn.Module, observations: Tensor, actions: Tensor | None, expects_norm: bool) -> Iterator[Finding]:
    actor, critic = getattr(module, "actor", None), getattr(module, "critic", None)
    calls: list[Call] = []
    if isinstance(actor, nn.Module) and isinstance(critic, nn.Module):
        chosen, seen = watched(module, lambda: numbers(actor(observations)))
        calls += seen
        actions = chosen.detach() if actions is None else actions
        found, seen = watched(module, lambda: numbers(critic(observations, actions)))
        calls += seen
        results: list[Tensor] = [chosen, found]
        yield from _leak(module, actor, critic, observations)
    else:
        call = _Caller(module, len(observations), actions)
        actions = call.actions
        result, calls = watched(module, lambda: call(observations))
        results = [result]
        if call.starts:
            yield from _reset(call, observations)
    norms = [each for each in calls if each.function in NORM_FUNCTIONS]
    if expects_norm and not norms:
        yield Finding(
            "the settings ask for a norm, and nothing normalises",
            type(module).__name__,
            "ray-project/ray #60926, openai/baselines #913",
            "pass the setting on to where the layers are built, and assert that the norm is there",
        )
    yield from _unused(module, norms, results)
    yield from _over_actions(norms, observations, actions)
    scaled = [each for each in calls if each.function in NORM_FUNCTIONS | QUOTIENTS]
    yield from _scale(module, scaled, observations, actions)
    yield from _units(calls)


# -- watching ---------------------------------------------------------------------------------------------------------
class _Watch(TorchFunctionMode):
    """Keeps every norm and activation that is computed; `inside` are the names of the modules being called."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.inside: list[str] = []

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(function, "__name__", "")
        kept = name in NORM_FUNCTIONS | RELUS | BOUNDED | QUOTIENTS and args and isinstance(args[0], Tensor)
        given = args[0].clone() if kept and name.endswith(IN_PLACE) else args and args[0]  # in place it would be lost
        made = function(*args, **(kwargs or {}))
        if kept and (name not in ("clamp_min", "clamp_min_") or args[1:] in ((0,), (0.0,))):
            if made.requires_grad and made.grad_fn is not None:
                made.retain_grad()
            self.calls.append(Call(name, self.inside[-1] if self.inside else "", given, made))
        return made


def watched(module: nn.Module, call: Callable[[], Tensor]) -> tuple[Tensor, list[Call]]:
    """The result of `call`, and the norms and activations computed on the way."""
    watch = _Watch()
    handles = []
    for name, part in module.named_modules():
        path = name or type(module).__name__
        handles.append(part.register_forward_pre_hook(lambda *_, path=path: watch.inside.append(path)))
        handles.append(part.register_forward_hook(lambda *_: (watch.inside.pop(), None)[1]))
    try:
        with watch, torch.enable_grad():
            return call(), watch.calls
    finally:
        for handle in handles:
            handle.remove()


class _Caller:
    """How a module is called, by the names of what its forward takes."""

    def __init__(self, module: nn.Module, batch: int, actions: Tensor | None) -> None:
        self.module, self.actions = module, actions
        needed = [
            name
            for name, each in inspect.signature(module.forward).parameters.items()
            if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        self.names = needed[1:]
        certain = "deterministic" in inspect.signature(module.forward).parameters  # a policy that samples otherwise
        self.options = {"deterministic": True} if certain else {}
        self.starts = next((name for name in self.names if name in STARTS + CONTINUES), None)
        self.state = next((name for name in self.names if name in STATES), None)
        action = next((name for name in self.names if name in ACTIONS), None)
        if strange := [name for name in self.names if name not in (self.starts, self.state, action)]:
            raise ValueError(
                f"{type(module).__name__}.forward wants {strange[0]!r}, which is none of: actions "
                f"({', '.join(ACTIONS)}), a recurrent state ({', '.join(STATES)}), a flag where an episode begins "
                f"({', '.join(STARTS + CONTINUES)})"
            )
        if action and actions is None:
            raise ValueError(f"{type(module).__name__}.forward wants {action!r}: give actions as well")
        if not action:
            self.actions = None

    def __call__(self, observations: Tensor, state: Any = None, begins: bool = True) -> Tensor:
        return self.step(observations, state, begins)[0]

    def step(self, observations: Tensor, state: Any, begins: bool) -> tuple[Tensor, Any]:
        """All numbers that come back, (B, everything), and the next state: the last thing returned, if one is taken."""
        flag = float(begins if self.starts in STARTS else not begins)
        given: list[Any] = []
        for name in self.names:
            if name == self.starts:
                given.append(torch.full((len(observations),), flag))
            elif name == self.state:
                given.append(self._initial(len(observations)) if state is None else state)
            else:
                given.append(self.actions)
        try:
            result = self.module(observations, *given, **self.options)
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            shapes = ", ".join(str(tuple(each.shape)) for each in [observations, *given] if isinstance(each, Tensor))
            raise ValueError(f"{type(self.module).__name__} could not be called on {shapes}: {error}") from error
        following = None
        if self.state and isinstance(result, tuple | list):
            *result, following = result
        return numbers(result), following

    def _initial(self, batch: int) -> Any:
        if (make := getattr(self.module, "initial_state", None)) is not None:
            return make(batch)
        if (shape := getattr(self.module, "lstm_hidden_state_shape", None)) is not None:  # RecurrentPPO of sb3-contrib
            kind = inspect.signature(self.module.forward).parameters[str(self.state)].annotation
            pair = (torch.zeros(shape[0], batch, shape[2]),) * 2
            return kind(pair, pair)
        raise ValueError(
            f"{type(self.module).__name__} takes a recurrent state: give it a method initial_state(batch_size)"
        )


def numbers(result: Any) -> Tensor:
    """Every tensor in what a module returned, side by side (B, …); of a distribution its logits, or its mean."""
    found = [each.float().reshape(len(each), -1) for each in _tensors(result) if each.dim()]
    if not found:
        raise ValueError(f"the module returned a {type(result).__name__}, and tensors are wanted")
    return torch.cat(found, 1)


def _tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif isinstance(result, tuple | list | dict):
        for each in result.values() if isinstance(result, dict) else result:
            yield from _tensors(each)
    elif (found := getattr(result, "logits", getattr(result, "mean", None))) is not None:
        yield from _tensors(found)


# -- the faults -------------------------------------------------------------------------------------------------------
def _unused(module: nn.Module, norms: Sequence[Call], results: Sequence[Tensor]) -> Iterator[Finding]:
    """Norms that were built and not called, or whose result reaches no output."""
    case = "ray-project/ray #60926, openai/baselines #913: a norm that is set and does nothing"
    called = {each.where for each in norms}
    targets = {f"{name}." for name, _ in module.named_children() if name.endswith("_target") or "target" in name}
    for name, part in module.named_modules():
        if isinstance(part, NORM_MODULES) and name not in called and not name.startswith(tuple(targets)):
            yield Finding("a norm was built and is never called", name, case, "call it in forward, or take it out")
    for each in norms:
        if each.made.requires_grad:
            each.made.grad = None
    total = sum((result.float().square().sum() for result in results if result.requires_grad), torch.zeros(()))
    if total.requires_grad:
        total.backward()
    used = {each.where for each in norms if not each.made.requires_grad or each.made.grad is not None}
    for where in dict.fromkeys(each.where for each in norms):
        if where not in used:  # a call of many may be a detached one
            yield Finding(
                "a norm is called, and what it returns is not used",
                where,
                case,
                "pass its result on: y = norm(x), not norm(x) alone",
            )
    module.zero_grad(set_to_none=True)


def _over_actions(norms: Sequence[Call], observations: Tensor, actions: Tensor | None) -> Iterator[Finding]:
    """Norms over raw actions: all actions of one direction then look alike."""
    if actions is None:
        return
    for each in norms:
        if each.function != "batch_norm" and _holds(each.given, actions):
            yield Finding(
                "a norm stands over the raw actions, so their size is lost to the critic",
                each.where,
                "AgileRL/AgileRL #468",
                "normalise features only: put the norm after the layer that takes the actions in",
            )


def _scale(module: nn.Module, norms: Sequence[Call], observations: Tensor, actions: Tensor | None) -> Iterator[Finding]:
    """A norm over raw observations that takes their size away (one with stored statistics does not).

    One written by hand is told by its quotient: what is divided grows tenfold, and what comes out does not.
    """
    for place, each in enumerate(norms):
        if observations.dim() != 2 or each.given.shape != observations.shape:
            continue
        by_hand = each.function in QUOTIENTS
        if not by_hand and not _holds(each.given, observations):
            continue
        again = _again(module, norms, place, 10 * observations, actions)
        if again is None or not torch.allclose(again.made, each.made, rtol=SAME, atol=1e-3):
            continue
        if by_hand and not torch.allclose(again.given, 10 * each.given, rtol=SAME, atol=1e-3):
            continue
        yield Finding(
            "ten times the observation gives the same: a norm over raw observations takes their size away",
            each.where,
            "Ba et al. 2016, table 1: invariant to a rescaling of a single training case",
            "scale observations by running statistics, and put the norm after the first layer",
        )


def _again(
    module: nn.Module, norms: Sequence[Call], place: int, observations: Tensor, actions: Tensor | None
) -> Call | None:
    """The same call for other observations: as many calls of its function in its module come before it."""
    actor, critic = getattr(module, "actor", None), getattr(module, "critic", None)

    def call() -> Tensor:
        if isinstance(actor, nn.Module) and isinstance(critic, nn.Module):
            numbers(actor(observations))
            return numbers(critic(observations, actions))
        return _Caller(module, len(observations), actions)(observations)

    key = norms[place][:2]
    before = sum(each[:2] == key for each in norms[:place])
    _, calls = watched(module, call)
    return next(itertools.islice((each for each in calls if each[:2] == key), before, None), None)


def _leak(module: nn.Module, actor: nn.Module, critic: nn.Module, observations: Tensor) -> Iterator[Finding]:
    """The actor's loss must move the actor through the action alone, and the critic's features not at all."""
    actions = numbers(actor(observations))
    loss = getattr(module, "actor_loss", None)
    inputs: list[Tensor] = []
    handles = [
        part.register_forward_pre_hook(lambda _, given: inputs.append(given[0]))
        for part in critic.modules()
        if isinstance(part, nn.Linear)
    ]
    try:
        value = loss(observations) if callable(loss) else -numbers(critic(observations, actions)).mean()
    finally:
        for handle in handles:
            handle.remove()
    own = [each for each in actor.parameters() if each.requires_grad]
    names = {id(each): name for name, each in module.named_parameters()}
    width = actions.shape[-1]
    for given in inputs:
        if not given.requires_grad or given.dim() != 2 or given.shape[1] <= width:
            continue
        columns = [k for k in range(given.shape[1]) if not _is_action(given[:, k], actions)]
        if len(columns) > given.shape[1] - width:  # a hidden layer, where the action is mixed in already
            continue
        moved = torch.autograd.grad(given[:, columns].square().sum(), own, allow_unused=True, retain_graph=True)
        reached = [each for each, grad in zip(own, moved, strict=True) if grad is not None and bool(grad.any())]
        if leaked := [names[id(each)] for each in reached]:
            yield Finding(
                "the actor's loss reaches the features that the critic sees: it can raise Q without a better action",
                f"{leaked[0]} and {len(leaked) - 1} more" if len(leaked) > 1 else leaked[0],
                "denisyarats/drq #2",
                "detach the features in the actor's loss, or give the critic its own encoder",
            )
            return
    del value


def _is_action(column: Tensor, actions: Tensor) -> bool:
    return any(torch.allclose(column, actions[:, k]) for k in range(actions.shape[-1]))


def _reset(call: _Caller, observations: Tensor) -> Iterator[Finding]:
    """Where an episode begins, the past must not matter; at the step before it must."""
    half = len(observations) // 2
    now, past = observations[:half], observations[half : 2 * half]
    case = "PufferAI/PufferLib #622"
    with torch.no_grad():
        state = call.step(past, None, False)[1]
        fresh, fresh_state = call.step(now, None, True)
        begun, begun_state = call.step(now, state, True)
        going, _ = call.step(now, state, False)
        after_fresh = call.step(past, fresh_state, False)[0]
        after_begun = call.step(past, begun_state, False)[0]
    if torch.allclose(going, fresh, rtol=SAME, atol=1e-6):
        yield Finding(
            "the recurrent state is reset where no episode begins",
            str(call.starts),
            case,
            "reset only where the flag of this observation says that an episode begins",
        )
    elif not torch.allclose(begun, fresh, rtol=SAME, atol=1e-6):
        late = torch.allclose(after_begun, after_fresh, rtol=SAME, atol=1e-6)
        yield Finding(
            "the first observation of an episode is seen with the state of the last one"
            + (": the reset comes one step late" if late else ""),
            str(call.starts),
            case,
            "set the state to zero before the step whose observation begins the episode",
        )


def _units(calls: Sequence[Call]) -> Iterator[Finding]:
    """Layers most of whose units say the same for every observation."""
    case = "dying ReLU and saturation: Lu et al. 2020 (1903.06733), Sokar et al. 2023 (2302.12902)"
    for each in calls:
        made = each.made.detach().flatten(0, -2) if each.made.dim() > 1 else each.made.detach()[None]
        if len(made) < 2:
            continue
        if each.function in RELUS and (share := float((made <= 0).all(0).float().mean())) > DEAD:
            yield Finding(
                f"{share:.0%} of the units are zero for every observation",
                each.where,
                case,
                "check the scale of observations and the step size; a norm before the activation keeps units alive",
            )
        elif each.function in BOUNDED:
            size = made.abs() if "tanh" in each.function else (2 * made - 1).abs()
            if (share := float((size > EDGE).all(0).float().mean())) > FIXED:
                yield Finding(
                    f"{share:.0%} of the units sit at their bound for every observation",
                    each.where,
                    case,
                    "start with a small last layer, scale rewards down, or penalise what goes into the tanh",
                )


def _holds(whole: Tensor, part: Tensor) -> bool:
    """Whether `part` (B, A) stands among the columns of `whole` (B, …)."""
    if whole.dim() != 2 or part.dim() != 2 or len(whole) != len(part) or whole.shape[1] < part.shape[1]:
        return False
    width = part.shape[1]
    return any(torch.equal(whole[:, k : k + width], part) for k in range(whole.shape[1] - width + 1))


# -- what to examine --------------------------------------------------------------------------------------------------
def load(where: str) -> nn.Module:
    """The module at `package.module:name`, `path/to/file.py:name`, or in an archive of Stable-Baselines3 (.zip).

    A name may be a module, or a function or class that makes one without arguments.

    Raises:
        ValueError: there is nothing there, or no module.
    """
    if where.endswith(".zip"):
        return _from_archive(Path(where))
    place, colon, name = where.rpartition(":")
    if not colon or not name.isidentifier():
        raise ValueError(
            f"cannot read {where!r}; write package.module:name, path/to/file.py:name, or the .zip that "
            "Stable-Baselines3 saved"
        )
    found = getattr(_imported(place), name, None)
    if found is None:
        raise ValueError(f"{place} has no {name!r}")
    made = found if isinstance(found, nn.Module) or not callable(found) else found()
    if not isinstance(made, nn.Module):
        raise ValueError(f"{where} is a {type(made).__name__}, and a torch.nn.Module is wanted")
    return made


def _imported(place: str) -> Any:
    if not place.endswith(".py"):
        try:
            return importlib.import_module(place)
        except ModuleNotFoundError as error:
            raise ValueError(f"there is no module {error.name!r} to import") from error
    path = Path(place)
    if not path.is_file():
        raise ValueError(f"there is no file {place}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _from_archive(path: Path) -> nn.Module:
    try:
        import stable_baselines3
        from stable_baselines3.common.save_util import load_from_zip_file
    except ModuleNotFoundError as error:
        raise ValueError("an archive needs Stable-Baselines3: pip install stable-baselines3") from error
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    data, _, _ = load_from_zip_file(path, device="cpu")
    policy = data["policy_class"].__name__ if data and "policy_class" in data else ""
    names = {"TD3Policy": "TD3", "SACPolicy": "SAC", "DQNPolicy": "DQN", "QNetwork": "DQN"}
    kind = getattr(stable_baselines3, names.get(policy, "A2C" if policy.startswith("ActorCritic") else ""), None)
    if kind is None:
        raise ValueError(f"{path} holds a {policy or 'policy that is not named'}; known: ActorCritic, TD3, SAC, DQN")
    return kind.load(path, device="cpu").policy


def observations_for(module: nn.Module, batch: int = 256) -> Tensor:
    """Made-up observations (B, …): of the module's own space where it has one, else standard normal numbers."""
    _refuse_empty(module)
    generator = torch.Generator().manual_seed(0)
    if (space := getattr(module, "observation_space", None)) is not None:
        space.seed(0)
        drawn = np.stack([np.asarray(space.sample(), np.float32) for _ in range(batch)])
        return torch.from_numpy(drawn).clamp(-10, 10)
    first = next((part for part in module.modules() if isinstance(part, nn.Linear | nn.RNNBase | nn.RNNCellBase)), None)
    if first is None:
        raise ValueError("cannot tell the shape of an observation: give --observations FILE.npy")
    width = first.in_features if isinstance(first, nn.Linear) else first.input_size
    return torch.randn(batch, width, generator=generator)


def array(path: str) -> Tensor:
    """Numbers of a .npy file, (B, …), as single precision."""
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(f"cannot read {path} as a .npy file of numbers: {error}") from error
    return torch.from_numpy(np.asarray(found, np.float32))
