"""Environments. Importing this package registers `lnlab/Offloading-v0` with Gymnasium, by name: no torch is loaded."""

import gymnasium

gymnasium.register(id="lnlab/Offloading-v0", entry_point="lnlab.envs.gym_view:OffloadingEnv")
