# SPDX-License-Identifier: Apache-2.0
"""
A bag of a simulated robot, made in simulated time: real messages, no ROS graph, any length.

The scripted expert answers in place of a network, and what drives a real robot (`runtime/`) moves
the simulated one; cameras are JPEG CompressedImage, as most robots record them. For trying the
replay tools and for measuring them.
"""

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import CompressedImage, Image
from tqdm import tqdm
import yaml

from xvla_ros.adapt.cell import Cell, Images, MakeLoop
from xvla_ros.bags.manifest import Recording, recording_message, RECORDING_TOPIC
from xvla_ros.bags.topics import recorded_streams, STRING
from xvla_ros.bags.writer import BagWriter, Bounds, Channel
from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import Embodiment, embodiment_from_parameters
from xvla_ros.core.parameter_file import parse_parameters, read_parameter_file
from xvla_ros.nodes.common.conversions import ns_to_stamp
from xvla_ros.nodes.policy.publishers import PolicyOutputs, StatusOutputs
from xvla_ros.nodes.policy.status import Lateness, status_message
from xvla_ros.nodes.sim.publishers import ArmFeedback
from xvla_ros.runtime.clock import Clock
from xvla_ros.runtime.inputs import Inputs
from xvla_ros.runtime.simulated import Loop, Schedule
from xvla_ros.runtime.worker_messages import Answer, Task, Timing
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
    text: str = yaml.safe_dump({'/**': {'ros__parameters': parameters}}, sort_keys=False)
    return text


def simulate_bag(folder: Path, embodiment_file: Path, simulation: Simulation) -> Embodiment:
    """Record a simulation into `folder`; return the embodiment that it was recorded with."""
    return record_simulation(folder, compressed_embodiment(embodiment_file), simulation)


def record_simulation(
    folder: Path,
    text: str,
    simulation: Simulation,
    answers: tuple[MakeLoop, Schedule] | None = None,
) -> Embodiment:
    """
    Record a simulation of the robot that a parameter file describes.

    :param text: of the parameter file. answers: who answers observations, and when, instead of the
        expert.
    """
    parameters = parse_parameters(text, 'simulation')
    embodiment = embodiment_from_parameters(parameters, 'simulation')
    channels = {RECORDING_TOPIC: Channel(kind=STRING, latched=True)} | {
        '/' + stream.topic: Channel(kind=stream.kind, latched=stream.latched, sensor=stream.sensor)
        for stream in recorded_streams(embodiment)
    }
    with BagWriter(folder, channels, Bounds()) as writer:
        recording = Recording(embodiment=text)
        writer.write(RECORDING_TOPIC, START_NS, recording_message(recording))
        node = RecordingNode('policy_node', writer, set(channels))
        _Recorded(node, embodiment, simulation, answers).run()
    return embodiment


class _Latency:
    """Inferences of the expert, whose duration varies as that of a model does."""

    def __init__(self, seed: int, latency_s: float) -> None:
        self._random, self._usual_s = np.random.default_rng(seed), latency_s
        self.latency_s = latency_s  # of the inference that begins next

    def wants(self, now_ns: int, inputs: Inputs, loop: Loop) -> bool:
        return inputs.wait_for_frame(loop.last_ns, 0.0)

    def due_ns(self, now_ns: int) -> int:
        due_ns = now_ns + round(self.latency_s * NANOSECONDS)
        self.latency_s = self._usual_s * self._random.uniform(0.9, 1.3)
        return due_ns

    def next_ns(self, now_ns: int) -> int:
        return now_ns


class _ExpertLoop:
    """Answers every observation with the expert's plan from there."""

    def __init__(
        self, cell: '_Recorded', inputs: Inputs, latency: _Latency, send: Callable[[object], None]
    ) -> None:
        self._cell, self._inputs, self._latency, self._send = cell, inputs, latency, send
        self.last_ns = 0

    def tell(self, message: object) -> None:
        """Take a Task or a Committed; the expert needs neither."""

    def attempt(self, task: Task) -> float | None:
        observation = self._inputs.observe(task.instruction)
        self.last_ns = observation.stamp_ns
        timing = Timing(
            image_age_s=0.02, preprocess_s=0.01, inference_s=self._latency.latency_s - 0.01
        )
        chunk = self._cell.expert_chunk(observation.stamp_ns, observation.arms)
        answer = Answer(chunk=chunk, arms=observation.arms, epoch=task.epoch, timing=timing)
        self._send(answer)
        return None


