# SPDX-License-Identifier: Apache-2.0
"""Messages of cameras and arms to observations, for topics and bags. Free of ROS."""
