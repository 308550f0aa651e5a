# SPDX-License-Identifier: Apache-2.0
"""Curves of states over time, and how two curves are joined."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.interpolation import Mix, mix_poses, State
from xvla_ros.core.space import Space


class Curve(Protocol):
    """States of all arms as a function of time on the observation's clock. Immutable."""

    def at(self, time_ns: int) -> tuple[State, ...]:
        """Return one pose per arm."""
        ...

    def stamp_at(self, time_ns: int) -> float:
        """Return the mean stamp of the observations behind the pose, weighted by share [ns]."""
        ...

    def settled_ns(self) -> int:
        """Return the time after which the curve no longer moves."""
        ...


def sampled(
    curve: Curve, first_ns: int, period_ns: int, count: int, space: Space
) -> NDArray[np.float64]:
    """Return a curve as the actions (count, D) of a chunk whose first is due at `first_ns`."""
    return space.rows([curve.at(first_ns + i * period_ns) for i in range(count)])


@dataclass(frozen=True)
class Hold:
    """A constant pose per arm, measured at `stamp_ns`."""

    poses: tuple[State, ...]
    stamp_ns: int

    def at(self, time_ns: int) -> tuple[State, ...]:
        """Return the poses held."""
        return self.poses

    def stamp_at(self, time_ns: int) -> float:
        """Return when the pose was measured [ns]."""
        return float(self.stamp_ns)

    def settled_ns(self) -> int:
        """Return the start of the hold: it never moves."""
        return self.stamp_ns


@dataclass(frozen=True)
class Fade:
    """
    A cross-fade from one curve to another, C2 where both curves are.

    The weight is the quintic 6u^5 - 15u^4 + 10u^3, whose first and second derivatives vanish at
    both ends, so that velocity and acceleration pass from one curve to the other without a step.
    """

    old: Curve
    new: Curve
    start_ns: int
    length_ns: int
    stays: bool = False  # later plans join `new`, and this fade is kept
    mix: Mix = mix_poses

    def weight(self, time_ns: int) -> float:
        """Return the share of the new curve, 0 to 1."""
        if time_ns >= self.start_ns + self.length_ns:
            return 1.0
        u = max(time_ns - self.start_ns, 0) / self.length_ns
        return u * u * u * (u * (6 * u - 15) + 10)

    def at(self, time_ns: int) -> tuple[State, ...]:
        """Return the mixed poses."""
        weight = self.weight(time_ns)
        if weight >= 1:
            return self.new.at(time_ns)
        pairs = zip(self.old.at(time_ns), self.new.at(time_ns), strict=True)
        return tuple(self.mix(old, new, weight) for old, new in pairs)

    def stamp_at(self, time_ns: int) -> float:
        """Return the weighted stamp [ns]."""
        weight = self.weight(time_ns)
        return (1 - weight) * self.old.stamp_at(time_ns) + weight * self.new.stamp_at(time_ns)

    def settled_ns(self) -> int:
        """Return when the fade is over and its new curve no longer moves."""
        return max(self.start_ns + self.length_ns, self.new.settled_ns())

    def pruned(self, now_ns: int) -> Curve:
        """Return the curve from `now_ns` on, without fades that are over."""
        if now_ns >= self.start_ns + self.length_ns:
            return prune(self.new, now_ns)
        return replace(self, old=prune(self.old, now_ns))


def prune(curve: Curve, now_ns: int) -> Curve:
    """Return an equal curve from `now_ns` on, without the parts that are past."""
    return curve.pruned(now_ns) if isinstance(curve, Fade) else curve


class Ensemble:
    """
    Temporal ensembling: the weighted mean of every plan that still covers the time.

    Weights are exp(-decay * i), i = 0 the oldest plan (ACT, arXiv 2304.13705, algorithm 2). The
    gripper is the newest plan's, because averaging gripper probabilities is meaningless.
    """

    def __init__(self, plans: Sequence[Curve], decay: float, mix: Mix = mix_poses) -> None:
        """Keep the plans, oldest first."""
        self._mix = mix
        self._plans = tuple(plans)
        self._decay = decay

    def at(self, time_ns: int) -> tuple[State, ...]:
        """Return the mean poses; rotations are averaged along geodesics, plan by plan."""
        (first, total), *rest = self._covering(time_ns)
        poses = first.at(time_ns)
        for plan, weight in rest:
            total += weight
            pairs = zip(poses, plan.at(time_ns), strict=True)
            poses = tuple(self._mix(mean, pose, weight / total) for mean, pose in pairs)
        return poses

    def stamp_at(self, time_ns: int) -> float:
        """Return the weighted stamp [ns]."""
        covering = self._covering(time_ns)
        total = sum(weight for _, weight in covering)
        return sum(weight * plan.stamp_at(time_ns) for plan, weight in covering) / total

    def settled_ns(self) -> int:
        """Return when the last plan ends."""
        return max(plan.settled_ns() for plan in self._plans)

    def _covering(self, time_ns: int) -> list[tuple[Curve, float]]:
        """Return the plans that have not ended, or the newest, with their weights."""
        plans = [p for p in self._plans if p.settled_ns() >= time_ns] or [self._plans[-1]]
        return [(plan, math.exp(-self._decay * i)) for i, plan in enumerate(plans)]
