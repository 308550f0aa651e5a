# SPDX-License-Identifier: Apache-2.0
"""Strategies that join a new chunk to the current targets, one class each, chosen by name."""

from dataclasses import dataclass
from typing import Protocol

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.curves import Curve, Ensemble, Fade
from xvla_ros.core.interpolation import Mix, mix_poses


@dataclass(frozen=True, kw_only=True, slots=True)
class Junction:
    """The commanded curve, all plans that have not ended (newest last), and the time."""

    commanded: Curve
    plans: tuple[Curve, ...]
    now_ns: int
    mix: Mix = mix_poses


class Strategy(Protocol):
    """Makes the next commanded curve."""

    def join(self, junction: Junction) -> Curve:
        """Return what is commanded from `junction.now_ns` on."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class Replace:
    """Follow the newest plan at once. Targets jump where it begins; for comparison."""

    def join(self, junction: Junction) -> Curve:
        """Return the newest plan."""
        return junction.plans[-1]


@dataclass(frozen=True, kw_only=True, slots=True)
class Blend:
    """
    Cross-fade (C2) from the commanded curve, which may still be fading, to the newest plan.

    A fade from the previous plan would begin with a jump if chunks come faster than `length_s`.
    """

    length_s: float

    def join(self, junction: Junction) -> Curve:
        """Return the cross-fade."""
        now_ns, mix = junction.now_ns, junction.mix
        return fade(junction.commanded, junction.plans[-1], now_ns, self.length_s, mix=mix)


@dataclass(frozen=True, kw_only=True, slots=True)
class TemporalEnsemble:
    """Average all plans that cover the time (ACT)."""

    decay: float

    def join(self, junction: Junction) -> Curve:
        """Return the mean."""
        return Ensemble(junction.plans, self.decay, junction.mix)


def fade(
    old: Curve,
    new: Curve,
    start_ns: int,
    length_s: float,
    stays: bool = False,
    mix: Mix = mix_poses,
) -> Curve:
    """
    Return the cross-fade from `old` to `new`, or `new` when there is no time for one.

    :param stays: later plans join `new`, and this fade is kept.
    """
    length_ns = round(length_s * NANOSECONDS)
    return Fade(old, new, start_ns, length_ns, stays, mix) if length_ns > 0 else new


def make_strategy(name: str, *, blend_s: float, ensemble_decay: float) -> Strategy:
    """
    Return the strategy of that name.

    In the queue `inpaint` equals `blend`; the inference side keeps the answer close to the plan.

    :raises ValueError: there is no such strategy.
    """
    strategies: dict[str, Strategy] = {
        'replace': Replace(),
        'blend': Blend(length_s=blend_s),
        'ensemble': TemporalEnsemble(decay=ensemble_decay),
        'inpaint': Blend(length_s=blend_s),
    }
    if name not in strategies:
        raise ValueError(f'unknown strategy {name!r}, expected one of {list(strategies)}')
    return strategies[name]
