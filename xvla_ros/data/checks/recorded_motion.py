# SPDX-License-Identifier: Apache-2.0
"""The motion of an arm as a bag holds it."""

from dataclasses import dataclass, field
import math

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.message_types import read_message
from xvla_ros.bags.topics import recorded_name
from xvla_ros.core.errors import XvlaError
from xvla_ros.core.settings import ArmSettings

Array = NDArray[np.float64]

# Speeds are taken over about this long: from sample to sample they would be noise [s].
SPEED_SPAN_S = 0.1
# A faster motion is a jump [m/s], for example where a new scene begins.
JUMP_M_S = 3.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Recorded:
    """
    The motion of one arm.

    times_s (N,), positions (N, 3) [m, base frame], quaternions (N, 4) xyzw of the tool; joints and
    fingers: positions by joint name [rad or m].
    """

    times_s: Array
    positions: Array
    quaternions: Array
    joints: dict[str, Array] = field(default_factory=dict)

    def jumps(self) -> NDArray[np.bool_]:
        """Return which steps between samples (N - 1,) are faster than any arm."""
        metres = np.linalg.norm(np.diff(self.positions, axis=0), axis=1)
        jumps: NDArray[np.bool_] = metres > JUMP_M_S * np.diff(self.times_s)
        return jumps

    def speeds(self) -> tuple[Array, Array]:
        """
        Return linear [m/s] and angular [rad/s] speeds over spans of about SPEED_SPAN_S.

        Spans with a jump in them are left out.
        """
        if len(self.times_s) < 3:
            return np.empty(0), np.empty(0)
        step = max(1, round(SPEED_SPAN_S / max(float(np.median(np.diff(self.times_s))), 1e-6)))
        spans = self.times_s[step:] - self.times_s[:-step]
        jumps = np.append(0, np.cumsum(self.jumps()))
        near = (spans > 0) & (spans < 3 * SPEED_SPAN_S) & (jumps[step:] == jumps[:-step])
        metres = np.linalg.norm(self.positions[step:] - self.positions[:-step], axis=1)
        turn = Rotation.from_quat(self.quaternions[:-step]).inv() * Rotation.from_quat(
            self.quaternions[step:]
        )
        return metres[near] / spans[near], turn.magnitude()[near] / spans[near]


def joint_positions(bag: Bag, arm: ArmSettings) -> dict[str, Array]:
    """Return the positions (N,) of an arm's joints and fingers, by name."""
    wanted = {*arm.joint_names, *arm.gripper.joint_names[:1]}
    topics = {arm.joint_states_topic, arm.gripper.joint_states_topic or arm.joint_states_topic}
    names = {recorded_name(topic, bag.topics) for topic in topics} - {None}
    found: dict[str, list[float]] = {}
    for raw in bag.messages({name for name in names if name}):
        try:
            message = read_message(raw.kind, raw.data)
            pairs = list(zip(message.name, message.position, strict=True))
        except (XvlaError, ValueError, AttributeError):
            continue
        for joint, position in pairs:
            if joint in wanted and math.isfinite(position):
                found.setdefault(joint, []).append(float(position))
    return {joint: np.array(values) for joint, values in found.items()}
