"""The data dictionary: every column of every table of a run, with unit and meaning. The book prints it."""

from lnlab import columns_td3
from lnlab.column import Column

REWARD = "reward"  # completed task units × 0.05, summed over an episode
SQUARED = "reward²"

_KEYS = {
    "seed": Column("", "independent replication; the unit of every interval"),
    "worker": Column("", "vehicle, 0 is the slowest"),
}
_QUANTITIES = {
    "return": Column(REWARD, "sum of rewards over the 100 steps of the episode, undiscounted"),
    "value_loss": Column(
        SQUARED, "mean squared error of the value, last rollout of the episode only, as in the documents"
    ),
    "value_loss_all": Column(SQUARED, "the same, mean over all rollouts of the episode"),
    "policy_loss": Column("nats", "−log π · standardised advantage, mean over the last rollout of the episode"),
    "entropy": Column("nats", "entropy of the policy, mean over the last rollout of the episode; at most ln 3 = 1.099"),
    "grad_norm": Column("", "L2 norm of a worker's gradient before clipping, mean over the updates of the episode"),
    "clipped": Column("share", "share of the episode's updates whose gradient was clipped"),
    "alive": Column(
        "bool", "false from the episode in which the learner's gradient was no longer finite; it is frozen"
    ),
}
_TEST = {
    "scenario": Column("", "number of the test scenario, 0 to 17; those of the velocity sweep from 18"),
    "group": Column(
        "", "seen, intra or extra: how far the scenario lies from training; sweep: the fast vehicles of D2 and D4"
    ),
    "capacity": Column("units", "local computing capacity"),
    "velocity": Column("km/h", "speed of the vehicle; sets how fast its channel changes"),
    "mode": Column("", "greedy: the most likely action; sampled: an action drawn from the policy"),
    "cloud": Column("", "budget: 1000 units an episode, never refilled (the documents); refilled: as in training"),
    "episodes": Column("", "test episodes behind the row"),
    "return_mean": Column(REWARD, "mean return over the test episodes"),
    "return_std": Column(REWARD, "standard deviation of the return over the test episodes (divided by n)"),
    "share_local": Column("share", "share of actions LOCAL"),
    "share_offload": Column("share", "share of actions OFFLOAD"),
    "share_discard": Column("share", "share of actions DISCARD"),
}

COLUMNS: dict[str, dict[str, Column]] = {
    "episodes": _KEYS | {"episode": Column("", "number of the training episode of this worker, from 1")} | _QUANTITIES,
    "curves": _KEYS
    | {
        "episode": Column(
            "", "last episode of the block that the row averages; a block is ceil(episodes / 100) episodes"
        )
    }
    | _QUANTITIES
    | {"alive": Column("share", "share of the block's episodes in which the learner was alive")},
    "metrics": _KEYS
    | {
        "worker": Column("", "vehicle; −1 is all workers of the seed together"),
        "quantity": Column("", "name of the number, see the table of metrics"),
        "value": Column("as its quantity", "the number; empty where the run is too short to define it"),
    },
    "evaluation": _KEYS | {"worker": Column("", "learner tested; −1 is the model shared by all workers (A3C)")} | _TEST,
    "sweep": _KEYS | {"worker": Column("", "as in evaluation")} | _TEST,
    "diagnostics": _KEYS
    | {
        "step": Column("episodes", "training episode of the measurement"),
        "quantity": Column("", "what was measured inside the network"),
        "value": Column("as its quantity", "the measurement"),
    },
} | columns_td3.TABLES
