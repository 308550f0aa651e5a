# SPDX-License-Identifier: Apache-2.0
"""Chooses the Fast DDS profile of a process: shared memory for images, UDP only for control."""

import os
from pathlib import Path

from xvla_ros.core.resources import shared_file

# Fast DDS 2 (Jazzy) reads the first variable, Fast DDS 3 the second.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# Profiles in config/. IMAGES has shared memory for large messages. CONTROL has UDP only, because a
# publisher can block for 0.3 s on shared memory (config/fastdds_control.xml).
IMAGES, CONTROL = 'fastdds.xml', 'fastdds_control.xml'
CONTROL_LOCALHOST = 'fastdds_control_localhost.xml'
RANGE_VARIABLE = 'ROS_AUTOMATIC_DISCOVERY_RANGE'


def transport_environment() -> dict[str, str]:
    """Return the variables that choose the IMAGES profile; none if the user has chosen one."""
    if any(name in os.environ for name in PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(shared_file('config', IMAGES)))


def choose_transport(profile: str) -> None:
    """
    Use a profile in this process, unless the user has chosen a profile of their own.

    Call this before `rclpy.init`, which reads the environment. With the discovery range LOCALHOST
    rmw_fastrtps adds shared memory to every profile (participant.cpp). For CONTROL this function
    then chooses CONTROL_LOCALHOST, a profile with the same range and without shared memory.

    :param profile: IMAGES or CONTROL.
    """
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'fastrtps'):
        return
    ours = {name: shared_file('config', name) for name in (IMAGES, CONTROL, CONTROL_LOCALHOST)}
    contents = {path.read_bytes(): name for name, path in ours.items()}
    chosen = [Path(os.environ[name]) for name in PROFILE_VARIABLES if name in os.environ]
    names = [contents.get(path.read_bytes()) if path.is_file() else None for path in chosen]
    if None in names:
        return
    local = os.environ.get(RANGE_VARIABLE) == 'LOCALHOST' or CONTROL_LOCALHOST in names
    if local and not os.environ.get('ROS_STATIC_PEERS'):
        os.environ[RANGE_VARIABLE] = 'SYSTEM_DEFAULT' if profile == CONTROL else 'LOCALHOST'
        profile = CONTROL_LOCALHOST if profile == CONTROL else profile
    os.environ.update(dict.fromkeys(PROFILE_VARIABLES, str(ours[profile])))
