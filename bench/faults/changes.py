# SPDX-License-Identifier: Apache-2.0
"""What alters the messages of a stream: stamps, values, names, images, poses, the clock."""

from array import array
from collections.abc import Callable
from copy import deepcopy
import math
from typing import Any

from bench.faults.cell import Cell
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.nodes.common.conversions import ns_to_stamp

Change = Callable[[Any], Any]


def broken(stream: str, change: Change) -> Callable[[Cell], object]:
    """Return what breaks a stream by a change of its messages."""
    return lambda cell: cell.mangle.__setitem__(stream, change)


def altered(**values: Any) -> Change:
    """Return what sets attributes of a message."""

    def change(message: Any) -> Any:
        for name, value in values.items():
            setattr(message, name, value)
        return message

    return change


def shifted(seconds: float) -> Change:
    """Return what shifts a stamp; infinity makes it zero."""

    def change(message: Any) -> Any:
        if math.isinf(seconds):
            message.header.stamp = ns_to_stamp(0)
        else:
            ns = stamp_to_ns(message.header.stamp) + round(seconds * 1e9)
            message.header.stamp = ns_to_stamp(max(ns, 0))
        return message

    return change


class Frozen:
    """The first message again and again, with its own stamp or with new ones."""

    def __init__(self, *, newly_stamped: bool) -> None:
        self._kept: Any = None
        self._newly_stamped = newly_stamped

    def __call__(self, message: Any) -> Any:
        """Return the first message."""
        if self._kept is None:
            self._kept = deepcopy(message)
        if self._newly_stamped:
            self._kept.header = message.header
        return self._kept


class Every:
    """Every n-th message."""

    def __init__(self, n: int) -> None:
        self._n, self._count = n, 0

    def __call__(self, message: Any) -> Any:
        """Return it, or nothing."""
        self._count += 1
        return message if self._count % self._n == 0 else None


def gone(_: Any) -> None:
    """Drop a message."""


def cut(message: Any) -> Any:
    """Drop the second half of the data."""
    message.data = message.data[: len(message.data) // 2]
    return message


def half_size(message: Any) -> Any:
    """Send an image of half the size that is well formed."""
    width, height = message.width // 2, message.height // 2
    pixels = bytes(message.data)[: 3 * width * height]
    message.width, message.height, message.step = width, height, 3 * width
    message.data = array('B', pixels)
    return message


def damaged(message: Any) -> Any:
    """Overwrite the inside of a JPEG."""
    data = bytearray(message.data)
    data[20 : len(data) // 2] = bytes(len(data) // 2 - 20)
    message.data = bytes(data)
    return message


def joint(index: int, value: Callable[[float], float]) -> Change:
    """Return what changes the position of one joint; -1 is a finger, 0 the first of the arm."""

    def change(message: Any) -> Any:
        positions = list(message.position)
        where = (0, 7)[index < 0]
        positions[where] = value(positions[where])
        message.position = positions
        return message

    return change


def without(name: str) -> Change:
    """Return what leaves a joint out."""

    def change(message: Any) -> Any:
        keep = [i for i, n in enumerate(message.name) if not n.endswith(name)]
        message.name, message.position = (
            [message.name[i] for i in keep],
            [message.position[i] for i in keep],
        )
        return message

    return change


def twice(name: str) -> Change:
    """Return what names a joint twice."""

    def change(message: Any) -> Any:
        at = next(i for i, n in enumerate(message.name) if n.endswith(name))
        message.name = [*message.name, message.name[at]]
        message.position = [*message.position, message.position[at] + 0.1]
        return message

    return change


def reordered(message: Any) -> Any:
    """Turn names and positions round: still true."""
    message.name = list(message.name)[::-1]
    message.position = list(message.position)[::-1]
    return message


def in_degrees(message: Any) -> Any:
    """Give the arm's joints in degrees."""
    message.position = [math.degrees(v) if i < 7 else v for i, v in enumerate(message.position)]
    return message


def moved(x_m: float) -> Change:
    """Return what moves a pose."""

    def change(message: Any) -> Any:
        message.pose.position.x += x_m
        return message

    return change


def turned(**values: float) -> Change:
    """Return what sets parts of a pose's orientation."""

    def change(message: Any) -> Any:
        for name, value in values.items():
            setattr(message.pose.orientation, name, value)
        return message

    return change


def placed(value: float) -> Change:
    """Return what sets a pose's x."""

    def change(message: Any) -> Any:
        message.pose.position.x = value
        return message

    return change


def other_frame(message: Any) -> Any:
    """Name another frame."""
    message.header.frame_id = 'somewhere_else'
    return message


def two_poses(message: Any) -> list[Any]:
    """Send another pose behind every one, as a second driver would."""
    other = deepcopy(message)
    other.pose.position.x += 0.3
    return [message, other]


def clock_by(seconds: float) -> Callable[[Cell], object]:
    """Return what sets the clock forward or back."""

    def change(message: Any) -> Any:
        ns = message.clock.sec * 10**9 + message.clock.nanosec + round(seconds * 1e9)
        message.clock = ns_to_stamp(ns)
        return message

    return lambda cell: cell.mangle.__setitem__('clock', change)


def fresh(newly_stamped: bool, stream: str) -> Callable[[Cell], object]:
    """Return what freezes a stream from now on."""
    return lambda cell: cell.mangle.__setitem__(stream, Frozen(newly_stamped=newly_stamped))
