# SPDX-License-Identifier: Apache-2.0
"""
ROS messages to the data types of the core, and back.

An input that cannot be used raises ObservationError with the topic that it came from, what it
held, and what was expected. Arrays reach messages as array.array or bytes: assigning numpy costs
85 ms per image (rosidl's checks).
"""

from collections.abc import Sequence
import math

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, PoseStamped, Quaternion
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from sensor_msgs.msg import JointState

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, GRIPPER, POSITION, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.rotations import rotate6d_to_matrix
from xvla_ros.msg import ActionChunk, ActionStep, EndEffectorCommand, EndEffectorTarget

NANOSECONDS = 1_000_000_000


def stamp_to_ns(stamp: Time) -> int:
    """Return a message stamp in nanoseconds."""
    return stamp.sec * NANOSECONDS + stamp.nanosec


def ns_to_stamp(ns: int) -> Time:
    """Return nanoseconds as a message stamp."""
    return Time(sec=ns // NANOSECONDS, nanosec=ns % NANOSECONDS)


def ns_to_duration(ns: int) -> Duration:
    """Return nanoseconds as a message duration."""
    return Duration(sec=ns // NANOSECONDS, nanosec=ns % NANOSECONDS)


def duration_to_s(duration: Duration) -> float:
    """Return a message duration in seconds."""
    return duration.sec + duration.nanosec * 1e-9


def pose_from_message(
    message: PoseStamped, base_frame: str, topic: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """
    Return the position (3,) [m] and quaternion (4,) xyzw of a pose in `base_frame`.

    An empty frame_id is taken as base_frame: some drivers leave it out (Piper's end_pose_stamped).

    :raises ObservationError: another frame, a value that is not finite, or no unit quaternion.
    """
    frame = message.header.frame_id
    if frame and frame != base_frame:
        raise ObservationError(f"{topic}: pose is in frame '{frame}', expected '{base_frame}'")
    p, q = message.pose.position, message.pose.orientation
    position, quaternion = np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w])
    if not (np.isfinite(position).all() and np.isfinite(quaternion).all()):
        raise ObservationError(
            f'{topic}: pose holds a value that is not finite: {position} {quaternion}'
        )
    norm = float(np.linalg.norm(quaternion))
    if abs(norm - 1.0) > 1e-2:
        raise ObservationError(
            f'{topic}: orientation is no unit quaternion: {quaternion} has norm {norm:.3f}'
        )
    return position, quaternion / norm


def joint_positions(message: JointState, names: Sequence[str], topic: str) -> NDArray[np.float64]:
    """
    Return the positions (n,) of the named joints, in that order.

    :raises ObservationError: a joint is missing, or its position is missing or not finite.
    """
    index = {name: i for i, name in enumerate(message.name)}
    missing = [name for name in names if name not in index]
    if missing:
        raise ObservationError(
            f'{topic}: JointState lacks joint {", ".join(missing)}; '
            f'it has {", ".join(message.name)}'
        )
    if len(message.position) != len(message.name):
        raise ObservationError(
            f'{topic}: JointState has {len(message.name)} names '
            f'but {len(message.position)} positions'
        )
    positions = np.array([message.position[index[name]] for name in names])
    for name, value in zip(names, positions, strict=True):
        if not math.isfinite(value):
            raise ObservationError(f"{topic}: position of joint '{name}' is {value}")
    return positions


def pose_to_message(position: NDArray[np.float64], quaternion: NDArray[np.float64]) -> Pose:
    """Return a pose message of a position (3,) [m] and quaternion (4,) xyzw."""
    x, y, z, w = (float(v) for v in quaternion)
    return Pose(position=point(position), orientation=Quaternion(x=x, y=y, z=z, w=w))


def point(position: NDArray[np.float64]) -> Point:
    """Return a point message of a position (3,) [m]."""
    return Point(x=float(position[0]), y=float(position[1]), z=float(position[2]))


def targets_to_messages(
    embodiment: Embodiment, targets: Sequence[ArmPose]
) -> list[EndEffectorTarget]:
    """Return one message per arm, in the embodiment's order."""
    return [
        EndEffectorTarget(
            arm=name,
            frame_id=embodiment.arms[name].base_frame,
            pose=pose_to_message(target.position, target.quaternion),
            gripper=target.gripper,
        )
        for name, target in zip(embodiment.arm_names, targets, strict=True)
    ]


def command_to_message(
    embodiment: Embodiment, targets: Sequence[ArmPose] | None, stamp_ns: int, sequence: int
) -> EndEffectorCommand:
    """Return what all arms shall do at `stamp_ns`; no targets means hold."""
    command = EndEffectorCommand(sequence=sequence, hold=targets is None)
    command.header.stamp = ns_to_stamp(stamp_ns)
    command.targets = [] if targets is None else targets_to_messages(embodiment, targets)
    return command


def chunk_to_message(embodiment: Embodiment, chunk: Chunk) -> ActionChunk:
    """
    Return a chunk as typed poses, grippers as the model gave them.

    A chunk whose values define no poses becomes a message without steps.
    """
    message = ActionChunk(sequence=chunk.sequence)
    message.header.stamp = ns_to_stamp(chunk.stamp_ns)
    halves = chunk.actions.reshape(len(chunk.actions), 2, ARM_SIZE)[:, : len(embodiment.arm_names)]
    try:
        matrices = rotate6d_to_matrix(halves[..., ROTATION], embodiment.policy.rotation_6d_layout)
        flat = Rotation.from_matrix(matrices.reshape(-1, 3, 3)).as_quat()
    except ValueError:
        return message
    quaternions = flat.reshape(*halves.shape[:2], 4)
    frames = [(name, embodiment.arms[name].base_frame) for name in embodiment.arm_names]
    for index, (row, turns) in enumerate(zip(halves, quaternions, strict=True)):
        targets = [
            EndEffectorTarget(
                arm=name, frame_id=frame, pose=pose_to_message(h[POSITION], q), gripper=h[GRIPPER]
            )
            for (name, frame), h, q in zip(frames, row, turns, strict=True)
        ]
        due = ns_to_duration((index + 1) * chunk.period_ns)
        message.steps.append(ActionStep(time_from_start=due, targets=targets))
    return message
