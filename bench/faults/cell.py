# SPDX-License-Identifier: Apache-2.0
"""A running robot whose messages pass through our hands: simulation, controller, policy, relay."""

from array import array
from collections import deque
from collections.abc import Callable, Mapping
import os
from pathlib import Path
import signal
import threading
import time
from typing import Any

from geometry_msgs.msg import PoseStamped
import numpy as np
import psutil
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import DurabilityPolicy, qos_profile_sensor_data, QoSProfile
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CompressedImage, Image, JointState
from std_msgs.msg import Bool, String
from std_srvs.srv import SetBool, Trigger

from bench.faults.server import CircleServer
from xvla_ros.bringup import choose_transport, IMAGES, processes
from xvla_ros.bringup.runner import Domain, Runner
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import ControllerStatus, EndEffectorCommand, PolicyStatus
from xvla_ros.nodes.common.links import CONTROLLER_STATUS_QOS
from xvla_ros.runtime.home import home_poses
from xvla_ros.serve.pictures import encode_jpeg

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
FILE = 'franka_sim.yaml'
OVERRIDES: Mapping[str, Any] = {
    'limits.max_linear_speed_m_s': 0.1,
    'control.deadman_topic': 'deadman',
    'control.engage_s': 0.2,
    'policy.checkpoint': '',
    'policy.request_timeout_s': 2.0,
    'policy.denoising_steps': 1,
    'cameras.main.max_frozen_m': 0.01,
    'cameras.wrist.max_frozen_m': 0.01,
    'sim.image_width': 96,
    'sim.image_height': 96,
}
# The simulation's topics, and the names under which the relay passes them on.
SIM = {
    '/clock': '/sim/clock',
    'current_pose': 'sim/current_pose',
    'joint_states': 'sim/joint_states',
    'camera/main/image_raw': 'sim/main',
    'camera/wrist/image_raw': 'sim/wrist',
}
START_S, SOON_S, QUIET_S = 150.0, 25.0, 0.3
MOVED_M = 1e-5  # a command that differs by less from the one before moves nothing


