# SPDX-License-Identifier: Apache-2.0
"""Opens a bag of any origin: finds its files, scans them once and joins them."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path

from xvla_ros.bags.content import Bag, Topic, unpacked_message
from xvla_ros.bags.folder import plain_name, select_files, Selection, stem
from xvla_ros.bags.formats.mcap_file import McapFile
from xvla_ros.bags.formats.sqlite_file import SqliteFile
from xvla_ros.bags.formats.storage import Raw, Storage
from xvla_ros.bags.manifest import read_recording, Recording, RECORDING_TOPIC
from xvla_ros.bags.message_types import learn
from xvla_ros.bags.order import Part
from xvla_ros.bags.qos import is_latched
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.errors import ObservationError

__all__ = ['Bag', 'Topic', 'open_bag']

# No recording is this long. A message farther from the others has a damaged time [s].
LONGEST_S = 30 * 86_400
MOST_NAMED = 8


def open_bag(path: str | Path) -> Bag:
    """
    Scan a bag: a rosbag2 folder, with or without its metadata, or one of its files.

    :raises ObservationError: there is no bag, it has no readable message, or its files do not
        belong together.
    """
    path = Path(path)
    selection = select_files(path)
    bag = Bag(path=path, gaps=list(selection.gaps), notes=selection.notes)
    looks = [_look_through(bag, file, index) for index, file in enumerate(selection.files)]
    found = [look for look in looks if look.topics]
    foreign = {name: kind for look in looks for name, kind in look.part.storage.foreign.items()}
    if foreign:
        bag.gaps.append(_foreign_sentence(foreign))
    if not found:
        why = f': {"; ".join(bag.gaps)}' if bag.gaps else ''
        raise ObservationError(f'{path}: the bag holds no message that can be read{why}')
    if not selection.listed:
        _check_together(path, found)
    return _put_together(bag, found, selection)


@dataclass(kw_only=True, slots=True)
class _Look:
    """The result of scanning one file."""

    part: Part
    topics: dict[str, Topic] = field(default_factory=dict)
    recording: Recording | None = None


def _storage(file: Path) -> Storage:
    return McapFile(file) if plain_name(file.name).endswith('.mcap') else SqliteFile(file)


def _look_through(bag: Bag, file: Path, index: int) -> _Look:
    look = _Look(part=Part(storage=_storage(file), first=index == 0))
    if not file.stat().st_size:
        bag.gaps.append(f'{file.name}: empty')
        return look
    newest_ns, unreadable = 0, Counter[str]()
    for raw in look.part.storage.scan(bag.gaps):
        look.part.late_ns = max(look.part.late_ns, newest_ns - raw.time_ns)
        newest_ns = max(newest_ns, raw.time_ns)
        if not look.part.new(raw):
            continue
        message = unpacked_message(raw, file)
        if message is None:
            unreadable[raw.topic] += 1
        else:
            _count(look, message)
    for name, count in unreadable.items():
        bag.gaps.append(f'{file.name}: {name}: {count} messages cannot be decompressed')
    look.part.start_ns = min((topic.first_ns for topic in look.topics.values()), default=0)
    look.part.end_ns = max((topic.last_ns for topic in look.topics.values()), default=0)
    return look


def _count(look: _Look, raw: Raw) -> None:
    topic = look.topics.get(raw.topic)
    if topic is None:
        topic = look.topics[raw.topic] = Topic(kind=raw.kind, first_ns=raw.time_ns)
        topic.last_ns = raw.time_ns
        learn(raw.kind, raw.definition)
    topic.count += 1
    topic.first_ns = min(topic.first_ns, raw.time_ns)
    topic.last_ns = max(topic.last_ns, raw.time_ns)
    if raw.topic == RECORDING_TOPIC and look.recording is None:
        look.recording = read_recording(raw.data)


def _foreign_sentence(foreign: Mapping[str, str]) -> str:
    names = sorted(foreign)
    shown = ', '.join(names[:MOST_NAMED]) + (', ...' if len(names) > MOST_NAMED else '')
    encodings = ', '.join(sorted(set(foreign.values())))
    hint = ''
    if 'ros1' in foreign.values():
        hint = '; make a rosbag2 of the original .bag with rosbags-convert'
    return f"{len(names)} topics hold '{encodings}' messages, expected 'cdr' ({shown}){hint}"


def _check_together(path: Path, looks: list[_Look]) -> None:
    """
    Check that the files of a folder without metadata can be one recording.

    Files of one name with different numbers are. Files of different names are one recording only
    if they hold different messages of the same time, as with one recorder per machine.

    :raises ObservationError: they are not; the message names the recordings.
    """
    groups: dict[str, list[_Look]] = {}
    for look in looks:
        groups.setdefault(stem(look.part.storage.path), []).append(look)
    names = ', '.join(sorted(groups))
    advice = 'give one file, move the others away, or add a metadata.yaml (ros2 bag reindex)'
    spans = sorted(
        (min(e.part.start_ns for e in group), max(e.part.end_ns for e in group))
        for group in groups.values()
    )
    for (_, end_ns), (start_ns, _) in pairwise(spans):
        if start_ns > end_ns:
            raise ObservationError(
                f'{path}: holds several recordings, of different times ({names}): {advice}'
            )
    seen: dict[tuple[str, int], str] = {}
    for name, group in groups.items():
        for topic, found in ((t, f) for look in group for t, f in look.topics.items()):
            other = seen.setdefault((topic, found.first_ns), name)
            if other != name:
                raise ObservationError(
                    f"{path}: '{other}' and '{name}' hold the same messages of {topic}: {advice}"
                )


def _put_together(bag: Bag, looks: list[_Look], selection: Selection) -> Bag:
    """Return the bag with the content of its files."""
    topics: dict[str, Topic] = {}
    for look in looks:
        offered = look.part.storage.offered
        for name, found in look.topics.items():
            topic = topics.setdefault(name, replace(found, count=0))
            topic.count += found.count
            topic.first_ns = min(topic.first_ns, found.first_ns)
            topic.last_ns = max(topic.last_ns, found.last_ns)
            topic.offered = topic.offered or offered.get(name) or selection.offered.get(name, '')
    for name, topic in topics.items():
        topic.latched = is_latched(name, topic.kind, topic.offered)
    start_ns = min(topic.first_ns for topic in topics.values())
    end_ns = max(topic.last_ns for topic in topics.values())
    if end_ns - start_ns > LONGEST_S * NANOSECONDS:
        last = max(topics, key=lambda name: topics[name].last_ns)
        raise ObservationError(
            f'{bag.path}: its messages are {(end_ns - start_ns) / 86_400e9:.0f} days apart; the '
            f'last is of {last}: a time in the file is damaged, or files of two days are mixed'
        )
    return replace(
        bag,
        parts=tuple(look.part for look in looks),
        topics=topics,
        recording=next((look.recording for look in looks if look.recording), None),
        start_ns=start_ns,
        end_ns=end_ns,
    )
