# SPDX-License-Identifier: Apache-2.0
"""A running cell for tests: sim_node and controller_node as processes, and a client of theirs."""

from contextlib import contextmanager, suppress
import os
from pathlib import Path
import signal
import subprocess
import sys
import time

from checkout import with_checkout
import numpy as np
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.parameter import Parameter
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.inputs.arm_state import ArmStates
from xvla_ros.msg import ControllerStatus, EndEffectorCommand
from xvla_ros.nodes.common.clock import NodeClock, time_parameters
from xvla_ros.nodes.common.conversions import command_to_message
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS, CONTROLLER_STATUS_TOPIC
from xvla_ros.nodes.common.polled import RosGraph
from xvla_ros.nodes.controller.condition import State

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 40.0
# Until the arms are seen first. A simulation compiles its world and renders every camera once,
# which took more than 40 s with five other jobs per core.
START_S = 180.0


def take_priority():
    """Run before other work of a busy machine, as on a robot, where that is allowed."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)


@contextmanager
def processes(config, names=('sim_node', 'controller_node'), arguments=()):
    """Run nodes of the package with one parameter file; on exit each must end cleanly."""
    env = with_checkout(OMP_NUM_THREADS='1', PYTHONUNBUFFERED='1')
    ros = ('--ros-args', '--params-file', str(config))
    running = [
        subprocess.Popen(
            [sys.executable, ROOT / 'scripts' / name, *ros, *arguments],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            preexec_fn=take_priority,
        )
        for name in names
    ]
    outputs = []
    try:
        yield running
    finally:
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            try:
                outputs.append(process.communicate(timeout=15)[0])
            except subprocess.TimeoutExpired:
                process.kill()
                outputs.append(process.communicate()[0])
        sys.stdout.write('\n'.join(outputs))  # pytest shows it when a test fails
    assert [p.returncode for p in running] == [0] * len(running), outputs
    assert not any('Traceback' in text for text in outputs), outputs


class Client:
    """What stands where the policy node would: sends targets, sees the arms and /diagnostics."""

    def __init__(self, config, name='client', sim_time=True, **options):
        take_priority()
        self.embodiment = load_embodiment(config)
        self.node = rclpy.create_node(
            name, parameter_overrides=time_parameters(sim_time), **options
        )
        self.clock = NodeClock(self.node)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._states = ArmStates(RosGraph(self.node), self.embodiment)
        self.statuses = []
        self._targets = self.node.create_publisher(EndEffectorCommand, 'policy_node/target', 1)
        topic = self.embodiment.control.estop_topic
        self._estop = self.node.create_publisher(Bool, topic, 10)
        self.node.create_subscription(
            ControllerStatus, CONTROLLER_STATUS_TOPIC, self._status, CONTROLLER_STATUS_QOS
        )
        self._reset = self.node.create_client(Trigger, 'controller_node/reset')
        self._set = self.node.create_client(SetParameters, 'sim_node/set_parameters')

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()

    def _status(self, message):
        self.statuses.append(message)

    @property
    def status(self):
        """Return the controller's state and reason in a line, as its log says them."""
        if not self.statuses:
            return ''
        return f'{State(self.statuses[-1].state).name.lower()}: {self.statuses[-1].reason}'

    def count(self, key):
        return getattr(self.statuses[-1], key) if self.statuses else 0

    def now_ns(self):
        return self.clock.now_ns()

    def tools(self):
        """Return the measured tools, or None before all have been seen."""
        try:
            poses = self._states.read().poses
        except ObservationError:
            return None
        return poses if len(poses) == len(self.embodiment.arm_names) else None

    def spin(self, seconds):
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=left)

    def wait(self, condition, what, patience_s=PATIENCE_S, meanwhile=lambda: None):
        """Spin until a condition holds; `meanwhile` runs at 50 Hz."""
        until = time.monotonic() + patience_s
        while not condition():
            assert time.monotonic() < until, f'{what}: not within {patience_s} s ({self.status})'
            meanwhile()
            self.spin(0.02)

    def wait_until_ready(self):
        """Wait for the arms, for the controller to listen and for it to see the arms."""
        self.wait(lambda: self.tools() is not None, 'arms are seen', START_S)
        self.wait(lambda: self._targets.get_subscription_count() > 0, 'controller listens')
        self.wait(lambda: self.statuses, 'controller reports')
        self.begin()
        self.home = here = self.tools()
        before = self.count('executed')
        self.wait(
            lambda: self.count('executed') > before or self.status.startswith('moving'),
            'controller executes',
            meanwhile=lambda: self.send(here),
        )
        self.wait_for_state('holding')

    def begin(self):
        """Let the controller hear its first hold, without which it executes nothing."""
        self.wait(
            lambda: self.statuses and not self.status.startswith('waiting'),
            'controller hears a hold',
            meanwhile=lambda: self.send(None),
        )

    def wait_for_state(self, state, patience_s=10.0):
        self.wait(lambda: self.status.startswith(state), state, patience_s)

    def wait_until_still(self, patience_s=15.0):
        """Wait until no tool has moved for 0.3 s of the arms' stamps; return where they are."""
        since_ns, there = self.now_ns(), self.tools()

        def still():
            nonlocal since_ns, there
            read = self._states.read()
            seen_ns = min(read.stamps_ns.values())
            if apart_m(read.poses, there) >= 0.0005:
                since_ns, there = seen_ns, read.poses
            return seen_ns - since_ns > 300_000_000

        self.wait(still, 'standstill', patience_s)
        return there

    def command(self, poses, stamp_ns=None):
        """Return the message of targets for all arms."""
        stamp_ns = self.now_ns() if stamp_ns is None else stamp_ns
        return command_to_message(self.embodiment, poses, stamp_ns, 1)

    def send(self, poses, stamp_ns=None):
        self._targets.publish(self.command(poses, stamp_ns))

    def publish(self, message):
        self._targets.publish(message)

    def hold_target(self, poses, seconds):
        """Send the same targets at 50 Hz for a while."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.send(poses)
            self.spin(0.02)

    def estop(self, pressed):
        self._estop.publish(Bool(data=pressed))

    def reset_controller(self):
        return self._call(self._reset, Trigger.Request())

    def set_scene(self, **parameters):
        request = SetParameters.Request(
            parameters=[Parameter(k, value=v).to_parameter_msg() for k, v in parameters.items()]
        )
        return self._call(self._set, request).results

    def begin_anew(self):
        """Have the scene begin anew, and wait until the arms are seen where they were at first."""
        self.set_scene(episode=0)
        self.wait(lambda: apart_m(self.tools(), self.home) < 0.002, 'home')

    def _call(self, client, request):
        assert client.wait_for_service(timeout_sec=PATIENCE_S)
        future = client.call_async(request)
        self.wait(future.done, f'answer of {client.srv_name}')
        return future.result()


def moved(poses, by=(0.0, 0.0, 0.0), gripper=float('nan')):
    """Return poses shifted by metres in their base frames."""
    return tuple(
        ArmPose(position=p.position + np.asarray(by), quaternion=p.quaternion, gripper=gripper)
        for p in poses
    )


def apart_m(a, b):
    """Return how far apart two sets of tools are, the farthest arm."""
    return max(float(np.linalg.norm(p.position - q.position)) for p, q in zip(a, b, strict=True))
