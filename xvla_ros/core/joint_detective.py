# SPDX-License-Identifier: Apache-2.0
"""
Infers the units of a joint-space checkpoint from the statistics stored with it.

A hypothesis is a unit, a sign and a zero. It fits a joint when it puts the data's range inside
the joint's limits, and the measured position inside the range of the state. All joints of an arm
have one unit, and at least one joint moved by MOVED_RAD in the data: if nothing moved, degrees
and radians cannot be told apart. A unit, sign or zero is decided only if nothing else fits;
otherwise all that fit are reported.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
import math

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.joint_units import DEG_PER_RAD, Line, unit_line, UNITS

Array = NDArray[np.float64]

# Data may pass a limit by this share of the range, because a leader arm is pushed against its
# stops, and calibrations differ by some degrees.
SLACK = 0.15
SLACK_RAD = 0.1
# Data in which no joint moved at least this far (20 degrees) decides no unit.
MOVED_RAD = 0.35
# Possible zeros, relative to the URDF's. A quarter turn is from data older than LeRobot's
# calibration of 2025 (policies/molmoact2/processor_molmoact2.py, joint_offsets).
ZEROS_RAD = (0.0, math.pi / 2, -math.pi / 2)
SIGNS = (1, -1)
# Largest number of range100, with rounding.
MOST_RANGE100 = 100.5


@dataclass(frozen=True, kw_only=True, slots=True)
class DataRange:
    """The range of each number in a checkpoint's training data, or in 98 % of it."""

    low: tuple[float, ...]
    high: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Hypothesis:
    """A possible meaning of one joint's numbers."""

    unit: str
    sign: int
    zero_rad: float
    line: Line

    def __str__(self) -> str:
        """Return a short description."""
        turned = ', other sign' if self.sign < 0 else ''
        zero = f', 0 at {self.zero_rad * DEG_PER_RAD:+.0f} deg' if self.zero_rad else ''
        return f'{self.unit}{turned}{zero}'


@dataclass(frozen=True, kw_only=True, slots=True)
class Joint:
    """
    The known facts of one joint.

    lower, upper: its limits [rad], infinite for a continuous joint. action, state: smallest and
    largest number in the data, None if not stored. measured_rad: its position now, None if
    unknown.
    """

    name: str
    lower: float
    upper: float
    action: tuple[float, float] | None = None
    state: tuple[float, float] | None = None
    measured_rad: float | None = None

    @property
    def told(self) -> tuple[tuple[float, float], ...]:
        """The stored ranges."""
        return tuple(each for each in (self.action, self.state) if each is not None)

    def fits(self, line: Line) -> bool:
        """Say whether a line puts the data inside the limits, and the joint inside the data."""
        return all(self._inside(line, told) for told in self.told) and self._is_there(line)

    def moved_rad(self, line: Line) -> float:
        """Return how far the joint moved in the data if the line is right [rad]."""
        return max((abs((high - low) / line.scale) for low, high in self.told), default=0.0)

    def _inside(self, line: Line, told: tuple[float, float]) -> bool:
        low, high = sorted(line.to_robot(value) for value in told)
        if math.isinf(self.upper - self.lower):
            return high - low <= 4 * math.pi
        slack = max(SLACK * (self.upper - self.lower), SLACK_RAD)
        return self.lower - slack <= low and high <= self.upper + slack

    def _is_there(self, line: Line) -> bool:
        if self.measured_rad is None or self.state is None:
            return True
        low, high = sorted(line.to_robot(value) for value in self.state)
        slack = max(SLACK * (high - low), SLACK_RAD)
        if math.isinf(self.upper - self.lower):  # whole turns make no difference
            turn = 2 * math.pi
            q = low - slack + (self.measured_rad - (low - slack)) % turn
            return q <= high + slack
        return low - slack <= self.measured_rad <= high + slack


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """The hypotheses that fit one joint, the simplest first."""

    name: str
    fitting: tuple[Hypothesis, ...]

    @property
    def decided(self) -> Hypothesis | None:
        """The hypothesis, if exactly one fits."""
        return self.fitting[0] if len(self.fitting) == 1 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Findings:
    """
    The hypotheses that fit an arm.

    units: those that fit all joints. joints: by joint, in those units. still: units that fit only
    if the arm hardly moved in its data; they are rejected.
    """

    units: tuple[str, ...]
    joints: tuple[Finding, ...]
    still: tuple[str, ...]

    @property
    def unit(self) -> str | None:
        """The arm's unit, if exactly one fits."""
        return self.units[0] if len(self.units) == 1 else None


