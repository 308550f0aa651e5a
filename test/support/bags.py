# SPDX-License-Identifier: Apache-2.0
"""Small bags for tests, written message by message."""

from pathlib import Path

from xvla_ros.replay.message_types import typestore, write_message
from xvla_ros.replay.writer import BagWriter, Bounds, Channel

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
