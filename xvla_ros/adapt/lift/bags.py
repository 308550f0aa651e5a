# SPDX-License-Identifier: Apache-2.0
"""Writes demonstrations of the simulation as a bag, as `xvla record` would, without ROS."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from xvla_ros.adapt.lift.rollouts import Frame, Rollouts
from xvla_ros.bags.images import compressed_image
from xvla_ros.bags.manifest import Recording, recording_message, RECORDING_TOPIC
from xvla_ros.bags.message_types import typestore, write_message
from xvla_ros.bags.topics import (
    CHUNK_KIND,
    COMPRESSED,
    IMAGE,
    JOINTS,
    observation_streams,
    PLAN,
    POSE,
    STRING,
    SUFFIX,
    TASK,
)
from xvla_ros.bags.writer import BagWriter, Bounds, Channel
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment, load_embodiment
from xvla_ros.sim.expert import ArmPlan
from xvla_ros.sim.scenes import Scene

# Time of the first message, after 0, which means not known; and between two demonstrations.
START_NS = NANOSECONDS
PAUSE_NS = NANOSECONDS


def record_bag(folder: Path, file: Path, scenes: list[Scene]) -> Embodiment:
    """
    Record a demonstration of each scene into a bag; images are JPEG.

    :param file: of the embodiment. It must take its poses from topics, not from TF.
    :raises ConfigError: the folder is not empty.
    """
    embodiment = load_embodiment(file)
    rollouts, messages = Rollouts(embodiment), DemonstrationMessages(embodiment)
    recording = Recording(embodiment=file.read_text(encoding='utf-8'))
    now_ns = START_NS
    with BagWriter(folder, messages.channels, Bounds()) as writer:
        writer.write(RECORDING_TOPIC, now_ns, recording_message(recording))
        for scene in tqdm(scenes, f'record {embodiment.robot}', unit='episode', mininterval=5):
            writer.write('/' + TASK, now_ns, string(scene.instruction))
            begun_ns = now_ns + 1
            for frame in rollouts.play(scene):
                now_ns = begun_ns + round(frame.time_s * NANOSECONDS)
                for topic, data in messages.of(frame, rollouts, now_ns):
                    writer.write(topic, now_ns, data)
            writer.write('/' + TASK, now_ns + 1, string(''))
            now_ns += PAUSE_NS
    rollouts.world.close()
    return embodiment


class DemonstrationMessages:
    """The messages of frames: what the robot's own drivers and cameras say, and the plan."""

    def __init__(self, embodiment: Embodiment) -> None:
        """Choose the topics."""
        self._embodiment = embodiment
        streams = observation_streams(embodiment)
        self._topics = {stream.topic: stream.kind for stream in streams if stream.kind != IMAGE}
        self.channels = {
            RECORDING_TOPIC: Channel(kind=STRING, latched=True),
            '/' + TASK: Channel(kind=STRING, latched=True),
            '/' + PLAN: Channel(kind=CHUNK_KIND),
            **{
                absolute(topic): Channel(kind=kind, sensor=True)
                for topic, kind in self._topics.items()
            },
            **{
                absolute(camera.topic) + SUFFIX: Channel(kind=COMPRESSED, sensor=True)
                for camera in embodiment.cameras.values()
            },
        }

    def of(self, frame: Frame, rollouts: Rollouts, now_ns: int) -> list[tuple[str, bytes]]:
        """Return the messages of a frame by topic: plan, arms, images."""
        header = header_at(now_ns)
        found = [('/' + PLAN, plan_message(self._embodiment, frame.plans, header))]
        for (name, arm), tool in zip(self._embodiment.arms.items(), frame.tools, strict=True):
            if self._topics.get(arm.pose_topic) == POSE:
                pose = make(POSE, header=header_at(now_ns, arm.base_frame), pose=pose_of(tool))
                found.append((absolute(arm.pose_topic), write_message(POSE, pose)))
            q = rollouts.world.joint_positions(name)
            found += self._joints(name, q, tool.gripper, header)
        for name, image in zip(self._embodiment.camera_names, frame.images, strict=True):
            topic = absolute(self._embodiment.cameras[name].topic) + SUFFIX
            found.append((topic, jpeg_of(image, header_at(now_ns, f'{name}_optical_frame'))))
        return found

    def _joints(
        self, name: str, q: NDArray[np.float64], opening: float, header: Any
    ) -> list[tuple[str, bytes]]:
        """Return the joint states of an arm and its fingers, on one topic or on two."""
        arm = self._embodiment.arms[name]
        gripper = arm.gripper
        span = gripper.open_position - gripper.closed_position
        fingers = np.full(len(gripper.joint_names), gripper.closed_position + opening * span)
        groups = {arm.joint_states_topic: (list(arm.joint_names), q)}
        topic = gripper.joint_states_topic or arm.joint_states_topic
        names, values = groups.get(topic, ([], np.empty(0)))
        groups[topic] = ([*names, *gripper.joint_names], np.concatenate([values, fingers]))
        empty = np.empty(0)
        return [
            (
                absolute(topic),
                write_message(
                    JOINTS,
                    make(JOINTS, header=header, name=names, position=values, velocity=empty,
                         effort=empty),
                ),
            )
            for topic, (names, values) in groups.items()
            if topic in self._topics
        ]  # fmt: skip


