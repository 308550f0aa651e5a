# SPDX-License-Identifier: Apache-2.0
"""How episodes are written."""

from dataclasses import dataclass

ARMS = {1: ('arm',), 2: ('left', 'right')}


@dataclass(frozen=True, kw_only=True, slots=True)
class WriteOptions:
    """
    How to write.

    images: codec of videos, or png for images bit for bit. robot: the name of the embodiment.
    arms: their names, empty for the usual ones. grippers_begin: as the source said.
    """

    images: str = 'av1'
    robot: str = ''
    arms: tuple[str, ...] = ()
    grippers_begin: str = 'open'

    def arms_of(self, count: int) -> tuple[str, ...]:
        """Return the names of so many arms."""
        return self.arms if len(self.arms) == count else ARMS[count]
