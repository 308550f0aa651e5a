# SPDX-License-Identifier: Apache-2.0
"""The demo's ROS client: begins scenes, sends tasks, and receives states and images."""

from collections.abc import Callable
from dataclasses import dataclass, field
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.client import Client
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import Image
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import MarkerArray

from xvla_ros.action import RunTask
from xvla_ros.core.errors import ObservationError, XvlaError
from xvla_ros.inputs.images import image_from_message
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.msg import ControllerStatus, EndEffectorCommand, PolicyStatus
from xvla_ros.tools.demo.stillness import Stillness

DEMO_CAMERA_TOPIC = 'camera/demo/image_raw'
ANSWER_TIMEOUT_S = 15.0
# Scene messages to wait for after a scene has begun. After these no queue holds an older image.
SETTLING_MESSAGES = 8
AT_REST = (ControllerStatus.STATE_WAITING, ControllerStatus.STATE_HOLDING)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SceneView:
    """
    Positions in the scene at one time.

    positions: (3,) [m] in the world frame, by marker namespace: 'block/red', 'tool/arm'.
    """

    stamp_s: float
    positions: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class DemoClient:
    """Calls sim_node, policy_node and controller_node. Use it from one thread."""

    def __init__(self, look_after: Callable[[], None]) -> None:
        """
        Join the ROS domain of the environment.

        :param look_after: called while the client waits; it may raise to end the wait.
        """
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # the demo handles Ctrl-C
        self._look_after = look_after
        self.node = Node('xvla_demo')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.status: PolicyStatus | None = None
        self.controller: ControllerStatus | None = None
        self.holding = True  # whether the policy's last command was a hold
        self.scene: SceneView | None = None
        self.scenes_seen = 0
        self.frame: NDArray[np.uint8] | None = None
        self.stillness = Stillness()
        late = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscribe = self.node.create_subscription
        subscribe(PolicyStatus, 'policy_node/status', self._on_status, late)
        subscribe(ControllerStatus, 'controller_node/status', self._on_controller, late)
        subscribe(EndEffectorCommand, 'policy_node/target', self._on_target, 1)
        subscribe(MarkerArray, 'sim_node/scene', self._on_scene, 10)
        subscribe(Image, DEMO_CAMERA_TOPIC, self._on_frame, qos_profile_sensor_data)
        self._parameters = self.node.create_client(SetParameters, 'sim_node/set_parameters')
        self._arm = self.node.create_client(SetBool, 'policy_node/arm')
        self._resets = [
            self.node.create_client(Trigger, f'{node}/reset')
            for node in ('policy_node', 'controller_node')
        ]
        self._tasks = ActionClient(self.node, RunTask, 'policy_node/run_task')

    def close(self) -> None:
        """Leave the ROS domain."""
        self._tasks.destroy()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """
        Serve callbacks until a condition holds.

        :param what: the awaited event, for the message.
        :raises XvlaError: the condition did not hold in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.spin()
            if time.monotonic() > deadline:
                raise XvlaError(f'waited {timeout_s:.0f} s for {what}; {self._says()}')

    def _says(self) -> str:
        return f"policy_node: '{self.status.message}'" if self.status else 'policy_node is silent'

    def spin(self) -> None:
        """Serve one callback; wait up to 0.05 s for it."""
        self._look_after()
        self._executor.spin_once(timeout_sec=0.05)

    def begin_scene(self, seed: int, episode: int, task: str) -> None:
        """
        Begin a scene when the arms are at rest, and wait until it is received.

        :param task: see `sim.scenes`.
        :raises XvlaError: the simulation refused the scene, or did not answer in time.
        """
        self.wait(self._at_rest, ANSWER_TIMEOUT_S, 'the controller to hold')
        parameters = [
            Parameter(name, value=value).to_parameter_msg()
            for name, value in (('seed', seed), ('episode', episode), ('task', task))
        ]
        self.wait(self._parameters.service_is_ready, ANSWER_TIMEOUT_S, 'sim_node/set_parameters')
        request = SetParameters.Request(parameters=parameters)
        self.stillness.pause()
        results = self._result(self._parameters.call_async(request), 'the scene to begin').results
        self.stillness.resume()
        refused = [result.reason for result in results if not result.successful]
        if refused:
            raise XvlaError(f'sim_node refused episode {episode}: {refused[0]}')
        seen = self.scenes_seen
        self.wait(
            lambda: self.scenes_seen >= seen + SETTLING_MESSAGES, ANSWER_TIMEOUT_S, 'the scene'
        )

    def send_task(self, instruction: str, timeout_s: float) -> ClientGoalHandle:
        """
        Send the policy an instruction as a goal of run_task.

        :raises XvlaError: the policy refused it, or did not answer in time.
        """
        self.wait(self._tasks.server_is_ready, ANSWER_TIMEOUT_S, 'policy_node/run_task')
        goal = RunTask.Goal(instruction=instruction)
        goal.timeout.sec = int(timeout_s)
        goal.timeout.nanosec = int(timeout_s % 1 * 1e9)
        handle = self._result(self._tasks.send_goal_async(goal), 'the goal to be accepted')
        if not handle.accepted:
            raise XvlaError(f"policy_node refused '{instruction}': {self._says()}")
        return handle

    def end_task(self, handle: ClientGoalHandle) -> RunTask.Result:
        """Cancel a task unless it has ended, and return its result."""
        ended = handle.get_result_async()
        if not ended.done():
            self._result(handle.cancel_goal_async(), 'the goal to be canceled')
        return self._result(ended, 'the result').result

    @property
    def stopped(self) -> str:
        """Why the controller has stopped the arms until it is reset; empty when it has not."""
        controller = self.controller
        stopped = controller and controller.state == ControllerStatus.STATE_STOPPED
        return str(controller.reason) if controller and stopped else ''

    @property
    def controller_stops(self) -> int:
        """How often the controller has stopped the arms since it started."""
        return self.controller.stops if self.controller else 0

    def recover(self) -> None:
        """
        Recover from a stop as on the robot's page: disarm, reset both nodes, arm.

        :raises XvlaError: one of the calls was refused.
        """
        self._call(self._arm, SetBool.Request(data=False), 'to disarm')
        for reset in self._resets:
            self._call(reset, Trigger.Request(), 'to reset')
        self._call(self._arm, SetBool.Request(data=True), 'to arm')
        self.wait(self._policy_knows, ANSWER_TIMEOUT_S, 'the controller to leave its stop')

    def _call(self, client: Client, request: object, what: str) -> None:
        self.wait(client.service_is_ready, ANSWER_TIMEOUT_S, client.srv_name)
        answer = self._result(client.call_async(request), what)
        if not answer.success:
            raise XvlaError(f'{client.srv_name} refused {what}: {answer.message}')

    def _policy_knows(self) -> bool:
        """Tell whether the policy has also received the end of the stop."""
        stop = ControllerStatus.STATE_STOPPED
        return bool(self.status and not self.stopped and self.status.controller_state != stop)

    def _at_rest(self) -> bool:
        return bool(self.controller and self.controller.state in AT_REST)

    def _result(self, future: Future, what: str) -> Any:
        self.wait(future.done, ANSWER_TIMEOUT_S, what)
        return future.result()

    def _on_status(self, message: PolicyStatus) -> None:
        self.status = message

    def _on_controller(self, message: ControllerStatus) -> None:
        self.controller = message

    def _on_target(self, message: EndEffectorCommand) -> None:
        self.holding = message.hold

    def _on_scene(self, message: MarkerArray) -> None:
        positions = {
            m.ns: np.array([m.pose.position.x, m.pose.position.y, m.pose.position.z])
            for m in message.markers
        }
        stamp_s = stamp_to_ns(message.markers[0].header.stamp) * 1e-9
        self.scene = SceneView(stamp_s=stamp_s, positions=positions)
        self.scenes_seen += 1
        tools = {name: p for name, p in positions.items() if name.startswith('tool/')}
        self.stillness.look(stamp_s, self.holding, tools)

    def _on_frame(self, message: Image) -> None:
        try:
            self.frame = image_from_message(message, DEMO_CAMERA_TOPIC)
        except ObservationError as error:
            raise XvlaError(str(error)) from error
