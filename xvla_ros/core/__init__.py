# SPDX-License-Identifier: Apache-2.0
"""
The mathematics and data of xvla_ros: numpy, scipy and yaml only, no ROS and no torch.

errors < rotations < ee6d < chunk < chunk_queue, safety, gripper; schema < embodiment <
observation. Everything above this layer may import it; it imports nothing above.
"""
