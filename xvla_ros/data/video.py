# SPDX-License-Identifier: Apache-2.0
"""Images of a video file by time, decoded when they are asked for."""

from collections.abc import Iterator
import os
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
from numpy.typing import NDArray

from xvla_ros.data.errors import DataError

# Frames up to this far ahead are decoded in sequence; for a later one the file is sought [s].
AHEAD_S = 1.0
# At most this many files are open: datasets of v2 have one per camera and episode.
MOST_OPEN = 32


class Video:
    """One file. A process that was forked opens it anew: decoders must not be shared."""

    _opened: ClassVar[dict[int, 'Video']] = {}  # oldest first

    def __init__(self, path: Path) -> None:
        """
        Read when each frame is, without decoding any.

        :raises DataError: the file is missing, damaged, or of an unknown codec.
        """
        self.path = path
        self._process = 0
        self._container: Any = None
        self._frames: Iterator[Any] = iter(())
        self._last: tuple[float, Any] | None = None
        self.times_s = self._read_times()

    def _open(self) -> tuple[Any, Any]:
        if not self.path.is_file():
            raise DataError('no such video', file=self.path, what='missing')
        try:
            container = av.open(str(self.path))
        except (av.FFmpegError, OSError) as error:
            raise DataError(f'cannot open the video: {error}', file=self.path) from error
        streams = container.streams.video
        if not streams:
            raise DataError('holds no video', file=self.path)
        stream = streams[0]
        if getattr(stream, 'codec_context', None) is None:
            raise DataError('the codec of the video is not known', file=self.path, what='codec')
        return container, stream

    def _read_times(self) -> NDArray[np.float64]:
        container, stream = self._open()
        try:
            times = [
                float(packet.pts * stream.time_base)
                for packet in container.demux(stream)
                if packet.pts is not None
            ]
        except av.FFmpegError as error:
            raise DataError(f'the video is damaged: {error}', file=self.path) from error
        finally:
            container.close()
        return np.sort(np.array(times, np.float64))

    def missing(self, wanted_s: NDArray[np.float64], tolerance_s: float) -> NDArray[np.bool_]:
        """Return for which times (N,) [s] the file has no frame within the tolerance."""
        if not len(self.times_s):
            return np.ones(len(wanted_s), bool)
        after = np.clip(np.searchsorted(self.times_s, wanted_s), 1, len(self.times_s) - 1)
        near = np.minimum(
            np.abs(self.times_s[after] - wanted_s), np.abs(self.times_s[after - 1] - wanted_s)
        )
        return np.asarray(near > tolerance_s)

    def at(self, time_s: float, tolerance_s: float) -> NDArray[np.uint8]:
        """
        Return the image (H, W, 3) uint8 RGB nearest to a time.

        :raises DataError: there is none within the tolerance, or it cannot be decoded.
        """
        try:
            found = self._nearest(time_s)
        except av.FFmpegError as error:
            raise DataError(
                f'the video cannot be decoded at {time_s:.3f} s: {error}', file=self.path
            ) from error
        if found is None or abs(found[0] - time_s) > tolerance_s:
            raise DataError(f'the video has no frame at {time_s:.3f} s', file=self.path)
        image: NDArray[np.uint8] = found[1].to_ndarray(format='rgb24')
        return image

    def _nearest(self, time_s: float) -> tuple[float, Any] | None:
        last = self._last
        ahead = last is not None and last[0] <= time_s < last[0] + AHEAD_S
        if self._process != os.getpid() or not ahead:
            self._seek(time_s)
            last = None
        if last is not None and abs(last[0] - time_s) < 1e-6:
            return last
        for frame in self._frames:
            found: tuple[float, Any] = (float(frame.time), frame)
            self._last = found
            if found[0] >= time_s - 1e-6:
                nearer = last is not None and time_s - last[0] < found[0] - time_s
                return last if nearer and last is not None else found
            last = found
        self._last = None
        return last

    def close(self) -> None:
        """Close the file until an image is asked for."""
        self._opened.pop(id(self), None)
        if self._container is not None and self._process == os.getpid():
            self._container.close()
        self._container, self._last, self._frames = None, None, iter(())

    def _seek(self, time_s: float) -> None:
        """Go to the key frame before a time."""
        if self._process != os.getpid() or self._container is None:
            self._container, self._stream = self._open()
            self._process = os.getpid()
            self._opened[id(self)] = self
            if len(self._opened) > MOST_OPEN:
                next(iter(self._opened.values())).close()
        start = max(0, int(time_s / float(self._stream.time_base)))
        self._container.seek(start, stream=self._stream, backward=True)
        self._frames = self._container.decode(self._stream)
        self._last = None
