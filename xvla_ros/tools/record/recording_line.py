# SPDX-License-Identifier: Apache-2.0
"""The progress line of a recording."""

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xvla_ros.bags.writer import BagWriter

SHOW_PERIOD_S = 0.5


class RecordingLine:
    """Shows messages and megabytes; on a terminal only."""

    def __init__(self) -> None:
        self._begun_s, self._shown_s = time.monotonic(), 0.0

    def __call__(self, writer: 'BagWriter | None') -> None:
        """Show the current content of a bag, at a readable rate."""
        now_s = time.monotonic()
        if now_s - self._shown_s < SHOW_PERIOD_S or not sys.stderr.isatty() or writer is None:
            return
        self._shown_s = now_s
        print(
            f'\r{now_s - self._begun_s:6.0f} s  {writer.messages} messages  '
            f'{writer.total_bytes / 1e6:.1f} MB ',
            end='',
            file=sys.stderr,
        )

    def end(self) -> None:
        """End the line."""
        if self._shown_s:
            print(file=sys.stderr)
