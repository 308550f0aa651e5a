# SPDX-License-Identifier: Apache-2.0
"""What stands around a robot: boxes that its links must not touch."""

from dataclasses import dataclass

from xvla_ros.core.schema import check_corners, check_lengths, param


@dataclass(frozen=True, kw_only=True)
class SceneBox:
    """One box with axes along those of the world of `base_in_world`: a table, a wall, a post."""

    min_m: tuple[float, ...] = param('Lower corner in that world [m].')
    max_m: tuple[float, ...] = param('Upper corner [m].')

    def __post_init__(self) -> None:
        """Refuse corners that are no box."""
        check_lengths(self, {'min_m': 3, 'max_m': 3})
        check_corners(self, 'min_m', 'max_m')
