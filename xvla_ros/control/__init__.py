# SPDX-License-Identifier: Apache-2.0
"""From tool targets to a robot: kinematics (pinocchio) and one file per driver interface."""
