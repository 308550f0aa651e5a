# SPDX-License-Identifier: Apache-2.0
"""
The inference worker: cameras and arm state in, chunks out, in a process of its own.

Started by the policy node only (policy_supervisor.py). It runs at lower priority, holds the model,
and may be killed at any time: the control process sees that within milliseconds.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
import os
import signal
import sys
import threading
import traceback

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from xvla_ros.bringup import choose_transport, IMAGES
from xvla_ros.core.errors import ObservationError, XvlaError
from xvla_ros.nodes.inference_inputs import ObservationInputs
from xvla_ros.nodes.inference_loop import FRAME_TIMEOUT_S, InferenceLoop
from xvla_ros.nodes.life_line import LifeLine
from xvla_ros.nodes.policy_fit import check_fit
from xvla_ros.nodes.predictor import make_predictor, warm_up
from xvla_ros.nodes.scheduling import yield_priority
from xvla_ros.nodes.worker_link import Failed, Ready, Setup, Waiting

# How often the inputs are looked at while an inference runs or nothing arrives: bounds how late a
# hold can be.
WATCH_PERIOD_S = 0.05
# How long signing off may take; the control process kills us soon after (END_TIMEOUT_S).
LEAVE_S = 2.5


class Link:
    """Our end of the link; any thread may send."""

    def __init__(self, connection: Connection) -> None:
        """Take over a connection."""
        self._connection, self._lock = connection, threading.Lock()
        self.receive = connection.recv

    def send(self, message: object) -> None:
        """Send one message, to nobody when the control process is gone: see `_listen`."""
        with suppress(OSError), self._lock:
            self._connection.send(message)


class InputWatch:
    """Says when the inputs become unusable, and usable again, as soon as that happens."""

    def __init__(self, inputs: ObservationInputs, link: Link) -> None:
        """Remember what to watch."""
        self._inputs, self._link, self._reason = inputs, link, ''

    def look(self) -> None:
        """Report a change."""
        try:
            self._inputs.check()
            reason = ''
        except ObservationError as error:
            reason = str(error)
        if _culprit(reason) != _culprit(self._reason):
            self._link.send(Waiting(source='inputs', reason=reason))
        self._reason = reason


def _culprit(reason: str) -> str:
    """Return the part of a reason that does not change with the age of the input."""
    return reason.split(':')[0]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until the control process hangs up."""
    parser = argparse.ArgumentParser(description='Inference worker; started by the policy node.')
    parser.add_argument('--link', type=int, required=True, help='inherited socket')
    parser.add_argument('--line', type=int, required=True, help='inherited shared memory')
    options, ros_arguments = parser.parse_known_args(arguments)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # Ctrl-C is the control process' to handle: it hangs up
    LifeLine(options.line).hold()
    link = Link(Connection(options.link))
    try:
        _run(link, link.receive(), ros_arguments)
    except EOFError:
        return 0
    except Exception as error:
        link.send(
            Failed(text=str(error) if isinstance(error, XvlaError) else traceback.format_exc())
        )
        return 1
    return 0


def _run(link: Link, setup: Setup, ros_arguments: Sequence[str]) -> None:
    embodiment = setup.embodiment
    if setup.yielding:
        yield_priority(embodiment.policy.nice)
    choose_transport(IMAGES)
    rclpy.init(args=[sys.argv[0], *ros_arguments], signal_handler_options=SignalHandlerOptions.NO)
    predictor, facts = make_predictor(embodiment.policy)
    check_fit(embodiment, facts)
    if not setup.yielding:
        yield_priority(embodiment.policy.nice)
    warm_up(predictor, embodiment, facts)
    node = Node('policy_worker')
    inputs = ObservationInputs(node, embodiment)
    loop = InferenceLoop(embodiment, predictor, facts, inputs, node.get_clock(), link.send)
    watch = InputWatch(inputs, link)
    node.create_timer(WATCH_PERIOD_S, watch.look)
    # Before anything else is said: nothing else is heard while the worker is waited for.
    link.send(Ready(facts=facts))
    spinning = threading.Thread(target=_spin, args=(node,), name='inputs', daemon=True)
    spinning.start()
    listening = threading.Thread(
        target=_listen, args=(link, loop, node, spinning), name='link', daemon=True
    )
    listening.start()
    loop.run()
    listening.join()  # it ends the process


def _spin(node: Node) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except Exception:
        if rclpy.ok():  # otherwise we are leaving, and what it waited on is gone
            raise


def _listen(link: Link, loop: InferenceLoop, node: Node, spinning: threading.Thread) -> None:
    """Hand messages to the loop; end the process with the link, whatever the loop is doing."""
    while True:
        try:
            loop.tell(link.receive())
        except (EOFError, OSError):
            _leave(loop, node, spinning)


def _leave(loop: InferenceLoop, node: Node, spinning: threading.Thread) -> None:
    """Sign off from DDS, which else keeps our shared memory, and end even if that hangs."""
    limit = threading.Timer(LEAVE_S, os._exit, (0,))
    limit.daemon = True
    limit.start()
    loop.stop(2 * FRAME_TIMEOUT_S)  # one that still predicts uses nothing of the node
    rclpy.try_shutdown()
    spinning.join()
    node.destroy_node()
    os._exit(0)


if __name__ == '__main__':
    sys.exit(main())
