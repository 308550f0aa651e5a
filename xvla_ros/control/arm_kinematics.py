# SPDX-License-Identifier: Apache-2.0
"""Makes the kinematics for an arm's settings."""

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.settings import ArmSettings

# The only driver interface that takes poses.
CARTESIAN = 'cartesian_pose'


def arm_kinematics(arm: ArmSettings) -> Kinematics:
    """
    Return an arm's kinematics: poses in its base_frame, redundant joints pulled to home_rad.

    In a URDF file base_frame is the root link. A robot description from a topic often has a world
    or a table as its root, so there base_frame must be one of its links.

    :raises ConfigError: the URDF is missing or does not hold the arm, or is on a topic
        that was not read (nodes/common/robot_description.py reads it).
    """
    if arm.urdf_topic:
        raise ConfigError(f"urdf '{arm.urdf}' needs ROS; without it give a URDF file")
    if '<robot' in arm.urdf:
        urdf, base_frame = arm.urdf, arm.base_frame
    else:
        urdf, base_frame = str(shared_file('resource', arm.urdf)), ''
    # A Cartesian controller has its own inverse kinematics; only forward ones are used here.
    return Kinematics(
        urdf,
        arm.tool_frame,
        arm.joint_names,
        arm.home_rad,
        base_frame,
        forward_only=arm.driver == CARTESIAN,
    )
