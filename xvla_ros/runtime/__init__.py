# SPDX-License-Identifier: Apache-2.0
"""What drives a robot, without ROS: queue, gate, holds, inference loop, worker supervision."""