def hypotheses(joint: Joint) -> tuple[Hypothesis, ...]:
    """Return every hypothesis about a joint, the simplest first."""
    found = []
    for unit in UNITS:
        endless = math.isinf(joint.upper - joint.lower)
        if unit == 'range100' and (endless or joint.upper <= joint.lower):
            continue
        for zero in ZEROS_RAD if unit != 'range100' else ZEROS_RAD[:1]:
            for sign in SIGNS:
                line = unit_line(unit, (joint.lower, joint.upper), sign, zero)
                found.append(Hypothesis(unit=unit, sign=sign, zero_rad=zero, line=line))
    return tuple(found)


def detect(joints: Sequence[Joint]) -> Findings:
    """Return the hypotheses that fit one arm's joints."""
    fitting = {joint.name: [h for h in hypotheses(joint) if _fits(joint, h)] for joint in joints}
    known = [joint for joint in joints if joint.told]
    possible = [u for u in UNITS if known and _everywhere(u, known, fitting)]
    moved = [u for u in possible if _moved_rad(u, known, fitting) >= MOVED_RAD]
    return Findings(
        units=tuple(moved),
        joints=tuple(
            Finding(
                name=joint.name,
                fitting=tuple(h for h in fitting[joint.name] if h.unit in (moved or UNITS)),
            )
            for joint in joints
        ),
        still=tuple(u for u in possible if u not in moved),
    )


def _fits(joint: Joint, hypothesis: Hypothesis) -> bool:
    """Say whether a hypothesis fits a joint; LeRobot clips range100 at its ends."""
    largest = max((abs(value) for told in joint.told for value in told), default=0.0)
    beyond = hypothesis.unit == 'range100' and largest > MOST_RANGE100
    return not beyond and joint.fits(hypothesis.line)


def _everywhere(
    unit: str, joints: Sequence[Joint], fitting: Mapping[str, Sequence[Hypothesis]]
) -> bool:
    """Say whether a unit fits every joint; a continuous joint has no range to fit."""
    return all(
        any(h.unit == unit for h in fitting[joint.name])
        or (unit == 'range100' and math.isinf(joint.upper - joint.lower))
        for joint in joints
    )


def _moved_rad(
    unit: str, joints: Sequence[Joint], fitting: Mapping[str, Sequence[Hypothesis]]
) -> float:
    """Return the largest motion of any joint if the data has this unit [rad]."""
    return max(
        (j.moved_rad(h.line) for j in joints for h in fitting[j.name] if h.unit == unit),
        default=0.0,
    )


def misfits(joints: Sequence[Joint], declared: Sequence[Line]) -> dict[str, str]:
    """
    Return what is wrong with a declared table, by joint; empty if it fits or nothing is known.

    The text gives the data's range by the table, and the hypotheses that would fit.
    """
    found = detect(joints)
    wrong = {}
    for joint, line, finding in zip(joints, declared, found.joints, strict=True):
        if not joint.told or joint.fits(line):
            continue
        others = ' or '.join(map(str, finding.fitting)) or 'none of rad, deg and range100'
        wrong[joint.name] = f'{_reading(joint, line)}; what would fit: {others}'
    slow = [joint.moved_rad(line) for joint, line in zip(joints, declared, strict=True)]
    told = any(joint.told for joint in joints)
    if not wrong and told and max(slow) < MOVED_RAD and found.units:
        wrong = {
            joint.name: (
                f'by its table no joint moved by more than {max(slow):.3f} rad in the data; what '
                f'would fit: {" or ".join(map(str, finding.fitting))}'
            )
            for joint, finding in zip(joints, found.joints, strict=True)
            if joint.told
        }
    return wrong


def _reading(joint: Joint, line: Line) -> str:
    """Compare the data's range by a line with the joint's limits and its position."""
    ends = [sorted(line.to_robot(value) for value in told) for told in joint.told]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    there = '' if joint.measured_rad is None else f', measured {joint.measured_rad:.2f} rad'
    return (
        f'by its table the data is {low:.2f} to {high:.2f} rad, its limits are '
        f'{joint.lower:.2f} to {joint.upper:.2f} rad{there}'
    )
