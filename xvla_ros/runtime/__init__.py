# SPDX-License-Identifier: Apache-2.0
"""The control loop without ROS: queue, gate, holds, inference loop, worker supervision."""
