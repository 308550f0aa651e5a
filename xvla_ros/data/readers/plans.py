# SPDX-License-Identifier: Apache-2.0
"""Plans that a bag holds beside a demonstration: what should be done from each frame on."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.data.episodes import Planned

# Of a target: position, quaternion and gripper.
POSE_SIZE = 8


def planned(
    stamps_ns: Sequence[int], plans: Mapping[int, Any], arms: Sequence[str]
) -> Planned | None:
    """
    Return the plans of frames; None where there are none, or not all have the same times.

    :param stamps_ns: of the frames. plans: ActionChunk messages by the stamp of their frame.
    """
    found = {stamp: plans[stamp] for stamp in stamps_ns if stamp in plans}
    times = {tuple(offset_s(step) for step in plan.steps) for plan in found.values()}
    if len(times) != 1:
        return None
    (offsets,) = times
    shape = (len(stamps_ns), len(offsets), len(arms), POSE_SIZE)
    values = np.full(shape, np.nan)
    for frame, stamp in enumerate(stamps_ns):
        if stamp in found:
            values[frame] = [row(step, arms) for step in found[stamp].steps]
    return Planned(
        offsets_s=np.array(offsets),
        positions=values[..., :3],
        quaternions=values[..., 3:7],
        grippers=values[..., 7],
    )


def offset_s(step: Any) -> float:
    """Return when a step is due, from its frame on [s]."""
    due = step.time_from_start
    return float(due.sec + due.nanosec / NANOSECONDS)


def row(step: Any, arms: Sequence[str]) -> list[NDArray[np.float64]]:
    """Return a step's targets (POSE_SIZE,), NaN for an arm that has none."""
    targets = {target.arm: target for target in step.targets}
    return [numbers(targets[arm]) if arm in targets else nothing() for arm in arms]


def numbers(target: Any) -> NDArray[np.float64]:
    """Return position, quaternion xyzw and gripper of a target."""
    p, q = target.pose.position, target.pose.orientation
    return np.array([p.x, p.y, p.z, q.x, q.y, q.z, q.w, target.gripper])


def nothing() -> NDArray[np.float64]:
    """Return NaN for a missing target."""
    return np.full(POSE_SIZE, np.nan)
