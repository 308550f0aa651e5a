# SPDX-License-Identifier: Apache-2.0
"""Reads the chunks and targets that a policy published from a bag, as data types of the core."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.message_types import read_message
from xvla_ros.bags.topics import CHUNK, INSTRUCTION, recorded_name, TARGET, TASK
from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, EE6D_SIZE, GRIPPER, POSITION, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.rotations import matrix_to_rotate6d, rotate6d_to_matrix
from xvla_ros.core.space import Space, states_of

KINDS = {CHUNK: 'xvla_ros/msg/ActionChunk', TARGET: 'xvla_ros/msg/EndEffectorCommand'}
VERDICTS = ('accepted', 'clamped', 'rejected')


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkSaid:
    """
    One published chunk.

    received_ns: time of receipt by the recorder. rows: (T, arms, 8) as from `arm_rows`. chunk: the
    same in the base frame, with the model's gripper values; None without steps.
    """

    stamp_ns: int
    sequence: int
    received_ns: int
    verdict: str
    reasons: tuple[str, ...]
    rows: NDArray[np.float64]
    chunk: Chunk | None


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class TargetSaid:
    """One published command: arms (n, 8) as from `arm_rows`; None for a hold."""

    stamp_ns: int
    sequence: int
    arms: NDArray[np.float64] | None


def recorded_chunks(bag: Bag, embodiment: Embodiment) -> list[ChunkSaid]:
    """Return the readable chunks of a bag in the order of their receipt."""
    return [
        as_said(message, time_ns, embodiment)
        for time_ns, message in _said(bag, CHUNK)
        if message.verdict < len(VERDICTS) and _is_regular(message, embodiment)
    ]


def _is_regular(message: Any, embodiment: Embodiment) -> bool:
    """Tell whether every step of a chunk has a pose for every arm."""
    arms = len(embodiment.arm_names)
    poses = np.array([_row(target) for step in message.steps for target in step.targets])
    whole = all(len(step.targets) == arms for step in message.steps)
    counts = embodiment.joint_counts
    joints = [len(target.joints) for step in message.steps for target in step.targets]
    whole = whole and (not counts or joints == list(counts) * len(message.steps))
    finite = poses[..., :7] if counts else poses  # a checkpoint may have no gripper
    return whole and bool(np.isfinite(finite).all())


def recorded_targets(bag: Bag) -> list[TargetSaid]:
    """Return the commands of a bag."""
    return [_target(message) for _, message in _said(bag, TARGET)]


def plan_ends_ns(bag: Bag, offset_ns: int) -> NDArray[np.int64]:
    """
    Return the times at which the plan was dropped (N,) [ns], ascending.

    The plan is dropped when a task begins or ends, and when the robot begins to hold. A bag with
    neither tasks nor targets has no such time.

    :param offset_ns: how far the recorder's clock is ahead of the stamps' clock.
    """
    tasks = recorded_name(TASK, bag.topics) or recorded_name(INSTRUCTION, bag.topics)
    told = bag.messages({tasks}) if tasks else iter(())
    ends = [raw.time_ns - offset_ns for raw in told]
    follows = False
    for target in recorded_targets(bag):
        if follows and target.arms is None:
            ends.append(target.stamp_ns)
        follows = target.arms is not None
    return np.sort(np.array(ends, np.int64))


def _said(bag: Bag, topic: str) -> Iterator[tuple[int, Any]]:
    """Yield time of receipt [ns] and message of one of the policy's topics."""
    name = recorded_name(topic, bag.topics)
    if name is None or bag.topics[name].kind != KINDS[topic]:
        return
    for raw in bag.messages({name}):
        try:
            yield raw.time_ns, read_message(raw.kind, raw.data)
        except ObservationError:
            continue


def stamp_ns(header: Any) -> int:
    """Return a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def as_said(message: Any, received_ns: int, embodiment: Embodiment) -> ChunkSaid:
    """Convert a chunk's message; it may be of rclpy or of a bag reader."""
    stamp = stamp_ns(message.header)
    rows = np.array([[_row(target) for target in step.targets] for step in message.steps])
    return ChunkSaid(
        stamp_ns=stamp,
        sequence=int(message.sequence),
        received_ns=received_ns,
        verdict=VERDICTS[message.verdict],
        reasons=tuple(message.reasons),
        rows=rows,
        chunk=_as_chunk(message, rows, embodiment) if len(rows) else None,
    )


