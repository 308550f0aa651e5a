# SPDX-License-Identifier: Apache-2.0
"""The tool pose of one arm from TF."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.time import Time

from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.core.settings import ArmSettings
from xvla_ros.nodes.conversions import stamp_to_ns

Vector = NDArray[np.float64]
# How far the squared norm of a quaternion may be from 1: what tf2 itself accepts
# (geometry2, tf2/src/buffer_core.cpp, QUATERNION_NORMALIZATION_TOLERANCE).
TOLERANCE = 10e-3


class TfPose:
    """Where tool_frame is in base_frame. TF is listened to by the thread that spins the node."""

    def __init__(self, node: Node, arm: ArmSettings) -> None:
        """
        Listen to TF; it is not among the wheels of PyPI, hence imported here.

        :raises ConfigError: tf2 is not installed.
        """
        try:
            import tf2_ros
        except ImportError as error:
            raise ConfigError(
                "pose_source 'tf' needs tf2_ros: apt install ros-jazzy-tf2-ros-py"
            ) from error
        self._tf2, self._arm = tf2_ros, arm
        self._buffer = tf2_ros.Buffer()
        self._listener = tf2_ros.TransformListener(self._buffer, node, spin_thread=False)

    def read(self, stamp_ns: int | None) -> tuple[int, Vector, Vector] | None:
        """
        Return stamp [ns], position (3,) and quaternion (4,), interpolated by TF at a time.

        The last one for None, for a time that is still to come, or one that TF has forgotten.

        :raises ObservationError: TF does not connect the frames, or not by a rotation.
        """
        try:
            latest = self._at(Time())
            if stamp_ns is None or stamp_ns >= latest[0]:
                return latest
            try:
                return self._at(Time(nanoseconds=stamp_ns))
            except self._tf2.ExtrapolationException:
                return latest
        except self._tf2.TransformException as error:
            raise ObservationError(
                f'TF {self._arm.base_frame} <- {self._arm.tool_frame}: {error}'
            ) from error

    def _at(self, time: Any) -> tuple[int, Vector, Vector]:
        """Look up the pose at a time; at zero, the last one."""
        found = self._buffer.lookup_transform(self._arm.base_frame, self._arm.tool_frame, time)
        t, q = found.transform.translation, found.transform.rotation
        return (
            stamp_to_ns(found.header.stamp),
            np.array([t.x, t.y, t.z]),
            unit_quaternion(np.array([q.x, q.y, q.z, q.w]), self._arm),
        )


def unit_quaternion(quaternion: Vector, arm: ArmSettings) -> Vector:
    """
    Return the quaternion (4,) of an arm's tool at length 1; tf2 lets through what is near it.

    :raises ObservationError: it is farther from 1 than tf2 accepts.
    """
    squared = float(quaternion @ quaternion)
    if not abs(squared - 1.0) <= TOLERANCE:
        raise ObservationError(
            f'TF {arm.base_frame} <- {arm.tool_frame}: expected a unit quaternion, got '
            f'{quaternion.tolist()}'
        )
    return quaternion / squared**0.5
