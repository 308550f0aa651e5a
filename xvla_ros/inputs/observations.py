# SPDX-License-Identifier: Apache-2.0
"""The worker's inputs: the last frames and the arms' state, joined to an Observation on demand."""

from collections.abc import Mapping
import math
import threading
import time
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from xvla_ros.bags.topics import COMPRESSED, IMAGE
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import blamed_on, ObservationError
from xvla_ros.core.observation import check_skew, check_streams, Observation, StreamLimit
from xvla_ros.core.settings import CameraSettings, RECEIVE
from xvla_ros.inputs.arm_state import ArmStates
from xvla_ros.inputs.frozen import FrozenWatch
from xvla_ros.inputs.graph import Graph
from xvla_ros.inputs.images import check_layout, image_from_message
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.runtime.clock import Clock


class Frame(NamedTuple):
    """A camera's message, raw or compressed, and its stamp [ns]."""

    stamp_ns: int
    message: Any


Frames = dict[str, Frame | None]


class Seen(NamedTuple):
    """Frames by camera, stamps [ns] by stream, and the arms, of one observation."""

    frames: dict[str, Frame]
    stamps_ns: dict[str, int]
    arms: tuple[ArmPose, ...]


# How often a camera that lags is checked while nothing arrives [s].
LOOK_S = 0.005
# How long frames of one moment may take to arrive one after the other (three of 640x480: 8 ms).
GATHER_NS = 15_000_000
# A frame younger than this share of its age limit shows that a camera is alive.
FRESH_SHARE = 0.5


class Camera:
    """The last frame of one camera, decoded only when it is used. Any thread may call."""

    def __init__(self, graph: Graph, settings: CameraSettings) -> None:
        """Subscribe; only the newest frame is kept."""
        self._settings = settings
        self._frame: Frame | None = None
        self._taking = threading.Lock()
        self.fresh_ns = round(FRESH_SHARE * settings.max_age_s * NANOSECONDS)
        kind = COMPRESSED if settings.compressed else IMAGE
        self.feed = graph.subscribe(kind, settings.topic, self._store, depth=1)

    def _store(self, message: Any, received_ns: int) -> None:
        by_arrival = self._settings.stamp_source == RECEIVE
        stamp_ns = received_ns if by_arrival else stamp_to_ns(message.header.stamp)
        self._frame = Frame(stamp_ns, message)

    def last(self, enough_ns: float = math.inf, until_ns: float = math.inf) -> Frame | None:
        """Return a frame stamped from `enough_ns` to `until_ns`, else the newest; None without."""
        with self._taking:
            known = self._frame
            if known is None or not enough_ns <= known.stamp_ns <= until_ns:
                self.feed.take()
            return self._frame

    def check(self, frame: Frame) -> None:
        """Refuse a frame whose header shows that it cannot be decoded."""
        if not self._settings.compressed:
            check_layout(frame.message, self._settings.topic, self._settings.encoding)
        elif not len(frame.message.data):
            text = f'{self._settings.topic}: the compressed image is empty'
            raise ObservationError(text, code='image_damaged')

    def decode(self, frame: Frame) -> NDArray[np.uint8]:
        """Return a frame's image (H, W, 3) uint8 RGB."""
        settings = self._settings
        return image_from_message(
            frame.message, settings.topic, settings.rotate_180, settings.encoding
        )


