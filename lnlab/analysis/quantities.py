"""The numbers that the diagnostics take of a learner: unit, definition, source, and the claims that they bear on.

Claims are those of the book's list, D1 to D4, by kind: a *measured* number is measured again, an *interpretation* says
what happens inside the network and can be refuted there. A diagnostic describes; causes need a comparison of arms.
`samples` are the 1000 states of the probe sequences.
"""

from lnlab.columns import Column

REWARD, SQUARED = "reward", "reward²"  # completed task units × 0.05, summed over an episode

LAYERS = ("embed", "embed.norm", "core", "core.input", "core.state", "core.norm", "heads")
NORMS = {"gain": "starts at 1", "bias": "starts at 0"}
PLACES = {"embed": "the embedding, after norm and ReLU", "core": "the heads' input, after norm (ff: and ReLU)"}
PARTS = {
    "": "the whole gradient",
    ".policy": "the policy's part of the gradient, with its entropy bonus",
    ".value": "the value's part of the gradient",
}
CHAIN = "interpretation D1.8"  # features amplify, the hidden state grows without bound, the value loss explodes
BREAKS = "interpretation D1.8, D1.9"
CAPACITY = "interpretation D1.19, D3.13"  # LN restricts the capacity
DIVERSITY = "interpretation D1.7, D2.11, D3.14"  # LN helps where the gradients of workers differ
AVERAGING = "interpretation D1.7, D4.15"  # A3C is stabilised by averaging gradients
COLLAPSE = "measured D4.6"
EXPLORATION = "interpretation D1.20, D3.8"
CRITIC = "measured D3.1, interpretation D3.3"
SPEED = "interpretation D2.14, D3.6"
CONSTANT = "measured D1.2, interpretation D1.8"


def _column(unit: str, meaning: str, claims: str, source: str = "") -> Column:
    return Column(unit, " · ".join(part for part in (meaning, source, claims) if part))


_LYLE, _LEE, _SOKAR = "Lyle et al. 2024, arXiv 2402.18762", "Lee et al. 2025, SimbaV2", "Sokar et al. 2023"
_RATE = "Lyle et al. 2024, arXiv 2407.01800"
_AT_PLACES = {
    "pre_mean": (
        "",
        "mean over the units of what enters {p}.norm, or would without it; mean over samples",
        BREAKS,
        _LYLE,
    ),
    "pre_var": (
        "",
        "variance over the units of what enters {p}.norm, or would without it; mean over samples",
        BREAKS,
        _LYLE,
    ),
    "norm_mean": ("", "L2 norm of the features at {at}; mean over samples", CHAIN, _LEE),
    "norm_max": ("", "L2 norm of the features at {at}; largest sample", CHAIN, _LEE),
    "dormant_025": ("share", "units with mean |x| at most 0.025 of their layer's, at {at}", CAPACITY, _SOKAR),
    "dormant_100": ("share", "units with mean |x| at most 0.1 of their layer's, at {at}", CAPACITY, _SOKAR),
    "cosine": ("", "mean cosine of all pairs of samples at {at}; 1 is collapse to one direction", CAPACITY),
}
_FEATURES = {
    f"{p}_{name}": _column(u, m.format(at=at, p=p), *r)
    for p, at in PLACES.items()
    for name, (u, m, *r) in _AT_PLACES.items()
}

REPRESENTATION: dict[str, Column] = _FEATURES | {
    "embed_mean": _column("", "mean feature after the embedding's ReLU, over samples and units", CHAIN),
    "embed_max": _column("", "largest feature after the embedding's ReLU", CHAIN),
    "core_rank_effective": _column(
        "",
        "exp of the entropy of the singular values of the samples × units matrix at the heads' input, not centred",
        CAPACITY,
        "Roy & Vetterli 2007",
    ),
    "core_rank_pca": _column(
        "", "singular values that hold 99 % of the sum of squares of the same matrix, not centred", CAPACITY, _LEE
    ),
    "state_abs_mean": _column("", "mean |h| of the GRU's state from step 20 on", CHAIN),
    "state_abs_max": _column("", "largest |h| from step 20 on; a GRU's state cannot leave (−1, 1)", CHAIN),
    "state_saturated": _column("share", "units with |h| above 0.99 from step 20 on", CHAIN, "Bjorck et al. 2022"),
    "state_spread": _column(
        "", "SD of h over time from step 20 on, mean over units and sequences; near 0 the state is latched", CHAIN
    ),
    "reset_shut": _column("share", "reset gates r below 0.05 from step 20 on", CHAIN),
    "reset_open": _column("share", "reset gates r above 0.95 from step 20 on", CHAIN),
    "update_shut": _column("share", "update gates z below 0.05 from step 20 on: the state is overwritten", CHAIN),
    "update_open": _column("share", "update gates z above 0.95 from step 20 on: the state is kept", CHAIN),
    "new_saturated": _column("share", "candidate states with |n| above 0.99: tanh passes no gradient", CHAIN),
}

