# SPDX-License-Identifier: Apache-2.0
"""What the tests of drivers share: settings of one arm, a subscriber, poses. Needs rclpy."""

from contextlib import contextmanager
import threading
import time

import numpy as np
import pytest

from xvla_ros.control.kinematics import Kinematics
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file

PERIOD_S = 0.02
PATIENCE_S = 10.0


def installed(package, part):
    """Return a module of messages, or skip; CONTRIBUTING.md says how to have them without ROS."""
    return pytest.importorskip(f'{package}.{part}', reason=f'{package} is not installed')


@contextmanager
def spinning(node, executor):
    """Let a thread serve a node."""
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join(PATIENCE_S)
        node.destroy_node()


def arm_of(file, driver='', gripper_driver='', name='', command_topic='', **more):
    """Return the settings and kinematics of one arm, some settings replaced."""
    config = shared_file('config', f'{file}.yaml')
    name = name or load_embodiment(config).arm_names[0]
    overrides = {f'arms.{name}.{key}': value for key, value in more.items()}
    overrides |= {f'arms.{name}.driver': driver} if driver else {}
    overrides |= {f'arms.{name}.command_topic': command_topic} if command_topic else {}
    overrides |= {f'arms.{name}.gripper.driver': gripper_driver} if gripper_driver else {}
    arm = load_embodiment(config, overrides).arms[name]
    urdf = shared_file('resource', arm.urdf)
    return arm, Kinematics(urdf, arm.tool_frame, arm.joint_names, posture=arm.home_rad)


class Inbox:
    """Receives one topic through the node's executor."""

    def __init__(self, node, kind, topic):
        self._node, self.messages = node, []
        self._subscription = node.create_subscription(kind, topic, self.messages.append, 10)

    def next(self, act, patience_s=PATIENCE_S):
        """Repeat an action until a message comes; return the newest."""
        count, until = len(self.messages), time.monotonic() + patience_s
        while len(self.messages) == count:
            assert time.monotonic() < until, f'nothing on {self._subscription.topic_name}'
            act()
            self._node.executor.spin_once(timeout_sec=0.05)
        return self.messages[-1]

    def silent(self, seconds=0.3):
        """Tell whether nothing comes for a while."""
        count, until = len(self.messages), time.monotonic() + seconds
        while time.monotonic() < until:
            self._node.executor.spin_once(timeout_sec=0.05)
        return len(self.messages) == count

    def close(self):
        """Stop receiving."""
        self._node.destroy_subscription(self._subscription)


def tool(kinematics, q, by=(0.0, 0.0, 0.0), gripper=1.0):
    position, quaternion = kinematics.forward(q)
    return ArmPose(position=position + np.array(by), quaternion=quaternion, gripper=gripper)
