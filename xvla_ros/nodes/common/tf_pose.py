# SPDX-License-Identifier: Apache-2.0
"""The tool pose of one arm from TF."""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from rclpy.time import Time

from xvla_ros.core.errors import ConfigError, ObservationError
from xvla_ros.core.settings import ArmSettings
from xvla_ros.inputs.messages import stamp_to_ns

Vector = NDArray[np.float64]
# Largest difference between a quaternion's squared norm and 1, the same as tf2's
# (geometry2, tf2/src/buffer_core.cpp, QUATERNION_NORMALIZATION_TOLERANCE).
TOLERANCE = 10e-3


class TfPose:
    """The pose of tool_frame in base_frame. TF is received on the thread that spins the node."""

    def __init__(self, node: Node, arm: ArmSettings) -> None:
        """
        Listen to TF. tf2_ros is imported here, because PyPI has no wheel of it.

        :raises ConfigError: tf2_ros is not installed.
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
        Return stamp [ns], position (3,) [m] and quaternion (4,) xyzw at a time; TF interpolates.

        :param stamp_ns: the time. For None, for a time after the newest transform, and for one
            that TF no longer stores, the newest pose is returned.
        :raises ObservationError: TF does not connect the frames, or the quaternion is not of unit
            length.
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
                f'TF {self._arm.base_frame} <- {self._arm.tool_frame}: {error}', code='tf'
            ) from error

    def _at(self, time: Any) -> tuple[int, Vector, Vector]:
        """Look up the pose at a time; time zero means the newest."""
        found = self._buffer.lookup_transform(self._arm.base_frame, self._arm.tool_frame, time)
        t, q = found.transform.translation, found.transform.rotation
        return (
            stamp_to_ns(found.header.stamp),
            np.array([t.x, t.y, t.z]),
            unit_quaternion(np.array([q.x, q.y, q.z, q.w]), self._arm),
        )


class RawMessages(Protocol):
    """Delivers the messages of a bag as bytes (`replay.graph.BagGraph`)."""

    def listen(self, topic: str, store: Callable[[Any], None]) -> None:
        """Call `store` with each message of a topic from now on; its `data` holds the bytes."""


class BagListener:
    """Replaces the node that tf2's listener subscribes with, on the topics of a bag."""

    def __init__(self, graph: RawMessages) -> None:
        """:param graph: the bag's messages."""
        self._graph = graph

    def create_subscription(
        self,
        kind: type,
        topic: str,
        callback: Callable[[Any], None],
        qos: object,
        **options: object,
    ) -> None:
        """Call `callback` with each message of a topic from now on, as rclpy would."""
        self._graph.listen(topic, lambda raw: callback(deserialize_message(raw.data, kind)))


def recorded_transforms(graph: RawMessages, arm: ArmSettings) -> TfPose:
    """
    Return the source of an arm's tool pose from the TF of a bag.

    :raises ConfigError: tf2_ros is not installed.
    """
    return TfPose(BagListener(graph), arm)


def unit_quaternion(quaternion: Vector, arm: ArmSettings) -> Vector:
    """
    Return the quaternion (4,) xyzw of an arm's tool, normalised.

    :raises ObservationError: its squared norm differs from 1 by more than TOLERANCE.
    """
    squared = float(quaternion @ quaternion)
    if not abs(squared - 1.0) <= TOLERANCE:
        raise ObservationError(
            f'TF {arm.base_frame} <- {arm.tool_frame}: expected a unit quaternion, got '
            f'{quaternion.tolist()}',
            code='quaternion',
        )
    return quaternion / squared**0.5