class _Recorded:
    """A robot, its cameras and its policy, and publishers of all that they say."""

    def __init__(
        self,
        node: RecordingNode,
        embodiment: Embodiment,
        simulation: Simulation,
        answers: tuple[MakeLoop, Schedule] | None,
    ) -> None:
        self._node, self._embodiment, self._simulation = node, embodiment, simulation
        self._world, self._expert = World(embodiment), Expert(embodiment)
        self._names = embodiment.arm_names
        self._arms = [ArmFeedback(node, name, arm) for name, arm in embodiment.arms.items()]
        kinds = {True: CompressedImage, False: Image}
        self._cameras = {
            name: node.create_publisher(kinds[camera.compressed], camera.topic, 1)
            for name, camera in embodiment.cameras.items()
        }
        self._outputs, self._status = PolicyOutputs(node, embodiment), StatusOutputs(node)
        make_loop, schedule = answers or self._by_expert()
        self._cell = Cell(embodiment, self._world, make_loop, schedule, self._outputs, START_NS)
        node.time = self._cell.clock.now_ns

    def _by_expert(self) -> tuple[MakeLoop, Schedule]:
        latency = _Latency(self._simulation.seed, self._simulation.latency_s)

        def make(inputs: Inputs, clock: Clock, send: Callable[[object], None]) -> Loop:
            return _ExpertLoop(self, inputs, latency, send)

        return make, latency

    def run(self) -> None:
        """Run all episodes."""
        simulation = self._simulation
        frame_ns = round(NANOSECONDS / simulation.camera_rate_hz)
        episode_ns = round(simulation.episode_s * NANOSECONDS)
        steps = range(round(simulation.seconds * NANOSECONDS / STATE_PERIOD_NS))
        for step in tqdm(steps, 'simulating', leave=False, disable=None):
            elapsed_ns = step * STATE_PERIOD_NS
            if _begins(elapsed_ns, episode_ns):
                self._begin(elapsed_ns // episode_ns)
            for arm in self._arms:
                arm.publish(self._world, ns_to_stamp(self._node.now_ns))
            if _begins(elapsed_ns, frame_ns):
                self._cell.look(self._photograph())
            self._cell.step(STATE_PERIOD_NS / NANOSECONDS)
            if _begins(elapsed_ns, STATUS_PERIOD_NS):
                self._report()
        self._world.close()

    def _begin(self, episode: int) -> None:
        self._scene: Scene = sample_scene(
            self._embodiment, EVALUATE, self._simulation.seed, episode
        )
        self._outputs.follow(self._scene.instruction)
        self._cell.begin(self._scene)

    def _photograph(self) -> Images:
        """Publish an image of every camera, and return them."""
        images = []
        for name, publisher in self._cameras.items():
            image = self._world.render(name, *self._simulation.size)
            compressed = self._embodiment.cameras[name].compressed
            message = jpeg_message(image) if compressed else image_message(image)
            message.header.stamp = ns_to_stamp(self._node.now_ns)
            message.header.frame_id = f'{name}_optical_frame'
            publisher.publish(message)
            images.append(image)
        return tuple(images)

    def expert_chunk(self, stamp_ns: int, arms: Sequence[ArmPose]) -> Chunk:
        """Return the expert's plan as the answer of a model to the last images."""
        blocks = {
            name: self._world.block_in_base(name, self._scene.colour) for name in self._names
        }
        plans = self._expert.plan(
            arms, self._scene, blocks[self._scene.arm], CHUNK_STEPS, CHUNK_PERIOD_S
        )
        layout = self._embodiment.policy.rotation_6d_layout
        rows = [
            pack([replace(pose, gripper=1.0 - pose.gripper) for pose in poses], layout)
            for poses in zip(*(plan.poses() for plan in plans), strict=True)
        ]
        return Chunk(stamp_ns=stamp_ns, period_s=CHUNK_PERIOD_S, actions=np.stack(rows))

    def _report(self) -> None:
        snapshot = self._cell.control.snapshot(self._node.now_ns)
        self._status.status.publish(status_message(snapshot, Lateness(), self._node.now_ns))


def jpeg_message(image: NDArray[np.uint8]) -> CompressedImage:
    """Return an image (H, W, 3) RGB as a JPEG message, as most robots record it."""
    import cv2

    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode('.jpg', bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return CompressedImage(format='rgb8; jpeg compressed bgr8', data=data.tobytes())


def image_message(image: NDArray[np.uint8]) -> Image:
    """Return an image (H, W, 3) RGB as a raw message."""
    height, width, _ = image.shape
    message = Image(height=height, width=width, encoding='rgb8', step=3 * width)
    message.data = array('B', image.tobytes())  # assigning numpy costs 85 ms an image
    return message


def _begins(elapsed_ns: int, period_ns: int) -> bool:
    """Tell whether a period begins within this step."""
    return elapsed_ns % period_ns < STATE_PERIOD_NS
