# SPDX-License-Identifier: Apache-2.0
"""From the messages of cameras and arms to observations, wherever messages come from; no ROS."""
