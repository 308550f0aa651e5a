# SPDX-License-Identifier: Apache-2.0
"""Whether the joints tables of an embodiment fit the data that a checkpoint was trained on."""

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
    """One arm's joints with what the data says of them, and the lines of its table."""

    arm: str
    joints: tuple[Joint, ...]
    lines: tuple[Line, ...]

    def misfits(self, measured: ArmPose | None = None) -> list[str]:
        """Return what does not fit, each by the joint's full name."""
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
    Return what the data says of each arm; none for tool poses.

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
    """Return the limits in an arm's URDF; none while that is on a topic."""
    if arm.urdf_topic or not arm.urdf:
        return {}
    if '<robot' in arm.urdf:
        return joint_ranges(arm.urdf)
    return joint_ranges(shared_file('resource', arm.urdf))


def _joint(
    row: JointSettings, limits: JointRange, action: DataRange | None, state: DataRange | None
) -> Joint:
    """Return a joint with its own limits, which lie inside the URDF's."""
    return Joint(
        name=row.ros_name,
        lower=row.lower_rad if row.bounded else limits.lower,
        upper=row.upper_rad if row.bounded else limits.upper,
        action=told(action, row.model_index),
        state=told(state, row.model_index),
    )


def told(data: DataRange | None, index: int) -> tuple[float, float] | None:
    """Return the range of one number, None where it is not stored."""
    return (data.low[index], data.high[index]) if data and index < len(data.low) else None


class PoseCheck:
    """Refuses observations until one lies where the data's states do."""

    def __init__(self, embodiment: Embodiment, state: DataRange | None) -> None:
        """Take what is to be compared with; without it every observation passes."""
        self._waiting = () if state is None else arms_data(embodiment, None, state)

    def check(self, arms: Sequence[ArmPose]) -> None:
        """
        Compare the first observation's joints with the data.

        :raises ObservationError: a joint is where the data never was; it names the joint.
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
