# SPDX-License-Identifier: Apache-2.0
"""Inverse kinematics: descent inside a box of joints, and where it starts."""
