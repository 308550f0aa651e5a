# SPDX-License-Identifier: Apache-2.0
"""What the tests of the runtime share: an embodiment and a chunk. ROS is where a test asks."""

from core_fixtures import franka, line

__all__ = ['franka', 'line']
