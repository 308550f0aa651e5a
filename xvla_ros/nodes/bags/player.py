# SPDX-License-Identifier: Apache-2.0
"""Publishes a bag as live topics with the recorded timing."""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
import select
import signal
import sys
import termios
import threading
import time
import tty

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from rclpy.signals import SignalHandlerOptions
from rosgraph_msgs.msg import Clock
from std_srvs.srv import Trigger

from xvla_ros.bags.bag import Bag, open_bag
from xvla_ros.bags.formats.storage import Raw
from xvla_ros.bags.images import raw_image
from xvla_ros.bags.message_types import begins_with_header, header_stamp_ns, moved_stamp
from xvla_ros.bags.qos import read_offers
from xvla_ros.bags.timeline import clock_offset_ns
from xvla_ros.bags.topics import COMPRESSED, IMAGE
from xvla_ros.core.errors import ObservationError
from xvla_ros.nodes.bags.playhead import NOTICE_S, Playhead
from xvla_ros.nodes.bags.selection import choose, Live, Played, Program
from xvla_ros.nodes.common.conversions import ns_to_stamp
from xvla_ros.nodes.common.polled import message_class

__all__ = ['Live', 'Player', 'replay_live']

SENSORS = (IMAGE, COMPRESSED)
# /clock is sent at least this often, so that no two control ticks see the same time.
CLOCK_PERIOD_S = 0.002
# Publishers wait this long for subscribers, and stay this long after the last message.
MEET_TIMEOUT_S = 5.0
LINGER_S = 0.5


class Player(Node):
    """Publishes the chosen topics; offers the services ~/pause, ~/resume and ~/step."""

    def __init__(self, bag: Bag, program: Program, live: Live, offset_ns: int) -> None:
        """Advertise the topics."""
        super().__init__('xvla_replay')
        self._bag, self._live, self._offset_ns = bag, live, offset_ns
        self._program = program.topics
        self._headed = {
            name for name in self._program if begins_with_header(bag.topics[name].kind)
        }
        self._senders = {
            name: self._advertise(name, played) for name, played in self._program.items()
        }
        self._clock_sender = self.create_publisher(Clock, '/clock', 1) if live.clock else None
        self.head = Playhead(live.rate, live.paused)
        self.unread: Counter[str] = Counter()
        for name, act in (('pause', self._pause), ('resume', self._resume), ('step', self._step)):
            self.create_service(Trigger, f'~/{name}', act)

    def _advertise(self, name: str, played: Played) -> Publisher:
        """Create a publisher with the recorded quality of service, as far as the bag has it."""
        topic = self._bag.topics[name]
        offers = read_offers(topic.offered)
        reliable = played.kind not in SENSORS
        if offers:
            reliable = all(offer.reliable for offer in offers)
        qos = QoSProfile(
            depth=10,
            reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
            durability=DurabilityPolicy.TRANSIENT_LOCAL
            if topic.latched
            else DurabilityPolicy.VOLATILE,
        )
        return self.create_publisher(message_class(played.kind), played.name, qos)

    def _pause(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.head.pause()
        response.success, response.message = True, 'paused'
        return response

    def _resume(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self.head.resume()
        response.success, response.message = True, 'playing'
        return response

    def _step(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success = self.head.step()
        response.message = 'one message' if response.success else 'not paused: call pause first'
        return response

    @property
    def heard(self) -> bool:
        """Whether every topic has a subscriber."""
        return all(sender.get_subscription_count() for sender in self._senders.values())

    def play(self, stop: threading.Event) -> int:
        """Publish the bag once with its own timing; return the number of messages."""
        start_ns, count = self._bag.start_ns, 0
        wall_ns = self.get_clock().now().nanoseconds  # first: no stamp is ahead of its time
        self.head.restart()
        tick = self._send_clock if self._clock_sender else None
        for raw in self._bag.messages(self._program):
            since_ns = raw.time_ns - start_ns
            if self.head.wait(since_ns, stop, tick, CLOCK_PERIOD_S if tick else NOTICE_S):
                return count
            if tick:
                tick(since_ns)
            begun_ns = wall_ns + self.head.shift_ns - (start_ns - self._offset_ns)
            count += self._publish(raw, round(begun_ns + since_ns * (1 / self._live.rate - 1)))
        return count

    def _send_clock(self, since_ns: int) -> None:
        time_ns = self._bag.start_ns - self._offset_ns + since_ns
        self._clock_sender.publish(Clock(clock=ns_to_stamp(time_ns)))

    def _publish(self, raw: Raw, shift_ns: int) -> bool:
        """Send a message; leave out and count one that cannot be read."""
        data = raw.data
        try:
            if self._program[raw.topic].unpack:
                data = raw_image(data)
            if self._live.restamp and raw.topic in self._headed:
                data = moved_stamp(data, header_stamp_ns(data) + shift_ns)
        except ObservationError:
            self.unread[raw.topic] += 1
            return False
        self._senders[raw.topic].publish(bytes(data))
        return True


def replay_live(path: Path, live: Live) -> int:
    """
    Play a bag to its end, or repeatedly with `loop`; return the exit code.

    :raises ConfigError: the embodiment or a topic is not known, or the bag ends before the start.
    """
    bag = open_bag(path).renamed(live.remap).between(live.start_s, live.duration_s)
    program = choose(bag, live)
    headed = [name for name in program.topics if begins_with_header(bag.topics[name].kind)]
    offset_ns = clock_offset_ns(bag, headed)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = Player(bag, program, live, offset_ns)
    say = node.get_logger().info
    try:
        for line in _announcement(bag, program):
            say(line)
        with _served(node), _keyboard(node, stop, say):
            _meet(node, stop)
            for count in _rounds(node, live, stop):
                say(f'{count} messages played')
            stop.wait(LINGER_S)
        for name, count in node.unread.items():
            node.get_logger().warning(f'{name}: {count} messages cannot be read and were left out')
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 0


def _rounds(node: Player, live: Live, stop: threading.Event) -> Iterator[int]:
    yield node.play(stop)
    while live.loop and not stop.is_set():
        yield node.play(stop)


def _meet(node: Player, stop: threading.Event) -> None:
    """Wait a limited time for subscribers."""
    deadline = time.monotonic() + MEET_TIMEOUT_S
    while not node.heard and time.monotonic() < deadline and not stop.wait(0.02):
        pass


@contextmanager
def _served(node: Node) -> Iterator[None]:
    """Serve the services on another thread."""
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin, daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join()


@contextmanager
def _keyboard(node: Player, stop: threading.Event, say: Callable[[str], object]) -> Iterator[None]:
    """On a terminal, space pauses and resumes, `s` steps and `q` ends."""
    if not (sys.stdin and sys.stdin.isatty()):
        yield
        return
    say('space: pause or resume, s: one message, q: end')
    before = termios.tcgetattr(sys.stdin)
    over = threading.Event()
    thread = threading.Thread(target=_read_keys, args=(node, stop, over), daemon=True)
    tty.setcbreak(sys.stdin)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _read_keys(node: Player, stop: threading.Event, over: threading.Event) -> None:
    while not over.is_set() and not stop.is_set():
        if select.select([sys.stdin], [], [], NOTICE_S)[0]:
            key = sys.stdin.read(1)
            if key == ' ':
                node.head.toggle()
            elif key == 's':
                node.head.step()
            elif key == 'q':
                stop.set()


def _announcement(bag: Bag, program: Program) -> Iterator[str]:
    yield f'playing {bag.duration_s:.1f} s: {", ".join(program.topics)}'
    yield from program.remarks
    yield from bag.gaps
    yield from bag.notes
