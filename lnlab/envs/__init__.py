"""Environments. Importing this package registers them with Gymnasium, by name: no torch, Box2D or OpenCV is loaded."""

import gymnasium

gymnasium.register(id="lnlab/Offloading-v0", entry_point="lnlab.envs.gym_view:OffloadingEnv")
gymnasium.register(id="lnlab/Driving-v0", entry_point="lnlab.envs.driving:DrivingEnv")
