# SPDX-License-Identifier: Apache-2.0
"""A controller_node in the test's process, at a time and with arms that the test sets."""

from dataclasses import replace
import time

from geometry_msgs.msg import PoseStamped
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import qos_profile_sensor_data
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import EndEffectorCommand
from xvla_ros.nodes.common.conversions import command_to_message, ns_to_stamp, pose_to_message
from xvla_ros.nodes.controller.__main__ import ControllerNode

PATIENCE_S = 10.0
PERIOD_S = 0.02


class Rig:
    """Arms that follow at once or not at all, and the controller in front of them."""

    def __init__(self, robot, begun=True, **parameters):
        config = str(shared_file('config', f'{robot}_sim.yaml'))
        given = {'use_sim_time': 'true'} | parameters
        arguments = [word for k, v in given.items() for word in ('-p', f'{k}:={v}')]
        arguments = ['--ros-args', '--params-file', config, *arguments]
        self.controller = ControllerNode(cli_args=arguments)
        self.node = rclpy.create_node('arms')
        self.executor = SingleThreadedExecutor()
        for node in (self.controller, self.node):
            self.executor.add_node(node)
        self.arms, self.now_ns = self.controller.embodiment.arms, 1_000_000_000_000
        self.kinematics = {name: arm_kinematics(arm) for name, arm in self.arms.items()}
        self.joints = {name: np.array(arm.home_rad) for name, arm in self.arms.items()}
        self._open()
        self.set_time(self.now_ns)
        if begun:
            self.begin()

    def _open(self):
        """Make the topics that a robot and its policy have."""
        publisher, state = self.node.create_publisher, qos_profile_sensor_data
        self.clock = publisher(Clock, '/clock', 10)
        self.targets = publisher(EndEffectorCommand, 'policy_node/target', 1)
        self.states = {
            name: (
                publisher(JointState, arm.joint_states_topic, state),
                publisher(PoseStamped, arm.pose_topic, state) if arm.pose_topic else None,
            )
            for name, arm in self.arms.items()
        }

    def begin(self):
        """Let the controller hear its first hold, without which it executes nothing."""
        hold = command_to_message(self.controller.embodiment, None, self.now_ns, 0)
        self.wait(
            lambda: not self.status.startswith('waiting'), lambda: self.targets.publish(hold)
        )

    def close(self):
        self.executor.shutdown()
        self.controller.destroy_node()
        self.node.destroy_node()

    def wait(self, condition, act=lambda: None):
        """Repeat an action until a condition holds."""
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until, f'it did not happen: {self.status}'
            act()
            self.executor.spin_once(timeout_sec=0.005)

    @property
    def status(self):
        return str(self.controller._condition)

    @property
    def counts(self):
        return self.controller._condition.counts

    def set_time(self, now_ns):
        """Let the controller's clock show a time."""
        self.now_ns = now_ns
        message, clock = Clock(clock=ns_to_stamp(now_ns)), self.controller._time
        self.wait(lambda: clock.now_ns() == now_ns, lambda: self.clock.publish(message))

    def pass_clock(self):
        """Let a control period pass in which no state comes."""
        self.set_time(self.now_ns + round(PERIOD_S * 1e9))

    def pass_time(self, seconds):
        """Let time go on in control periods, with states that say where the arms are."""
        for _ in range(round(seconds / PERIOD_S)):
            self.pass_clock()
            self.publish_states()
            self.tick()

    def tick(self):
        """
        Let the controller's timer do its work at this instant.

        The timer itself goes by the machine's time, so it may fall behind the test's clock.
        """
        self.controller._tick()

    def publish_states(self):
        """Let the controller know where the arms are now."""
        self.wait(self._measured_now, self._publish_states)

    def _measured_now(self):
        try:
            read = self.controller._robot._states.read()
            self.controller._robot.measure(self.now_ns)
        except ObservationError:
            return False
        stamps = set(read.stamps_ns.values())
        return stamps == {self.now_ns} and len(read.poses) == len(self.arms)

    def _publish_states(self):
        stamp = ns_to_stamp(self.now_ns)
        for (name, arm), tool in zip(self.arms.items(), self.tools(), strict=True):
            fingers = arm.gripper.joint_names
            message = JointState(
                name=[*arm.joint_names, *fingers],
                position=[*self.joints[name].tolist(), *[0.01] * len(fingers)],
            )
            message.header.stamp = stamp
            self.states[name][0].publish(message)
            if self.states[name][1]:
                pose = PoseStamped(pose=pose_to_message(tool.position, tool.quaternion))
                pose.header.stamp, pose.header.frame_id = stamp, arm.base_frame
                self.states[name][1].publish(pose)

    def tools(self, by=(0.0, 0.0, 0.0)):
        """Return where the tools are, moved by metres."""
        poses = [self.kinematics[name].forward(q) for name, q in self.joints.items()]
        return tuple(
            ArmPose(position=p + np.array(by), quaternion=q, gripper=0.5) for p, q in poses
        )

    def send(self, targets):
        """Send targets, None for a hold, until they were executed, refused or obeyed."""
        before = sum(self.counts.values())
        message = command_to_message(self.controller.embodiment, targets, self.now_ns, 1)
        self.wait(
            lambda: sum(self.counts.values()) > before, lambda: self.targets.publish(message)
        )

    def move(self, by, steps, follow=True):
        """Lead the tools away from where they are, in steps of one period."""
        start = self.tools()
        for step in range(1, steps + 1):
            self.pass_time(PERIOD_S)
            share = np.array(by) * step / steps
            goals = [replace(pose, position=pose.position + share) for pose in start]
            self.send(goals)
            if follow:
                self.follow()

    def follow(self):
        """Put joint arms where they were told to be."""
        for name, driver in self.controller._robot._drivers.items():
            self.joints[name] = driver._commanded.copy()
