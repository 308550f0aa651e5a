# SPDX-License-Identifier: Apache-2.0
"""Bag files: reads those of any recorder, also damaged ones, and writes new ones."""
