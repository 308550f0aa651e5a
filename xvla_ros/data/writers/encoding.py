# SPDX-License-Identifier: Apache-2.0
"""Writes images to video files and image files."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from fractions import Fraction
from io import BytesIO
import os
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image

# Codec of the file -> encoder, its pixel format and options. LeRobot's own defaults for av1:
# every second image a key frame, so that any is found fast.
CODECS: dict[str, tuple[str, str, dict[str, str]]] = {
    'av1': ('libsvtav1', 'yuv420p', {'g': '2', 'crf': '30', 'preset': '12'}),
    'h264': ('libx264', 'yuv420p', {'g': '2', 'crf': '23'}),
}
LOSSLESS = 'png'  # images in the table, as they are


class VideoWriter:
    """One video file of images of one size, at a steady rate."""

    def __init__(self, path: Path, codec: str, fps: int) -> None:
        os.environ.setdefault('SVT_LOG', '1')  # of the av1 encoder: errors only
        encoder, self._pixels, options = CODECS[codec]
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path, self.frames, self._fps = path, 0, fps
        self._container = av.open(str(path), 'w')
        stream: Any = self._container.add_stream(encoder, rate=fps, options=options)
        self._stream = stream
        self._stream.pix_fmt = self._pixels
        self._stream.time_base = Fraction(1, fps)

    @property
    def end_s(self) -> float:
        """How long the video is so far [s]."""
        return self.frames / self._fps

    @property
    def size(self) -> int:
        """How many bytes have been written."""
        return self.path.stat().st_size if self.path.exists() else 0

    def add(self, image: NDArray[np.uint8]) -> None:
        """Append an image (H, W, 3) uint8 RGB."""
        if not self.frames:
            self._stream.height, self._stream.width = image.shape[:2]
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format='rgb24')
        frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
        with nullcontext() if self.frames else ordinary_threads():  # the first opens the encoder
            packets = self._stream.encode(frame)
        self._container.mux(packets)
        self.frames += 1

    def close(self) -> None:
        """Write what the encoder still holds."""
        if self.frames:
            self._container.mux(self._stream.encode(None))
        self._container.close()


@contextmanager
def ordinary_threads() -> Iterator[None]:
    """
    Undo a change of scheduling by what runs inside.

    For root, libsvtav1 puts its own threads and the calling one before all ordinary processes
    (SCHED_FIFO).
    """
    before = _policies()
    try:
        yield
    finally:
        for thread, policy in _policies().items():
            ordinary = before.get(thread, os.SCHED_OTHER)
            if policy != ordinary:
                with suppress(ProcessLookupError):  # it has ended
                    os.sched_setscheduler(thread, ordinary, os.sched_param(0))


def _policies() -> dict[int, int]:
    """Return the scheduling policy of each thread of this process."""
    found = {}
    for thread in map(int, os.listdir('/proc/self/task')):
        with suppress(ProcessLookupError):  # it has ended
            found[thread] = os.sched_getscheduler(thread)
    return found


def png(image: NDArray[np.uint8]) -> bytes:
    """Return an image as a PNG file, bit for bit."""
    packed = BytesIO()
    Image.fromarray(image).save(packed, 'png', compress_level=1)
    return packed.getvalue()


def jpeg(image: NDArray[np.uint8]) -> bytes:
    """Return an image as a JPEG file of quality 95."""
    packed = BytesIO()
    Image.fromarray(image).save(packed, 'jpeg', quality=95)
    return packed.getvalue()
