# SPDX-License-Identifier: Apache-2.0
"""Types of command-line arguments."""

from argparse import ArgumentTypeError
import math


def count(text: str) -> int:
    """Return a whole number of at least one."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}': expected a whole number, 1 or more")
    return int(text)


def duration(text: str) -> float:
    """Return a finite number of at least zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"'{text}': expected a number, 0 or more")
    return value
