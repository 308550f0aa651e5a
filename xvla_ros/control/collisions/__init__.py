# SPDX-License-Identifier: Apache-2.0
"""Collision checks: shapes, the pairs of links without a check, chunks and steps of tool poses."""
