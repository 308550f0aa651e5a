# SPDX-License-Identifier: Apache-2.0
"""
The inference worker: a process that turns camera images and arm states into chunks.

Only the policy node starts it (worker_supervisor.py). It holds the model. It may be killed at any
time: the control process notices that within milliseconds. A worker that is restarted runs at low
priority while it loads the model, and at ordinary priority when it predicts.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection
import os
import signal
import sys
import threading

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node

from xvla_ros.bringup import choose_transport, IMAGES
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import one_line, Reason, show_stack
from xvla_ros.inputs.observations import ObservationInputs
from xvla_ros.nodes.common.clock import NodeClock, steady_clock
from xvla_ros.nodes.common.polled import RosGraph
from xvla_ros.nodes.common.running import FAILED, initialise
from xvla_ros.runtime.inference_loop import FRAME_TIMEOUT_S, InferenceLoop
from xvla_ros.runtime.inputs import InputWatch, WATCH_PERIOD_S
from xvla_ros.runtime.predictor import check_fit, make_predictor, Predictor, warm_up
from xvla_ros.runtime.process import LifeLine, softly
from xvla_ros.runtime.worker_messages import Alive, CheckpointFacts, Failed, Ready, Setup, WORKER

# How long leaving DDS may take [s]; the control process kills the worker soon after that
# (END_TIMEOUT_S).
LEAVE_S = 2.5


class Link:
    """The worker's end of the connection to the control process; any thread may send."""

    def __init__(self, connection: Connection) -> None:
        """:param connection: inherited from the control process."""
        self._connection, self._lock = connection, threading.Lock()
        self.receive = connection.recv

    def send(self, message: object) -> None:
        """Send one message; it is lost if the control process has ended, see `_listen`."""
        with suppress(OSError), self._lock:
            self._connection.send(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until the control process closes the connection; return the exit code."""
    parser = argparse.ArgumentParser(description='Inference worker; started by the policy node.')
    parser.add_argument('--link', type=int, required=True, help='inherited socket')
    parser.add_argument('--line', type=int, required=True, help='inherited shared memory')
    options, ros_arguments = parser.parse_known_args(arguments)
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # the control process handles Ctrl-C and then closes the connection
    LifeLine(options.line).hold()
    link = Link(Connection(options.link))
    try:
        _run(link, link.receive(), ros_arguments)
    except EOFError:
        return 0
    except Exception as error:
        show_stack(error)
        link.send(Failed(reason=Reason('worker_failed', one_line(error), WORKER)))
        return FAILED
    return 0


def _run(link: Link, setup: Setup, ros_arguments: Sequence[str]) -> None:
    embodiment = setup.embodiment
    choose_transport(IMAGES)
    initialise([sys.argv[0], *ros_arguments])
    predictor, facts = softly(partial(_load, embodiment), embodiment.policy.nice * setup.yielding)
    node = Node('policy_worker')
    clock = NodeClock(node)
    inputs = ObservationInputs(RosGraph(node), embodiment, clock)
    loop = InferenceLoop(embodiment, predictor, facts, inputs, clock, link.send)
    watch = InputWatch(inputs, link.send)
    steady = steady_clock()
    node.create_timer(WATCH_PERIOD_S, watch.look, clock=steady)
    node.create_timer(WATCH_PERIOD_S, lambda: link.send(Alive()), clock=steady)
    # Ready must be the first message: the control process accepts no other until then.
    link.send(Ready(facts=facts))
    spinning = threading.Thread(target=_spin, args=(node,), name='inputs', daemon=True)
    spinning.start()
    listening = threading.Thread(
        target=_listen, args=(link, loop, node, spinning), name='link', daemon=True
    )
    listening.start()
    loop.run()
    listening.join()  # it ends the process


def _load(embodiment: Embodiment) -> tuple[Predictor, CheckpointFacts]:
    """Load the checkpoint, check that it fits the embodiment, and warm it up."""
    predictor, facts = make_predictor(embodiment.policy)
    check_fit(embodiment, facts)
    warm_up(predictor, embodiment, facts)
    return predictor, facts


def _spin(node: Node) -> None:
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        executor.spin()
    except Exception:
        if rclpy.ok():  # otherwise the worker is leaving and its subscriptions are gone
            raise


def _listen(link: Link, loop: InferenceLoop, node: Node, spinning: threading.Thread) -> None:
    """Pass messages to the loop; end the process when the connection is closed."""
    while True:
        try:
            loop.tell(link.receive())
        except (EOFError, OSError):
            _leave(loop, node, spinning)


def _leave(loop: InferenceLoop, node: Node, spinning: threading.Thread) -> None:
    """Leave DDS, which otherwise keeps shared memory, and end the process even if this hangs."""
    limit = threading.Timer(LEAVE_S, os._exit, (0,))
    limit.daemon = True
    limit.start()
    loop.stop(2 * FRAME_TIMEOUT_S)  # a loop that still predicts does not use the node
    rclpy.try_shutdown()
    spinning.join()
    node.destroy_node()
    os._exit(0)


if __name__ == '__main__':
    sys.exit(main())
