# SPDX-License-Identifier: Apache-2.0
"""Bag files: read from any recorder and in any state, written so that a kill loses little."""
