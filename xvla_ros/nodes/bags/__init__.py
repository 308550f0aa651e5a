# SPDX-License-Identifier: Apache-2.0
"""Nodes that record topics into a bag and play a bag back."""
