# SPDX-License-Identifier: Apache-2.0
"""Embodiments, poses and chunks for the tests of the core."""

from core_fixtures import franka, line, pose, two_arms

__all__ = ['franka', 'line', 'pose', 'two_arms']
