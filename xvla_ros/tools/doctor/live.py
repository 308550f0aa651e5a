# SPDX-License-Identifier: Apache-2.0
"""Compares a live system with an embodiment file: topics, types, rates, stamps, frames."""

from collections.abc import Callable, Iterator
import difflib
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data

from xvla_ros.bags.topics import description_streams, observation_streams, Stream
from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.gripper import implausible_position
from xvla_ros.core.settings import ArmSettings, HEADER
from xvla_ros.inputs.images import image_from_message, video_hint
from xvla_ros.inputs.messages import joint_positions, pose_from_message, stamp_to_ns
from xvla_ros.nodes.common.clock import NodeClock, time_parameters
from xvla_ros.nodes.common.polled import message_class
from xvla_ros.tools.doctor.heard import Heard, LiveFinding

# Time for discovery on a loaded machine [s].
DISCOVERY_S = 2.0
# Minimum number of messages within the age limit of a state; cameras may lose this share of their
# rate.
LEAST_STATES = 2
LEAST_RATE_SHARE = 0.8


class GraphProbe:
    """Subscribes to the streams of an observation for a while."""

    def __init__(self, embodiment: Embodiment, sim_time: bool = False) -> None:
        """Join the graph; in a simulation ages are measured with /clock."""
        self._embodiment = embodiment
        self.node = Node('xvla_doctor', parameter_overrides=time_parameters(sim_time))
        self._now_ns = NodeClock(self.node).now_ns
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._streams = observation_streams(embodiment)
        self.heard: dict[str, Heard] = {stream.topic: Heard() for stream in self._streams}

    def close(self) -> None:
        """Leave the graph."""
        self._executor.shutdown()
        self.node.destroy_node()

    def listen(self, duration_s: float) -> None:
        """Wait for discovery, then count messages."""
        for stream in self._streams:
            self.node.create_subscription(
                message_class(stream.kind),
                stream.topic,
                self._counting(self.heard[stream.topic]),
                qos_profile_sensor_data,
            )
        self._spin(DISCOVERY_S)
        for heard in self.heard.values():
            heard.times_s.clear()
            heard.ages_s.clear()
        self._spin(duration_s)

    def _spin(self, duration_s: float) -> None:
        until = time.monotonic() + duration_s
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def _counting(self, heard: Heard) -> Callable[[Any], None]:
        def count(message: Any) -> None:
            now_ns = self._now_ns()
            heard.times_s.append(time.monotonic())
            if hasattr(message, 'header'):
                heard.ages_s.append((now_ns - stamp_to_ns(message.header.stamp)) / NANOSECONDS)
            heard.last = message
            heard.last_of.update(dict.fromkeys(getattr(message, 'name', ()), message))

        return count

    def findings(self) -> Iterator[LiveFinding]:
        """Yield one finding per stream and per command topic."""
        for stream in self._streams:
            yield self._stream(stream)
        for stream in description_streams(self._embodiment):
            name = f'{stream.role} ({stream.topic})'
            found, fix = self._published(stream) or ('is latched', '')
            yield LiveFinding(name=name, found=found, fix=fix)
        for name, arm in self._embodiment.arms.items():
            yield self._listener(f'commands of {name}', arm.command_topic)

    def _stream(self, stream: Stream) -> LiveFinding:
        heard = self.heard[stream.topic]
        name = f'{stream.role} ({stream.topic})'
        trouble = self._published(stream) or self._arriving(stream, heard)
        if trouble:
            return LiveFinding(name=name, found=trouble[0], fix=trouble[1])
        ages_ms = 1e3 * np.array(heard.ages_s or [0.0])
        return LiveFinding(
            name=name,
            found=f'{heard.rate_hz:.1f} Hz, {np.median(ages_ms):.0f} ms old (p99 '
            f'{np.percentile(ages_ms, 99):.0f})',
        )

    def _published(self, stream: Stream) -> tuple[str, str] | None:
        """Return a problem of the publishers of a topic, and its fix."""
        publishers = self.node.get_publishers_info_by_topic(stream.topic)
        if not publishers:
            known = [
                name
                for name, _ in self.node.get_topic_names_and_types()
                if self.node.count_publishers(name)
            ]
            near = difflib.get_close_matches(
                self.node.resolve_topic_name(stream.topic), known, n=2, cutoff=0.5
            )
            hint = f'; there is {", ".join(near)}' if near else ''
            return 'nobody publishes it', f'start its driver, or correct the topic{hint}'
        kinds = {publisher.topic_type for publisher in publishers}
        if kinds != {stream.kind}:
            found = ', '.join(sorted(kinds))
            return f'is {found}', f'expected {stream.kind}{video_hint(found, stream.topic)}'
        if stream.latched and not any(
            p.qos_profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for p in publishers
        ):
            return 'is published volatile', 'its publisher must be transient local'
        return None

    def _arriving(self, stream: Stream, heard: Heard) -> tuple[str, str] | None:
        """Return a problem of the received messages, and its fix."""
        if len(heard.times_s) < 2:
            many = len(heard.times_s)
            return (
                f'{many} messages came',
                'large messages lost? give the driver the DDS profile of config/fastdds.xml too',
            )
        return self._usable(stream, heard) or self._fresh(stream, heard)

    def _fresh(self, stream: Stream, heard: Heard) -> tuple[str, str] | None:
        """Return a problem of the rate or the stamps, and its fix."""
        expected_hz, max_age_s = self._expected(stream)
        stamped = heard.ages_s and self._stamp_source(stream) == HEADER
        if stamped and stamp_to_ns(heard.last.header.stamp) == 0:
            return 'messages have no stamp', 'have its driver stamp them, or stamp_source: receive'
        age_s = float(np.median(heard.ages_s)) if stamped else 0.0
        if age_s < -self._embodiment.control.future_tolerance_s:
            return f'stamps are {-age_s:.2f} s ahead', 'synchronise the clocks (chrony)'
        if age_s > max_age_s:
            return (
                f'{age_s:.2f} s old, limit {max_age_s} s',
                'clocks not synchronised, or the driver is slow; else raise max_age_s',
            )
        if heard.rate_hz < expected_hz:
            return (
                f'{heard.rate_hz:.1f} Hz, expected {expected_hz:.1f} or more',
                'check the driver',
            )
        return None

    def _stamp_source(self, stream: Stream) -> str:
        """Return the stamp_source of a stream."""
        kind, _, name = stream.role.partition(' ')
        if kind == 'camera':
            return self._embodiment.cameras[name].stamp_source
        arm = self._embodiment.arms[name]
        return (kind == 'gripper' and arm.gripper.stamp_source) or arm.stamp_source

    def _expected(self, stream: Stream) -> tuple[float, float]:
        """Return the lowest rate [Hz] and the largest age [s] of a stream."""
        kind, _, name = stream.role.partition(' ')
        if kind == 'camera':
            camera = self._embodiment.cameras[name]
            return camera.rate_hz * LEAST_RATE_SHARE, camera.max_age_s
        arm = self._embodiment.arms[name]
        max_age_s = arm.gripper_max_age_s if kind == 'gripper' else arm.max_age_s
        return LEAST_STATES / max_age_s, max_age_s

    def _usable(self, stream: Stream, heard: Heard) -> tuple[str, str] | None:
        """Return why the last message cannot be used."""
        kind, _, name = stream.role.partition(' ')
        try:
            if kind == 'camera':
                declared = self._embodiment.cameras[name].encoding
                image_from_message(heard.last, stream.topic, declared=declared)
            elif hasattr(heard.last, 'pose'):
                arm = self._embodiment.arms[name]
                pose_from_message(heard.last, arm.base_frame, stream.topic)
            elif hasattr(heard.last, 'position'):
                return self._joints(stream, heard)
        except ObservationError as error:
            return str(error), 'correct the embodiment file or the driver'
        return None

    def _joints(self, stream: Stream, heard: Heard) -> tuple[str, str] | None:
        """
        Return why the joints of a topic cannot be used; arm and fingers may be separate messages.

        :raises ObservationError: one is missing, named twice or not finite.
        """
        kind, _, name = stream.role.partition(' ')
        arm = self._embodiment.arms[name]
        shared = (arm.gripper.joint_states_topic or arm.joint_states_topic) == stream.topic
        wanted = {'arm': arm.joint_names} if kind != 'gripper' else {}
        if kind == 'gripper' or shared:
            wanted['gripper'] = arm.gripper.joint_names[:1]
        for part, names in wanted.items():
            message = heard.last_of.get(names[0], heard.last)
            positions = joint_positions(message, names, stream.topic)
            if found := self._implausible(part, arm, positions):
                return found
        return None

    def _implausible(
        self, part: str, arm: ArmSettings, positions: NDArray[np.float64]
    ) -> tuple[str, str] | None:
        """Return why the positions of an arm or its gripper cannot be in the expected units."""
        reason = ''
        if part == 'gripper':
            reason = implausible_position(arm.gripper, positions[0])
        elif arm.urdf and not arm.urdf_topic:
            reason = arm_kinematics(arm).limits.implausible(positions)
        return (reason, 'have the driver publish radians and metres') if reason else None

    def _listener(self, name: str, topic: str) -> LiveFinding:
        """Check that an arm's commands have a subscriber and no other publisher."""
        title = f'{name} ({topic})'
        listening = len(self.node.get_subscriptions_info_by_topic(topic))
        senders = [p.node_name for p in self.node.get_publishers_info_by_topic(topic)]
        others = sorted({sender for sender in senders if sender != 'controller_node'})
        if others:
            fix = 'only one node may command the arm: stop the other one'
            return LiveFinding(name=title, found=f'{", ".join(others)} publishes there', fix=fix)
        if not listening:
            return LiveFinding(
                name=title,
                found='nobody listens',
                fix='start the driver or activate its controller',
            )
        return LiveFinding(name=title, found=f'{listening} listening')


def live_findings(
    embodiment: Embodiment, duration_s: float, sim_time: bool = False
) -> list[LiveFinding]:
    """Check the running system for a while, in a separate ROS context."""
    rclpy.init()
    try:
        probe = GraphProbe(embodiment, sim_time)
        try:
            probe.listen(duration_s)
            return list(probe.findings())
        finally:
            probe.close()
    finally:
        rclpy.try_shutdown()
