# SPDX-License-Identifier: Apache-2.0
"""A table of the recorded topics for the user."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from xvla_ros.core.chunk import NANOSECONDS

# A topic with less than this share of its expected rate gets a remark.
LEAST_RATE_SHARE = 0.8


@dataclass(kw_only=True, slots=True)
class Tally:
    """Messages of one topic. longest_gap_ns: between two of them."""

    count: int = 0
    bytes: int = 0
    first_ns: int = 0
    last_ns: int = 0
    longest_gap_ns: int = 0

    def see(self, time_ns: int, size: int) -> None:
        """Count one message."""
        if self.count:
            self.longest_gap_ns = max(self.longest_gap_ns, time_ns - self.last_ns)
        else:
            self.first_ns = time_ns
        self.count, self.bytes, self.last_ns = self.count + 1, self.bytes + size, time_ns

    @property
    def rate_hz(self) -> float:
        """Mean rate [Hz]; 0 for fewer than two messages."""
        span_ns = self.last_ns - self.first_ns
        return (self.count - 1) * NANOSECONDS / span_ns if span_ns > 0 else 0.0


@dataclass(kw_only=True)
class Audit:
    """
    All topics of one recording.

    wanted: the purpose of each topic in the robot's file. expected_hz: their rates in that file.
    """

    wanted: Mapping[str, str] = field(default_factory=dict)
    expected_hz: Mapping[str, float] = field(default_factory=dict)
    tallies: dict[str, Tally] = field(default_factory=dict)

    def see(self, topic: str, time_ns: int, size: int) -> None:
        """Count one message of `size` bytes."""
        self.tallies.setdefault(topic, Tally()).see(time_ns, size)

    def lines(self) -> list[str]:
        """Return the table: a header, then one line per topic with remarks at its end."""
        names = sorted({*self.tallies, *self.wanted})
        width = max((len(name) for name in names), default=5)
        head = f'{"topic":{width}}  messages      Hz  longest gap      MB'
        return [head, *(self._line(name, width) for name in names)]

    def _line(self, name: str, width: int) -> str:
        tally = self.tallies.get(name, Tally())
        gap_s = tally.longest_gap_ns / NANOSECONDS
        text = (
            f'{name:{width}}  {tally.count:8d}  {tally.rate_hz:6.1f}  {gap_s:9.2f} s  '
            f'{tally.bytes / 1e6:6.1f}'
        )
        remark = self._remark(name, tally)
        return f'{text}  {remark}' if remark else text

    def _remark(self, name: str, tally: Tally) -> str:
        if not tally.count:
            return f'nothing came ({self.wanted[name]})'
        expected = self.expected_hz.get(name, 0.0)
        if tally.count > 1 and tally.rate_hz < LEAST_RATE_SHARE * expected:
            return f'expected {expected:g} Hz'
        return ''
