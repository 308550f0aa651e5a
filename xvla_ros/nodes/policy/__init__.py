# SPDX-License-Identifier: Apache-2.0
"""The policy node: `python -m xvla_ros.nodes.policy`."""
