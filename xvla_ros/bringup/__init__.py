# SPDX-License-Identifier: Apache-2.0
"""The table of processes that run a robot, their start, and their DDS transport."""

from xvla_ros.bringup.table import (
    checkpoint_folder,
    embodiment_file,
    PACKAGE,
    Process,
    processes,
)
from xvla_ros.bringup.transport import (
    choose_transport,
    CONTROL,
    CONTROL_LOCALHOST,
    IMAGES,
    PROFILE_VARIABLES,
    RANGE_VARIABLE,
    transport_environment,
)

__all__ = [
    'CONTROL',
    'CONTROL_LOCALHOST',
    'IMAGES',
    'PACKAGE',
    'PROFILE_VARIABLES',
    'RANGE_VARIABLE',
    'Process',
    'checkpoint_folder',
    'choose_transport',
    'embodiment_file',
    'processes',
    'transport_environment',
]
