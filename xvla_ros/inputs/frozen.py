# SPDX-License-Identifier: Apache-2.0
"""Detects a camera that hangs: it repeats one image with new stamps while a tool moves."""

from collections.abc import Sequence
import threading
from typing import Any
import zlib

import numpy as np

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.errors import ObservationError


class FrozenWatch:
    """Compares the images of one camera with each other. Any thread may ask."""

    def __init__(self, camera: str, max_m: float) -> None:
        """
        Begin without an image.

        :param max_m: how far a tool may move during one image [m]; 0 checks nothing.
        """
        self._camera, self._max_m = camera, max_m
        self._lock = threading.Lock()
        self._stamp_ns, self._digest, self._arms = -1, -1, tuple[ArmPose, ...]()

    def check(self, stamp_ns: int, data: Any, arms: Sequence[ArmPose]) -> None:
        """
        Take note of a frame.

        :param stamp_ns: its time. :param data: its bytes. :param arms: their poses at that time.
        :raises ObservationError: the image is the same although a tool has moved too far.
        """
        if not self._max_m:
            return
        with self._lock:
            if stamp_ns != self._stamp_ns:
                self._stamp_ns = stamp_ns
                self._note(zlib.crc32(data), tuple(arms))
            moved_m = max(map(_apart_m, self._arms, arms), default=0.0)
        if moved_m > self._max_m:
            raise ObservationError(
                f'camera {self._camera}: sends the same image although a tool has moved '
                f'{1000 * moved_m:.0f} mm, limit {1000 * self._max_m:.0f} mm (max_frozen_m)',
                f'camera {self._camera}',
                'frozen',
            )

    def _note(self, digest: int, arms: tuple[ArmPose, ...]) -> None:
        """Begin to measure anew with every new image."""
        if digest != self._digest or len(arms) != len(self._arms):
            self._digest, self._arms = digest, arms


def _apart_m(some: ArmPose, other: ArmPose) -> float:
    return float(np.linalg.norm(some.position - other.position))
