# SPDX-License-Identifier: Apache-2.0
"""Checks whether a command has what it needs beyond a pip installation."""

from importlib.util import find_spec

from xvla_ros.core.errors import ConfigError

# Modules of a build with ROS; a wheel has none of them.
WITH_ROS = ('rclpy', 'xvla_ros.msg', 'xvla_ros.nodes')


def from_wheel() -> bool:
    """Tell whether this is a pip installation, without ROS."""
    return find_spec('xvla_ros.nodes') is None


def need_ros(what: str) -> None:
    """
    Refuse to continue without ROS.

    :param what: the command or option, for the message.
    :raises ConfigError: a module is missing; the message names it and says what to do.
    """
    missing = [name for name in WITH_ROS if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'{what} needs ROS 2 Jazzy and a build of this package, but {", ".join(missing)} '
            'cannot be imported: run `make build` in a checkout and start .venv/bin/xvla'
        )
