# SPDX-License-Identifier: Apache-2.0
"""
Simulated robots with true kinematics on a table with three coloured blocks, in MuJoCo.

scenes, description < model < cameras, robot < world; expert solves what scenes set.
"""

# Before anything here imports mujoco, which reads once how it is to draw without a screen.
from xvla_ros.sim import gl  # noqa: F401
