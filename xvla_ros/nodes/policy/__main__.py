# SPDX-License-Identifier: Apache-2.0
"""
policy_node: from an instruction to targets for the arms.

A lifecycle node without torch or cameras: the inference worker, a child process, has the model and
its inputs. This process has the clock, the queue and the safety gate. This file only connects the
parts.
"""

from collections.abc import Sequence
import gc
import math
import re
import signal
import sys

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.parameter import Parameter

from xvla_ros.bringup import choose_transport, CONTROL
from xvla_ros.core.errors import one_line, show_stack
from xvla_ros.core.live_settings import live_names
from xvla_ros.msg import PolicyStatus
from xvla_ros.nodes.common.clock import NodeClock, steady_clock
from xvla_ros.nodes.common.conversions import ns_to_stamp
from xvla_ros.nodes.common.lifecycle import ManagedNode
from xvla_ros.nodes.common.parameters import read_embodiment
from xvla_ros.nodes.common.running import FAILED, initialise, NOTICE_S
from xvla_ros.nodes.policy.assembly import PolicyCore
from xvla_ros.nodes.policy.chunk_service import ChunkService
from xvla_ros.nodes.policy.publishers import StatusOutputs
from xvla_ros.runtime.process import claim_realtime

NODE_NAME = 'policy_node'
STATUS_PERIOD_S = 0.2
DIAGNOSTICS_PERIOD_S = 1.0
# How long a thread may keep the interpreter while the control thread waits for it; 5 ms by
# default.
SWITCH_INTERVAL_S = 0.0005


class PolicyNode(ManagedNode):
    """The node, served by one executor thread; PolicyCore owns the control thread and worker."""

    def __init__(self, arguments: Sequence[str] = (), **options: object) -> None:
        """
        Start unconfigured. With the parameter `autostart`, configure and activate soon after.

        :param arguments: the command line; its ROS arguments are passed to the worker's node.
        """
        super().__init__(
            NODE_NAME, automatically_declare_parameters_from_overrides=True, **options
        )
        self._worker_arguments = worker_arguments(arguments)
        self._outputs = StatusOutputs(self)
        self._node_clock = NodeClock(self)
        self._chunks = ChunkService(self, self._node_clock)
        self._core: PolicyCore | None = None
        self._refusal = ''
        self.gave_up = False  # whether the node must end because it cannot start
        self._changed = self.create_guard_condition(self._publish_status)
        steady = steady_clock()
        self.create_timer(STATUS_PERIOD_S, self._publish_status, clock=steady)
        self.create_timer(DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=steady)
        if self._given('autostart', True):
            self._autostart = self.create_timer(0.0, self._start_by_itself, clock=steady)

    def _start_by_itself(self) -> None:
        self.destroy_timer(self._autostart)
        if self.trigger_configure().name == 'SUCCESS':
            self.trigger_activate()
        self.gave_up = bool(self._refusal) and self._given('exit_on_refusal', False)

    def _given(self, name: str, default: bool) -> bool:
        """Return a parameter that is needed before the embodiment is read."""
        return bool(self.get_parameter_or(name, Parameter(name, value=default)).value)

    def setup(self) -> None:
        """Read the embodiment, load the checkpoint in the worker, and check that they fit."""
        self._refusal = ''
        embodiment = read_embodiment(self, live_names)
        self._core = PolicyCore(
            self,
            self._node_clock,
            embodiment,
            self._worker_arguments,
            self._changed.trigger,
            self._chunks.offer,
        )
        self._core.load()

    def start(self) -> None:
        """Begin to tick; from now on no garbage collection may stop the control thread."""
        gc.collect()
        gc.freeze()
        gc.disable()
        self._core.start()
        self._chunks.start(self._core.planner)
        if not claim_realtime():
            self.get_logger().info('no real-time priority: neither root nor an rtprio limit')

    def stop(self) -> None:
        """Stop ticking; the last command is a hold."""
        self._chunks.stop()
        if self._core:
            self._core.stop()
        gc.enable()
        gc.unfreeze()

    def teardown(self) -> None:
        """End the worker and release everything."""
        if self._core:
            self._core.close()
        self._core = None

    def refused(self, text: str) -> None:
        """Show in the status why a start was refused."""
        self._refusal = text
        self._publish_status()

    def status(self) -> PolicyStatus:
        """Return the status as of now."""
        if self._core and not self._refusal:
            return self._core.status()
        status = PolicyStatus(
            state=PolicyStatus.STATE_FAULT if self._refusal else PolicyStatus.STATE_IDLE,
            message=self._refusal or 'not configured',
            reason_code='refused_start' if self._refusal else 'not_configured',
            processor_share=math.nan,
            controller_state=PolicyStatus.CONTROLLER_UNKNOWN,
        )
        status.header.stamp = ns_to_stamp(self._node_clock.now_ns())
        return status

    def _publish_status(self) -> None:
        status = self.status()
        self._outputs.status.publish(status)
        if self._core:
            self._core.feedback(status)

    def _publish_diagnostics(self) -> None:
        if self._core is None:
            return
        self._outputs.diagnostics.publish(self._core.diagnostics())
        if not gc.isenabled() and not self._core.moving:
            gc.collect()


def worker_arguments(arguments: Sequence[str]) -> list[str]:
    """Return the ROS arguments of a command line, without the node's name."""
    kept: list[str] = []
    remaining = list(arguments)
    if '--ros-args' not in remaining:
        return kept
    remaining = remaining[remaining.index('--ros-args') :]
    for argument in remaining:
        if re.match(r'^([^:]*:)?__(node|name):=', argument):
            kept.pop()  # the -r before it
        else:
            kept.append(argument)
    return kept


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until a signal or a shutdown."""
    arguments = list(sys.argv if arguments is None else arguments)
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Both signals, because a shell script that starts this with & makes it ignore SIGINT.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    choose_transport(CONTROL)
    try:
        initialise(arguments)
        node = PolicyNode(arguments)
    except Exception as error:  # rclpy raises many types
        sys.stderr.write(f'policy_node: {one_line(error)}\n')
        show_stack(error)
        return FAILED
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while rclpy.ok() and not node.gave_up:
            executor.spin_once(timeout_sec=NOTICE_S)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.stop()
        node.teardown()
        rclpy.try_shutdown()
    return int(node.gave_up)


if __name__ == '__main__':
    sys.exit(main())
