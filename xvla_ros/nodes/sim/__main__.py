# SPDX-License-Identifier: Apache-2.0
"""
sim_node: a MuJoCo cell with the topics of the real robot's driver.

The simulation runs on a thread of its own; callbacks only store commands. Each step publishes
/clock, in real time. The clock slows down when simulation, rendering or the policy's inference get
too little of the processor (xvla_ros/sim/pace.py); it does not wait for a single inference.

The parameters `episode`, `seed`, `purpose` and `task` choose the scene. Setting one of them begins
the scene, and the answer comes when it has begun. Commands sent before a scene began are ignored.
"""

from collections.abc import Sequence
import sys
import threading
import time
import traceback

from builtin_interfaces.msg import Time as TimeMessage
from rcl_interfaces.msg import SetParametersResult
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.time import Time
from rosgraph_msgs.msg import Clock

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError, XvlaError
from xvla_ros.msg import PolicyStatus
from xvla_ros.nodes.common.clock import CLOCK_TOPIC, ignore_clock_topic
from xvla_ros.nodes.common.parameters import read_embodiment
from xvla_ros.nodes.common.running import run
from xvla_ros.nodes.sim.drivers import make_servers
from xvla_ros.nodes.sim.frames import FrameFeedback
from xvla_ros.nodes.sim.publishers import ArmFeedback, CameraFeedback, SceneFeedback
from xvla_ros.sim.pace import Pace
from xvla_ros.sim.scenes import EVALUATE, PICK, sample_scene, Scene, TRAIN, VALIDATE
from xvla_ros.sim.world import World

PURPOSES = {'train': TRAIN, 'evaluate': EVALUATE, 'validate': VALIDATE}
SCENE_DEFAULTS = {'episode': 0, 'seed': 0, 'purpose': 'evaluate', 'task': PICK}
SCENE_RATE_HZ = 20.0
RESET_TIMEOUT_S = 10.0
POLICY_STATUS_TOPIC = 'policy_node/status'
# The real-time factor is measured over this wall time [s] and logged when below SLOW_FACTOR.
FACTOR_PERIOD_S = 5.0
SLOW_FACTOR = 0.9


