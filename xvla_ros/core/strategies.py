# SPDX-License-Identifier: Apache-2.0
"""How a new chunk joins what is being commanded: one small class per strategy, chosen by name."""

from dataclasses import dataclass
from typing import Protocol

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.curves import Curve, Ensemble, Fade


@dataclass(frozen=True, kw_only=True, slots=True)
class Joint:
    """Where curves meet: the one commanded, all plans with a future (newest last), and when."""

    commanded: Curve
    plans: tuple[Curve, ...]
    now_ns: int


class Strategy(Protocol):
    """Makes the next commanded curve."""

    def join(self, joint: Joint) -> Curve:
        """Return what is commanded from `joint.now_ns` on."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Replace:
    """The newest plan at once: it steps at the joint, for comparison."""

    def join(self, joint: Joint) -> Curve:
        """Return the newest plan."""
        return joint.plans[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """
    A C2 cross-fade to the newest plan from the curve commanded now, itself perhaps still fading.

    Fading from the previous raw plan instead would restart every fade with a step whenever chunks
    come faster than `length_s`.
    """

    length_s: float

    def join(self, joint: Joint) -> Curve:
        """Return the cross-fade."""
        return fade(joint.commanded, joint.plans[-1], joint.now_ns, self.length_s)


@dataclass(frozen=True, kw_only=True, slots=True)
class TemporalEnsemble:
    """The mean of all plans that cover the time (ACT)."""

    decay: float

    def join(self, joint: Joint) -> Curve:
        """Return the mean."""
        return Ensemble(joint.plans, self.decay)


@dataclass(frozen=True, kw_only=True, slots=True)
class Inpaint(Blend):
    """
    Real-time chunking: the model completes what is committed, and what differs is blended.

    The queue's half of it: with a server that ignores the prefix this is exactly `blend`. `soft_s`
    is how far beyond the latency the prefix reaches.
    """

    soft_s: float


def fade(old: Curve, new: Curve, start_ns: int, length_s: float, kind: type[Fade] = Fade) -> Curve:
    """Return the cross-fade from `old` to `new`, or `new` when there is no time for one."""
    length_ns = round(length_s * NANOSECONDS)
    return kind(old, new, start_ns, length_ns) if length_ns > 0 else new


def make_strategy(
    name: str, *, blend_s: float, ensemble_decay: float, inpaint_s: float
) -> Strategy:
    """
    Return the strategy of that name.

    :raises ValueError: there is none.
    """
    strategies: dict[str, Strategy] = {
        'replace': Replace(),
        'blend': Blend(length_s=blend_s),
        'ensemble': TemporalEnsemble(decay=ensemble_decay),
        'inpaint': Inpaint(length_s=blend_s, soft_s=inpaint_s),
    }
    if name not in strategies:
        raise ValueError(f'unknown strategy {name!r}, expected one of {list(strategies)}')
    return strategies[name]
