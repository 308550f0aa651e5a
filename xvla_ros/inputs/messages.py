# SPDX-License-Identifier: Apache-2.0
"""
Messages of arms to numbers. A message may be of rclpy or of a bag reader.

A message that cannot be used raises ObservationError with its topic, its value and what was
expected.
"""

from collections.abc import Sequence
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ObservationError

# How many joint names an error message quotes.
MOST_NAMES = 24


def stamp_to_ns(stamp: Any) -> int:
    """Return a message stamp in nanoseconds."""
    return int(stamp.sec) * NANOSECONDS + int(stamp.nanosec)


def pose_from_message(
    message: Any, base_frame: str, topic: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return the position (3,) [m] and quaternion (4,) xyzw of a pose in `base_frame`.

    An empty frame_id is taken as base_frame: some drivers leave it out (Piper's end_pose_stamped).

    :raises ObservationError: another frame, a value that is not finite, or no unit quaternion.
    """
    frame = message.header.frame_id
    if frame and frame != base_frame:
        text = f"{topic}: pose is in frame '{frame}', expected '{base_frame}'"
        raise ObservationError(text, code='frame')
    p, q = message.pose.position, message.pose.orientation
    position, quaternion = np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w])
    if not (np.isfinite(position).all() and np.isfinite(quaternion).all()):
        raise ObservationError(
            f'{topic}: pose holds a value that is not finite: {position} {quaternion}',
            code='pose_not_finite',
        )
    norm = float(np.linalg.norm(quaternion))
    if abs(norm - 1.0) > 1e-2:
        raise ObservationError(
            f'{topic}: orientation is no unit quaternion: {quaternion} has norm {norm:.3f}',
            code='quaternion',
        )
    return position, quaternion / norm


def joint_positions(message: Any, names: Sequence[str], topic: str) -> NDArray[np.float64]:
    """
    Return the positions (n,) of the named joints, in that order.

    :raises ObservationError: a joint is missing or named twice, or its position is missing or not
        finite; the message quotes the names that came.
    """
    index = {name: i for i, name in enumerate(message.name)}
    missing = [name for name in names if name not in index]
    if missing:
        raise ObservationError(
            f'{topic}: JointState lacks joint {", ".join(missing)}; it names {named(message)}',
            code='joint_missing',
        )
    twice = [name for name in names if message.name.count(name) > 1]
    if twice:
        raise ObservationError(
            f'{topic}: JointState names joint {", ".join(twice)} twice, so its position is not '
            f'known; it names {named(message)}',
            code='joint_twice',
        )
    if len(message.position) != len(message.name):
        raise ObservationError(
            f'{topic}: JointState has {len(message.name)} names '
            f'but {len(message.position)} positions',
            code='joint_count',
        )
    positions = np.array([message.position[index[name]] for name in names])
    for name, value in zip(names, positions, strict=True):
        if not math.isfinite(value):
            text = f"{topic}: position of joint '{name}' is {value}"
            raise ObservationError(text, code='joint_not_finite')
    return positions


def named(message: Any) -> str:
    """Return the joint names of a JointState as a text for people."""
    return ', '.join(message.name[:MOST_NAMES]) or (
        f'no joint (it has {len(message.position)} positions)'
    )
