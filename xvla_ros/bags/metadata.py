# SPDX-License-Identifier: Apache-2.0
"""The metadata of a bag that is being written: channels, files, metadata.yaml."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from xvla_ros.bags.message_types import type_hash
from xvla_ros.bags.qos import Offer, profiles_text

# The queue depth of the recorded QoS, common among drivers; for players of the bag.
SENSOR_DEPTH, DEPTH = 5, 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Channel:
    """
    One recorded topic.

    offered: QoS profiles of its publishers as YAML text; empty: from `latched` and `sensor` (best
    effort).
    """

    kind: str
    latched: bool = False
    sensor: bool = False
    offered: str = ''

    def profiles(self) -> str:
        """Return the QoS profiles as YAML text."""
        depth = SENSOR_DEPTH if self.sensor else DEPTH
        offer = Offer(reliable=not self.sensor, latched=self.latched, depth=depth)
        return self.offered or profiles_text([offer])


@dataclass(kw_only=True, slots=True)
class WrittenFile:
    """One file, as far as it is written. start_ns: time of its first message, None without one."""

    path: Path
    counts: dict[str, int] = field(default_factory=dict)
    start_ns: int | None = None
    end_ns: int = 0
    bytes: int = 0

    def information(self) -> dict[str, object]:
        """Return the file's entry in metadata.yaml."""
        start_ns = self.start_ns or 0
        return {
            'path': self.path.name,
            'starting_time': {'nanoseconds_since_epoch': start_ns},
            'duration': {'nanoseconds': max(self.end_ns - start_ns, 0)},
            'message_count': sum(self.counts.values()),
        }


def bag_metadata(
    files: Sequence[WrittenFile], channels: Mapping[str, Channel]
) -> dict[str, object]:
    """Return rosbag2's description of a bag, version 9 (Jazzy)."""
    starts = [file.start_ns for file in files if file.start_ns is not None]
    start_ns, end_ns = min(starts, default=0), max((file.end_ns for file in files), default=0)
    topics = [
        {
            'topic_metadata': {
                'name': topic,
                'type': channel.kind,
                'serialization_format': 'cdr',
                'offered_qos_profiles': yaml.safe_load(channel.profiles()),
                'type_description_hash': type_hash(channel.kind),
            },
            'message_count': sum(file.counts.get(topic, 0) for file in files),
        }
        for topic, channel in channels.items()
    ]
    return {
        'rosbag2_bagfile_information': {
            'version': 9,
            'storage_identifier': 'mcap',
            'duration': {'nanoseconds': max(end_ns - start_ns, 0)},
            'starting_time': {'nanoseconds_since_epoch': start_ns},
            'message_count': sum(sum(file.counts.values()) for file in files),
            'topics_with_message_count': topics,
            'compression_format': '',
            'compression_mode': '',
            'relative_file_paths': [file.path.name for file in files],
            'files': [file.information() for file in files],
            'custom_data': None,
            'ros_distro': 'jazzy',
        }
    }
