# SPDX-License-Identifier: Apache-2.0
"""The demo's ROS side: chooses scenes, sends tasks, watches what happens. One thread uses it."""

from collections.abc import Callable
from dataclasses import dataclass, field
import time

import numpy as np
from numpy.typing import NDArray
from rcl_interfaces.srv import SetParameters
import rclpy
from rclpy.action import ActionClient
from rclpy.action.client import ClientGoalHandle
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from sensor_msgs.msg import Image
from visualization_msgs.msg import MarkerArray

from xvla_ros.action import RunTask
from xvla_ros.core.errors import ObservationError, XvlaError
from xvla_ros.msg import PolicyStatus
from xvla_ros.nodes.conversions import stamp_to_ns
from xvla_ros.nodes.images import image_from_message

DEMO_CAMERA_TOPIC = 'camera/demo/image_raw'
ANSWER_TIMEOUT_S = 15.0
# Scene messages to see after a reset: the last images from before it are then out of every queue.
SETTLING_MESSAGES = 8


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class SceneView:
    """Where things are, by namespace ('block/red', 'tool/arm'): (3,) world frame, metres."""

    stamp_s: float
    positions: dict[str, NDArray[np.float64]] = field(default_factory=dict)


class DemoClient:
    """Talks to sim_node and policy_node; `look_after` is called while it waits and may raise."""

    def __init__(self, look_after: Callable[[], None]) -> None:
        """Join the ROS domain of the environment."""
        rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C is the demo's
        self._look_after = look_after
        self.node = Node('xvla_demo')
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self.status: PolicyStatus | None = None
        self.scene: SceneView | None = None
        self.scenes_seen = 0
        self.frame: NDArray[np.uint8] | None = None
        self.on_scene: Callable[[SceneView], None] = lambda view: None
        late = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        subscribe = self.node.create_subscription
        subscribe(PolicyStatus, 'policy_node/status', self._on_status, late)
        subscribe(MarkerArray, 'sim_node/scene', self._on_scene, 10)
        subscribe(Image, DEMO_CAMERA_TOPIC, self._on_frame, qos_profile_sensor_data)
        self._parameters = self.node.create_client(SetParameters, 'sim_node/set_parameters')
        self._tasks = ActionClient(self.node, RunTask, 'policy_node/run_task')

    def close(self) -> None:
        """Leave the domain."""
        self._tasks.destroy()
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown()

    def wait(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """
        Serve callbacks until a condition holds.

        :raises XvlaError: it did not in time; the message says what was waited for.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            self.spin()
            if time.monotonic() > deadline:
                raise XvlaError(f'waited {timeout_s:.0f} s for {what}; {self._says()}')

    def _says(self) -> str:
        return f"policy_node: '{self.status.message}'" if self.status else 'policy_node is silent'

    def spin(self) -> None:
        """Serve one callback, or wait a little for it."""
        self._look_after()
        self._executor.spin_once(timeout_sec=0.05)

    def begin_scene(self, seed: int, episode: int) -> None:
        """Have the simulation begin a scene, and wait until it is seen."""
        parameters = [
            Parameter(name, value=value).to_parameter_msg()
            for name, value in (('seed', seed), ('episode', episode))
        ]
        self.wait(self._parameters.service_is_ready, ANSWER_TIMEOUT_S, 'sim_node/set_parameters')
        request = SetParameters.Request(parameters=parameters)
        results = self._result(self._parameters.call_async(request), 'the scene to begin').results
        refused = [result.reason for result in results if not result.successful]
        if refused:
            raise XvlaError(f'sim_node refused episode {episode}: {refused[0]}')
        seen = self.scenes_seen
        self.wait(
            lambda: self.scenes_seen >= seen + SETTLING_MESSAGES, ANSWER_TIMEOUT_S, 'the scene'
        )

    def send_task(self, instruction: str, timeout_s: float) -> ClientGoalHandle:
        """Give the policy something to do."""
        self.wait(self._tasks.server_is_ready, ANSWER_TIMEOUT_S, 'policy_node/run_task')
        goal = RunTask.Goal(instruction=instruction)
        goal.timeout.sec = int(timeout_s)
        goal.timeout.nanosec = int(timeout_s % 1 * 1e9)
        handle = self._result(self._tasks.send_goal_async(goal), 'the goal to be taken')
        if not handle.accepted:
            raise XvlaError(f"policy_node refused '{instruction}': {self._says()}")
        return handle

    def end_task(self, handle: ClientGoalHandle) -> RunTask.Result:
        """Cancel a task unless it has ended, and return its result."""
        ended = handle.get_result_async()
        if not ended.done():
            self._result(handle.cancel_goal_async(), 'the goal to be canceled')
        return self._result(ended, 'the result').result

    def _result(self, future: Future, what: str) -> object:
        self.wait(future.done, ANSWER_TIMEOUT_S, what)
        return future.result()

    def _on_status(self, message: PolicyStatus) -> None:
        self.status = message

    def _on_scene(self, message: MarkerArray) -> None:
        positions = {
            m.ns: np.array([m.pose.position.x, m.pose.position.y, m.pose.position.z])
            for m in message.markers
        }
        stamp_s = stamp_to_ns(message.markers[0].header.stamp) * 1e-9
        self.scene = SceneView(stamp_s=stamp_s, positions=positions)
        self.scenes_seen += 1
        self.on_scene(self.scene)

    def _on_frame(self, message: Image) -> None:
        try:
            self.frame = image_from_message(message, DEMO_CAMERA_TOPIC)
        except ObservationError as error:
            raise XvlaError(str(error)) from error
