# SPDX-License-Identifier: Apache-2.0
"""
Converts the core's data types to ROS messages; `inputs.messages` does the reverse.

Arrays are assigned as array.array or bytes, because numpy costs 85 ms per image (rosidl's checks).
"""

from array import array
from collections.abc import Sequence

from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point, Pose, Quaternion
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, GRIPPER, POSITION, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.interpolation import State
from xvla_ros.core.rotations import rotate6d_to_matrix
from xvla_ros.core.space import Space, states_of
from xvla_ros.msg import ActionChunk, ActionStep, EndEffectorCommand, EndEffectorTarget

NANOSECONDS = 1_000_000_000
# States of all arms over time.
Ahead = Sequence[Sequence[State]]


def ns_to_stamp(ns: int) -> Time:
    """Return nanoseconds as a message stamp."""
    return Time(sec=ns // NANOSECONDS, nanosec=ns % NANOSECONDS)


def ns_to_duration(ns: int) -> Duration:
    """Return nanoseconds as a message duration."""
    return Duration(sec=ns // NANOSECONDS, nanosec=ns % NANOSECONDS)


def duration_to_s(duration: Duration) -> float:
    """Return a message duration in seconds."""
    return duration.sec + duration.nanosec * 1e-9


def pose_to_message(position: NDArray[np.float64], quaternion: NDArray[np.float64]) -> Pose:
    """Return a pose message of a position (3,) [m] and quaternion (4,) xyzw."""
    x, y, z, w = (float(v) for v in quaternion)
    return Pose(position=point(position), orientation=Quaternion(x=x, y=y, z=z, w=w))


def point(position: NDArray[np.float64]) -> Point:
    """Return a point message of a position (3,) [m]."""
    return Point(x=float(position[0]), y=float(position[1]), z=float(position[2]))


def targets_to_messages(
    embodiment: Embodiment, targets: Sequence[ArmPose], ahead: Ahead = ()
) -> list[EndEffectorTarget]:
    """Return one message per arm, in the embodiment's order; `ahead` adds rows of joints."""
    return [
        EndEffectorTarget(
            arm=name,
            frame_id=embodiment.arms[name].base_frame,
            pose=pose_to_message(target.position, target.quaternion),
            gripper=target.gripper,
            joints=() if target.joints is None else _rows(target, [row[i] for row in ahead]),
        )
        for i, (name, target) in enumerate(zip(embodiment.arm_names, targets, strict=True))
    ]


def _rows(target: ArmPose, ahead: Sequence[State]) -> 'array[float]':
    """Return a target's joints, then those of the states after it, as one row each."""
    assert target.joints is not None
    rows = array('d', target.joints.tolist())
    for state in ahead:
        rows.extend(state[:-1])
    return rows


def command_to_message(
    embodiment: Embodiment,
    targets: Sequence[ArmPose] | None,
    stamp_ns: int,
    sequence: int,
    ahead: Ahead = (),
) -> EndEffectorCommand:
    """
    Return the command for all arms at `stamp_ns`; without targets it means hold.

    :param ahead: joint space: the states of all arms at the following control periods.
    """
    command = EndEffectorCommand(sequence=sequence, hold=targets is None)
    command.header.stamp = ns_to_stamp(stamp_ns)
    command.targets = [] if targets is None else targets_to_messages(embodiment, targets, ahead)
    return command


def chunk_to_message(
    embodiment: Embodiment, chunk: Chunk, space: Space | None = None
) -> ActionChunk:
    """
    Return a chunk as poses with the model's gripper values; in joint space with joints, too.

    A chunk whose values are no valid poses becomes a message without steps.

    :param space: the space of a chunk of joints.
    """
    message = ActionChunk(sequence=chunk.sequence)
    message.header.stamp = ns_to_stamp(chunk.stamp_ns)
    if chunk.joint_counts and space:
        message.steps = _joint_steps(embodiment, chunk, space)
        return message
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
        due = ns_to_duration(chunk.due_ns(index) - chunk.stamp_ns)
        message.steps.append(ActionStep(time_from_start=due, targets=targets))
    return message


def _joint_steps(embodiment: Embodiment, chunk: Chunk, space: Space) -> list[ActionStep]:
    """Return the steps of a chunk of joints; none if its values are not valid."""
    try:
        rows = [space.arms(states) for states in states_of(space, chunk)]
    except ValueError:
        return []
    return [
        ActionStep(
            time_from_start=ns_to_duration(chunk.due_ns(index) - chunk.stamp_ns),
            targets=targets_to_messages(embodiment, arms),
        )
        for index, arms in enumerate(rows)
    ]
