# SPDX-License-Identifier: Apache-2.0
"""The robots that are broken: which topics pass through the relay, and what their commands are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
from numpy.typing import NDArray
from trajectory_msgs.msg import JointTrajectory

from bench.faults.server import CircleServer, JointCircleServer
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.runtime.home import home_poses

COMMON: Mapping[str, Any] = {
    'control.deadman_topic': 'deadman',
    'control.engage_s': 0.2,
    'policy.checkpoint': '',
    'policy.request_timeout_s': 2.0,
    'policy.denoising_steps': 1,
    'sim.image_width': 96,
    'sim.image_height': 96,
}
# Of every joint of the SO-101 [rad/s]: twice as fast as its circle, as for the Franka.
JOINT_SPEED = 0.4
JOINTS = ('shoulder_pan', 'shoulder_lift', 'elbow_flex', 'wrist_flex', 'wrist_roll')


@dataclass(frozen=True, kw_only=True, slots=True)
class Robot:
    """
    One robot.

    file: of config/. overrides: of its values. poses: whether it has a pose topic.
    command: the type of what its driver gets. place: where a command leads, [m] or [rad].
    step: the largest distance of two commands in a row: two periods of 20 ms at the configured
    speed, and rounding. unit: of both. server: what leads it along a circle.
    """

    file: str
    overrides: Mapping[str, Any]
    poses: bool
    command: type
    place: Callable[[Any], NDArray[np.float64]]
    step: float
    unit: str
    server: Callable[[Embodiment], CircleServer]


def _tool(message: PoseStamped) -> NDArray[np.float64]:
    p = message.pose.position
    return np.array([p.x, p.y, p.z])


def _joints(message: JointTrajectory) -> NDArray[np.float64]:
    return np.array(message.points[-1].positions)


# The robot of the rows, by what it is commanded in.
ROBOTS = {
    'poses': Robot(
        file='franka_sim.yaml',
        overrides={
            **COMMON,
            'limits.max_linear_speed_m_s': 0.1,
            'cameras.main.max_frozen_m': 0.01,
            'cameras.wrist.max_frozen_m': 0.01,
        },
        poses=True,
        command=PoseStamped,
        place=_tool,
        step=0.0041,
        unit='m',
        server=lambda embodiment: CircleServer(home_poses(embodiment)[0]),
    ),
    'joints': Robot(
        file='so101_sim.yaml',
        overrides={
            **COMMON,
            **{f'arms.arm.joints.{name}.max_speed_rad_s': JOINT_SPEED for name in JOINTS},
        },
        poses=False,
        command=JointTrajectory,
        place=_joints,
        step=2 * 0.02 * JOINT_SPEED * 2**0.5 + 0.0001,  # two joints move
        unit='rad',
        server=lambda embodiment: JointCircleServer(home_poses(embodiment)[0]),
    ),
}
