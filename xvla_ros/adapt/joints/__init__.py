# SPDX-License-Identifier: Apache-2.0
"""Adaptation in joint space: samples, units, network, errors and files."""
