# SPDX-License-Identifier: Apache-2.0
"""Types of command-line arguments."""

from argparse import ArgumentTypeError
import math
import re

UNITS = {'': 1, 'K': 2**10, 'M': 2**20, 'G': 2**30}


def count(text: str) -> int:
    """Parse a whole number of at least 1; raise an ArgumentTypeError for another text."""
    if not text.isdecimal() or int(text) < 1:
        raise ArgumentTypeError(f"'{text}': expected a whole number, 1 or more")
    return int(text)


def natural(text: str) -> int:
    """Parse a whole number of at least 0; raise an ArgumentTypeError for another text."""
    if not text.isdecimal():
        raise ArgumentTypeError(f"'{text}': expected a whole number, 0 or more")
    return int(text)


def duration(text: str) -> float:
    """Parse a finite number of at least 0; raise an ArgumentTypeError for another text."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise ArgumentTypeError(f"'{text}': expected a number, 0 or more")
    return value


def byte_count(text: str) -> int:
    """Return how many bytes '800M' or '20G' are."""
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, '')
    try:
        return round(float(number) * UNITS[unit])
    except (KeyError, ValueError, OverflowError) as error:
        raise ArgumentTypeError(f"'{text}' is no size: use 500000, 800M or 20G") from error


def pattern(text: str) -> re.Pattern[str]:
    """Return a regular expression."""
    try:
        return re.compile(text)
    except re.error as error:
        raise ArgumentTypeError(f"'{text}' is no regular expression: {error}") from error
