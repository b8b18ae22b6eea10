"""Environments. Importing this package registers them with Gymnasium, by name: no torch, Box2D or OpenCV is loaded."""

import gymnasium

gymnasium.register(id="lnlab/Offloading-v0", entry_point="lnlab.envs.gym_view:OffloadingEnv")
gymnasium.register(id="lnlab/Driving-v0", entry_point="lnlab.envs.driving:DrivingEnv")
gymnasium.register(id="lnlab/DrivingCamera-v0", entry_point="lnlab.envs.driving:DrivingEnv", kwargs={"view": "camera"})
gymnasium.register(  # as document D5 had it: by the camera, among 20 cars
    id="lnlab/DrivingTraffic-v0", entry_point="lnlab.envs.driving:DrivingEnv", kwargs={"view": "camera", "cars": 20}
)
gymnasium.register(  # driving that is learnt: no pay for standing still, a decision each 0.08 s
    id="lnlab/DrivingVector-v0",
    entry_point="lnlab.envs.driving:DrivingEnv",
    kwargs={"images": False, "standing_bonus": False, "frame_skip": 4, "max_steps": 600},
)
gymnasium.register(  # the same task with pictures, a quarter of the usual pixels
    id="lnlab/DrivingSmall-v0",
    entry_point="lnlab.envs.driving:DrivingEnv",
    kwargs={"side": 42, "standing_bonus": False, "frame_skip": 4, "max_steps": 600},
)
gymnasium.register(id="lnlab/Racetrack-v0", entry_point="lnlab.envs.racetrack:RacetrackEnv")  # extra `highway`
gymnasium.register(
    id="lnlab/RacetrackVector-v0",
    entry_point="lnlab.envs.racetrack:RacetrackEnv",
    kwargs={"images": False, "standing_bonus": False, "frame_skip": 2, "max_steps": 600},
)
gymnasium.register(id="lnlab/RacetrackSmall-v0", entry_point="lnlab.envs.racetrack:RacetrackEnv", kwargs={"side": 42})
gymnasium.register(id="lnlab/Carla-v0", entry_point="lnlab.envs.carla:CarlaEnv")  # extra `carla`, and a server
gymnasium.register(
    id="lnlab/CartPoleMasked-v0",
    entry_point="lnlab.envs.cartpole:MaskedCartPole",
    vector_entry_point="lnlab.envs.cartpole:MaskedCartPoleRows",
    max_episode_steps=500,
    reward_threshold=475,
)
