# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of the scripted expert in simulation: data for a first adaptation."""

import numpy as np
from tqdm import tqdm

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.data.episodes import Episode, Images
from xvla_ros.sim.expert import Expert
from xvla_ros.sim.scenes import sample_scene, Scene, TRAIN
from xvla_ros.sim.world import World

PERIOD_S = 0.1
# Longest demonstration, and how near the tool must come before it ends (horizontally).
LIMIT_S = 6.0
NEAR_M = 0.01


class Demonstrator:
    """Runs the expert on a simulated robot, and records images and arm states."""

    def __init__(self, embodiment: Embodiment) -> None:
        """
        Build the robot's world.

        :raises ConfigError: the embodiment has no simulation.
        """
        if embodiment.sim is None:
            raise ConfigError(
                f"embodiment '{embodiment.robot}' has no 'sim' block, so it cannot be simulated"
            )
        self.embodiment, self.sim = embodiment, embodiment.sim
        self.world, self.expert = World(embodiment), Expert(embodiment)

    def record(self, count: int, seed: int) -> list[Episode]:
        """Return so many demonstrations, each of another scene of the training scenes."""
        bar = tqdm(range(count), f'demonstrate {self.embodiment.robot}', unit='episode')
        return [self.episode(sample_scene(self.embodiment, TRAIN, seed, n)) for n in bar]

    def episode(self, scene: Scene) -> Episode:
        """Return one demonstration, until the tool is above the block and stays."""
        self.world.reset(scene)
        times: list[float] = []
        arms: list[list[ArmPose]] = []
        images: list[Images] = []
        while self.world.time_s < LIMIT_S and not self._done(scene, arms):
            times.append(self.world.time_s)
            arms.append([self.world.tool_pose(name) for name in self.embodiment.arm_names])
            images.append(self._look())
            self._advance(scene, arms[-1])
        return Episode(
            name=f'scene {scene.seed}/{scene.episode}',
            instruction=scene.instruction,
            times_s=np.array(times),
            positions=np.array([[pose.position for pose in row] for row in arms]),
            quaternions=np.array([[pose.quaternion for pose in row] for row in arms]),
            openings=np.array([[pose.gripper for pose in row] for row in arms]),
            look=images.__getitem__,
        )

    def _look(self) -> Images:
        size = self.sim.image_width, self.sim.image_height
        return tuple(self.world.render(name, *size) for name in self.embodiment.camera_names)

    def _advance(self, scene: Scene, tools: list[ArmPose]) -> None:
        """Move the arms towards what the expert plans for the next frame."""
        block = self.world.block_in_base(scene.arm, scene.colour)
        plans = self.expert.plan(tools, scene, block, count=2, period_s=PERIOD_S)
        for name, plan in zip(self.embodiment.arm_names, plans, strict=True):
            self.world.set_tool_target(name, plan.positions[-1], plan.quaternions[-1])
            self.world.set_gripper(name, float(plan.openings[-1]))
        self.world.step(PERIOD_S)

    def _done(self, scene: Scene, arms: list[list[ArmPose]]) -> bool:
        """Tell whether the tool is near the block and has hardly moved since the last frame."""
        if len(arms) < 2:
            return False
        arm = self.embodiment.arm_names.index(scene.arm)
        now, before = (row[arm].position for row in arms[-1:-3:-1])
        apart = now - self.world.block_in_base(scene.arm, scene.colour)
        still = np.linalg.norm(now - before) < 1e-3
        return bool(np.hypot(*apart[:2]) < NEAR_M and still)
