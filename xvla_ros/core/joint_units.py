# SPDX-License-Identifier: Apache-2.0
"""
The units of joint-space checkpoints, as one line per joint: value = scale * q + offset.

q is the joint's position in the URDF's radians. The formulas for calibrated units are LeRobot's
(motors/motors_bus.py, `_normalize`), without its clipping at the ends of a range.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import math
from typing import Any

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.joint_settings import SCALES, to_model, to_robot

UNITS = ('rad', 'deg', 'range100')
# Ticks per turn of Feetech STS and Dynamixel X servos, and the middle tick.
TICKS, MIDDLE_TICK = 4096, 2048
TICKS_PER_RAD = TICKS / (2 * math.pi)
DEG_PER_RAD = SCALES['deg']


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """The map of one joint: the checkpoint's number is scale * q_rad + offset; scale is not 0."""

    scale: float
    offset: float = 0.0

    def __post_init__(self) -> None:
        """Refuse a line that cannot be inverted."""
        if not (math.isfinite(self.scale) and math.isfinite(self.offset) and self.scale):
            raise ValueError(f'scale {self.scale}, offset {self.offset}: cannot be inverted')

    def to_model(self, radians: float) -> float:
        """Return the checkpoint's number of a position [rad]."""
        return to_model(radians, self.scale, self.offset)

    def to_robot(self, value: float) -> float:
        """Return the position [rad] of a checkpoint's number."""
        return to_robot(value, self.scale, self.offset)


def unit_line(
    unit: str,
    limits: tuple[float, float] = (-math.inf, math.inf),
    sign: int = 1,
    zero_rad: float = 0.0,
) -> Line:
    """
    Return the line for a unit.

    :param unit: `rad`, `deg`, or `range100`: -100 at the lower, +100 at the upper end of a range.
    :param limits: lower and upper end [rad]; only `range100` needs them.
    :param sign: -1 if the checkpoint counts in the other direction.
    :param zero_rad: position at which the checkpoint has 0; not for `range100`.
    :raises ConfigError: there is no such unit, or `range100` has no finite range.
    """
    if unit not in UNITS:
        raise ConfigError(f'unit {unit!r} is unknown; known: {", ".join(UNITS)}')
    if unit == 'range100':
        lower, upper = limits
        if not lower < upper or math.isinf(upper - lower):
            raise ConfigError(f'range100 needs a range, got limits {lower} to {upper} rad')
        scale, zero_rad = 200.0 / (upper - lower), (lower + upper) / 2
    else:
        scale = SCALES[unit]
    return Line(scale=sign * scale, offset=-sign * scale * zero_rad)


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """
    One motor in a LeRobot calibration file, in ticks.

    range_min, range_max: ends of the recorded sweep. inverted: its `drive_mode`.
    """

    range_min: int
    range_max: int
    inverted: bool = False

    @property
    def middle(self) -> float:
        """Middle of the sweep: LeRobot's 0 degrees."""
        return (self.range_min + self.range_max) / 2


def read_calibration(data: Any, source: str) -> dict[str, Calibration]:
    """
    Read a parsed calibration file: {motor: {id, drive_mode, homing_offset, range_min, range_max}}.

    :raises ConfigError: it is something else, or a range is empty.
    """
    if not isinstance(data, Mapping) or not data:
        raise ConfigError(f'{source}: expected an object with one entry per motor')
    return {str(name): _motor(entry, f'{source}: {name}') for name, entry in data.items()}


def _motor(entry: Any, where: str) -> Calibration:
    try:
        ends = [entry[key] for key in ('range_min', 'range_max')]
        inverted = bool(entry.get('drive_mode', 0))
    except (TypeError, KeyError, AttributeError) as error:
        raise ConfigError(f'{where}: expected range_min and range_max, got {entry!r}') from error
    if not all(type(end) is int for end in ends) or ends[0] >= ends[1]:
        raise ConfigError(f'{where}: range_min and range_max are {ends}, expected ticks, rising')
    return Calibration(range_min=ends[0], range_max=ends[1], inverted=inverted)


def calibrated_line(
    unit: str, motor: Calibration, tick_zero: float = MIDDLE_TICK, sign: int = 1
) -> Line:
    """
    Return the line for a motor's unit from its calibration.

    :param unit: `deg`, `range100` of the sweep, or `rad` as the driver reports.
    :param tick_zero: tick at which the ROS driver reports 0 rad.
    :param sign: -1 if the driver counts ticks backwards.
    """
    per_rad = sign * TICKS_PER_RAD  # t = tick_zero + per_rad * q
    if unit == 'rad':
        return Line(scale=1.0)
    if unit == 'deg':
        degrees = 360.0 / (TICKS - 1)  # in LeRobot a turn is 4095 ticks
        return Line(scale=per_rad * degrees, offset=(tick_zero - motor.middle) * degrees)
    if unit != 'range100':
        raise ConfigError(f'unit {unit!r} is unknown; known: {", ".join(UNITS)}')
    share = 200.0 / (motor.range_max - motor.range_min)
    turned = -1.0 if motor.inverted else 1.0
    offset = share * (tick_zero - motor.range_min) - 100.0
    return Line(scale=turned * per_rad * share, offset=turned * offset)
