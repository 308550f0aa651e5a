# SPDX-License-Identifier: Apache-2.0
"""Benchmarks: one module per name of `make bench`, each with `run() -> dict`."""
