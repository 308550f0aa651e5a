# SPDX-License-Identifier: Apache-2.0
"""References to columns in source files: `key`, `key[3]`, `key[0:3]`, `key[0,:]`."""

from collections.abc import Callable
from dataclasses import dataclass
import math
import re
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.errors import ConfigError

PATTERN = re.compile(r'(?P<key>[^\[\]]+?)\s*(\[(?P<parts>[-\d:,\s]*)\])?')
# Returns the rows (F, ...) of a key.
Table = Callable[[str], NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """A key, and which numbers of each of its rows."""

    text: str
    key: str
    parts: tuple[int | slice, ...]

    @classmethod
    def parse(cls, text: str) -> 'Column':
        """
        Read a reference.

        :raises ConfigError: it is none.
        """
        found = PATTERN.fullmatch(text.strip())
        if not found:
            raise ConfigError(f"'{text}': expected key, key[3], key[0:3] or key[0,:]")
        parts = [part.strip() for part in (found['parts'] or '').split(',') if part.strip()]
        return cls(text, found['key'].strip(), tuple(_part(part) for part in parts))

    def of(self, table: Table, width: int) -> NDArray[np.float64]:
        """
        Return the rows (F, width) of this column.

        :raises ValueError: the table holds something else there.
        """
        rows = np.asarray(table(self.key))
        try:
            place = (slice(None), *self.parts)
            values = rows[place].astype(np.float64)
        except (IndexError, ValueError, TypeError) as error:
            raise ValueError(f"'{self.text}': {self.key} is {rows.shape}: {error}") from error
        values = values.reshape(len(rows), math.prod(values.shape[1:]))
        if values.shape[1] != width:
            raise ValueError(
                f"'{self.text}' has {values.shape[1]} numbers a frame, expected {width}; "
                f'{self.key} is {rows.shape}'
            )
        return values


def _part(text: str) -> int | slice:
    if ':' not in text:
        return int(text)
    begin, _, end = text.partition(':')
    return slice(int(begin) if begin.strip() else None, int(end) if end.strip() else None)
