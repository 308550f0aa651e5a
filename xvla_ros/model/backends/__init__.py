# SPDX-License-Identifier: Apache-2.0
"""What runs the network: torch, or graphs that were exported from it."""
