# SPDX-License-Identifier: Apache-2.0
"""Rows: cameras, joints, poses and the clock go wrong."""

from array import array
from collections.abc import Callable
from copy import deepcopy
import math
from typing import Any

from bench.faults.cell import Cell
from bench.faults.table import Row
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.nodes.common.conversions import ns_to_stamp

Change = Callable[[Any], Any]
AGE_S, CAMERA_AGE_S = 0.2, 0.3  # max_age_s of arms and cameras
CONTROLLER_S = 0.1  # control.hold_after_s
# What a stop at the measured pose may lead back: what an arm lags behind its command [m].
LAG_M = 0.02


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
    """Send a picture of half the size that is well formed."""
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


def all_cameras(cell: Cell) -> None:
    """Have no camera send anything."""
    cell.mangle.update(main=gone, wrist=gone)


def reset(cell: Cell) -> None:
    """Reset what is latched."""
    cell.reset()


def camera(name: str, change: Change, *codes: str, stream: str = 'wrist', **more: Any) -> Row:
    """Return a row of the cameras."""
    more = {'within_s': CAMERA_AGE_S, **more}
    return Row(name=name, group='camera', inject=broken(stream, change), codes=codes, **more)


def joints(name: str, change: Change, *codes: str, **more: Any) -> Row:
    """Return a row of the joint states."""
    more = {'within_s': AGE_S, **more}
    return Row(name=name, group='joints', inject=broken('joints', change), codes=codes, **more)


def pose(name: str, change: Change, *codes: str, **more: Any) -> Row:
    """Return a row of the pose topic."""
    more = {'within_s': AGE_S, **more}
    return Row(name=name, group='pose', inject=broken('pose', change), codes=codes, **more)


def fresh(newly_stamped: bool, stream: str) -> Callable[[Cell], object]:
    """Return what freezes a stream from now on."""
    return lambda cell: cell.mangle.__setitem__(stream, Frozen(newly_stamped=newly_stamped))


ROWS = (
    camera('a camera stops', gone, 'stale'),
    camera('the main camera stops', gone, 'stale', stream='main'),
    Row(
        name='all cameras stop',
        group='camera',
        inject=all_cameras,
        codes=('stale',),
        within_s=CAMERA_AGE_S,
    ),
    Row(
        name='a camera freezes, with its old stamp',
        group='camera',
        inject=fresh(False, 'wrist'),
        codes=('stale',),
        within_s=CAMERA_AGE_S,
    ),
    Row(
        name='a camera freezes, newly stamped',
        group='camera',
        inject=fresh(True, 'wrist'),
        codes=('frozen',),
        within_s=0.6,  # max_frozen_m at 0.05 m/s, and what the arm lags
    ),
    Row(
        name='the main camera freezes, newly stamped',
        group='camera',
        inject=fresh(True, 'main'),
        codes=('frozen',),
        within_s=0.6,
    ),
    camera('pictures are 2 s late', shifted(-2.0), 'stale'),
    camera('pictures are 0.2 s late', shifted(-0.2), 'skew', 'stale'),
    camera('stamps of the future', shifted(100.0), 'future'),
    camera('stamps are zero', shifted(math.inf), 'unstamped'),
    camera('2 pictures a second', Every(8), 'stale', within_s=CAMERA_AGE_S + 0.6, again=True),
    camera('an unknown encoding', altered(encoding='yuv_of_a_lab'), 'encoding'),
    camera('another encoding than the data', altered(encoding='bgra8'), 'image_size'),
    camera('data cut in half', cut, 'image_size'),
    camera('a picture without width', altered(width=0), 'image_size'),
    camera('rows shorter than the picture', altered(step=10), 'image_size'),
    camera('another resolution, well formed', half_size),
    camera('a damaged JPEG', damaged, 'image_damaged', stream='main'),
    camera('a JPEG cut in half', cut, 'image_damaged', stream='main'),
    camera('an empty JPEG', altered(data=b''), 'image_damaged', stream='main'),
    camera(
        'a packet of a video stream',
        altered(data=b'\0\0\0\1gB', format='h264'),
        'image_damaged',
        stream='main',
    ),
    joints('a finger is NaN', joint(-1, lambda _: math.nan), 'joint_not_finite'),
    joints('a finger is missing', without('finger_joint1'), 'joint_missing', 'stale'),
    joints('a finger is named twice', twice('finger_joint1'), 'joint_twice'),
    joints('a finger in millimetres', joint(-1, lambda _: 40.0), 'gripper_implausible'),
    joints('a joint is NaN', joint(0, lambda _: math.nan), 'joint_not_finite'),
    joints('a joint is infinite', joint(0, lambda _: math.inf), 'joint_not_finite'),
    joints('a joint is missing', without('fr3_joint3'), 'joint_missing'),
    joints('a joint is named twice', twice('fr3_joint3'), 'joint_twice'),
    joints('joints in another order', reordered),
    joints('joints in degrees', in_degrees, 'joint_implausible'),
    joints('a joint outside its limits', joint(0, lambda v: v + 9.0), 'joint_implausible'),
    joints('more names than positions', altered(position=[0.0]), 'joint_count'),
    joints('joints of another robot', altered(name=[f'other_{i}' for i in range(9)]), 'stale'),
    joints('joint states stop', gone, 'stale'),
    joints('joint states 2 s late', shifted(-2.0), 'stale'),
    joints('joint states of the future', shifted(100.0), 'future'),
    joints('joint states without stamp', shifted(math.inf), 'unstamped'),
    pose('the pose stops', gone, 'stale'),
    Row(
        name='the pose freezes, with its old stamp',
        group='pose',
        inject=fresh(False, 'pose'),
        codes=('stale',),
        within_s=AGE_S,
    ),
    Row(
        name='the pose freezes, newly stamped',
        group='pose',
        inject=fresh(True, 'pose'),
        codes=('pose_frozen', 'not_following'),
        within_s=5.0,  # 3 cm of targets: plans from a frozen pose are slow
        recover=reset,
        step_m=0.06,
    ),
    pose('the pose is NaN', placed(math.nan), 'pose_not_finite'),
    pose('the pose is in another frame', other_frame, 'frame'),
    pose('the orientation is zero', turned(x=0.0, y=0.0, z=0.0, w=0.0), 'quaternion'),
    pose('the orientation is no unit quaternion', turned(w=3.0, x=3.0), 'quaternion'),
    pose('the orientation is NaN', turned(x=math.nan), 'pose_not_finite'),
    pose('the pose is 2 s late', shifted(-2.0), 'stale'),
    pose('the pose is of the future', shifted(100.0), 'future'),
    pose('the pose has no stamp', shifted(math.inf), 'unstamped'),
    pose(
        'the pose jumps by 0.3 m', moved(0.3), 'jump', 'not_following', recover=reset, step_m=0.4
    ),
    pose('two drivers publish the pose', two_poses, 'jump', recover=reset, step_m=0.4),
    Row(
        name='the clock goes back by 5 s',
        group='clock',
        inject=clock_by(-5.0),
        codes=('clock_back', 'future'),
        step_m=LAG_M,
    ),
    Row(
        name='the clock jumps ahead by 5 s', group='clock', inject=clock_by(5.0), codes=('stale',)
    ),
    Row(
        name='the clock stands still',
        group='clock',
        inject=broken('clock', gone),
        codes=('clock_stopped', 'future'),
        within_s=1.0,
    ),
)