class Cell:
    """One running system; `mangle` breaks its streams, `heal` mends them."""

    def __init__(self, folder: Path) -> None:
        """Start everything and wait until the arm moves."""
        self._domain = None
        if 'ROS_DOMAIN_ID' not in os.environ:
            self._domain = Domain()
            os.environ.update(self._domain.environment())
        choose_transport(IMAGES)
        rclpy.init()
        self.node = rclpy.create_node('relay')
        self.embodiment = load_embodiment(shared_file('config', FILE), OVERRIDES)
        self.server = CircleServer(home_poses(self.embodiment)[0])
        self.mangle: dict[str, Callable[[Any], Any]] = {}
        self.held, self.pressed, self.words = True, False, 'move in a circle'
        self.policies: deque[tuple[float, PolicyStatus]] = deque(maxlen=2000)
        self.controllers: deque[tuple[float, ControllerStatus]] = deque(maxlen=2000)
        self.commands: deque[tuple[float, np.ndarray]] = deque(maxlen=5000)
        self.extra: list[Any] = []  # publishers and processes of a fault
        self._relay()
        self._listen()
        self.runner = Runner(folder)
        self.table = {p.name: p for p in self._processes()}
        for process in self.table.values():
            self.runner.start(process)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._spin, daemon=True)
        self._thread.start()
        self.wait(lambda: self.policies and self.policies[-1][1].ticks > 0, START_S, 'a policy')
        self.ready(START_S)

    def _processes(self) -> list[Any]:
        path, url = shared_file('config', FILE), {'policy.server_url': self.server.url}
        nodes = {**OVERRIDES, **url, 'cameras.main.compressed': True}
        nodes['cameras.main.topic'] = 'camera/main/compressed'
        sim = processes(path, sim=True, overrides={**OVERRIDES, **url})[0]
        object.__setattr__(sim, 'remaps', SIM)
        return [sim, *processes(path, sim=False, overrides=nodes)]

    # The relay

    def _relay(self) -> None:
        pass_on, arm = self._pass_on, self.embodiment.arms['arm']
        pass_on('clock', Clock, '/sim/clock', '/clock', 1)
        pass_on('pose', PoseStamped, 'sim/current_pose', arm.pose_topic, 10)
        pass_on('joints', JointState, 'sim/joint_states', arm.joint_states_topic, 10)
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
        subscribe(PoseStamped, self.embodiment.arms['arm'].command_topic, self._on_command, 10)
        make = self.node.create_publisher
        self._instruction = make(String, 'instruction', LATCHED)
        self._estop, self._deadman = make(Bool, 'estop', 10), make(Bool, 'deadman', 1)
        self.node.create_timer(0.05, self._people)
        self._say()

    def _on_command(self, message: PoseStamped) -> None:
        p = message.pose.position
        place = np.array([p.x, p.y, p.z])
        if not self.commands or np.linalg.norm(place - self.commands[-1][1]) > MOVED_M:
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

    # What rows ask

    def pid(self, name: str) -> int:
        """Return the id of a node's process; `worker` is the inference worker."""
        if name != 'worker':
            return self.runner.pid(name)
        (child,) = psutil.Process(self.runner.pid('policy_node')).children()
        return int(child.pid)

    def kill(self, name: str, number: int = signal.SIGKILL) -> float:
        """Send a signal to a process; return when."""
        os.kill(self.pid(name), number)
        return time.monotonic()

    def restart(self, name: str) -> None:
        """Start a node again that has ended, and arm."""
        self.runner.stop(name)
        self.runner.start(self.table[name])
        if name == 'policy_node':
            self.policies.clear()
            self.wait(lambda: self.policies and self.policies[-1][1].ticks > 0, START_S, name)
            self._say()
        else:
            self.wait(self._rearmed, START_S, 'motion after arming')

    def _rearmed(self) -> bool:
        """Arm again until it lasts: a new controller disarms when it is noticed."""
        if not self.policies[-1][1].armed:
            self.call(SetBool, 'policy_node/arm', SetBool.Request(data=True))
            time.sleep(0.5)
        return self.moving()

    def call(self, kind: Any, name: str, request: Any, timeout_s: float = SOON_S) -> Any:
        """Call a service and return its answer."""
        client = self.node.create_client(kind, name)
        self.wait(client.service_is_ready, timeout_s, name)
        future = client.call_async(request)
        self.wait(future.done, timeout_s, f'an answer of {name}')
        self.node.destroy_client(client)
        return future.result()

    def arm(self, armed: bool = True) -> None:
        """Arm, as soon as a controller is there."""
        name, request = 'policy_node/arm', SetBool.Request(data=armed)
        self.wait(lambda: self.call(SetBool, name, request).success, START_S, 'to arm')

    def reset(self) -> None:
        """Reset controller and policy."""
        for node in ('controller_node', 'policy_node'):
            name = f'{node}/reset'
            self.wait(lambda n=name: self._reset(n), SOON_S, name)

    def _reset(self, name: str) -> bool:
        return bool(self.call(Trigger, name, Trigger.Request()).success)

    def heal(self) -> None:
        """Mend every stream."""
        self.mangle.clear()
        self.server.heal()
        self.held, self.pressed = True, False

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

    def second_publisher(self) -> Any:
        """Return one more publisher of targets."""
        publisher = self.node.create_publisher(EndEffectorCommand, 'policy_node/target', 1)
        self.extra.append(lambda: self.node.destroy_publisher(publisher))
        return publisher

    def clear(self) -> None:
        """Take away what a fault has brought along."""
        for undo in self.extra:
            undo()
        self.extra.clear()

    def close(self) -> None:
        """End everything."""
        self.clear()
        for name in self.table:
            for pid in (self.runner.pid(name),):
                try:
                    os.kill(pid, signal.SIGCONT)
                except ProcessLookupError:
                    continue
        self.runner.stop()
        self._stop.set()
        self._thread.join()
        self.node.destroy_node()
        rclpy.try_shutdown()
        self.server.shutdown()


def add_noise(message: Image) -> None:
    """Make every picture differ from every other one, as a real camera's noise does."""
    for row in range(8):
        message.data[row * message.step : row * message.step + 24] = array('B', os.urandom(24))


def compressed(message: Image) -> CompressedImage:
    """Return an image as a JPEG."""
    pixels = np.frombuffer(message.data, np.uint8).reshape(message.height, message.width, 3)
    sent = CompressedImage(header=message.header, format='jpeg')
    sent.data = encode_jpeg(pixels, 'rgb', 90).tobytes()
    return sent
