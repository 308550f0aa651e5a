# SPDX-License-Identifier: Apache-2.0
"""
Episodes of a rosbag: each frame is the observation that the live node would have made.

The classes that read cameras and arms live subscribe to the bag (`replay.graph`), so images,
poses, checks of ages and skew are theirs. An instruction on the task's topic begins an episode.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xvla_ros.bags.bag import Bag, open_bag
from xvla_ros.bags.message_types import read_message, write_message
from xvla_ros.bags.timeline import clock_offset_ns
from xvla_ros.bags.topics import (
    as_recorded,
    COMPRESSED,
    IMAGE,
    INSTRUCTION,
    match_streams,
    observation_streams,
    PLAN,
    recorded_name,
    TASK,
)
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.data.context import Context, Result
from xvla_ros.data.episodes import Episode, Images
from xvla_ros.data.errors import DataError
from xvla_ros.data.readers.plans import planned
from xvla_ros.data.source import Source
from xvla_ros.data.spool import Place, Spool
from xvla_ros.inputs.images import image_from_message
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.inputs.observations import ObservationInputs, Seen
from xvla_ros.replay.graph import BagGraph, decoded, with_recorded_descriptions
from xvla_ros.runtime.simulated import SimulatedClock

# A frame may come this share of a period early when frames are thinned to the source's fps.
EARLY_SHARE = 0.25


@dataclass(kw_only=True, slots=True)
class _Take:
    """What is known of one episode while the bag is read."""

    instruction: str
    stamps_ns: list[int] = field(default_factory=list)
    arms: list[tuple[ArmPose, ...]] = field(default_factory=list)
    places: list[dict[str, Place]] = field(default_factory=list)
    plans: dict[int, Any] = field(default_factory=dict)


def read(path: Path, source: Source, context: Context) -> Iterator[Result]:
    """
    Yield the episodes of one bag, and an error for each that cannot be used.

    :raises XvlaError: the bag cannot be read, or lacks a topic of the embodiment.
    """
    bag = open_bag(path)
    embodiment = recorded_embodiment(bag, context)
    kinds = {name: topic.kind for name, topic in bag.topics.items()}
    names, missing = match_streams(observation_streams(embodiment), kinds, str(path))
    if missing:
        raise DataError('; '.join(missing), file=path, what='missing')
    reader = _BagReader(bag, embodiment, clock_offset_ns(bag, names.values()), context)
    takes = list(reader.takes(source))
    for number, take in enumerate(takes):
        name = path.name if len(takes) == 1 else f'{path.name}/{number}'
        try:
            yield reader.episode(take, name, number, str(path))
        except DataError as error:
            yield error


def recorded_embodiment(bag: Bag, context: Context) -> Embodiment:
    """
    Return the robot of a bag with the names that the bag has: the given one, else the recorded.

    :raises DataError: none is known.
    """
    embodiment = context.embodiment
    if embodiment is None:
        if bag.recording is None:
            raise DataError(
                'not from `xvla record`: give its robot by --embodiment', file=bag.path
            )
        embodiment = bag.recording.load_embodiment(str(bag.path), {})
    return with_recorded_descriptions(bag, as_recorded(embodiment, bag.topics))


class _BagReader:
    """The inputs of an embodiment on one bag."""

    def __init__(self, bag: Bag, embodiment: Embodiment, offset_ns: int, context: Context) -> None:
        self._bag, self._embodiment, self._offset_ns = bag, embodiment, offset_ns
        self._clock = SimulatedClock()
        self._graph = BagGraph(bag.topics, context.transforms, offset_ns)
        self._inputs = ObservationInputs(self._graph, embodiment, self._clock)
        self._spool, self._refused = Spool(), ''

    def takes(self, source: Source) -> Iterator[_Take]:
        """Read the bag once; yield its episodes, images on disk."""
        topic, told = self._told(source)
        take = None if topic else _Take(instruction=told)
        period_ns = round((1 - EARLY_SHARE) * NANOSECONDS / source.fps) if source.fps else 1
        last_ns = 0
        plan_topic = recorded_name(PLAN, self._bag.topics)
        more = {name for name in (topic, plan_topic) if name}
        for raw in self._bag.messages({*self._graph.topics, *more}):
            self._clock.advance(raw.time_ns - self._offset_ns)
            if raw.topic == topic:
                said = str(decoded(raw).data).strip()
                if take is not None and take.stamps_ns:
                    yield take
                take = _Take(instruction=source.instruction or said) if said else None
            if raw.topic == plan_topic and take is not None:
                plan = decoded(raw)
                take.plans[stamp_to_ns(plan.header.stamp)] = plan
            self._graph.deliver(raw)
            if take is None or not self._inputs.wait_for_frame(last_ns + period_ns - 1, 0.0):
                continue
            seen = self._look()
            if seen is not None:
                last_ns = min(seen.stamps_ns.values())
                self._keep(take, seen, last_ns)
        if take is not None:
            yield take

    def _told(self, source: Source) -> tuple[str | None, str]:
        """Return the topic that names tasks, and what was done where there is none."""
        topics, recording = self._bag.topics, self._bag.recording
        topic = recorded_name(TASK, topics) or recorded_name(INSTRUCTION, topics)
        return topic, source.instruction or (recording.instruction if recording else '')

    def _look(self) -> Seen | None:
        """Return an observation, or None; then the reason is kept."""
        try:
            return self._inputs.look()
        except ObservationError as error:
            self._refused = str(error)
            return None

    def _keep(self, take: _Take, seen: Seen, stamp_ns: int) -> None:
        take.stamps_ns.append(stamp_ns)
        take.arms.append(seen.arms)
        take.places.append({n: self._spooled(n, f.message) for n, f in seen.frames.items()})

    def _kind(self, camera: str) -> str:
        return COMPRESSED if self._embodiment.cameras[camera].compressed else IMAGE

    def _spooled(self, camera: str, message: Any) -> Place:
        return self._spool.put(write_message(self._kind(camera), message))

    def episode(self, take: _Take, name: str, number: int, file: str) -> Episode:
        """
        Return a take as an episode.

        :raises DataError: it has too few frames.
        """
        if len(take.stamps_ns) < 2:
            why = f': {self._refused}' if self._refused else ''
            raise DataError(
                f'has {len(take.stamps_ns)} frames, expected 2 or more{why}',
                file=file, episode=name, what='empty',
            )  # fmt: skip
        stamps = np.array(take.stamps_ns, np.int64)
        return Episode(
            name=name,
            instruction=take.instruction,
            times_s=(stamps - stamps[0]) / NANOSECONDS,
            positions=np.array([[arm.position for arm in arms] for arms in take.arms]),
            quaternions=np.array([[arm.quaternion for arm in arms] for arms in take.arms]),
            openings=np.array([[arm.gripper for arm in arms] for arms in take.arms]),
            look=lambda frame: self._images(take, name, file, frame),
            file=file,
            index=number,
            cameras=self._embodiment.camera_names,
            planned=planned(take.stamps_ns, take.plans, self._embodiment.arm_names),
        )

    def _images(self, take: _Take, episode: str, file: str, frame: int) -> Images:
        try:
            return tuple(self._image(c, p) for c, p in take.places[frame].items())
        except ObservationError as error:
            raise DataError(
                str(error), file=file, episode=episode, frame=frame, what='image'
            ) from error

    def _image(self, camera: str, place: Place) -> Any:
        settings = self._embodiment.cameras[camera]
        message = read_message(self._kind(camera), self._spool.get(place))
        return image_from_message(message, settings.topic, settings.rotate_180, settings.encoding)
