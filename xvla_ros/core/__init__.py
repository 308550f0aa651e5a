# SPDX-License-Identifier: Apache-2.0
"""
Arithmetic and data types of xvla_ros. It imports numpy, scipy and yaml, but no ROS and no torch.

Order of imports: errors, rotations, ee6d, chunk, then chunk_queue, safety and gripper; schema,
embodiment, observation. Every other layer may import this one; it imports none of them.
"""
