# SPDX-License-Identifier: Apache-2.0
"""Reads TF in bags with ROS's tf2, if installed, for robots whose tool pose comes from TF."""

from collections.abc import Callable
from typing import Any


def recorded_transforms() -> Callable[[Any, Any], Any] | None:
    """Return the reader of an arm's pose from a bag's TF (`replay.graph`); None without ROS."""
    try:
        from xvla_ros.nodes.common.tf_pose import recorded_transforms as read
    except ImportError:
        return None
    return read
