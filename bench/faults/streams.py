# SPDX-License-Identifier: Apache-2.0
"""A robot's streams pass through our hands here, and what its nodes say is heard."""

from array import array
from collections import deque
from collections.abc import Callable
import os
import threading
import time
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String

from bench.faults.robots import Robot
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import ControllerStatus, PolicyStatus
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS
from xvla_ros.serve.encoded_images import encode_jpeg

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
SOON_S = 25.0
MOVED = 1e-5  # a command that differs by less from the one before moves nothing [m or rad]


class Streams:
    """Relays one robot's streams; `mangle` breaks them. Hears statuses and commands."""

    def __init__(self, robot: Robot) -> None:
        """Start to relay and to listen."""
        self.robot = robot
        self.node = rclpy.create_node('relay')
        self.embodiment = load_embodiment(shared_file('config', robot.file), robot.overrides)
        self.mangle: dict[str, Callable[[Any], Any]] = {}
        self.held, self.pressed, self.words = True, False, 'move in a circle'
        self.policies: deque[tuple[float, PolicyStatus]] = deque(maxlen=2000)
        self.controllers: deque[tuple[float, ControllerStatus]] = deque(maxlen=2000)
        self.commands: deque[tuple[float, np.ndarray]] = deque(maxlen=5000)
        self._relay()
        self._listen()
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()

    def remaps(self) -> dict[str, str]:
        """Return the simulation's topics, and the names from which the relay passes them on."""
        arm, cameras = self.embodiment.arms['arm'], self.embodiment.cameras
        names = {
            '/clock': '/sim/clock',
            arm.joint_states_topic: 'sim/joints',
            cameras['main'].topic: 'sim/main',
            cameras['wrist'].topic: 'sim/wrist',
        }
        return {**names, arm.pose_topic: 'sim/pose'} if self.robot.poses else names

    def _relay(self) -> None:
        pass_on, arm = self._pass_on, self.embodiment.arms['arm']
        pass_on('clock', Clock, '/sim/clock', '/clock', 1)
        if self.robot.poses:
            pass_on('pose', PoseStamped, 'sim/pose', arm.pose_topic, 10)
        pass_on('joints', JointState, 'sim/joints', arm.joint_states_topic, 10)
        wrist = self.embodiment.cameras['wrist'].topic
        pass_on('wrist', Image, 'sim/wrist', wrist, qos_profile_sensor_data)
        pass_on('main', Image, 'sim/main', 'camera/main/compressed', qos_profile_sensor_data)

    def _pass_on(self, name: str, kind: type, source: str, target: str, qos: Any) -> None:
        sent = CompressedImage if name == 'main' else kind
        publisher = self.node.create_publisher(sent, target, qos)

        def relay(message: Any) -> None:
            if name in ('main', 'wrist'):
                add_noise(message)
            if name == 'main':
                message = compressed(message)
            message = self.mangle.get(name, lambda m: m)(message)
            for each in message if isinstance(message, list) else [message]:
                if each is not None:
                    publisher.publish(each)

        setattr(self, f'{name}_publisher', publisher)
        self.node.create_subscription(kind, source, relay, qos)

    def _listen(self) -> None:
        subscribe, now = self.node.create_subscription, time.monotonic
        subscribe(
            PolicyStatus, 'policy_node/status', lambda m: self.policies.append((now(), m)), LATCHED
        )
        subscribe(
            ControllerStatus,
            'controller_node/status',
            lambda m: self.controllers.append((now(), m)),
            CONTROLLER_STATUS_QOS,
        )
        topic = self.embodiment.arms['arm'].command_topic
        subscribe(self.robot.command, topic, self._on_command, 10)
        make = self.node.create_publisher
        self._instruction = make(String, 'instruction', LATCHED)
        self._estop, self._deadman = make(Bool, 'estop', 10), make(Bool, 'deadman', 1)
        self.node.create_timer(0.05, self._people)
        self._say()

    def _on_command(self, message: Any) -> None:
        place = self.robot.place(message)
        if not self.commands or np.linalg.norm(place - self.commands[-1][1]) > MOVED:
            self.commands.append((time.monotonic(), place))

    def _people(self) -> None:
        """Hold the deadman switch; tell whether the e-stop is pressed."""
        if self.held is not None:
            self._deadman.publish(Bool(data=self.held))
        self._estop.publish(Bool(data=self.pressed))

    def _say(self) -> None:
        self._instruction.publish(String(data=self.words))

    def say(self, words: str) -> None:
        """Publish an instruction."""
        self._instruction.publish(String(data=words))

    def _spin(self) -> None:
        while not self._stop.is_set():
            self._executor.spin_once(timeout_sec=0.05)

    def on_thread(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Call a function on the thread that spins the node, and wait until it has returned."""
        task = self._executor.create_task(function, *arguments)
        self.wait(task.done, SOON_S, f'{function.__name__} on the executor')

    def wait(self, condition: Callable[[], Any], timeout_s: float, what: str) -> None:
        """
        Wait for a condition.

        :raises TimeoutError: it does not come true in time.
        """
        deadline = time.monotonic() + timeout_s
        while not condition():
            if time.monotonic() > deadline:
                said = self.policies[-1][1] if self.policies else 'nothing'
                raise TimeoutError(f'no {what} within {timeout_s:g} s; the policy says {said}')
            time.sleep(0.005)

    def moving(self, within_s: float = 0.2) -> bool:
        """Tell whether commands reached the driver lately."""
        since = time.monotonic() - within_s
        recent = [t for t, _ in tuple(self.commands)[-10:] if t > since]
        return len(recent) >= 3

    def ready(self, timeout_s: float = SOON_S) -> None:
        """Wait until the policy runs and the arm is commanded."""
        running = PolicyStatus.STATE_RUNNING

        def runs() -> bool:
            latest = self.policies[-1][1] if self.policies else None
            return latest is not None and latest.state == running and self.moving()

        self.wait(runs, timeout_s, 'motion')

    def codes(self, since_s: float) -> list[str]:
        """Return the reason codes heard since a time, oldest first."""
        heard = [
            (t, code)
            for t, m in tuple(self.policies)
            for code in (m.reason_code, m.controller_reason_code)
        ]
        heard += [(t, m.reason_code) for t, m in tuple(self.controllers)]
        return [code for t, code in sorted(heard) if t >= since_s and code]

    def end(self) -> None:
        """Relay and hear nothing more."""
        self._stop.set()
        self._thread.join()
        self.node.destroy_node()


def add_noise(message: Image) -> None:
    """Make every image differ from every other one, as a real camera's noise does."""
    for row in range(8):
        message.data[row * message.step : row * message.step + 24] = array('B', os.urandom(24))


def compressed(message: Image) -> CompressedImage:
    """Return an image as a JPEG."""
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    sent = CompressedImage(header=message.header, format='jpeg')
    sent.data = encode_jpeg(pixels, 'rgb', 90).tobytes()
    return sent
