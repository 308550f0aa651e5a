# SPDX-License-Identifier: Apache-2.0
"""/tf, /tf_static and robot descriptions of the simulated cell, as robot_state_publisher does."""

from typing import Any

from builtin_interfaces.msg import Time
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.sim.frames import Placement
from xvla_ros.sim.world import World

# Depths of tf2_ros' broadcasters.
TF_DEPTH, STATIC_DEPTH = 100, 1
DESCRIPTION_TOPIC = 'robot_description'


class FrameFeedback:
    """Publishes descriptions, and transforms where tf2_msgs is installed (PyPI has no wheel)."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Publish the descriptions."""
        self._descriptions = [
            describe(node, f'{embodiment.frame_prefix(name)}{DESCRIPTION_TOPIC}', arm.urdf)
            for name, arm in embodiment.arms.items()
        ]
        self._kind, self._told = _message_type(node), False
        if self._kind is not None:
            latched = QoSProfile(depth=STATIC_DEPTH, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            self._fixed = node.create_publisher(self._kind, '/tf_static', latched)
            self._moving = node.create_publisher(self._kind, '/tf', TF_DEPTH)

    def publish(self, world: World, stamp: Time) -> None:
        """Publish the current transforms, stamped with a time; the fixed ones once."""
        if self._kind is None:
            return
        if not self._told:
            self._told = True
            self._send(self._fixed, world.frames.fixed(), stamp)
        self._send(self._moving, world.frames.moving(), stamp)

    def _send(self, publisher: Publisher, placements: list[Placement], stamp: Time) -> None:
        assert self._kind is not None
        transforms = [_transform(placement, stamp) for placement in placements]
        publisher.publish(self._kind(transforms=transforms))


def describe(node: Node, topic: str, urdf: str) -> Publisher:
    """Latch the text of a URDF file on a topic."""
    qos = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
    publisher = node.create_publisher(String, topic, qos)
    publisher.publish(String(data=shared_file('resource', urdf).read_text(encoding='utf-8')))
    return publisher


def _message_type(node: Node) -> Any:
    """Return TFMessage, or None where it is not installed."""
    try:
        from tf2_msgs.msg import TFMessage
    except ImportError:
        node.get_logger().debug('no /tf: tf2_msgs is not installed; the wheels lack it')
        return None
    return TFMessage


def _transform(placement: Placement, stamp: Time) -> TransformStamped:
    message = TransformStamped(child_frame_id=placement.child)
    message.header.stamp, message.header.frame_id = stamp, placement.parent
    at, turn = message.transform.translation, message.transform.rotation
    at.x, at.y, at.z = placement.position.tolist()
    turn.x, turn.y, turn.z, turn.w = placement.quaternion.tolist()
    return message
