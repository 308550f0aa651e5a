# SPDX-License-Identifier: Apache-2.0
"""The publishers of the policy node."""

from collections.abc import Callable
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from xvla_ros.control.spaces import make_space
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.msg import ActionChunk, EndEffectorCommand, PolicyStatus
from xvla_ros.nodes.common.conversions import chunk_to_message, command_to_message
from xvla_ros.nodes.policy.markers import chunk_markers
from xvla_ros.runtime.intake import Judged
from xvla_ros.runtime.state import Command

# Late subscribers get the latest status.
STATUS_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)


class PolicyOutputs:
    """Publishers of one configured policy; any thread may publish."""

    def __init__(
        self,
        node: Node,
        embodiment: Embodiment,
        listeners_changed: Callable[[], None] | None = None,
        on_chunk: Callable[[ActionChunk], None] = lambda chunk: None,
    ) -> None:
        """
        Advertise.

        :param listeners_changed: called on the executor's thread.
        :param on_chunk: called with each published chunk, on the thread that shows it.
        """
        self._on_chunk = on_chunk
        self._node, self._embodiment = node, embodiment
        self._space = make_space(embodiment)
        watch: dict[str, Any] = {}
        if listeners_changed:
            changed = listeners_changed
            watch['event_callbacks'] = PublisherEventCallbacks(matched=lambda _: changed())
        self._target = node.create_publisher(EndEffectorCommand, '~/target', 1, **watch)
        self._chunk = node.create_publisher(ActionChunk, '~/action_chunk', 1)
        self._markers = node.create_publisher(MarkerArray, '~/markers', 1)
        self._task = node.create_publisher(String, '~/task', STATUS_QOS)

    def close(self) -> None:
        """Destroy the publishers."""
        for publisher in (self._target, self._chunk, self._markers, self._task):
            self._node.destroy_publisher(publisher)

    @property
    def heard(self) -> bool:
        """Whether the targets have a subscriber."""
        return bool(self._target.get_subscription_count())

    def follow(self, instruction: str) -> None:
        """Publish the instruction that is followed from now on, for recordings; empty: none."""
        self._task.publish(String(data=instruction))

    def send(self, command: Command, now_ns: int) -> None:
        """Publish one control tick's command."""
        targets, sequence, ahead = command.targets, command.sequence, command.ahead
        self._target.publish(
            command_to_message(self._embodiment, targets, now_ns, sequence, ahead)
        )

    def show(self, judged: Judged) -> None:
        """Publish a judged chunk and its markers; without valid poses only the verdict."""
        verdict, message = (
            judged.verdict,
            chunk_to_message(self._embodiment, judged.chunk, self._space),
        )
        message.reasons = [verdict.message] if verdict.message else []
        message.verdict = ActionChunk.VERDICT_REJECTED
        if verdict.accepted:
            message.verdict = (
                ActionChunk.VERDICT_CLAMPED if verdict.reasons else ActionChunk.VERDICT_ACCEPTED
            )
        self._chunk.publish(message)
        self._on_chunk(message)
        if self._markers.get_subscription_count():
            self._markers.publish(chunk_markers(message))


class StatusOutputs:
    """Publishers of status and diagnostics, made before configuring to show a refusal."""

    def __init__(self, node: Node) -> None:
        """Advertise."""
        self.status = node.create_publisher(PolicyStatus, '~/status', STATUS_QOS)
        self.diagnostics = node.create_publisher(DiagnosticArray, '/diagnostics', 10)