class ObservationInputs:
    """All inputs of one embodiment, from messages. Any thread may ask."""

    def __init__(self, graph: Graph, embodiment: Embodiment, clock: Clock) -> None:
        """Subscribe to the cameras and the arms."""
        self._graph, self._embodiment, self._clock = graph, embodiment, clock
        self._cameras = {n: Camera(graph, c) for n, c in embodiment.cameras.items()}
        self._used_ns: dict[str, int] = {}
        self._frozen = {n: FrozenWatch(n, c.max_frozen_m) for n, c in embodiment.cameras.items()}
        self._gathering_ns: int | None = None
        postures = embodiment.limits.check_collisions  # chunks are checked from there
        self._arms = ArmStates(graph, embodiment, postures=postures)
        cameras = tuple(
            StreamLimit(name=f'camera {n}', max_age_s=c.max_age_s)
            for n, c in embodiment.cameras.items()
        )
        self._limits = cameras + self._arms.limits

    def wait_for_frame(self, after_ns: int, timeout_s: float) -> bool:
        """
        Wait for frames newer than a stamp [ns]; return False after the timeout.

        Waits for a new frame of every camera, so that frames of one moment are used together. It
        does not wait for a camera that lags when its last frame is newer than the stamp.
        """
        deadline = time.monotonic() + timeout_s
        while missing := self._missing(after_ns):
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            self._graph.wait([camera.feed for camera in missing], min(left_s, LOOK_S))
        return True

    def _missing(self, after_ns: int) -> list[Camera]:
        """Return the cameras whose frames have not come yet."""
        stamps = {}
        for name, camera in self._cameras.items():
            frame = camera.last(max(after_ns, self._used_ns.get(name, 0)) + 1)
            stamps[name] = frame.stamp_ns if frame else after_ns
        lagging = [
            camera
            for name, camera in self._cameras.items()
            if stamps[name] <= max(after_ns, self._used_ns.get(name, 0))
        ]
        if min(stamps.values()) <= after_ns:
            self._gathering_ns = None
            return lagging
        if not lagging:
            return []
        now_ns = self._clock.now_ns()
        self._gathering_ns = now_ns if self._gathering_ns is None else self._gathering_ns
        return lagging if now_ns - self._gathering_ns < GATHER_NS else []

    def check(self) -> None:
        """
        Check that an observation is possible now.

        :raises ObservationError: naming the input that is missing, stale, from the future or
            malformed.
        """
        now_ns = self._clock.now_ns()
        self._read({n: c.last(now_ns - c.fresh_ns, now_ns) for n, c in self._cameras.items()})

    def stamp_ns(self) -> int:
        """
        Return the stamp that an observation made now would have [ns].

        :raises ObservationError: naming the input that is missing, stale, early or malformed.
        """
        return min(self._read(self._newest()).stamps_ns.values())

    def observe(self, instruction: str) -> Observation:
        """
        Return the newest frames, with the arms' state nearest to the oldest frame.

        :raises ObservationError: naming the input that is missing, stale, from the future or
            malformed.
        """
        seen = self.look()
        return Observation(
            images=self.decode(seen.frames),
            arms=seen.arms,
            instruction=instruction,
            stamps_ns=seen.stamps_ns,
        )

    def look(self) -> Seen:
        """
        Return what `observe` would freeze now, with images not yet decoded.

        :raises ObservationError: as `observe`.
        """
        seen = self._read(self._newest())
        self._used_ns = {n: seen.stamps_ns[f'camera {n}'] for n in seen.frames}
        self._gathering_ns = None
        return seen

    def decode(self, frames: Mapping[str, Frame]) -> tuple[NDArray[np.uint8], ...]:
        """
        Return the images (H, W, 3) uint8 RGB of frames, in their order.

        :raises ObservationError: one cannot be decoded.
        """
        images = []
        for name, frame in frames.items():
            with blamed_on(f'camera {name}'):
                images.append(self._cameras[name].decode(frame))
        return tuple(images)

    def _newest(self) -> Frames:
        return {name: camera.last() for name, camera in self._cameras.items()}

    def _read(self, frames: Frames) -> Seen:
        """Return frames, stamps by stream and arms of one observation."""
        present = {name: frame for name, frame in frames.items() if frame is not None}
        stamps = {f'camera {name}': frame.stamp_ns for name, frame in present.items()}
        for name, frame in present.items():
            with blamed_on(f'camera {name}'):
                self._cameras[name].check(frame)
        latest = self._arms.read().stamps_ns
        control, now_ns = self._embodiment.control, self._clock.now_ns()
        ages = {**stamps, **latest}
        check_streams(ages, self._limits, now_ns, math.inf, control.future_tolerance_s)
        nearest = self._arms.read(min(stamps.values()))
        together = {**stamps, **nearest.stamps_ns}
        check_skew(together, control.max_skew_s)
        for name, frame in present.items():
            self._frozen[name].check(frame.stamp_ns, frame.message.data, nearest.poses)
        return Seen(present, together, nearest.poses)
