# SPDX-License-Identifier: Apache-2.0
"""What a command needs beyond a pip installation, said in one line where it is missing."""

from importlib.util import find_spec

from xvla_ros.core.errors import ConfigError

# What a build of the package with ROS has; a wheel has none of them.
WITH_ROS = ('rclpy', 'xvla_ros.msg', 'xvla_ros.nodes')


def from_wheel() -> bool:
    """Tell whether this is the part without ROS, as pip installs it."""
    return find_spec('xvla_ros.nodes') is None


def need_ros(what: str) -> None:
    """
    Refuse to go on without ROS.

    :param what: the command or option, as the user knows it.
    :raises ConfigError: a module is missing; the message says which and what to do.
    """
    missing = [name for name in WITH_ROS if find_spec(name) is None]
    if missing:
        raise ConfigError(
            f'{what} needs ROS 2 Jazzy and a build of this package, but {", ".join(missing)} '
            'cannot be imported: run `make build` in a checkout and start .venv/bin/xvla'
        )
