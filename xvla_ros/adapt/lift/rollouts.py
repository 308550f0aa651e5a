# SPDX-License-Identifier: Apache-2.0
"""
The expert picks blocks up in the simulation under noise; its plan is kept at each frame.

The motion is noisy, the plans are not: the clean plan is recorded from each state that the arm
reaches. A policy thereby learns to come back from its own errors (DART, Laskey et al. 2017).
"""

from collections.abc import Iterator
from dataclasses import dataclass
import zlib

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.sim.expert import ArmPlan, Expert
from xvla_ros.sim.lifting import LiftJudge
from xvla_ros.sim.scenes import Scene
from xvla_ros.sim.world import World

ANCHORS = 30
# Anchors that are executed between two frames.
STRIDE = 2
# A demonstration ends when the blocks are lifted, or after so long.
LIMIT_S = 8.0
# Noise of the targets: a drift that decays over DRIFT_FRAMES, and occasional kicks.
DRIFT_M, DRIFT_FRAMES = 0.004, 4.0
KICK_M, KICK_SHARE = 0.03, 0.04
# Share of the frames in which an open gripper closes for no reason, or a closed one opens.
SLIP_SHARE = 0.02
# A target is not lower than this above the table, where fingers would touch it.
LEAST_HEIGHT_M = 0.012


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """
    One look of a demonstration.

    time_s: since it began. images: (H, W, 3) uint8 RGB, in the order of the cameras. tools: each
    arm's pose and opening. plans: each arm's clean plan from here, steps one anchor period apart.
    """

    time_s: float
    images: tuple[NDArray[np.uint8], ...]
    tools: tuple[ArmPose, ...]
    plans: tuple[ArmPlan, ...]


class Rollouts:
    """Plays demonstrations of one simulated robot; the same scene gives the same one."""

    def __init__(self, embodiment: Embodiment) -> None:
        """:param embodiment: one that has a `sim` block."""
        assert embodiment.sim is not None
        self.embodiment, self.sim = embodiment, embodiment.sim
        self.world, self.expert = World(embodiment), Expert(embodiment)
        self._period_s = embodiment.policy.anchor_period_s

    def play(self, scene: Scene) -> Iterator[Frame]:
        """Yield the frames of one demonstration, until what is named is lifted or time is up."""
        robot = zlib.crc32(self.embodiment.robot.encode())
        key = [scene.purpose, robot, scene.seed, scene.episode, len(scene.also), 2]
        random, judge = np.random.default_rng(key), LiftJudge()
        noise = [Noise(random) for _ in self.embodiment.arm_names]
        self.world.reset(scene)
        judge.look(0.0, self.world.tool_positions(), self.world.block_positions())
        while self.world.time_s < LIMIT_S and not judge.lifts.done(scene):
            frame = self._look(scene)
            yield frame
            self._advance(frame, noise, judge)

    def _look(self, scene: Scene) -> Frame:
        size = self.sim.image_width, self.sim.image_height
        tools = tuple(self.world.tool_pose(name) for name in self.embodiment.arm_names)
        blocks = {arm: self.world.block_in_base(arm, c) for arm, c in scene.picks.items()}
        plans = self.expert.plan(
            tools, scene, blocks.pop(scene.arm), count=ANCHORS, period_s=self._period_s,
            lift=True, also=blocks,
        )  # fmt: skip
        cameras = self.embodiment.camera_names
        images = tuple(self.world.render(name, *size) for name in cameras)
        return Frame(time_s=self.world.time_s, images=images, tools=tools, plans=plans)

    def _advance(self, frame: Frame, noise: list['Noise'], judge: LiftJudge) -> None:
        """Move the arms along the plan, off by some noise."""
        offs = [each.draw() for each in noise]
        for step in range(STRIDE):
            for name, plan, (shift, slips) in zip(
                self.embodiment.arm_names, frame.plans, offs, strict=True
            ):
                target = plan.positions[step] + shift
                low = LEAST_HEIGHT_M - self.sim.arms[name].base_position_m[2]
                target[2] = max(target[2], low)
                opening = float(plan.openings[step] > 0.5)
                self.world.set_tool_target(name, target, plan.quaternions[step])
                self.world.set_gripper(name, 1.0 - opening if slips else opening)
            self.world.step(self._period_s)
            judge.look(
                self.world.time_s, self.world.tool_positions(), self.world.block_positions()
            )


class Noise:
    """The noise of one arm's targets."""

    def __init__(self, random: np.random.Generator) -> None:
        self._random, self._drift = random, np.zeros(3)

    def draw(self) -> tuple[NDArray[np.float64], bool]:
        """Return the next shift (3,) [m] and whether the gripper does the opposite."""
        kept = np.exp(-1 / DRIFT_FRAMES)
        fresh = self._random.normal(0, DRIFT_M, 3)
        self._drift = kept * self._drift + np.sqrt(1 - kept**2) * fresh
        kick = self._random.normal(0, KICK_M, 3) * (self._random.random() < KICK_SHARE)
        return self._drift + kick, bool(self._random.random() < SLIP_SHARE)
