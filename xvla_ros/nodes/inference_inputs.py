# SPDX-License-Identifier: Apache-2.0
"""What the worker sees: last frames and arm state, frozen into an Observation on demand."""

import math
import threading

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import HistoryPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage, Image

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.observation import check_skew, check_streams, Observation, StreamLimit
from xvla_ros.core.settings import CameraSettings
from xvla_ros.nodes.arm_state import ArmStates
from xvla_ros.nodes.conversions import stamp_to_ns
from xvla_ros.nodes.images import check_layout, image_from_message

# As sensor data. Only the newest frame is looked at; the few before it keep a pause of this
# process (an inference holds the interpreter for milliseconds) from looking like lost frames.
CAMERA_QOS = QoSProfile(
    history=HistoryPolicy.KEEP_LAST, depth=4, reliability=ReliabilityPolicy.BEST_EFFORT
)


class Camera:
    """The last frame of one camera, decoded only when it is used."""

    def __init__(self, node: Node, settings: CameraSettings, arrived: threading.Condition) -> None:
        """Subscribe; `arrived` is notified of every frame."""
        self._settings, self._arrived = settings, arrived
        self._message: Image | CompressedImage | None = None
        self.received = 0
        kind = CompressedImage if settings.compressed else Image
        self.subscription = node.create_subscription(kind, settings.topic, self._store, CAMERA_QOS)

    def _store(self, message: Image | CompressedImage) -> None:
        with self._arrived:
            self._message = message
            self.received += 1
            self._arrived.notify_all()

    def last(self) -> Image | CompressedImage | None:
        """Return the newest frame, None before the first."""
        return self._message

    def check(self, message: Image | CompressedImage) -> None:
        """Refuse a frame that cannot be decoded, as far as that shows without decoding it."""
        if isinstance(message, Image):
            check_layout(message, self._settings.topic)

    def decode(self, message: Image | CompressedImage) -> NDArray[np.uint8]:
        """Return a frame's picture (H, W, 3) uint8 RGB."""
        return image_from_message(message, self._settings.topic, self._settings.rotate_180)


class ObservationInputs:
    """All inputs of one embodiment. Callbacks run in the executor's thread."""

    def __init__(self, node: Node, embodiment: Embodiment) -> None:
        """Subscribe to the cameras and the arms."""
        self._node, self._embodiment = node, embodiment
        self._arrived = threading.Condition()
        self._cameras = {n: Camera(node, c, self._arrived) for n, c in embodiment.cameras.items()}
        self._arms = ArmStates(node, embodiment)
        cameras = tuple(
            StreamLimit(name=f'camera {n}', max_age_s=c.max_age_s)
            for n, c in embodiment.cameras.items()
        )
        self._limits = cameras + self._arms.limits

    @property
    def frames_received(self) -> int:
        """How many frames of all cameras have arrived."""
        return sum(camera.received for camera in self._cameras.values())

    def wait_for_frame(self, after_ns: int, timeout_s: float) -> bool:
        """Sleep until every camera has a frame newer than a stamp; return whether they have."""
        with self._arrived:
            return self._arrived.wait_for(lambda: self._newer(after_ns), timeout_s)

    def _newer(self, after_ns: int) -> bool:
        frames = [camera.last() for camera in self._cameras.values()]
        return all(frame and stamp_to_ns(frame.header.stamp) > after_ns for frame in frames)

    def check(self) -> None:
        """
        Tell whether an observation could be made now.

        :raises ObservationError: naming the input that is missing, stale, from the future or
            malformed.
        """
        self._read()

    def stamp_ns(self) -> int:
        """
        Return the stamp of the observation that could be made now.

        :raises ObservationError: naming the input that is missing, stale, early or malformed.
        """
        return min(self._read()[1].values())

    def observe(self, instruction: str) -> Observation:
        """
        Freeze the newest frames and the arm state nearest to the oldest of them.

        :raises ObservationError: naming the input that is missing, stale, from the future or
            malformed.
        """
        frames, stamps, arms = self._read()
        images = tuple(self._cameras[name].decode(frame) for name, frame in frames.items())
        return Observation(images=images, arms=arms, instruction=instruction, stamps_ns=stamps)

    def _read(
        self,
    ) -> tuple[dict[str, Image | CompressedImage], dict[str, int], tuple[ArmPose, ...]]:
        frames = {name: camera.last() for name, camera in self._cameras.items()}
        present = {name: frame for name, frame in frames.items() if frame is not None}
        stamps = {
            f'camera {name}': stamp_to_ns(frame.header.stamp) for name, frame in present.items()
        }
        for name, frame in present.items():
            self._cameras[name].check(frame)
        latest, _ = self._arms.read()
        control, now_ns = self._embodiment.control, self._node.get_clock().now().nanoseconds
        ages = {**stamps, **latest}
        check_streams(ages, self._limits, now_ns, math.inf, control.future_tolerance_s)
        nearest, arms = self._arms.read(min(stamps.values()))
        check_skew({**stamps, **nearest}, control.max_skew_s)
        return present, {**stamps, **nearest}, arms
