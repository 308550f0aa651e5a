# SPDX-License-Identifier: Apache-2.0
"""The limits of an arm's joints: bounds of a step, and checks of measured positions."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.inverse.least_squares import Box

Vector = NDArray[np.float64]

# Targets stay at least this far from the joints' stops.
LIMIT_MARGIN_RAD = 1e-4
# A measurement farther beyond a limit than this is taken to be in another unit. Arms rest up to
# a few degrees beyond the limits of their URDF; 90 degrees read as radians are 88 rad off.
SLACK_RAD = 0.35
SLACK_M = 0.1
FULL_TURN_RAD = 2 * np.pi
# Ticks per turn and the tick at zero of Dynamixel X and Feetech STS servos.
TICKS, MIDDLE_TICK = 4096, 2048
# LeRobot's range of normalised positions.
NORMALISED = 100.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class JointLimits:
    """
    Limits of joints, in the order of the chain.

    lower, upper: (n,) [rad, or m for prismatic joints], infinite for a continuous joint.
    velocity: (n,) [rad/s or m/s]. sliding: (n,) whether a joint is prismatic.
    """

    names: tuple[str, ...]
    lower: Vector
    upper: Vector
    velocity: Vector
    sliding: NDArray[np.bool_]

    @property
    def box(self) -> Box:
        """All positions that may be commanded."""
        return Box(self.lower, self.upper)

    @property
    def endless(self) -> NDArray[np.bool_]:
        """(n,) whether a joint is continuous."""
        return np.isinf(self.upper)

    @property
    def middle(self) -> Vector:
        """(n,) the middle of each range; zero for a continuous joint."""
        low, high = self.finite
        return (low + high) / 2

    @property
    def finite(self) -> tuple[Vector, Vector]:
        """The limits, (n,) each, with one turn for a continuous joint."""
        return (
            np.where(self.endless, -np.pi, self.lower),
            np.where(self.endless, np.pi, self.upper),
        )

    def step(self, q: Vector, dt_s: float) -> Box:
        """
        Return the positions that may be commanded dt_s [s] after q (n,).

        A joint beyond its limit may stay there or come back, but not go farther.
        """
        reach = self.velocity * dt_s
        return Box(
            np.maximum(np.minimum(self.lower, q), q - reach),
            np.minimum(np.maximum(self.upper, q), q + reach),
        )

    def beyond(self, q: Vector) -> str:
        """Return which joints of q (n,) are beyond their limits, and how far; empty for none."""
        excess = self._excess(q)
        return ', '.join(
            f'{name} is {far:.3f} {"m" if sliding else "rad"} beyond its limit'
            for name, far, sliding in zip(self.names, excess, self.sliding, strict=True)
            if far > LIMIT_MARGIN_RAD
        )

    def implausible(self, q: Vector) -> str:
        """
        Return why measured joints q (n,) cannot be radians and metres; empty when they can.

        The text names the worst joint and the units in which all joints would be inside.
        """
        if self._fits(q):
            return ''
        worst = int(np.argmax(np.where(self._known, self._excess(q), 0.0)))
        if units := self.units(q):
            fits = f'all joints would be inside read as {" or ".join(units)}'
        else:
            fits = 'no other unit or order of joints was found to fit'
        return (
            f"joint '{self.names[worst]}' is at {q[worst]:.4g}, its URDF allows "
            f'{self.lower[worst]:.4g} to {self.upper[worst]:.4g} '
            f'{"m" if self.sliding[worst] else "rad"}; {fits}; expected radians and metres'
        )

    def units(self, q: Vector) -> list[str]:
        """Return the other units in which all joints q (n,) would be inside."""
        return [unit for unit, values in self._readings(q).items() if self._fits(values)]

    def unusable(self) -> str:
        """Return why these limits allow no motion; empty when they do."""
        still = [n for n, v in zip(self.names, self.velocity, strict=True) if not v > 0]
        if still:
            return f"joint '{still[0]}' has a velocity limit of 0, expected above 0"
        if not self._known.all():
            name = self.names[int(np.argmin(self._known))]
            return f"joint '{name}' has no range: its lower limit is not below its upper one"
        return ''

    def nearest_turn(self, q: Vector, near: Vector) -> Vector:
        """Return q (n,) with continuous joints shifted by whole turns to be nearest to `near`."""
        turns = np.where(self.endless, np.round((near - q) / FULL_TURN_RAD), 0.0)
        return q + turns * FULL_TURN_RAD

    @property
    def _known(self) -> NDArray[np.bool_]:
        """(n,) whether a joint has a range; some exporters write a range of 0 to 0."""
        return self.lower < self.upper

    def _excess(self, q: Vector) -> Vector:
        """Return how far each joint is beyond its limits, negative inside."""
        return np.maximum(self.lower - q, q - self.upper)

    def _fits(self, q: Vector) -> bool:
        """Tell whether joints are inside their limits or only a little beyond."""
        slack = np.where(self.sliding, SLACK_M, SLACK_RAD)
        return bool(((self._excess(q) <= slack) | ~self._known).all())

    def _readings(self, q: Vector) -> dict[str, Vector]:
        """Return the joints converted from each of the other units."""
        ticks = (q - MIDDLE_TICK) * (FULL_TURN_RAD / TICKS)
        low, high = self.finite
        share = np.clip(q, -NORMALISED, NORMALISED) / (2 * NORMALISED)
        normalised = (low + high) / 2 + share * (high - low)
        normalised[np.abs(q) > NORMALISED] = np.inf
        turning = {
            'degrees': np.radians(q),
            'thousandths of a degree': np.radians(q / 1000),
            f'servo ticks ({TICKS} a turn)': ticks,
            f'-{NORMALISED:.0f} to {NORMALISED:.0f} (normalised)': normalised,
        }
        return {
            **{unit: np.where(self.sliding, q, values) for unit, values in turning.items()},
            'millimetres': np.where(self.sliding, q / 1000, q),
            'degrees and millimetres': np.where(self.sliding, q / 1000, np.radians(q)),
        }