class SimNode(Node):
    """The simulated cell of one embodiment."""

    def __init__(self, **arguments: object) -> None:
        super().__init__(
            'sim_node', automatically_declare_parameters_from_overrides=True, **arguments
        )
        self._choice = {name: self._take(name, value) for name, value in SCENE_DEFAULTS.items()}
        self.embodiment = _simulated(read_embodiment(self))
        if not self.get_parameter('use_sim_time').value:
            raise ConfigError(
                "sim_node: parameter 'use_sim_time' is false, expected true: a simulated robot "
                'and the nodes that use it follow its /clock; set it in the embodiment file'
            )
        ignore_clock_topic(self)
        self._scene = self._sample(self._choice)
        for name, value in self._choice.items():
            self.declare_parameter(name, value)
        arms = self.embodiment.arms.items()
        self._servers = [server for name, arm in arms for server in make_servers(self, name, arm)]
        self._arms = [ArmFeedback(self, name, arm) for name, arm in arms]
        self._cameras = CameraFeedback(self, self.embodiment)
        self._markers = SceneFeedback(self, self.embodiment)
        self._frames = FrameFeedback(self, self.embodiment)
        self._world = World(self.embodiment)
        self._requested: Scene | None = self._scene
        self._begun = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        self._failed = self.create_guard_condition(self._give_up)
        self._clock_publisher = self.create_publisher(Clock, CLOCK_TOPIC, 1)
        # The policy's last inference: its wall time [s], and its processor share, 0 to 1.
        self._inference = self._seen_inference = (float('nan'), float('nan'))
        self.create_subscription(PolicyStatus, POLICY_STATUS_TOPIC, self._on_policy, 1)
        self._thread = threading.Thread(target=self._run, name='physics', daemon=True)
        self.add_on_set_parameters_callback(self._set)
        self._thread.start()

    def close(self) -> None:
        """Stop the simulation's thread."""
        self._stop.set()
        self._thread.join(timeout=5.0)

    def _take(self, name: str, default: int | str) -> int | str:
        """Take a parameter of this node out of the parameters that describe the embodiment."""
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
        seed, episode, task = int(choice['seed']), int(choice['episode']), str(choice['task'])
        return sample_scene(self.embodiment, purpose, seed, episode, task)

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
            return SetParametersResult(
                successful=False,
                reason=f'the simulation did not begin the scene within {RESET_TIMEOUT_S:.0f} s',
            )
        self._choice.update(ours)
        return SetParametersResult(successful=True)

    def _run(self) -> None:
        """Simulate until stopped; OpenGL contexts belong to the thread that runs this."""
        try:
            self._cameras.warm_up(self._world)
            self._simulate(self._world)
            self._world.close()
        except Exception as error:  # any error: the node must end when its simulation has ended
            with self._begun:
                self._failure = error
                self._begun.notify_all()
            self._failed.trigger()

    def _give_up(self) -> None:
        """
        End the node with the error that ended the simulation. Runs on the executor's thread.

        :raises XvlaError: always.
        """
        error = self._failure
        if isinstance(error, XvlaError):
            raise error
        self.get_logger().error(''.join(traceback.format_exception(error)))
        raise XvlaError(f'the simulation ended: {type(error).__name__}: {error}') from error

    def _simulate(self, world: World) -> None:
        """Apply commands, step the world, publish the time and what the robot's driver would."""
        assert self.embodiment.sim is not None
        period_s = 1.0 / self.embodiment.sim.state_rate_hz
        pace, markers_s = Pace(period_s), 0.0
        factor = RealTimeFactor()
        begun_ns, step = time.time_ns(), 0
        while not self._stop.is_set():
            self._begin_requested(world)
            for server in self._servers:
                server.apply(world, period_s, pace.due_s)
            world.step(period_s)
            step += 1
            elapsed_s = step * period_s
            stamp = self._tell_time(begun_ns + round(elapsed_s * NANOSECONDS))
            for arm in self._arms:
                arm.publish(world, stamp)
            self._cameras.publish_one(world, elapsed_s, stamp)
            if elapsed_s >= markers_s:
                markers_s = elapsed_s + 1.0 / SCENE_RATE_HZ
                self._markers.publish(world, self._scene, stamp)
                self._frames.publish(world, stamp)
            self._report_factor(factor, elapsed_s)
            self._slow_down(pace)
            pace.next_step()

    def _begin_requested(self, world: World) -> None:
        """Reset the world when a scene was requested, and wake the thread that waits for it."""
        with self._begun:
            if self._requested is None:
                return
            self._scene, self._requested = self._requested, None
            for server in self._servers:
                server.forget()
            world.reset(self._scene)
            self._begun.notify_all()

    def _tell_time(self, now_ns: int) -> TimeMessage:
        """Set this node's clock, publish /clock, and return the time as a stamp."""
        now = Time(nanoseconds=now_ns)
        stamp = now.to_msg()
        self.get_clock().set_ros_time_override(now)
        self._clock_publisher.publish(Clock(clock=stamp))
        return stamp

    def _on_policy(self, status: PolicyStatus) -> None:
        """Store the figures of the policy's last inference."""
        self._inference = (status.inference_s, status.processor_share)

    def _slow_down(self, pace: Pace) -> None:
        """Adapt the pace when the policy has reported a new inference."""
        if self._inference is not self._seen_inference:
            self._seen_inference = self._inference
            pace.adapt(*self._inference)

    def _report_factor(self, factor: 'RealTimeFactor', elapsed_s: float) -> None:
        """Log the real-time factor while it is below SLOW_FACTOR."""
        measured = factor.measure(elapsed_s)
        if measured is not None and measured < SLOW_FACTOR:
            self.get_logger().info(
                f'simulated time passes at {measured:.2f} of real time: the machine is busy'
            )


class RealTimeFactor:
    """Measures simulated time over wall time, in periods of FACTOR_PERIOD_S."""

    def __init__(self) -> None:
        """Begin the first period."""
        self._wall_s, self._simulated_s = time.monotonic(), 0.0

    def measure(self, simulated_s: float) -> float | None:
        """Return the factor at the end of a period, None before; `simulated_s` since the start."""
        wall_s = time.monotonic() - self._wall_s
        if wall_s < FACTOR_PERIOD_S:
            return None
        factor = (simulated_s - self._simulated_s) / wall_s
        self._wall_s, self._simulated_s = time.monotonic(), simulated_s
        return factor


def _simulated(embodiment: Embodiment) -> Embodiment:
    if embodiment.sim is None:
        raise ConfigError("this embodiment has no 'sim' block: use one of config/*_sim.yaml")
    return embodiment


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the node until a signal or a shutdown; return the exit code."""
    return run(SimNode, 'sim_node', arguments)


if __name__ == '__main__':
    sys.exit(main())
