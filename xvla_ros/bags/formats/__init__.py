# SPDX-License-Identifier: Apache-2.0
"""The files that bags are stored in: MCAP and SQLite, compressed or not."""
