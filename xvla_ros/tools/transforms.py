# SPDX-License-Identifier: Apache-2.0
"""TF of bags, for robots whose tool pose comes from it: read by ROS's own tf2, where it is."""

from collections.abc import Callable
from typing import Any


def recorded_transforms() -> Callable[[Any, Any], Any] | None:
    """Return what reads an arm's pose from a bag's TF (`replay.graph`); None without ROS."""
    try:
        from xvla_ros.nodes.common.tf_pose import recorded_transforms as read
    except ImportError:
        return None
    return read
