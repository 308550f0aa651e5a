# SPDX-License-Identifier: Apache-2.0
"""
Simulated robots in MuJoCo: arms from their URDFs, a table, three coloured blocks and cameras.

The modules import each other in this order: scenes and description, model, cameras and robot,
world. `expert` plans the motion that solves a scene.
"""

# This import must come before mujoco, which reads MUJOCO_GL only once, when it is imported.
from xvla_ros.sim import gl  # noqa: F401
