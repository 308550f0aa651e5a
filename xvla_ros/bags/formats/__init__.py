# SPDX-License-Identifier: Apache-2.0
"""The file formats of bags: MCAP and SQLite, compressed or not."""
