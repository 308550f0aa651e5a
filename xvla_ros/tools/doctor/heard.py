# SPDX-License-Identifier: Apache-2.0
"""The messages that `xvla doctor --live` receives on a topic, and its findings."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(kw_only=True, slots=True)
class Heard:
    """
    The messages of one topic.

    last_of: the last message with a joint, by name. Several drivers may share a topic of joints.
    """

    times_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    last: Any = None
    last_of: dict[str, Any] = field(default_factory=dict)

    @property
    def rate_hz(self) -> float:
        """Mean rate [Hz]."""
        span_s = self.times_s[-1] - self.times_s[0] if len(self.times_s) > 1 else 0.0
        return (len(self.times_s) - 1) / span_s if span_s > 0 else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveFinding:
    """A finding about one stream; without a fix it is no problem."""

    name: str
    found: str
    fix: str = ''
