# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes: one folder per process, and what they share in `common`."""
