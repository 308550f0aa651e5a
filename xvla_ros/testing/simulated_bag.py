# SPDX-License-Identifier: Apache-2.0
"""
A bag of a simulated robot, made in simulated time: real messages, no ROS graph, any length.

The scripted expert answers in place of a network, and the real policy control, gate and queue move
the robot; cameras are JPEG CompressedImage, as most robots record them. For trying the replay
tools and for measuring them.
"""

from dataclasses import dataclass, replace
import math
from pathlib import Path

import numpy as np
from sensor_msgs.msg import CompressedImage
from tqdm import tqdm
import yaml

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.ee6d import pack
from xvla_ros.core.embodiment import Embodiment, embodiment_from_parameters, read_parameter_file
from xvla_ros.nodes.conversions import ns_to_stamp
from xvla_ros.nodes.policy_control import PolicyControl
from xvla_ros.nodes.policy_outputs import PolicyOutputs, StatusOutputs
from xvla_ros.nodes.sim_feedback import ArmFeedback
from xvla_ros.nodes.status import Lateness, status_message
from xvla_ros.nodes.worker_link import Answer, Timing
from xvla_ros.replay.recording import Recording, recording_message, RECORDING_TOPIC
from xvla_ros.replay.topics import recorded_streams, STRING
from xvla_ros.replay.writer import BagWriter, Bounds, Channel
from xvla_ros.sim.expert import Expert
from xvla_ros.sim.scenes import EVALUATE, sample_scene, Scene
from xvla_ros.sim.world import World
from xvla_ros.testing.recording_node import RecordingNode

START_NS = 1_700_000_000 * NANOSECONDS
STATE_PERIOD_NS = NANOSECONDS // 100
STATUS_PERIOD_NS = NANOSECONDS // 5
CHUNK_STEPS, CHUNK_PERIOD_S = 30, 0.1
JPEG_QUALITY = 90


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulation:
    """
    What to record.

    seconds: of simulated time. size: width and height of images. latency_s: of each answer.
    episode_s: after so long a new scene begins.
    """

    seconds: float = 20.0
    camera_rate_hz: float = 30.0
    size: tuple[int, int] = (640, 480)
    seed: int = 0
    episode_s: float = 6.0
    latency_s: float = 0.1


def compressed_embodiment(path: Path) -> str:
    """Return the text of a simulation's parameter file with its cameras as JPEG topics."""
    parameters = read_parameter_file(path)
    for camera in parameters['cameras'].values():
        camera['topic'] += '/compressed'
        camera['compressed'] = True
    return yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False)


def simulate_bag(folder: Path, embodiment_file: Path, simulation: Simulation) -> Embodiment:
    """Record a simulation into `folder`; return the embodiment that it was recorded with."""
    text = compressed_embodiment(embodiment_file)
    parameters = yaml.safe_load(text)['/**']['ros__parameters']
    embodiment = embodiment_from_parameters(parameters, str(embodiment_file))
    channels = {RECORDING_TOPIC: Channel(kind=STRING, latched=True)} | {
        '/' + stream.topic: Channel(kind=stream.kind, latched=stream.latched, sensor=stream.sensor)
        for stream in recorded_streams(embodiment)
    }
    with BagWriter(folder, channels, Bounds()) as writer:
        recording = Recording(embodiment=text)
        writer.write(RECORDING_TOPIC, START_NS, recording_message(recording))
        node = RecordingNode('policy_node', writer, set(channels))
        _Cell(node, embodiment, simulation).run()
    return embodiment


