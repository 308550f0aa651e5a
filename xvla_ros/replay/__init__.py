# SPDX-License-Identifier: Apache-2.0
"""Recorded bags: written so that a killed recorder loses nothing, read in whatever state."""
