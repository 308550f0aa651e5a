# SPDX-License-Identifier: Apache-2.0
"""Records the scripted expert in joint space: its plans, through inverse kinematics."""

import numpy as np
from numpy.typing import NDArray

from xvla_ros.adapt.demo.recording import ANCHORS, LEAST_HEIGHT_M, SampleRecorder
from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.joint_profile import JointProfile
from xvla_ros.sim.expert import ArmPlan
from xvla_ros.sim.scenes import Scene

# Standard deviation of the noise on each joint of a visited state [rad].
JOINT_RAD = 0.03
# A plan whose end no joints reach nearer than this is not a label [m]. Along the way the nearest
# joints are accepted: five joints cannot take every orientation at every place.
REACHED_M = 0.005
# Inverse kinematics runs this far apart along a plan; joints between are interpolated [m].
KNOT_M = 0.01
# An arm is not put where its tool would be farther than this from the place [m].
PLACED_M = 0.01


class JointRecorder(SampleRecorder):
    """
    Records samples of one simulated robot that is driven by its joints.

    States and plans are in the units of the robot's joints table. The first action of a plan is
    due with the image, as in data of LeRobot: it is the present state.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """
        Build the robot's world.

        :raises ConfigError: the robot is not driven in joint space.
        """
        if not embodiment.joint_space:
            raise ConfigError(
                f"embodiment '{embodiment.robot}': policy.action_mode is "
                f"'{embodiment.policy.action_mode}', expected one of joint space"
            )
        super().__init__(embodiment)
        self.profile = joints = JointProfile(embodiment)
        self.width = joints.width

    def _label(self, tools: list[ArmPose], scene: Scene, colour: str) -> NDArray[np.float32]:
        """Return the expert's plan (30, width) towards a colour."""
        plans = self.plans(tools, scene, colour)
        pairs = zip(self.embodiment.arm_names, tools, plans, strict=True)
        actions = np.hstack([self._joints(name, tool, plan) for name, tool, plan in pairs])
        return self.profile.raw(
            Chunk(
                stamp_ns=0,
                period_s=self.embodiment.policy.anchor_period_s,
                actions=actions,
                joint_counts=self.embodiment.joint_counts,
            )
        )

    def _joints(self, name: str, tool: ArmPose, plan: ArmPlan) -> NDArray[np.float64]:
        """Return one arm's joints and opening (30, n + 1) along a plan, from where it is."""
        kinematics, q = self.world.arms[name].kinematics, tool.joints
        assert q is not None  # the simulation measures joints in joint space
        found, places = [q], np.vstack([tool.position, plan.positions[: ANCHORS - 1]])
        knots = apart(places, KNOT_M)
        for knot in knots[1:]:
            step = plan.positions[knot - 1], plan.quaternions[knot - 1]
            result = kinematics.inverse(*step, found[-1], restarts=0)
            found.append(result.q)
        if result.position_error_m > REACHED_M:
            raise ConfigError(
                f"embodiment '{self.embodiment.robot}': arm '{name}' does not reach "
                f'{np.round(places[-1], 3)}: {result.reason}; expected sim.arms.*.block_min_m and '
                'block_max_m inside its reach'
            )
        steps, values = np.arange(ANCHORS), np.array(found).T
        joints = [np.interp(steps, knots, column) for column in values]
        openings = np.append(tool.gripper, plan.openings[: ANCHORS - 1])
        return np.column_stack([*joints, openings])

    def _put(
        self,
        random: np.random.Generator,
        name: str,
        position: NDArray[np.float64],
        quaternion: NDArray[np.float64],
        spread: float,
    ) -> None:
        """Put an arm near a place, its joints a little off; it stays when it cannot go there."""
        position = position + random.normal(0, spread, 3)
        position[2] = max(position[2], LEAST_HEIGHT_M)
        off = random.normal(0, JOINT_RAD, len(self.embodiment.arms[name].joint_names))
        arm = self.world.arms[name].kinematics
        # Five joints cannot take every orientation: the nearest to that at home will do.
        _, upright = arm.forward(self.embodiment.arms[name].home_rad)
        found = arm.inverse(position, upright, self.world.joint_positions(name), restarts=0)
        q = np.clip(found.q + off, arm.lower, arm.upper)
        if found.position_error_m < PLACED_M and arm.forward(q)[0][2] > LEAST_HEIGHT_M / 2:
            self.world.place_arm(name, q)


def apart(places: NDArray[np.float64], least_m: float) -> list[int]:
    """Return which of the places (T, 3) to solve for: the first, the last, and some between."""
    knots = [0]
    for index, place in enumerate(places[1:-1], 1):
        if np.linalg.norm(place - places[knots[-1]]) >= least_m:
            knots.append(index)
    return [*knots, len(places) - 1]
