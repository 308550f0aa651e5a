# SPDX-License-Identifier: Apache-2.0
"""What a policy said in a bag, as the core's data types."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.ee6d import ARM_SIZE, ArmPose, EE6D_SIZE, GRIPPER, POSITION, ROTATION
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.rotations import matrix_to_rotate6d, rotate6d_to_matrix
from xvla_ros.replay.bag import Bag
from xvla_ros.replay.message_types import read_message
from xvla_ros.replay.topics import CHUNK, INSTRUCTION, recorded_name, TARGET, TASK

KINDS = {CHUNK: 'xvla_ros/msg/ActionChunk', TARGET: 'xvla_ros/msg/EndEffectorCommand'}
VERDICTS = ('accepted', 'clamped', 'rejected')


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class ChunkSaid:
    """
    One published chunk.

    received_ns: when the recorder got it. rows: (T, arms, 8) as `arm_rows` makes them. chunk: base
    frame, grippers as the model gave them; None when its values made no poses.
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
    """One published command: arms (n, 8) as `arm_rows` makes them; None for a hold."""

    stamp_ns: int
    sequence: int
    arms: NDArray[np.float64] | None


def recorded_chunks(bag: Bag, embodiment: Embodiment) -> list[ChunkSaid]:
    """Return the chunks of a bag, in the order of their receipt."""
    return [
        _chunk(read_message(raw.kind, raw.data), raw.time_ns, embodiment)
        for raw in _said(bag, CHUNK)
    ]


def recorded_targets(bag: Bag) -> list[TargetSaid]:
    """Return the commands of a bag."""
    return [_target(read_message(raw.kind, raw.data)) for raw in _said(bag, TARGET)]


def plan_ends_ns(bag: Bag, offset_ns: int) -> NDArray[np.int64]:
    """
    Return when the robot stopped following what was planned until then (N,) [ns], ascending.

    A new task or the end of one drops the plan, and so does whatever made the robot hold. A bag
    that holds neither tasks nor targets tells of no end.

    :param offset_ns: how far the recorder's clock is ahead of the one that stamps are from.
    """
    tasks = recorded_name(TASK, bag.topics) or recorded_name(INSTRUCTION, bag.topics)
    ends = [raw.time_ns - offset_ns for raw in bag.messages({tasks})]
    follows = False
    for target in recorded_targets(bag):
        if follows and target.arms is None:
            ends.append(target.stamp_ns)
        follows = target.arms is not None
    return np.sort(np.array(ends, np.int64))


def _said(bag: Bag, topic: str) -> Iterator[Any]:
    name = recorded_name(topic, bag.topics)
    ours = name is not None and bag.topics[name].kind == KINDS[topic]
    return bag.messages({name}) if ours else iter(())


def stamp_ns(header: Any) -> int:
    """Return a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def _chunk(message: Any, received_ns: int, embodiment: Embodiment) -> ChunkSaid:
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
    """Return rows (T, arms, 8) as a chunk."""
    first = message.steps[0].time_from_start
    actions = np.zeros((len(rows), EE6D_SIZE))
    for index in range(rows.shape[1]):
        arm = actions[:, index * ARM_SIZE :][:, :ARM_SIZE]
        matrices = Rotation.from_quat(rows[:, index, 3:7]).as_matrix()
        arm[:, POSITION] = rows[:, index, :3]
        arm[:, ROTATION] = matrix_to_rotate6d(matrices, embodiment.policy.rotation_6d_layout)
        arm[:, GRIPPER] = rows[:, index, 7]
    return Chunk(
        stamp_ns=stamp_ns(message.header),
        period_s=first.sec + first.nanosec / NANOSECONDS,
        actions=actions,
        sequence=int(message.sequence),
    )


def chunk_rows(chunk: Chunk, layout: str, arms: int) -> NDArray[np.float64]:
    """Return a chunk's steps as rows (T, arms, 8); NaN where the values make no pose."""
    rows = np.full((len(chunk.actions), arms, 8), np.nan)
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
    """Return poses as rows (n, 8): x y z [m], qx qy qz qw, gripper."""
    return np.array([(*arm.position, *arm.quaternion, _number(arm.gripper)) for arm in arms])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
