# SPDX-License-Identifier: Apache-2.0
"""Demonstrations of grasping and lifting: recorded as bags in simulation, and trained on."""
