# SPDX-License-Identifier: Apache-2.0
"""Backends that run the network: torch, or exported graphs."""
