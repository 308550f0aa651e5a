# SPDX-License-Identifier: Apache-2.0
"""`xvla demo`: the command, its ROS client, the judge of success, and the report."""