BEHAVIOUR: dict[str, Column] = {
    "entropy": _column("nats", "mean entropy of the policy; at most ln 3 = 1.099", f"{EXPLORATION}, {COLLAPSE}"),
    "policy_information": _column(
        "nats",
        "entropy of the mean policy − mean entropy of the policy; 0 is a policy that ignores its observation",
        f"{EXPLORATION}, {COLLAPSE}",
    ),
    "share_local": _column("share", "sampled actions that are LOCAL", COLLAPSE),
    "share_offload": _column("share", "sampled actions that are OFFLOAD", COLLAPSE),
    "share_discard": _column("share", "sampled actions that are DISCARD", COLLAPSE),
    "probe_return": _column(REWARD, "mean return of these episodes, undiscounted", "measured D1.10"),
    "value_mean": _column(REWARD, "mean value V", CRITIC),
    "value_sd": _column(REWARD, "SD of V over time and episodes; near 0 the critic is a constant", CONSTANT),
    "value_bias": _column(REWARD, "mean of V − discounted return to the end", CRITIC, "Nauman et al. 2024"),
    "value_rmse": _column(REWARD, "root mean square of V − discounted return to the end", CRITIC),
    "value_explained": _column("", "1 − Var(return − V) / Var(return); 0 is as good as a constant", CRITIC),
    "value_time_correlation": _column("", "Pearson's r of V and the steps left; empty for a constant V", CONSTANT),
    "value_mse_last": _column(
        SQUARED,
        "mean square of V − discounted return over the last 20 steps: the value loss that the documents log",
        "measured D1.1, D1.2, D1.3",
    ),
}

_BY_LAYER = {
    "weight_norm": ("L2 norm of the parameters", CHAIN, f"{_RATE}; a descriptor, not a cause"),
    "step": (
        "|ΔW| / |W| of an applied Adam step, mean over the next episode: the effective learning rate",
        SPEED,
        _RATE,
    ),
    "grad_norm": ("L2 norm of a worker's gradient before clipping, mean over the next episode", AVERAGING, _LEE),
}
_LAYER_NORMS = {
    f"{part}_rms.{layer}": _column("", f"root mean square of the {part}s of LN {layer}; {start}", "interpretation D1.9")
    for part, start in NORMS.items()
    for layer in LAYERS
    if layer.endswith(".norm")
}
_BETWEEN = {
    "cosine_workers": ("mean cosine of {of}, pairs of a seed's workers in the same rollout; A3C only", DIVERSITY),
    "cosine_episodes": (
        "mean cosine of {of}, the same worker and rollout in two episodes: the workers' cosine if they were alike",
        DIVERSITY,
    ),
    "kept_workers": (
        "norm of the mean over a seed's W workers / mean norm, of {of}; 1/√W if they are unrelated; A3C only",
        AVERAGING,
    ),
    "kept": (
        "norm of the mean over a worker's rollouts in two episodes / mean norm, of {of}; 0.32 of ten unrelated",
        AVERAGING,
    ),
}

OPTIMISATION: dict[str, Column] = (
    {name: _column("", f"{meaning}; all layers", *rest) for name, (meaning, *rest) in _BY_LAYER.items()}
    | {
        f"{n}.{layer}": _column("", f"{m}; {layer} alone", *rest)
        for n, (m, *rest) in _BY_LAYER.items()
        for layer in LAYERS
    }
    | _LAYER_NORMS
    | {
        "step_episode": _column("", "|ΔW| / |W| over the next episode; its steps may cancel", SPEED),
        "clipped": _column("share", "updates of the next episode whose gradient is clipped", "recommendation D1.25"),
    }
    | {
        f"grad_norm{part}": _column("", f"L2 norm of {of}, mean over two probe episodes", DIVERSITY)
        for part, of in PARTS.items()
        if part
    }
    | {
        f"grad_{name}{part}": _column(
            "", f"{meaning.format(of=of)}; all at the same parameters", claims, "Lyle et al. 2023"
        )
        for part, of in PARTS.items()
        for name, (meaning, claims) in _BETWEEN.items()
    }
)

QUANTITIES: dict[str, Column] = REPRESENTATION | BEHAVIOUR | OPTIMISATION
