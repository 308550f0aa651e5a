# SPDX-License-Identifier: Apache-2.0
"""A temporary file for the images of a bag: bytes are appended, and read back by place."""

from functools import partial
import os
from tempfile import TemporaryFile
from typing import NamedTuple


class Place(NamedTuple):
    """Position of stored bytes in the file."""

    offset: int
    length: int


class Spool:
    """A temporary file that ends with the process; processes that it forks read it, too."""

    def __init__(self) -> None:
        # Open as long as this is: no context manager.
        self._file = TemporaryFile(prefix='xvla-data-')  # noqa: SIM115
        self._end = 0

    def put(self, data: bytes) -> Place:
        """Append bytes; return their place."""
        self._file.write(data)
        self._file.flush()
        place = Place(self._end, len(data))
        self._end += len(data)
        return place

    def get(self, place: Place) -> bytes:
        """Return the bytes of a place."""
        chunks = []
        read = partial(os.pread, self._file.fileno())
        offset, left = place
        while left:
            chunk = read(left, offset)
            if not chunk:
                raise OSError('the temporary file of images is shorter than what was written')
            chunks.append(chunk)
            offset, left = offset + len(chunk), left - len(chunk)
        return b''.join(chunks)
