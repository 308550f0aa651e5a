# SPDX-License-Identifier: Apache-2.0
"""The ROS 2 nodes: one folder per process, and shared code in `common`."""
