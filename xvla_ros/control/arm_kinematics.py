# SPDX-License-Identifier: Apache-2.0
"""The kinematics that an arm's settings describe."""

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.settings import ArmSettings


def arm_kinematics(arm: ArmSettings) -> Kinematics:
    """
    Return an arm's kinematics, poses in its base_frame, spare joints drawn to its start pose.

    base_frame is the root link of a file. A robot description from a topic often has more below
    its root, so there it must be a link.

    :raises ConfigError: the URDF is missing or does not hold the arm, or comes from a topic that
        nobody has read (nodes/robot_description.py does).
    """
    if arm.urdf_topic:
        raise ConfigError(f"urdf '{arm.urdf}' needs ROS; without it give a URDF file")
    if '<robot' in arm.urdf:
        urdf, base_frame = arm.urdf, arm.base_frame
    else:
        urdf, base_frame = str(shared_file('resource', arm.urdf)), ''
    return Kinematics(urdf, arm.tool_frame, arm.joint_names, arm.home_rad, base_frame)
