# SPDX-License-Identifier: Apache-2.0
"""
sim_node: a MuJoCo cell in real time behind the topics of the real robot's driver.

Physics run on their own thread against absolute deadlines; callbacks only store. A step that runs
late is stamped when it was due and sees the commands that had come by then: how busy this machine
is does not make the robot faster. Parameters
`episode`, `seed` and `purpose` choose the scene; setting one begins that scene anew, and the
answer comes when it has begun.
"""

from collections.abc import Sequence
import sys
import threading
import time
import traceback

from builtin_interfaces.msg import Time
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.nodes.conversions import ns_to_stamp
from xvla_ros.nodes.parameters import read_embodiment
from xvla_ros.nodes.running import run
from xvla_ros.nodes.sim_feedback import ArmFeedback, CameraFeedback, SceneFeedback
from xvla_ros.nodes.sim_interfaces import make_servers
from xvla_ros.sim.scenes import EVALUATE, sample_scene, Scene, TRAIN, VALIDATE
from xvla_ros.sim.world import World

PURPOSES = {'train': TRAIN, 'evaluate': EVALUATE, 'validate': VALIDATE}
SCENE_DEFAULTS = {'episode': 0, 'seed': 0, 'purpose': 'evaluate'}
SCENE_RATE_HZ = 20.0
# Behind by more than this, time is dropped instead of caught up: the robot stood still meanwhile.
MOST_BEHIND_S = 0.05
RESET_TIMEOUT_S = 10.0


class SimNode(Node):
    """The simulated cell of one embodiment."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(
            'sim_node', automatically_declare_parameters_from_overrides=True, **arguments
        )
        self._choice = {name: self._take(name, value) for name, value in SCENE_DEFAULTS.items()}
        self.embodiment = _simulated(read_embodiment(self))
        self._scene = self._sample(self._choice)
        for name, value in self._choice.items():
            self.declare_parameter(name, value)
        arms = self.embodiment.arms.items()
        self._servers = [server for name, arm in arms for server in make_servers(self, name, arm)]
        self._arms = [ArmFeedback(self, name, arm) for name, arm in arms]
        self._cameras = CameraFeedback(self, self.embodiment)
        self._markers = SceneFeedback(self, self.embodiment)
        self._world = World(self.embodiment)
        self._requested: Scene | None = self._scene
        self._begun = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._failed = self.create_guard_condition(self._give_up)
        self._lost_s = 0.0
        self._thread = threading.Thread(target=self._run, name='physics', daemon=True)
        self.add_on_set_parameters_callback(self._set)
        self._thread.start()

    def close(self) -> None:
        """Stop the physics."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _take(self, name: str, default: int | str) -> int | str:
        """Take a parameter of this node alone out of those that describe the embodiment."""
        if not self.has_parameter(name):
            return default
        value = self.get_parameter(name).value
        self.undeclare_parameter(name)
        if type(value) is not type(default):
            raise ConfigError(
                f"parameter '{name}' must be {type(default).__name__}, got {value!r}"
            )
        return value

    def _sample(self, choice: dict[str, int | str]) -> Scene:
        """
        Return the chosen scene.

        :raises ConfigError: there is no such scene.
        """
        purpose = PURPOSES.get(str(choice['purpose']))
        if purpose is None or int(choice['episode']) < 0 or int(choice['seed']) < 0:
            raise ConfigError(
                f'no scene {choice}: purpose is one of {list(PURPOSES)}, '
                'episode and seed are not negative'
            )
        return sample_scene(self.embodiment, purpose, int(choice['seed']), int(choice['episode']))

    def _set(self, parameters: list[Parameter]) -> SetParametersResult:
        """Begin the scene that the parameters choose, and answer when it has begun."""
        ours = {p.name: p.value for p in parameters if p.name in SCENE_DEFAULTS}
        if not ours:
            return SetParametersResult(successful=True)
        try:
            scene = self._sample({**self._choice, **ours})
        except (XvlaError, ValueError, TypeError) as error:
            return SetParametersResult(successful=False, reason=str(error))
        with self._begun:
            self._requested = scene
            self._begun.wait_for(lambda: not self._requested or self._failure, RESET_TIMEOUT_S)
            begun = self._requested is None
        if not begun:
            return SetParametersResult(successful=False, reason='the physics did not answer')
        self._choice.update(ours)
        return SetParametersResult(successful=True)

    def _run(self) -> None:
        """Advance the world in real time until stopped; what draws lives on this thread."""
        try:
            self._cameras.warm_up(self._world)
            self._simulate(self._world)
            self._world.close()
        except Exception as error:  # whatever it is, the node must not live on without physics
            with self._begun:
                self._failure = error
                self._begun.notify_all()
            self._failed.trigger()

    def _give_up(self) -> None:
        """
        End the node, on the executor's thread, for the reason that ended the physics.

        :raises XvlaError: always.
        """
        error = self._failure
        if isinstance(error, XvlaError):
            raise error
        self.get_logger().error(''.join(traceback.format_exception(error)))
        raise XvlaError(f'the physics ended: {type(error).__name__}: {error}') from error

    def _simulate(self, world: World) -> None:
        assert self.embodiment.sim is not None
        period_s = 1.0 / self.embodiment.sim.state_rate_hz
        deadline_s, markers_s = time.perf_counter(), 0.0
        while not self._stop.is_set():
            self._begin_requested(world)
            for server in self._servers:
                server.apply(world, period_s, deadline_s)
            world.step(period_s)
            stamp = self._stamp(deadline_s)
            for arm in self._arms:
                arm.publish(world, stamp)
            self._cameras.publish_one(world, deadline_s, stamp)
            if deadline_s >= markers_s:
                markers_s = deadline_s + 1.0 / SCENE_RATE_HZ
                self._markers.publish(world, self._scene)
            deadline_s = self._sleep_until(deadline_s + period_s)

    def _begin_requested(self, world: World) -> None:
        """Reset the world when a scene was asked for, and tell who waits for it."""
        with self._begun:
            if self._requested is None:
                return
            self._scene, self._requested = self._requested, None
            for server in self._servers:
                server.forget()
            world.reset(self._scene)
            self._begun.notify_all()

    def _stamp(self, due_s: float) -> Time:
        """Return a time of perf_counter as a stamp."""
        late_ns = round((time.perf_counter() - due_s) * NANOSECONDS)
        return ns_to_stamp(self.get_clock().now().nanoseconds - late_ns)

    def _sleep_until(self, deadline_s: float) -> float:
        """Sleep to a deadline; return it, or now when the physics are hopelessly late."""
        left_s = deadline_s - time.perf_counter()
        if left_s > 0:
            time.sleep(left_s)
        elif -left_s > MOST_BEHIND_S:
            self._lost_s -= left_s
            self.get_logger().warning(
                f'simulation lost {self._lost_s:.2f} s in all: this machine is too slow',
                throttle_duration_sec=5.0,
            )
            return time.perf_counter()
        return deadline_s


def _simulated(embodiment: Embodiment) -> Embodiment:
    if embodiment.sim is None:
        raise ConfigError("this embodiment has no 'sim' block: use one of config/*_sim.yaml")
    return embodiment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until it is told to stop."""
    return run(SimNode, 'sim_node', arguments)


if __name__ == '__main__':
    sys.exit(main())
