# SPDX-License-Identifier: Apache-2.0
"""Observer for the benchmark: listens to the policy node, and changes a parameter of it."""

from collections.abc import Callable
import time
from typing import Any

from xvla_ros.bringup.runner import Runner
from xvla_ros.core.errors import XvlaError

START_TIMEOUT_S = 180.0


class Watch:
    """Subscribes to targets and status; no measured process waits for it."""

    def __init__(self, runner: Runner) -> None:
        """Create the node, its subscriptions and its client."""
        from rcl_interfaces.srv import SetParameters
        import rclpy
        from rclpy.executors import SingleThreadedExecutor

        from xvla_ros.msg import EndEffectorCommand, PolicyStatus

        rclpy.init()
        self._rclpy, self._runner = rclpy, runner
        self._node = rclpy.create_node('realtime_watch')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self._node)
        self._node.create_subscription(
            EndEffectorCommand, 'policy_node/target', self._on_target, 100
        )
        self._node.create_subscription(PolicyStatus, 'policy_node/status', self._on_status, 10)
        self._parameters = self._node.create_client(SetParameters, 'policy_node/set_parameters')
        self.targets = self.restarts = 0
        self.first_target_ns: dict[int, int] = {}

    def close(self) -> None:
        """Destroy the node and shut rclpy down."""
        self._executor.shutdown()
        self._node.destroy_node()
        self._rclpy.try_shutdown()

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Serve callbacks until a condition holds."""
        deadline = time.monotonic() + timeout_s
        while not condition():
            self._executor.spin_once(timeout_sec=0.05)
            for name in ('policy_node', 'twin'):
                if self._runner.ended(name) is not None:
                    self._runner.check()
            if time.monotonic() > deadline:
                raise XvlaError(f'waited {timeout_s:.0f} s for {what}')

    def until_moving(self, restarts: int) -> None:
        """Wait for this many restarts of the worker, then for a new target."""
        self.until(lambda: self.restarts >= restarts, START_TIMEOUT_S, f'restart {restarts}')
        targets = self.targets
        self.until(lambda: self.targets > targets, START_TIMEOUT_S, 'targets after a restart')

    def set_parameter(self, name: str, value: str) -> None:
        """Set a parameter of the policy node; wait until it has taken it."""
        from rcl_interfaces.srv import SetParameters
        from rclpy.parameter import Parameter

        self.until(self._parameters.service_is_ready, START_TIMEOUT_S, 'the parameter service')
        parameter = Parameter(name, value=value).to_parameter_msg()
        answer = self._parameters.call_async(SetParameters.Request(parameters=[parameter]))
        self.until(answer.done, START_TIMEOUT_S, f'{name} to be set')
        (result,) = answer.result().results
        if not result.successful:
            raise XvlaError(f'{name} was refused: {result.reason}')

    def _on_status(self, message: Any) -> None:
        self.restarts = message.worker_restarts

    def _on_target(self, message: Any) -> None:
        if not message.hold:
            self.targets += 1
            stamp = message.header.stamp
            self.first_target_ns.setdefault(message.sequence, stamp.sec * 10**9 + stamp.nanosec)
