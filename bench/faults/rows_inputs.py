# SPDX-License-Identifier: Apache-2.0
"""Rows: cameras, joints, poses and the clock go wrong."""

import math
from typing import Any

from bench.faults.cell import Cell
from bench.faults.changes import (
    altered,
    broken,
    Change,
    clock_by,
    cut,
    damaged,
    Every,
    fresh,
    gone,
    half_size,
    in_degrees,
    joint,
    moved,
    other_frame,
    placed,
    reordered,
    shifted,
    turned,
    twice,
    two_poses,
    without,
)
from bench.faults.table import LAG_M, Row

AGE_S, CAMERA_AGE_S = 0.2, 0.3  # max_age_s of arms and cameras


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
    camera('images are 2 s late', shifted(-2.0), 'stale'),
    camera('images are 0.2 s late', shifted(-0.2), 'skew', 'stale'),
    camera('stamps of the future', shifted(100.0), 'future'),
    camera('stamps are zero', shifted(math.inf), 'unstamped'),
    camera('2 images a second', Every(8), 'stale', within_s=CAMERA_AGE_S + 0.6, again=True),
    camera('an unknown encoding', altered(encoding='yuv_of_a_lab'), 'encoding'),
    camera('another encoding than the data', altered(encoding='bgra8'), 'image_size'),
    camera('data cut in half', cut, 'image_size'),
    camera('an image without width', altered(width=0), 'image_size'),
    camera('rows shorter than the image', altered(step=10), 'image_size'),
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
        step=0.06,
    ),
    pose('the pose is NaN', placed(math.nan), 'pose_not_finite'),
    pose('the pose is in another frame', other_frame, 'frame'),
    pose('the orientation is zero', turned(x=0.0, y=0.0, z=0.0, w=0.0), 'quaternion'),
    pose('the orientation is no unit quaternion', turned(w=3.0, x=3.0), 'quaternion'),
    pose('the orientation is NaN', turned(x=math.nan), 'pose_not_finite'),
    pose('the pose is 2 s late', shifted(-2.0), 'stale'),
    pose('the pose is of the future', shifted(100.0), 'future'),
    pose('the pose has no stamp', shifted(math.inf), 'unstamped'),
    pose('the pose jumps by 0.3 m', moved(0.3), 'jump', 'not_following', recover=reset, step=0.4),
    pose('two drivers publish the pose', two_poses, 'jump', recover=reset, step=0.4),
    Row(
        name='the clock goes back by 5 s',
        group='clock',
        inject=clock_by(-5.0),
        codes=('clock_back', 'future'),
        step=LAG_M,
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