class _Cell:
    """A robot, its cameras and its policy, advanced together."""

    def __init__(
        self, node: RecordingNode, embodiment: Embodiment, simulation: Simulation
    ) -> None:
        self._node, self._embodiment, self._simulation = node, embodiment, simulation
        self._world, self._expert = World(embodiment), Expert(embodiment)
        self._names = embodiment.arm_names
        self._arms = [ArmFeedback(node, name, arm) for name, arm in embodiment.arms.items()]
        self._cameras = {
            name: node.create_publisher(CompressedImage, camera.topic, 1)
            for name, camera in embodiment.cameras.items()
        }
        self._outputs, self._status = PolicyOutputs(node, embodiment), StatusOutputs(node)
        self._control = PolicyControl(embodiment)
        self._control.activate()
        self._control.set_armed(True)
        self._random = np.random.default_rng(simulation.seed)
        self._pending: tuple[Answer, int] | None = None
        self._frame_ns, self._asked_ns = 0, 0  # of the last images, and of those asked about

    def run(self) -> None:
        """Run all episodes."""
        simulation, control = self._simulation, self._embodiment.control
        tick_ns = round(NANOSECONDS / control.rate_hz)
        frame_ns = round(NANOSECONDS / simulation.camera_rate_hz)
        episode_ns = round(simulation.episode_s * NANOSECONDS)
        steps = range(round(simulation.seconds * NANOSECONDS / STATE_PERIOD_NS))
        for step in tqdm(steps, 'simulating', leave=False, disable=None):
            elapsed_ns = step * STATE_PERIOD_NS
            self._node.now_ns = START_NS + elapsed_ns
            if _begins(elapsed_ns, episode_ns):
                self._begin(elapsed_ns // episode_ns)
            for arm in self._arms:
                arm.publish(self._world, ns_to_stamp(self._node.now_ns))
            if _begins(elapsed_ns, frame_ns):
                self._photograph()
            self._think()
            if _begins(elapsed_ns, tick_ns):
                self._tick()
            if _begins(elapsed_ns, STATUS_PERIOD_NS):
                self._report()
            self._world.step(STATE_PERIOD_NS / NANOSECONDS)
        self._world.close()

    def _begin(self, episode: int) -> None:
        self._scene: Scene = sample_scene(
            self._embodiment, EVALUATE, self._simulation.seed, episode
        )
        self._world.reset(self._scene)
        self._epoch = self._control.set_task(self._scene.instruction)
        self._outputs.follow(self._scene.instruction)
        self._pending = None

    def _photograph(self) -> None:
        import cv2

        self._frame_ns = self._node.now_ns
        for name, publisher in self._cameras.items():
            picture = self._world.render(name, *self._simulation.size)
            bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
            _, data = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
            message = CompressedImage(format='rgb8; jpeg compressed bgr8', data=data.tobytes())
            message.header.stamp = ns_to_stamp(self._node.now_ns)
            message.header.frame_id = f'{name}_optical_frame'
            publisher.publish(message)

    def _think(self) -> None:
        """Take the answer that is due, then ask again."""
        now_ns = self._node.now_ns
        if self._pending and now_ns >= self._pending[1]:
            judged = self._control.judge(self._pending[0], now_ns)
            self._pending = None
            if judged:
                self._outputs.show(judged.chunk, judged.verdict)
        if self._pending is None and self._frame_ns > self._asked_ns:
            self._asked_ns = self._frame_ns
            latency_s = self._simulation.latency_s * self._random.uniform(0.9, 1.3)
            timing = Timing(image_age_s=0.02, preprocess_s=0.01, inference_s=latency_s - 0.01)
            answer = Answer(
                chunk=self._chunk(self._frame_ns),
                arms=tuple(self._measured()),
                epoch=self._epoch,
                timing=timing,
            )
            self._pending = (answer, now_ns + round(latency_s * NANOSECONDS))

    def _chunk(self, stamp_ns: int) -> Chunk:
        """Return the expert's plan as the answer of a model to the last images."""
        blocks = {
            name: self._world.block_in_base(name, self._scene.colour) for name in self._names
        }
        plans = self._expert.plan(
            self._measured(), self._scene, blocks[self._scene.arm], CHUNK_STEPS, CHUNK_PERIOD_S
        )
        layout = self._embodiment.policy.rotation_6d_layout
        rows = [
            pack([replace(pose, gripper=1.0 - pose.gripper) for pose in poses], layout)
            for poses in zip(*(plan.poses() for plan in plans), strict=True)
        ]
        return Chunk(stamp_ns=stamp_ns, period_s=CHUNK_PERIOD_S, actions=np.stack(rows))

    def _measured(self) -> tuple:
        return tuple(self._world.tool_pose(name) for name in self._names)

    def _tick(self) -> None:
        command = self._control.tick(self._node.now_ns, self._measured(), '')
        if command is None:
            return
        self._outputs.send(command, self._node.now_ns)
        for name, target in zip(self._names, command.targets or (), strict=False):
            self._world.set_tool_target(name, target.position, target.quaternion)
            if math.isfinite(target.gripper):
                self._world.set_gripper(name, target.gripper)

    def _report(self) -> None:
        snapshot = self._control.snapshot(self._node.now_ns)
        self._status.status.publish(status_message(snapshot, Lateness(), self._node.now_ns))


def _begins(elapsed_ns: int, period_ns: int) -> bool:
    """Tell whether a period begins within this step."""
    return elapsed_ns % period_ns < STATE_PERIOD_NS
