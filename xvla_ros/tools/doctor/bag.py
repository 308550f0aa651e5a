# SPDX-License-Identifier: Apache-2.0
"""Compares a bag with an embodiment file: topics, types, rates, stamps, names, encodings."""

from collections.abc import Iterator
import difflib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.message_types import begins_with_header, header_stamp_ns, read_message
from xvla_ros.bags.topics import (
    description_streams,
    JOINTS,
    observation_streams,
    POSE,
    recorded_name,
    Stream,
    why_missing,
)
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.findings import Finding, OK, PROBLEM, WARNING

# Lowest usable rate of states [Hz]; cameras may lose this share of their rate.
LEAST_STATE_RATE_HZ = 20.0
LEAST_RATE_SHARE = 0.8
# Stamps with a larger offset than this are from another clock [s].
MOST_LEAD_S, MOST_DELAY_S = 0.05, 1.0


def bag_findings(bag: Bag, embodiment: Embodiment) -> Iterator[Finding]:
    """Yield the findings for a bag and each stream of an observation in it."""
    yield Finding(
        level=OK,
        name='bag',
        found=f'{bag.duration_s:.1f} s, {len(bag.topics)} topics in {len(bag.files)} file(s)',
    )
    for note in bag.notes:
        yield Finding(level=WARNING, name='bag', found=note)
    for gap in bag.gaps:
        yield Finding(level=WARNING, name='bag', found=gap)
    for stream in (*observation_streams(embodiment), *description_streams(embodiment)):
        yield _stream(bag, embodiment, stream)


def _stream(bag: Bag, embodiment: Embodiment, stream: Stream) -> Finding:
    name = recorded_name(stream.topic, bag.topics)
    title = f'{stream.role} ({name or stream.topic})'
    if name is None:
        fix = _candidates(bag, stream)
        return Finding(
            level=PROBLEM, name=title, found=why_missing(stream.topic, bag.topics), fix=fix
        )
    topic = bag.topics[name]
    if topic.kind != stream.kind:
        fix = f'expected {stream.kind}{_hint(embodiment, stream, topic.kind)}'
        return Finding(level=PROBLEM, name=title, found=f'holds {topic.kind}', fix=fix)
    if stream.latched:
        return Finding(level=OK, name=title, found=f'{topic.count} messages')
    look = _Look(bag, name)
    trouble = look.content(embodiment, stream) or look.time(*_expected(embodiment, stream))
    level, found, fix = trouble or (OK, look.summary(), '')
    return Finding(level=level, name=title, found=found, fix=fix)


def _candidates(bag: Bag, stream: Stream) -> str:
    """Return the topics of the bag that may be the stream."""
    alike = sorted(name for name, topic in bag.topics.items() if topic.kind == stream.kind)
    near = difflib.get_close_matches(stream.topic, list(bag.topics), n=3, cutoff=0.4)
    shown = list(dict.fromkeys([*alike, *near])) or sorted(bag.topics)
    return f'the bag has {", ".join(shown)}: correct the file, or give --set'


def _hint(embodiment: Embodiment, stream: Stream, kind: str) -> str:
    role, _, name = stream.role.partition(' ')
    if role != 'camera' or 'Image' not in kind:
        return ''
    compressed = not embodiment.cameras[name].compressed
    return f': --set cameras.{name}.compressed={str(compressed).lower()}'


def _expected(embodiment: Embodiment, stream: Stream) -> tuple[float, float]:
    """Return the lowest rate [Hz] and the largest age [s] of a stream."""
    role, _, name = stream.role.partition(' ')
    if role == 'camera':
        camera = embodiment.cameras[name]
        return camera.rate_hz * LEAST_RATE_SHARE, camera.max_age_s
    return LEAST_STATE_RATE_HZ, embodiment.arms[name].max_age_s


