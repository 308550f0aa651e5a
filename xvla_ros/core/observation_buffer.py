# SPDX-License-Identifier: Apache-2.0
"""The latest of every input stream, stored by callbacks and read as one consistent observation."""

from threading import Lock

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.observation import check_streams, Observation, StreamLimit


class ObservationBuffer:
    """
    Keeps the newest image of each camera and the newest pose of each arm, with their stamps.

    Streams are named `camera.<name>` and `arm.<name>`, in messages too. Any thread may store;
    storing takes a reference and returns.
    """

    def __init__(self, embodiment: Embodiment) -> None:
        """Start empty."""
        self._arms = tuple(embodiment.arms)
        self._cameras = tuple(embodiment.cameras)
        self._limits = tuple(
            StreamLimit(name=f'{kind}.{name}', max_age_s=settings.max_age_s)
            for kind, block in (('camera', embodiment.cameras), ('arm', embodiment.arms))
            for name, settings in block.items()
        )
        self._control = embodiment.control
        self._lock = Lock()
        self._images: dict[str, NDArray[np.uint8]] = {}
        self._poses: dict[str, ArmPose] = {}
        self._stamps_ns: dict[str, int] = {}
        self._instruction = embodiment.policy.instruction

    def put_image(self, camera: str, image: NDArray[np.uint8], stamp_ns: int) -> None:
        """
        Store an image (H, W, 3) uint8 RGB, unless a newer one is there.

        :raises ObservationError: the camera is unknown or the image has another shape or type.
        """
        if camera not in self._cameras:
            raise ObservationError(f'camera.{camera}: unknown, known are {list(self._cameras)}')
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise ObservationError(
                f'camera.{camera}: expected (H, W, 3) uint8 RGB, got {image.shape} {image.dtype}'
            )
        with self._lock:
            if self._newer(f'camera.{camera}', stamp_ns):
                self._images[camera] = image

    def put_arm(self, arm: str, pose: ArmPose, stamp_ns: int) -> None:
        """
        Store a measured pose, unless a newer one is there.

        :raises ObservationError: the arm is unknown.
        """
        if arm not in self._arms:
            raise ObservationError(f'arm.{arm}: unknown, known are {list(self._arms)}')
        with self._lock:
            if self._newer(f'arm.{arm}', stamp_ns):
                self._poses[arm] = pose

    def _newer(self, name: str, stamp_ns: int) -> bool:
        """Note the stamp of a stream and return True, or False when it is older than the last."""
        if stamp_ns < self._stamps_ns.get(name, stamp_ns):
            return False
        self._stamps_ns[name] = stamp_ns
        return True

    @property
    def instruction(self) -> str:
        """The instruction that observations carry; empty while there is none."""
        return self._instruction

    def set_instruction(self, instruction: str) -> None:
        """Give the instruction that observations carry from now on."""
        self._instruction = instruction.strip()

    def clear(self) -> None:
        """Forget every image and pose, as after a jump of the clock."""
        with self._lock:
            self._images.clear()
            self._poses.clear()
            self._stamps_ns.clear()

    def arms(self, now_ns: int) -> tuple[ArmPose, ...]:
        """
        Return the measured arms alone.

        :raises ObservationError: an arm is missing, stale or from the future.
        """
        with self._lock:
            self._check('arm.', now_ns)
            return tuple(self._poses[name] for name in self._arms)

    def snapshot(self, now_ns: int) -> Observation:
        """
        Return everything as one observation.

        :raises ObservationError: an input is missing, stale, from the future or too far from the
            others, or there is no instruction; the message names it.
        """
        with self._lock:
            self._check('', now_ns)
            if not self._instruction:
                raise ObservationError('instruction: nothing received yet')
            return Observation(
                images=tuple(self._images[name] for name in self._cameras),
                arms=tuple(self._poses[name] for name in self._arms),
                instruction=self._instruction,
                stamps_ns=dict(self._stamps_ns),
            )

    def _check(self, prefix: str, now_ns: int) -> None:
        """Check the streams whose names begin with `prefix`."""
        limits = [limit for limit in self._limits if limit.name.startswith(prefix)]
        control = self._control
        check_streams(
            self._stamps_ns, limits, now_ns, control.max_skew_s, control.future_tolerance_s
        )
