# SPDX-License-Identifier: Apache-2.0
"""What a policy said in a bag, as the core's data types."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import Chunk, NANOSECONDS
from xvla_ros.core.ee6d import ArmPose, pack
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.replay.bag import Bag
from xvla_ros.replay.message_types import read_message
from xvla_ros.replay.topics import CHUNK, recorded_name, TARGET

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
    """One published command: arms (n, 8) x y z qx qy qz qw gripper, base frames; None for a hold."""

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


def _said(bag: Bag, topic: str) -> Iterator[Any]:
    name = recorded_name(topic, bag.topics)
    return bag.messages({name}) if name else iter(())


def stamp_ns(header: Any) -> int:
    """Return a header's stamp in nanoseconds."""
    return int(header.stamp.sec) * NANOSECONDS + int(header.stamp.nanosec)


def _chunk(message: Any, received_ns: int, embodiment: Embodiment) -> ChunkSaid:
    stamp = stamp_ns(message.header)
    return ChunkSaid(
        stamp_ns=stamp,
        sequence=int(message.sequence),
        received_ns=received_ns,
        verdict=VERDICTS[message.verdict],
        reasons=tuple(message.reasons),
        rows=np.array([arm_rows([_pose(t) for t in step.targets]) for step in message.steps]),
        chunk=_actions(message, stamp, embodiment),
    )


def _actions(message: Any, stamp: int, embodiment: Embodiment) -> Chunk | None:
    layout = embodiment.policy.rotation_6d_layout
    if not message.steps:
        return None
    first = message.steps[0].time_from_start
    rows = [pack([_pose(target) for target in step.targets], layout) for step in message.steps]
    return Chunk(
        stamp_ns=stamp,
        period_s=first.sec + first.nanosec / NANOSECONDS,
        actions=np.stack(rows),
        sequence=int(message.sequence),
    )


def _pose(target: Any) -> ArmPose:
    p, q = target.pose.position, target.pose.orientation
    return ArmPose(
        position=np.array([p.x, p.y, p.z]),
        quaternion=np.array([q.x, q.y, q.z, q.w]),
        gripper=float(target.gripper),
    )


def _target(message: Any) -> TargetSaid:
    arms = None if message.hold else arm_rows([_pose(target) for target in message.targets])
    return TargetSaid(stamp_ns=stamp_ns(message.header), sequence=int(message.sequence), arms=arms)


def arm_rows(arms: Sequence[ArmPose]) -> NDArray[np.float64]:
    """Return poses as rows (n, 8): x y z [m], qx qy qz qw, gripper."""
    return np.array([(*arm.position, *arm.quaternion, _number(arm.gripper)) for arm in arms])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
