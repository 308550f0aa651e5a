# SPDX-License-Identifier: Apache-2.0
"""An observation: the camera images and arm poses that one inference uses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ObservationError


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Observation:
    """
    The input of one inference.

    images: one (H, W, 3) uint8 RGB array per camera, in the embodiment's order, main view first.
    arms: one measured pose per arm, in the embodiment's order. stamps_ns: time of measurement of
    each stream, by name. stamp_ns: the oldest of them.
    """

    images: tuple[NDArray[np.uint8], ...]
    arms: tuple[ArmPose, ...]
    instruction: str
    stamps_ns: Mapping[str, int]

    @property
    def stamp_ns(self) -> int:
        """Time of the oldest input [ns]."""
        return min(self.stamps_ns.values())


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamLimit:
    """How old one input stream may be when it is used [s]."""

    name: str
    max_age_s: float


def check_streams(
    stamps_ns: Mapping[str, int],
    limits: Sequence[StreamLimit],
    now_ns: int,
    max_skew_s: float,
    future_tolerance_s: float = 0.05,
) -> None:
    """
    Refuse stamps that are missing, stale, in the future or too far apart.

    :param stamps_ns: time of measurement of each stream that has arrived, by name.
    :param max_skew_s: largest time between two streams.
    :param future_tolerance_s: how far ahead of `now_ns` a stamp may be.
    :raises ObservationError: naming the stream, its age and its limit.
    """
    for limit in limits:
        if limit.name not in stamps_ns:
            raise ObservationError(f'{limit.name}: nothing received yet', limit.name, 'missing')
        age_s = (now_ns - stamps_ns[limit.name]) * 1e-9
        if age_s < -future_tolerance_s:
            raise ObservationError(
                f'{limit.name}: stamp is {-age_s:.3f} s in the future (allowed '
                f'{future_tolerance_s} s); are the clocks synchronised?',
                limit.name,
                'future',
            )
        if age_s > limit.max_age_s and not stamps_ns[limit.name]:
            raise ObservationError(
                f'{limit.name}: the messages have no stamp (it is 0): have the driver stamp them, '
                'or set stamp_source: receive for this stream',
                limit.name,
                'unstamped',
            )
        if age_s > limit.max_age_s:
            raise ObservationError(
                f'{limit.name}: last message is {age_s:.3f} s old, limit {limit.max_age_s} s',
                limit.name,
                'stale',
            )
    check_skew({limit.name: stamps_ns[limit.name] for limit in limits}, max_skew_s)


def check_skew(stamps_ns: Mapping[str, int], max_skew_s: float) -> None:
    """
    Refuse streams that were measured too far apart for one observation.

    :raises ObservationError: naming the oldest and the newest stream.
    """
    oldest, newest = (
        min(stamps_ns, key=stamps_ns.__getitem__),
        max(stamps_ns, key=stamps_ns.__getitem__),
    )
    skew_s = (stamps_ns[newest] - stamps_ns[oldest]) * 1e-9
    if skew_s > max_skew_s:
        raise ObservationError(
            f'skew: {oldest} is {skew_s:.3f} s older than {newest}, limit {max_skew_s} s',
            'skew',
            'skew',
        )
