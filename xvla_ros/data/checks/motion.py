# SPDX-License-Identifier: Apache-2.0
"""How arms move: times, jumps, stillness, units, the workspace, kinematics against poses."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.findings import Finding, metres, PROBLEM, WARNING
from xvla_ros.core.workspace import workspace
from xvla_ros.data.checks.asked import Asked, at, share
from xvla_ros.data.checks.recorded_motion import JUMP_M_S, Recorded
from xvla_ros.data.episodes import Episode

# A step this many times the usual one is a gap.
GAP = 3.0
# A tool that turns faster is reported [rad/s].
TURN_RAD_S = 20.0
# A position larger than the first is in millimetres. If all are smaller than the second, metres
# were declared to be millimetres [m].
FARTHEST_M, NEAREST_M = 3.0, 0.01
# A tool whose pose changes by less from frame to frame stands still, as in X-VLA's filter.
STILL = 1e-5
MOSTLY_STILL = 0.5
# Poses from recorded joints differ by less, the median of these frames [m].
KINEMATICS_M, KINEMATICS_FRAMES = 0.005, 30


def check_motion(episode: Episode, asked: Asked) -> Iterator[Finding]:
    """Yield what is wrong with the motion of an episode."""
    yield from _times(episode)
    yield from _still(episode)
    for index in range(episode.openings.shape[1]):
        yield from _unit(episode, index)
        yield from _jumps(episode, index)
    if asked.embodiment is not None:
        yield from _robot(episode, asked)


def _times(episode: Episode) -> Iterator[Finding]:
    steps = np.diff(episode.times_s)
    usual = float(np.median(steps))
    wide = np.flatnonzero(steps > GAP * usual)
    if len(wide):
        frame = int(wide[0]) + 1
        found = f'{steps[wide[0]]:.2f} s without a frame, usual are {usual:.3f} s'
        yield at(episode, WARNING, 'gaps', found, frame)


def still_frames(episode: Episode) -> NDArray[np.bool_]:
    """Return after which frames (F - 1,) no arm or gripper moves."""
    moved = [
        np.abs(np.diff(values, axis=0)).reshape(len(episode) - 1, -1).max(axis=1)
        for values in (episode.positions, episode.quaternions, episode.openings)
    ]
    still: NDArray[np.bool_] = np.max(moved, axis=0) < STILL
    return still


def _still(episode: Episode) -> Iterator[Finding]:
    still = still_frames(episode)
    if still.all():
        yield at(episode, WARNING, 'still', 'nothing moves in all of it', 0)
    elif still.mean() > MOSTLY_STILL:
        first = int(np.flatnonzero(still)[0])
        found = f'nothing moves after {share(int(still.sum()), len(still))} of its frames'
        yield at(episode, WARNING, 'still', found, first, 'these frames are not trained on')


def _unit(episode: Episode, index: int) -> Iterator[Finding]:
    far = np.linalg.norm(episode.positions[:, index], axis=1)
    if far.max() > FARTHEST_M:
        found = f'a tool is {far.max():.0f} m away from its base: are positions in mm?'
        yield at(episode, PROBLEM, 'unit', found, int(far.argmax()), 'unit: mm in the source file')
    elif 0 < far.max() < NEAREST_M:
        found = f'a tool stays within {1e3 * far.max():.2f} mm of its base: are positions in m?'
        yield at(episode, PROBLEM, 'unit', found, 0, 'unit: m in the source file')


def _jumps(episode: Episode, index: int) -> Iterator[Finding]:
    path = Recorded(
        times_s=episode.times_s,
        positions=episode.positions[:, index],
        quaternions=episode.quaternions[:, index],
    )
    jumps = np.flatnonzero(path.jumps())
    if len(jumps):
        found = f'{len(jumps)} steps faster than {JUMP_M_S:g} m/s: lost frames, or two scenes?'
        yield at(episode, WARNING, 'jumps', found, int(jumps[0]) + 1)
    turns = Rotation.from_quat(path.quaternions)
    speeds = (turns[:-1].inv() * turns[1:]).magnitude() / np.diff(episode.times_s)
    spins = np.flatnonzero(speeds > TURN_RAD_S)
    if len(spins):
        found = f'{len(spins)} turns faster than {TURN_RAD_S:g} rad/s: is rotation_format right?'
        yield at(episode, WARNING, 'turns', found, int(spins[0]) + 1)


def _robot(episode: Episode, asked: Asked) -> Iterator[Finding]:
    assert asked.embodiment is not None
    arms = list(asked.embodiment.arms.items())
    if len(arms) != episode.openings.shape[1]:
        found = f'has {episode.openings.shape[1]} arms, {asked.embodiment.robot} has {len(arms)}'
        yield at(episode, PROBLEM, 'arms', found)
        return
    for kind, motion in episode.motions():
        for index, (name, arm) in enumerate(arms):
            outside = ~workspace(arm).contains(motion.positions[:, index])
            if outside.any():
                first = int(np.flatnonzero(outside)[0])
                found = f'{share(int(outside.sum()), len(outside))} of the {kind}poses of {name} '
                found += f'are outside, the first at {metres(motion.positions[first, index])}'
                yield at(episode, WARNING, 'workspace', found, first,
                         'the gate would clamp or refuse them: fit the workspace, or the '
                         'frame')  # fmt: skip
    yield from _kinematics(episode, asked)


def _kinematics(episode: Episode, asked: Asked) -> Iterator[Finding]:
    """Compare recorded poses with those of recorded joints."""
    assert asked.embodiment is not None
    if episode.joints is None:
        return
    begin = 0
    for index, (name, arm) in enumerate(asked.embodiment.arms.items()):
        joints = episode.joints[:, begin : begin + len(arm.joint_names)]
        begin += len(arm.joint_names)
        if not arm.urdf or arm.urdf_topic or joints.shape[1] != len(arm.joint_names):
            continue
        kinematics = arm_kinematics(arm)
        frames = np.linspace(0, len(episode) - 1, min(KINEMATICS_FRAMES, len(episode)), dtype=int)
        off = [
            np.linalg.norm(kinematics.forward(joints[f])[0] - episode.positions[f, index])
            for f in frames
        ]
        if np.median(off) > KINEMATICS_M:
            found = f'poses of {name} are {1e3 * np.median(off):.0f} mm from those of its joints'
            yield at(episode, WARNING, 'kinematics', found, int(frames[int(np.argmax(off))]),
                     'another tool frame, base frame or calibration')  # fmt: skip
