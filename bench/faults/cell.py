# SPDX-License-Identifier: Apache-2.0
"""A running robot whose messages pass through our hands: simulation, controller, policy, relay."""

import os
from pathlib import Path
import signal
import time
from typing import Any

import psutil
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
import rclpy
from std_srvs.srv import SetBool, Trigger

from bench.faults.robots import Robot, ROBOTS
from bench.faults.streams import SOON_S, Streams
from xvla_ros.bringup import choose_transport, IMAGES, processes
from xvla_ros.bringup.runner import Domain, Runner
from xvla_ros.core.resources import shared_file
from xvla_ros.msg import EndEffectorCommand

START_S = 150.0


class Cell(Streams):
    """One running system, which `heal` mends."""

    def __init__(self, folder: Path, robot: Robot = ROBOTS['poses']) -> None:
        """Start everything and wait until the arm moves."""
        self._domain = None
        if 'ROS_DOMAIN_ID' not in os.environ:
            self._domain = Domain()
            os.environ.update(self._domain.environment())
        choose_transport(IMAGES)
        rclpy.init()
        super().__init__(robot)
        self.server = robot.server(self.embodiment)
        self.extra: list[Any] = []  # publishers and processes of a fault
        self.runner = Runner(folder)
        self.table = {p.name: p for p in self._processes()}
        for process in self.table.values():
            self.runner.start(process)
        self.wait(lambda: self.policies and self.policies[-1][1].ticks > 0, START_S, 'a policy')
        self.ready(START_S)

    def _processes(self) -> list[Any]:
        path, overrides = shared_file('config', self.robot.file), self.robot.overrides
        asked = {**overrides, 'policy.server_url': self.server.url}
        nodes = {**asked, 'cameras.main.compressed': True}
        nodes['cameras.main.topic'] = 'camera/main/compressed'
        sim = processes(path, sim=True, overrides=asked)[0]
        object.__setattr__(sim, 'remaps', self.remaps())
        return [sim, *processes(path, sim=False, overrides=nodes)]

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

    def go_home(self) -> None:
        """Begin the scene anew: the arm is at home, and what had moved it is forgotten."""
        value = ParameterValue(type=ParameterType.PARAMETER_INTEGER, integer_value=0)
        request = SetParameters.Request(parameters=[Parameter(name='episode', value=value)])
        self.call(SetParameters, 'sim_node/set_parameters', request)

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

    def second_publisher(self) -> Any:
        """Return one more publisher of targets."""
        publisher = self.node.create_publisher(EndEffectorCommand, 'policy_node/target', 1)
        self.extra.append(lambda: self.on_thread(self.node.destroy_publisher, publisher))
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
        self.end()
        rclpy.try_shutdown()
        self.server.shutdown()
