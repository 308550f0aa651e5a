# SPDX-License-Identifier: Apache-2.0
"""
Simulated robots with true kinematics on a table with three coloured blocks, in MuJoCo.

scenes < model < world; cameras draw it, expert solves it.
"""
