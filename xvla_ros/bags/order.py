# SPDX-License-Identifier: Apache-2.0
"""Merges the messages of one or more files in the order of their times, in bounded memory."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
import heapq

import numpy as np

from xvla_ros.bags.formats.storage import Raw, Storage

# A file whose messages are out of order by at most this [ns] is sorted while it is read; any other
# is read with an index of all its messages (32 bytes each).
MOST_LATE_NS = 500_000_000


@dataclass(kw_only=True, slots=True)
class Part:
    """
    One scanned file.

    late_ns: the largest delay of a message behind the newest one before it. first: it is the first
    file of its recording, so copies of latched messages in it are used.
    """

    storage: Storage
    first: bool = True
    start_ns: int = 0
    end_ns: int = 0
    late_ns: int = 0

    @property
    def needs_index(self) -> bool:
        """Whether the file is too far out of order to be sorted while it is read."""
        return self.late_ns > MOST_LATE_NS

    def new(self, raw: Raw) -> bool:
        """Tell whether a message is not a copy of one in the file before."""
        return self.first or not raw.repeated


Wanted = Callable[[Raw], Raw | None]


def in_order(parts: Sequence[Part], wanted: Wanted) -> Iterator[Raw]:
    """
    Yield the wanted messages of all parts by time; a file is opened when its time comes.

    :param wanted: returns the message to use, or None to skip it.
    """
    waiting: list[tuple[int, int, Raw | None]] = [
        (part.start_ns, index, None) for index, part in enumerate(parts)
    ]
    heapq.heapify(waiting)
    streams: dict[int, Iterator[Raw]] = {}
    while waiting:
        _, index, raw = waiting[0]
        if raw is None:
            streams[index] = _of_part(parts[index], wanted)
        else:
            yield raw
        following = next(streams[index], None)
        if following is None:
            heapq.heappop(waiting)
        else:
            heapq.heapreplace(waiting, (following.time_ns, index, following))


def _of_part(part: Part, wanted: Wanted) -> Iterator[Raw]:
    if part.needs_index:
        return _by_index(part, wanted)
    return _by_window(part, wanted)


def _by_window(part: Part, wanted: Wanted) -> Iterator[Raw]:
    """Sort messages that are nearly in order: each waits until no earlier one can come."""
    waiting: list[tuple[int, int, Raw]] = []
    number, newest_ns = 0, 0
    for found in part.storage.scan([]):
        raw = wanted(found) if part.new(found) else None
        newest_ns = max(newest_ns, found.time_ns)
        if raw is not None:
            heapq.heappush(waiting, (raw.time_ns, number, raw))
            number += 1
        while waiting and waiting[0][0] <= newest_ns - part.late_ns:
            yield heapq.heappop(waiting)[2]
    while waiting:
        yield heapq.heappop(waiting)[2]


def _by_index(part: Part, wanted: Wanted) -> Iterator[Raw]:
    """Scan the file for times and places, then pick the messages by time."""
    rows = [
        (raw.time_ns, *raw.place)
        for raw in part.storage.scan([])
        if part.new(raw) and wanted(raw) is not None
    ]
    index = np.array(rows, np.int64).reshape(-1, 3)
    order = np.argsort(index[:, 0], kind='stable')
    places = ((int(start), int(at)) for _, start, at in index[order])
    for found in part.storage.pick(places):
        raw = wanted(found)
        if raw is not None:
            yield raw
