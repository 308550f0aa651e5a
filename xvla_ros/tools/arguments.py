# SPDX-License-Identifier: Apache-2.0
"""Types of command-line arguments."""

from argparse import ArgumentTypeError


def count(text: str) -> int:
    """Return a whole number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}': expected a whole number, 1 or more")
    return int(text)
