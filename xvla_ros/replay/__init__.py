# SPDX-License-Identifier: Apache-2.0
"""Deterministic replay of a recorded bag, comparison of two runs, and reports."""
