# SPDX-License-Identifier: Apache-2.0
"""Changes to a node that another thread spins."""

import threading

DEADLINE_S = 20.0


def destroy_publisher(node, publisher):
    """
    Destroy a publisher on the thread that spins its node, and wait until it is gone.

    On another thread the executor may find its event handlers destroyed while it prepares to
    wait. It then raises InvalidHandle and spins no more.
    """
    done = node.executor.create_task(node.destroy_publisher, publisher)
    gone = threading.Event()
    done.add_done_callback(lambda _: gone.set())
    assert gone.wait(DEADLINE_S), f'{publisher.topic_name}: nobody spins its node'
