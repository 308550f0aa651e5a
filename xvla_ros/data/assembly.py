# SPDX-License-Identifier: Apache-2.0
"""Makes an episode of the table of one recording and a source file."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from xvla_ros.data.columns import Column, Table
from xvla_ros.data.context import Context
from xvla_ros.data.episodes import Episode, Images
from xvla_ros.data.errors import DataError
from xvla_ros.data.poses import arm_motion, ArmMotion, FrameError, settings_of, together
from xvla_ros.data.source import PoseKeys, SECONDS, Source

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """
    One episode as a reader found it.

    table: rows of a key, (F, ...); raises KeyError for one that is not there. times_s: (F,) where
    the format has them. fps: where it says so. look: decodes the images of a frame.
    """

    name: str
    index: int
    file: str
    instruction: str
    table: Table
    look: Callable[[int], Images]
    cameras: tuple[str, ...]
    times_s: Array | None = None
    fps: float = 0.0

    def error(self, text: str, frame: int | None = None, what: str = 'damaged') -> DataError:
        """Return an error that names this recording."""
        return DataError(text, file=self.file, episode=self.name, frame=frame, what=what)


def assemble(recording: Recording, source: Source, context: Context) -> Episode:
    """
    Return the episode of a recording.

    :raises DataError: a key is missing, or a frame is wrong.
    """
    try:
        return _assembled(recording, source, context)
    except FrameError as error:
        raise recording.error(str(error), error.frame, error.what) from error
    except KeyError as error:
        raise recording.error(f'has no {error.args[0]!r}', what='missing') from error
    except ValueError as error:
        raise recording.error(str(error), what='shape') from error


def _assembled(recording: Recording, source: Source, context: Context) -> Episode:
    state = _arms(recording, [arm.state for arm in source.arms.values()], context)
    frames = len(state[0].positions)
    if frames < 2:
        raise recording.error(f'has {frames} frames, expected 2 or more', what='empty')
    times = _times(recording, source, frames)
    state = _in_time(recording, source, times, state)
    motion = together(state)
    names, joints = _joints(source, context, state)
    actions = [arm.action for arm in source.arms.values() if arm.action is not None]
    commanded = None
    if len(actions) == len(source.arms):
        sent = _arms(recording, actions, context)
        commanded = together(_in_time(recording, source, times, sent))
    return Episode(
        name=recording.name,
        instruction=recording.instruction,
        times_s=times,
        positions=motion.positions,
        quaternions=motion.quaternions,
        openings=motion.openings,
        look=recording.look,
        file=recording.file,
        index=recording.index,
        cameras=recording.cameras,
        joints=joints,
        joint_names=names,
        commanded=commanded,
        starts=_starts(source, frames),
    )


def _arms(recording: Recording, blocks: Sequence[PoseKeys], context: Context) -> list[ArmMotion]:
    """Return what one block of keys per arm says."""
    arms = [
        arm_motion(keys, recording.table, settings_of(context.embodiment, index))
        for index, keys in enumerate(blocks)
    ]
    counts = {len(values) for arm in arms for values in (arm.positions, arm.openings)}
    if len(counts) > 1:
        raise ValueError(f'columns of the arms have {sorted(counts)} frames, expected as many')
    return arms


def _times(recording: Recording, source: Source, frames: int) -> Array:
    """Return the time of each frame (F,) [s], from 0."""
    key = source.times or next((arm.times for arm in source.arms.values() if arm.times), '')
    if key:
        times = Column.parse(key).of(recording.table, 1)[:, 0] * SECONDS[source.time_unit]
    elif recording.times_s is not None:
        times = recording.times_s
    else:
        fps = source.fps or recording.fps
        if not fps:
            raise ValueError('the frames have no times: expected `fps` or `times`')
        times = np.arange(frames) / fps
    if len(times) != frames:
        raise ValueError(f'has {len(times)} times and {frames} frames')
    return np.asarray(times - times[0])


def _in_time(
    recording: Recording, source: Source, times: Array, arms: list[ArmMotion]
) -> list[ArmMotion]:
    """Return arms that have times of their own at the frames' times."""
    keys = [arm.times for arm in source.arms.values()]
    first = next((key for key in keys if key), '')
    if not first or len({*keys}) == 1:
        return arms
    zero = Column.parse(first).of(recording.table, 1)[0, 0]
    scale = SECONDS[source.time_unit]
    return [
        _at(times, (Column.parse(key).of(recording.table, 1)[:, 0] - zero) * scale, arm)
        if key and key != first
        else arm
        for key, arm in zip(keys, arms, strict=True)
    ]


def _at(times: Array, own: Array, arm: ArmMotion) -> ArmMotion:
    """Return an arm at other times: linear, rotations on the shortest arc, ends stay."""
    late = np.flatnonzero(np.diff(own) <= 0)
    if len(late):
        raise FrameError("an arm's own time is not after the one before", int(late[0]) + 1, 'time')
    turns = Slerp(own, Rotation.from_quat(arm.quaternions))
    within = np.clip(times, own[0], own[-1])
    columns = [np.interp(within, own, column) for column in arm.positions.T]
    return replace(
        arm,
        positions=np.stack(columns, axis=1),
        quaternions=np.asarray(turns(within).as_quat()),
        openings=np.interp(within, own, arm.openings),
    )


def _joints(
    source: Source, context: Context, arms: list[ArmMotion]
) -> tuple[tuple[str, ...], Array | None]:
    """Return the joints of all arms in a row (F, J), and their names."""
    found = [arm.joints for arm in arms if arm.joints is not None]
    if len(found) < len(arms) or context.embodiment is None:
        return (), None
    settings = list(context.embodiment.arms.values())
    names = [
        f'{name}.{joint}'
        for name, arm in zip(source.arms, settings, strict=False)
        for joint in arm.joint_names
    ]
    return tuple(names), np.concatenate(found, axis=1)


def _starts(source: Source, frames: int) -> tuple[int, int] | None:
    if not (source.skip_frames or source.margin_frames):
        return None
    return source.skip_frames, max(source.skip_frames, frames - source.margin_frames)
