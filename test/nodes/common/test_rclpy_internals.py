# SPDX-License-Identifier: Apache-2.0
"""The parts of rclpy that `rclpy_internals` uses are there and do what they are used for."""

import threading
import time

import pytest
from rclpy.action import ActionClient
from rclpy.executors import SingleThreadedExecutor
from rclpy.task import Future
from std_msgs.msg import String

from xvla_ros.action import RunTask
from xvla_ros.nodes.common.polled import subscribe_polled
from xvla_ros.nodes.common.rclpy_internals import arrived, PromptServer, wait_for_message

pytestmark = pytest.mark.ros
PATIENCE_S = 20.0


def waiting(node, subscription, publisher, text):
    """Publish until a message waits; return what has arrived."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        publisher.publish(String(data=text))
        wait_for_message(node, [subscription], 100_000_000)
        if found := list(arrived(subscription)):
            return found
    raise AssertionError('nothing arrived')


def test_messages_are_taken_with_the_time_of_their_arrival(make_node):
    sender, node = make_node('sender'), make_node('taker')
    subscription = subscribe_polled(node, String, 'words', depth=5)
    publisher = sender.create_publisher(String, 'words', 5)
    before_ns = time.time_ns()
    found = waiting(node, subscription, publisher, 'hello')
    assert {message.data for message, _ in found} == {'hello'}
    assert all(before_ns <= received_ns <= time.time_ns() for _, received_ns in found)
    assert list(arrived(subscription)) == []


def test_a_wait_ends_with_its_timeout_when_nothing_comes(make_node):
    node = make_node('waiter')
    subscription = subscribe_polled(node, String, 'silence', depth=1)
    wait_for_message(node, [subscription], 1_000_000)
    assert list(arrived(subscription)) == []


def test_a_goal_is_answered_now_though_its_execution_never_returns(make_node):
    node, client_node = make_node('server'), make_node('client')
    handles = []

    async def execute(handle):
        handles.append(handle)
        await Future(executor=node.executor)  # never done

    server = PromptServer(node, RunTask, 'task', execute)
    client = ActionClient(client_node, RunTask, 'task')
    executors = [SingleThreadedExecutor(), SingleThreadedExecutor()]
    ended, threads = threading.Event(), []

    def spin(executor):
        while not ended.is_set():
            executor.spin_once(timeout_sec=0.05)

    for executor, each in zip(executors, (node, client_node), strict=True):
        executor.add_node(each)
        threads.append(threading.Thread(target=spin, args=(executor,), daemon=True))
        threads[-1].start()
    assert client.wait_for_server(PATIENCE_S)
    sent = executors[1].create_task(lambda: client.send_goal_async(RunTask.Goal(instruction='go')))

    def wait(condition):
        until = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < until
            time.sleep(0.01)

    wait(lambda: sent.done() and sent.result().done() and handles)
    handle = sent.result().result()
    result = executors[1].create_task(handle.get_result_async)
    wait(lambda: result.done() and server._result_futures)
    handles[0].abort()
    server.answer(handles[0], RunTask.Result(message='now'))
    wait(lambda: result.result().done())
    assert result.result().result().result.message == 'now'
    ended.set()
    for thread in threads:
        thread.join()
    server.destroy()