class _Look:
    """The scan of one topic."""

    def __init__(self, bag: Bag, name: str) -> None:
        """Read times, stamps and the first message."""
        self._bag, self._name, self._kind = bag, name, bag.topics[name].kind
        received, stamps = [], []
        headed = begins_with_header(self._kind)
        for raw in bag.messages({name}):
            received.append(raw.time_ns)
            try:
                stamps.append(header_stamp_ns(raw.data) if headed else raw.time_ns)
            except ObservationError:
                stamps.append(raw.time_ns)
        self._received: NDArray[np.int64] = np.array(received, np.int64)
        self._stamps: NDArray[np.int64] = np.array(stamps, np.int64)

    def summary(self) -> str:
        delays_ms = (self._received - self._stamps) / 1e6
        return (
            f'{self._rate_hz():.1f} Hz, received {np.median(delays_ms):.0f} ms after the stamp '
            f'(p99 {np.percentile(delays_ms, 99):.0f}), longest gap {self._longest_gap_s():.2f} s'
        )

    def _rate_hz(self) -> float:
        return self._bag.topics[self._name].rate_hz

    def _longest_gap_s(self) -> float:
        return float(np.diff(self._received).max(initial=0)) / NANOSECONDS

    def time(self, least_hz: float, max_age_s: float) -> tuple[str, str, str] | None:
        """Return level, problem of stamps or rate, and fix."""
        zero = int((self._stamps == 0).sum())
        if zero:
            return PROBLEM, f'{zero} of {len(self._stamps)} messages have no stamp', (
                'its driver must stamp them'
            )  # fmt: skip
        delay_s = float(np.median(self._received - self._stamps)) / NANOSECONDS
        if not -MOST_LEAD_S <= delay_s <= MOST_DELAY_S:
            return WARNING, f'stamps are {delay_s:.2f} s behind the recorder’s clock', (
                'replay works on the stamps; live, synchronise the clocks (chrony)'
            )  # fmt: skip
        back = int((np.diff(self._stamps) < 0).sum())
        if back:
            return WARNING, f'stamps go back {back} times', 'two publishers on one topic?'
        if self._rate_hz() < least_hz:
            return WARNING, f'{self._rate_hz():.1f} Hz, expected {least_hz:.1f} or more', (
                'the recorder lost messages, or the driver is slow'
            )  # fmt: skip
        if self._longest_gap_s() > max_age_s:
            return WARNING, f'{self.summary()}', (
                f'nothing for longer than max_age_s ({max_age_s} s): the policy would hold'
            )  # fmt: skip
        return None

    def content(self, embodiment: Embodiment, stream: Stream) -> tuple[str, str, str] | None:
        """Return what is wrong with the first message."""
        role, _, name = stream.role.partition(' ')
        raw = next(self._bag.messages({self._name}))
        try:
            if role == 'camera':
                _check_image(raw.data, raw.kind, self._name)
                return None
            message = read_message(raw.kind, raw.data)
            if raw.kind == JOINTS:
                return _joints(embodiment, stream, message)
            if raw.kind == POSE:
                frame, base = message.header.frame_id, embodiment.arms[name].base_frame
                if frame and frame != base:
                    return PROBLEM, f"poses are in frame '{frame}'", f"expected '{base}'"
        except ObservationError as error:
            return PROBLEM, str(error), 'correct the file, or convert the topic'
        return None


def _check_image(data: bytes, kind: str, topic: str) -> None:
    """Decode an image as the policy would."""
    from xvla_ros.bags.formats.storage import Raw
    from xvla_ros.inputs.images import image_from_message
    from xvla_ros.replay.graph import decoded

    image_from_message(decoded(Raw(topic, kind, 0, data)), topic)


def wanted_joints(embodiment: Embodiment, stream: Stream) -> tuple[str, ...]:
    """Return the joints that a topic must have for one stream."""
    role, _, name = stream.role.partition(' ')
    arm = embodiment.arms[name]
    return arm.gripper.joint_names[:1] if role == 'gripper' else arm.joint_names


def _joints(embodiment: Embodiment, stream: Stream, message: Any) -> tuple[str, str, str] | None:
    names = list(message.name)
    if not names:
        return PROBLEM, 'JointState without names', 'its driver must name the joints'
    twice = sorted({each for each in names if names.count(each) > 1})
    if twice:
        return PROBLEM, f'names {", ".join(twice)} twice', f'it names {", ".join(names)}'
    missing = [each for each in wanted_joints(embodiment, stream) if each not in names]
    if missing:
        return PROBLEM, f'lacks joint {", ".join(missing)}', f'it names {", ".join(names)}'
    return None
