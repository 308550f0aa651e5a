# SPDX-License-Identifier: Apache-2.0
"""From tool targets to a robot: kinematics (pinocchio) and one small file per driver interface."""
