# SPDX-License-Identifier: Apache-2.0
"""A bag after its scan: its topics, and its messages in time order."""

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import zstandard

from xvla_ros.bags.formats.storage import decompressed, Raw, ZSTD_MAGIC
from xvla_ros.bags.manifest import Recording
from xvla_ros.bags.order import in_order, Part
from xvla_ros.bags.qos import Latched
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ConfigError


@dataclass(kw_only=True, slots=True)
class Topic:
    """
    One topic of a bag.

    offered: QoS profiles as rosbag2's YAML text, empty if the bag has none. latched: the last
    message is valid for late subscribers.
    """

    kind: str
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    offered: str = ''
    latched: bool = False

    @property
    def rate_hz(self) -> float:
        """Mean rate [Hz]; 0 for fewer than two messages."""
        span_ns = self.last_ns - self.first_ns
        return (self.count - 1) * NANOSECONDS / span_ns if span_ns > 0 else 0.0


@dataclass(frozen=True, kw_only=True)
class Bag:
    """
    The content of one bag, and what could not be read.

    gaps: one sentence for each file that is missing, ends early or is damaged, and for each topic
    with unreadable messages. notes: one for each file that was left out. recording: the
    description by `xvla record`, None in bags from elsewhere. names: renamed topics (recorded ->
    used).
    """

    path: Path
    parts: tuple[Part, ...] = ()
    topics: dict[str, Topic] = field(default_factory=dict)
    gaps: list[str] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    recording: Recording | None = None
    start_ns: int = 0
    end_ns: int = 0
    names: dict[str, str] = field(default_factory=dict)

    @property
    def files(self) -> tuple[Path, ...]:
        """The storage files."""
        return tuple(part.storage.path for part in self.parts)

    @property
    def duration_s(self) -> float:
        """Time between the first and the last message [s]."""
        return (self.end_ns - self.start_ns) / NANOSECONDS

    def messages(self, topics: Container[str] | None = None) -> Iterator[Raw]:
        """
        Yield the messages of some or all topics in time order.

        If the bag begins later than its files, the last message of each latched topic before the
        beginning comes first, with the time of the beginning.
        """
        before: Latched[Raw] = Latched()
        for raw in in_order(self.parts, self._selecting(topics)):
            if raw.time_ns < self.start_ns:
                if self.topics[raw.topic].latched:
                    before.keep(raw.topic, raw)
                continue
            yield from self._at_start(before)
            before = Latched()
            if raw.time_ns > self.end_ns:
                return
            yield raw
        yield from self._at_start(before)

    def _at_start(self, before: Latched[Raw]) -> Iterator[Raw]:
        return (replace(raw, time_ns=self.start_ns) for _, raw in before.items())

    def _selecting(self, topics: Container[str] | None) -> Callable[[Raw], Raw | None]:
        def select(raw: Raw) -> Raw | None:
            name = self.names.get(raw.topic, raw.topic)
            if name not in self.topics or not (topics is None or name in topics):
                return None
            if name != raw.topic:
                raw = replace(raw, topic=name)
            return unpacked_message(raw, self.path)

        return select

    def between(self, start_s: float, duration_s: float | None = None) -> 'Bag':
        """
        Return the part of the bag from `start_s` on [s], `duration_s` long.

        :raises ConfigError: the bag ends before `start_s`.
        """
        if start_s > self.duration_s:
            raise ConfigError(
                f'{self.path}: is {self.duration_s:.1f} s long: cannot start {start_s:g} s into it'
            )
        start_ns, end_ns = self.start_ns + round(start_s * NANOSECONDS), self.end_ns
        if duration_s is not None:
            end_ns = min(end_ns, start_ns + round(duration_s * NANOSECONDS))
        return replace(self, start_ns=start_ns, end_ns=end_ns)

    def renamed(self, names: Mapping[str, str]) -> 'Bag':
        """
        Return the bag with some topics renamed (recorded -> wanted).

        :raises ConfigError: a topic is not in the bag, or two would get the same name.
        """
        unknown = sorted(set(names) - set(self.topics))
        if unknown:
            held = ', '.join(sorted(self.topics))
            raise ConfigError(f'{self.path}: no topic {", ".join(unknown)}; it has {held}')
        topics: dict[str, Topic] = {}
        for name, topic in self.topics.items():
            wanted = names.get(name, name)
            if wanted in topics:
                raise ConfigError(f"{self.path}: two topics would be called '{wanted}'")
            topics[wanted] = topic
        return replace(self, topics=topics, names={**self.names, **names})


def unpacked_message(raw: Raw, path: Path) -> Raw | None:
    """
    Return a message, decompressed if it was compressed by itself; None if that fails.

    CDR never begins with zstd's magic number.
    """
    if not raw.data.startswith(ZSTD_MAGIC):
        return raw
    try:
        return replace(raw, data=decompressed(raw.data, path))
    except zstandard.ZstdError:
        return None
