# SPDX-License-Identifier: Apache-2.0
"""Small bags for tests, written message by message."""

from pathlib import Path

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.message_types import typestore, write_message
from xvla_ros.bags.writer import BagWriter, Bounds, Channel

ROOT = Path(__file__).resolve().parents[2]
STRING = 'std_msgs/msg/String'


def string(text):
    return write_message(STRING, typestore().types[STRING](data=text))


def write_strings(folder, count=50, bounds=None, size=0):
    """Write a bag of numbered strings, 10 ms apart, and a latched one."""
    channels = {
        '/task': Channel(kind=STRING, latched=True),
        '/words': Channel(kind=STRING),
    }
    with BagWriter(folder, channels, bounds or Bounds()) as writer:
        writer.write('/task', 1_000_000_000, string('the task'))
        for number in range(count):
            text = f'word {number} ' + 'x' * size
            writer.write('/words', 1_000_000_000 + number * 10_000_000, string(text))
    return folder


def copy_bag(source, folder, keep=lambda raw: True, change=lambda raw: raw.data, rename=None):
    """Copy a bag message by message, leaving out, changing and renaming some."""
    bag = open_bag(source)
    rename = rename or {}
    channels = {
        rename.get(name, name): Channel(kind=topic.kind, latched=topic.kind == STRING)
        for name, topic in bag.topics.items()
    }
    with BagWriter(folder, channels, Bounds()) as writer:
        for raw in bag.messages():
            if keep(raw):
                writer.write(rename.get(raw.topic, raw.topic), raw.time_ns, change(raw))
    return folder
