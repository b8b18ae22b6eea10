"""The data dictionary of TD3 and DDPG runs; lnlab.columns joins it to the other tables."""

from lnlab.column import Column

SEED = {"seed": Column("", "independent replication; the unit of every interval")}
RETURN = "reward"
FEATURES = "mean over the batch of the L2 norm of a sample's 512 features"
_COMPONENTS = {
    "reward_efficiency": "speed along the lane",
    "reward_lane_keeping": "small deviation and heading error",
    "reward_comfort": "small jerk",
    "reward_safety": "leaving the lane, wrong way, standing",
    "reward_progress": "route covered, waypoints, goal",
}
_CONTROLS = {
    "steer": Column("", "mean steering, −1 is full left"),
    "throttle": Column("", "mean throttle, negative is braking"),
}
_ENDS = {
    "terminated": Column("bool", "the episode truly ended, not by the time limit"),
    "off_lane": Column("bool", "it ended outside the lane"),
    "goal": Column("bool", "it ended at the goal"),
}


def _layers(who: str) -> dict[str, Column]:
    return {
        f"{who}_conv{index}_rms": Column("", f"{who} CNN, root mean square of layer {index}'s activations, probe")
        for index in (1, 2, 3)
    }


def _gradients(who: str) -> dict[str, Column]:
    names = {
        "": f"L2 norm of the {who}'s whole gradient before clipping",
        "cnn_": "of it, the CNN",
        "mlp_": "of it, the heads",
    }
    found = {f"{who}_{part}grad_norm": Column("", meaning) for part, meaning in names.items()}
    return found | {f"{who}_clip_scale": Column("", "factor by which clipping shrank it, 1 is not at all")}


UPDATE = (  # measured at an update; NaN where there was none in the 100 steps
    {
        "critic_loss": Column("reward²", "mean squared TD error, summed over the critics"),
        "critic_feature_norm": Column("", f"critic CNN, replay batch: {FEATURES}"),
        "q1_mean": Column(RETURN, "first critic on the replay batch, mean"),
        "q1_std": Column(RETURN, "its standard deviation over the batch"),
        "q1_min": Column(RETURN, "its least value"),
        "q1_max": Column(RETURN, "its greatest value"),
        "q2_mean": Column(RETURN, "last critic on the replay batch, mean; DDPG: the only one"),
        "target_q_mean": Column(RETURN, "mean of the targets"),
        "td_error_1": Column(RETURN, "mean |Q1 − target|"),
        "td_error_2": Column(RETURN, "mean |Q2 − target|"),
    }
    | _gradients("critic")
    | {
        "actor_loss": Column(RETURN, "−actor_q"),
        "actor_q": Column(RETURN, "mean Q1 as it stands in the actor loss"),
        "actor_feature_norm": Column("", f"actor CNN, replay batch: {FEATURES}"),
        "pretanh": Column("", "mean |action before its tanh|"),
        "saturation": Column("share", "share of actions with |a| > 0.99"),
        "critic_q": Column(RETURN, "Q1 of the same actions, critic CNN's features, mean; detached: actor_q"),
    }
    | _gradients("actor")
)
RECORDS = (
    SEED
    | {
        "step": Column(
            "steps", "environment steps so far; the critics' numbers are of this step, the actor's of its last update"
        ),
        "updates": Column("", "critic updates so far"),
        "alive": Column("bool", "false once a gradient was no longer finite; the learner is frozen from then on"),
        "exploration_noise": Column("", "standard deviation of the noise on the action"),
        "phase": Column("", "who chose the actions of the 100 steps: random, policy, or both (mixed)"),
        "reward": Column(RETURN, "mean reward of the 100 steps"),
    }
    | {name: Column(RETURN, f"of it, weighted: {meaning}") for name, meaning in _COMPONENTS.items()}
    | {"speed": Column("m/s", "mean speed of the 100 steps")}
    | _CONTROLS
    | UPDATE
    | _layers("actor")
    | {"actor_feature_norm_probe": Column("", f"actor CNN, fixed probe: {FEATURES}")}
    | _layers("critic")
    | {
        "critic_feature_norm_probe": Column("", f"critic CNN, fixed probe: {FEATURES}"),
        "actor_cnn_weight_std": Column("", "standard deviation over the actor CNN's parameters"),
        "actor_mlp_weight_std": Column("", "standard deviation over the actor head's parameters"),
    }
)
RETURNS = (
    SEED
    | {
        "step": Column("steps", "environment steps at the end of the episode"),
        "episode": Column("", "number of the training episode, from 0"),
        "length": Column("steps", "environment steps of the episode"),
        "return": Column(RETURN, "sum of rewards, undiscounted"),
        "phase": Column("", "random, mixed or policy: who chose the actions"),
    }
    | {name: column for name, column in _ENDS.items() if name != "terminated"}
    | {name: Column(RETURN, f"of the return, weighted: {meaning}") for name, meaning in _COMPONENTS.items()}
    | _CONTROLS
    | {"terminated": _ENDS["terminated"]}
    | {"q_bias": Column(RETURN, "Q1 minus the discounted return that followed, mean over up to 8 states")}
)
CHECKS = (
    SEED
    | {
        "step": Column("steps", "environment steps before the test"),
        "episode": Column("", "number of the test episode; each has a track of its own, the same for all arms"),
        "return": RETURNS["return"],
        "length": RETURNS["length"],
    }
    | _ENDS
)
DRIVES = SEED | {
    "moment": Column("", "before or after training"),
    "t": Column("steps", "step of the greedy episode"),
    "track_seed": Column("", "the track it is on"),
    "x": Column("m", "position"),
    "y": Column("m", "position"),
    "heading": Column("rad", "direction of the car"),
    "speed": Column("m/s", "speed"),
    "steer": Column("", "action"),
    "throttle": Column("", "action, negative is braking"),
}

TABLES = {"records": RECORDS, "returns": RETURNS, "checks": CHECKS, "drives": DRIVES}