def _as_chunk(message: Any, rows: NDArray[np.float64], embodiment: Embodiment) -> Chunk:
    """Return rows (T, arms, 8) as a chunk; in joint space use the message's joints."""
    if embodiment.joint_space:
        actions = _joint_actions(message)
    else:
        actions = _pose_actions(rows, embodiment.policy.rotation_6d_layout)
    period_s, first_index = _pace(message, embodiment.policy.anchor_period_s)
    return Chunk(
        stamp_ns=stamp_ns(message.header),
        period_s=period_s,
        actions=actions,
        sequence=int(message.sequence),
        first_index=first_index,
        joint_counts=embodiment.joint_counts,
    )


def _pace(message: Any, usual_s: float) -> tuple[float, int]:
    """Return the time between steps [s], and the number of such times until the first step."""
    first_s, *later_s = (_seconds(step.time_from_start) for step in message.steps[:2])
    if not first_s:
        return (later_s[0] if later_s else usual_s), 0
    return first_s, 1


def _seconds(duration: Any) -> float:
    return float(duration.sec + duration.nanosec / NANOSECONDS)


def _joint_actions(message: Any) -> NDArray[np.float64]:
    """Return the joints and openings of a chunk's message (T, D)."""
    steps = [[(*t.joints, float(t.gripper)) for t in step.targets] for step in message.steps]
    return np.array([[value for arm in arms for value in arm] for arms in steps])


def _pose_actions(rows: NDArray[np.float64], layout: str) -> NDArray[np.float64]:
    """Return rows (T, arms, 8) as EE6D actions (T, 20)."""
    actions = np.zeros((len(rows), EE6D_SIZE))
    for index in range(rows.shape[1]):
        arm = actions[:, index * ARM_SIZE :][:, :ARM_SIZE]
        matrices = Rotation.from_quat(rows[:, index, 3:7]).as_matrix()
        arm[:, POSITION] = rows[:, index, :3]
        arm[:, ROTATION] = matrix_to_rotate6d(matrices, layout)
        arm[:, GRIPPER] = rows[:, index, 7]
    return actions


def chunk_rows(
    chunk: Chunk, layout: str, arms: int, space: Space | None = None
) -> NDArray[np.float64]:
    """
    Return a chunk's steps as rows (T, arms, 8); NaN if the values are no pose.

    :param space: space of a chunk of joints; the rows are their poses.
    """
    rows: NDArray[np.float64] = np.full((len(chunk.actions), arms, 8), np.nan)
    if chunk.joint_counts:
        assert space is not None
        with suppress(ValueError):
            rows = np.array([arm_rows(space.arms(each)) for each in states_of(space, chunk)])
        return rows
    for index in range(arms):
        arm = chunk.actions[:, index * ARM_SIZE :][:, :ARM_SIZE]
        try:
            turns = Rotation.from_matrix(rotate6d_to_matrix(arm[:, ROTATION], layout))
        except ValueError:
            continue
        rows[:, index, :3], rows[:, index, 3:7] = arm[:, POSITION], turns.as_quat()
        rows[:, index, 7] = arm[:, GRIPPER]
    return rows


def _row(target: Any) -> tuple[float, ...]:
    p, q = target.pose.position, target.pose.orientation
    return (p.x, p.y, p.z, q.x, q.y, q.z, q.w, float(target.gripper))


def _target(message: Any) -> TargetSaid:
    arms = None if message.hold else np.array([_row(target) for target in message.targets])
    return TargetSaid(stamp_ns=stamp_ns(message.header), sequence=int(message.sequence), arms=arms)


def arm_rows(arms: Sequence[ArmPose]) -> NDArray[np.float64]:
    """Return poses as rows (n, 8): x y z [m], qx qy qz qw, gripper (NaN if unknown)."""
    return np.array([(*arm.position, *arm.quaternion, _number(arm.gripper)) for arm in arms])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
