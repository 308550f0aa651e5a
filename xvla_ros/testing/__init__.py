# SPDX-License-Identifier: Apache-2.0
"""Regression tests for robots: point at bags, get a pass or a fail. See docs/replay.md."""
