# SPDX-License-Identifier: Apache-2.0
"""`xvla adapt`: trains a checkpoint for a robot, or the demo policy from scratch."""
