# SPDX-License-Identifier: Apache-2.0
"""The type that rcl gives to a YAML scalar without quotes (rcl_yaml_param_parser, Jazzy)."""

import math
import re

TRUE = frozenset(('Y', 'y', 'yes', 'Yes', 'YES', 'true', 'True', 'TRUE', 'on', 'On', 'ON'))
FALSE = frozenset(('N', 'n', 'no', 'No', 'NO', 'false', 'False', 'FALSE', 'off', 'Off', 'OFF'))
# What C's strtol (base 0) and strtod read to the end; rcl uses both, in this order.
INTEGER = re.compile(r'[+-]?(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)')
DECIMAL = re.compile(r'[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?')
HEX_FLOAT = re.compile(r'[+-]?0[xX]([0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)([pP][+-]?[0-9]+)?')
SPECIAL = re.compile(r'([+-]?)\.?(inf|infinity|nan)', re.IGNORECASE)


def scalar(text: str) -> bool | int | float | str:
    """Return what rcl makes of a scalar without quotes."""
    if text in TRUE or text in FALSE:
        return text in TRUE
    if INTEGER.fullmatch(text):
        whole = _whole(text)
        if -(2**63) <= whole < 2**63:
            return whole
    number = _float(text)
    return text if number is None else number


def _whole(text: str) -> int:
    """Return an integer with C's prefixes: 0x for hexadecimal, 0 for octal."""
    digits = text.lstrip('+-')
    base = 16 if digits[:2] in ('0x', '0X') else 8 if digits.startswith('0') else 10
    return int(text, base)


def _float(text: str) -> float | None:
    """Return what strtod reads, None when it does not read all of it or overflows."""
    special = SPECIAL.fullmatch(text)
    if special:
        return float(special[1] + special[2])
    if not (DECIMAL.fullmatch(text) or HEX_FLOAT.fullmatch(text)):
        return None
    number = float(text) if DECIMAL.fullmatch(text) else _hexadecimal(text)
    lost = number == 0 and re.search('[1-9]', re.split('[eE]', text)[0]) is not None
    return None if math.isinf(number) or lost else number


def _hexadecimal(text: str) -> float:
    try:
        return float.fromhex(text)
    except OverflowError:
        return math.inf
