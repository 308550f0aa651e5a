# SPDX-License-Identifier: Apache-2.0
"""Starts ROS and runs a node until a signal; its last message is still sent."""

from collections.abc import Callable, Sequence
import gc
from itertools import pairwise
import signal
import sys
from typing import Any, Protocol

import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from xvla_ros.bringup import choose_transport, IMAGES
from xvla_ros.core.errors import ConfigError, one_line, show_stack
from xvla_ros.core.parameter_file import check_parameter_file

# Exit code of a node that could not be created, or that failed.
FAILED = 2
# Longest time before a signal is handled [s]: Python handles it between two waits of the executor.
NOTICE_S = 0.2


class Closing(Protocol):
    """A node with a last action before it is destroyed."""

    def close(self) -> None:
        """Do the last action; the node can still publish."""


def initialise(arguments: Sequence[str] | None = None, **options: Any) -> None:
    """
    Initialise rclpy without its signal handlers.

    Our own reader checks the parameter files first, because its messages name key and line, and
    it refuses values that rcl would misread silently.

    :param arguments: the command line; None: that of the process.
    :raises ConfigError: a parameter file or argument is wrong, or ROS cannot start.
    """
    words = list(sys.argv if arguments is None else arguments)
    for flag, path in pairwise(words):
        if flag == '--params-file':
            check_parameter_file(path)
    try:
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO, **options)
    except Exception as error:  # rclpy raises many types, for arguments and for the middleware
        raise ConfigError(f'ROS cannot start: {" ".join(str(error).split())}') from error


def run(
    make: Callable[[], Node],
    name: str,
    arguments: Sequence[str] | None = None,
    profile: str = IMAGES,
) -> int:
    """
    Make a node, spin it until SIGINT, SIGTERM or a shutdown, close it; return the exit code.

    rclpy's signal handlers are not used, because they shut the context down before the node can
    send its last command. An error becomes one line in the log and exit code FAILED.

    :param make: returns a node that satisfies Closing. :param name: of the node, for the log.
    :param profile: transport, see `choose_transport`.
    """
    ended: list[int] = []
    previous = {
        s: signal.signal(s, lambda *_: ended.append(1)) for s in (signal.SIGINT, signal.SIGTERM)
    }
    node = None
    try:
        choose_transport(profile)
        initialise(arguments)
        node = make()
        gc.collect()
        gc.freeze()  # later collections skip the objects of now: 0.01 ms instead of 6 to 90
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        while not ended and rclpy.ok():
            executor.spin_once(timeout_sec=NOTICE_S)
    except ExternalShutdownException:
        pass
    except Exception as error:
        rclpy.logging.get_logger(name).fatal(one_line(error))
        show_stack(error)
        return FAILED
    finally:
        if node is not None:
            node.close()
            node.destroy_node()
        rclpy.try_shutdown()
        for number, handler in previous.items():
            signal.signal(number, handler)
    return 0
