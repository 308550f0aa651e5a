# SPDX-License-Identifier: Apache-2.0
"""The node of the simulated robot cell: `python -m xvla_ros.nodes.sim`."""
