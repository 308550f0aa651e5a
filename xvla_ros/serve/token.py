# SPDX-License-Identifier: Apache-2.0
"""
The bearer token of a server: from a file, or from the environment.

It is never a parameter of a node: `ros2 param get` and a parameter file would show it.
"""

import os
from pathlib import Path

from xvla_ros.core.errors import ConfigError

VARIABLE = 'XVLA_SERVER_TOKEN'


def server_token(file: str) -> str | None:
    """
    Return the token that a client sends; None for none.

    :param file: path of a file with the token; empty: the environment variable XVLA_SERVER_TOKEN.
    :raises ConfigError: the file cannot be read, or the token is not one word of ASCII.
    """
    if file:
        return read_token(Path(file), 'policy.server_token_file')
    found = os.environ.get(VARIABLE, '')
    return one_word(found, VARIABLE) if found else None


def read_token(path: Path, what: str) -> str:
    """
    Read a token from its file.

    :param what: names the setting in errors.
    :raises ConfigError: the file cannot be read, or does not hold one word of ASCII.
    """
    try:
        text = path.read_text(encoding='utf-8')
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{what} {path}: {error}') from None
    return one_word(text, f'{what} {path}')


def one_word(text: str, source: str) -> str:
    """Return the one word of a text; the error does not quote it."""
    token = text.strip()
    if not token or not token.isascii() or len(token.split()) != 1:
        raise ConfigError(f'{source}: expected one word of ASCII')
    return token
