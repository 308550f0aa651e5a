# SPDX-License-Identifier: Apache-2.0
"""Compares the joints tables of an embodiment with a checkpoint's training data."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math

from xvla_ros.control.urdf import joint_ranges, JointRange
from xvla_ros.core.arm_settings import ArmSettings
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.joint_detective import DataRange, Joint, misfits
from xvla_ros.core.joint_settings import JointSettings
from xvla_ros.core.joint_units import Line
from xvla_ros.core.resources import shared_file

UNKNOWN = JointRange(lower=-math.inf, upper=math.inf, speed=0.0)


@dataclass(frozen=True, kw_only=True, slots=True)
class ArmData:
    """One arm's joints with their ranges in the data, and the lines of its table."""

    arm: str
    joints: tuple[Joint, ...]
    lines: tuple[Line, ...]

    def misfits(self, measured: ArmPose | None = None) -> list[str]:
        """Return the joints that do not fit, as texts with the joint's full name."""
        joints: Sequence[Joint] = self.joints
        if measured is not None and measured.joints is not None:
            pairs = zip(self.joints, measured.joints.tolist(), strict=True)
            joints = [replace(joint, measured_rad=q) for joint, q in pairs]
        wrong = misfits(joints, self.lines)
        return [f'arms.{self.arm}.joints.{name}: {text}' for name, text in wrong.items()]


def arms_data(
    embodiment: Embodiment, action: DataRange | None, state: DataRange | None
) -> tuple[ArmData, ...]:
    """
    Return the data of each arm; none for tool poses.

    :raises ConfigError: a URDF cannot be read.
    """
    if not embodiment.joint_space:
        return ()
    return tuple(_arm_data(name, arm, action, state) for name, arm in embodiment.arms.items())


def _arm_data(
    name: str, arm: ArmSettings, action: DataRange | None, state: DataRange | None
) -> ArmData:
    ranges, table = urdf_ranges(arm), arm.joint_table
    joints = tuple(_joint(row, ranges.get(row.ros_name, UNKNOWN), action, state) for row in table)
    lines = tuple(Line(scale=row.scale, offset=row.offset) for row in table)
    return ArmData(arm=name, joints=joints, lines=lines)


def urdf_ranges(arm: ArmSettings) -> dict[str, JointRange]:
    """Return the limits in an arm's URDF; none if the URDF is on a topic."""
    if arm.urdf_topic or not arm.urdf:
        return {}
    if '<robot' in arm.urdf:
        return joint_ranges(arm.urdf)
    return joint_ranges(shared_file('resource', arm.urdf))


def _joint(
    row: JointSettings, limits: JointRange, action: DataRange | None, state: DataRange | None
) -> Joint:
    """Return a joint with the limits of the table or else of the URDF."""
    return Joint(
        name=row.ros_name,
        lower=row.lower_rad if row.bounded else limits.lower,
        upper=row.upper_rad if row.bounded else limits.upper,
        action=told(action, row.model_index),
        state=told(state, row.model_index),
    )


def told(data: DataRange | None, index: int) -> tuple[float, float] | None:
    """Return the range of one number, None if it is not stored."""
    return (data.low[index], data.high[index]) if data and index < len(data.low) else None


class PoseCheck:
    """Refuses observations until one is inside the range of the data's states."""

    def __init__(self, embodiment: Embodiment, state: DataRange | None) -> None:
        """Read the range of the states; without one every observation passes."""
        self._waiting = () if state is None else arms_data(embodiment, None, state)

    def check(self, arms: Sequence[ArmPose]) -> None:
        """
        Compare an observation's joints with the data, until one has passed.

        :raises ObservationError: a joint is outside the data's range; it names the joint.
        """
        if not self._waiting:
            return
        pairs = zip(self._waiting, arms, strict=True)
        wrong = [text for data, pose in pairs for text in data.misfits(pose)]
        if wrong:
            raise ObservationError(
                f"the arms are not where the checkpoint's data has been: {'; '.join(wrong)}"
            )
        self._waiting = ()