def plan_message(embodiment: Embodiment, plans: tuple[ArmPlan, ...], header: Any) -> bytes:
    """Return plans as an ActionChunk; gripper values are the model's, as in every chunk."""
    period_ns = round(embodiment.policy.anchor_period_s * NANOSECONDS)
    steps = []
    for number, poses in enumerate(zip(*(plan.poses() for plan in plans), strict=True), 1):
        targets = [
            make(
                'xvla_ros/msg/EndEffectorTarget', arm=name, frame_id=arm.base_frame,
                pose=pose_of(pose), joints=np.empty(0),
                gripper=model_gripper(pose.gripper, arm.gripper.closed_probability),
            )
            for (name, arm), pose in zip(embodiment.arms.items(), poses, strict=True)
        ]  # fmt: skip
        due = make('builtin_interfaces/msg/Duration', **seconds(number * period_ns))
        steps.append(make('xvla_ros/msg/ActionStep', time_from_start=due, targets=targets))
    chunk = make(CHUNK_KIND, header=header, sequence=0, steps=steps, verdict=0, reasons=[])
    return write_message(CHUNK_KIND, chunk)


def model_gripper(opening: float, closed: float) -> float:
    """Return an opening as the model's number; `closed` is the model's number for closed."""
    return float(closed + (1 - 2 * closed) * opening)


def make(kind: str, **fields: Any) -> Any:
    """Return a message of a type."""
    return typestore().types[kind](**fields)


def seconds(ns: int) -> dict[str, int]:
    """Return nanoseconds as the fields of a stamp or a duration."""
    return {'sec': ns // NANOSECONDS, 'nanosec': ns % NANOSECONDS}


def header_at(ns: int, frame: str = '') -> Any:
    """Return a message's header."""
    stamp = make('builtin_interfaces/msg/Time', **seconds(ns))
    return make('std_msgs/msg/Header', stamp=stamp, frame_id=frame)


def pose_of(tool: ArmPose) -> Any:
    """Return a pose message."""
    x, y, z = map(float, tool.position)
    position = make('geometry_msgs/msg/Point', x=x, y=y, z=z)
    x, y, z, w = map(float, tool.quaternion)
    orientation = make('geometry_msgs/msg/Quaternion', x=x, y=y, z=z, w=w)
    return make('geometry_msgs/msg/Pose', position=position, orientation=orientation)


def jpeg_of(image: NDArray[np.uint8], header: Any) -> bytes:
    """Return an image (H, W, 3) RGB as a CompressedImage."""
    height, width, _ = image.shape
    raw = make(
        IMAGE, header=header, height=height, width=width, encoding='rgb8', is_bigendian=0,
        step=3 * width, data=image.ravel(),
    )  # fmt: skip
    packed = compressed_image(write_message(IMAGE, raw), 'jpeg')
    assert packed is not None  # rgb8 can be compressed
    return packed


def string(text: str) -> bytes:
    """Return a String message."""
    return write_message(STRING, make(STRING, data=text))


def absolute(topic: str) -> str:
    """Return the name of a topic in a bag."""
    return '/' + topic.lstrip('/')
