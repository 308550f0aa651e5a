# SPDX-License-Identifier: Apache-2.0
"""Teach X-VLA a robot: samples, grounding, policy training, evaluation."""
