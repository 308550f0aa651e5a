# SPDX-License-Identifier: Apache-2.0
"""Collision checks: shapes, the pairs of links without a check, and steps of tool-pose arms."""
