# SPDX-License-Identifier: Apache-2.0
"""
Read a rosbag2 (MCAP or SQLite, compressed or damaged) without ROS.

    python examples/read_bag.py BAG
"""

import sys

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.message_types import read_message

bag = open_bag(sys.argv[1])
print(f'{bag.duration_s:.2f} s in {len(bag.files)} file(s)')
for name, topic in sorted(bag.topics.items()):
    print(f'{topic.count:6} x {name} ({topic.kind}), {topic.rate_hz:.1f} Hz')
for gap in bag.gaps:
    print('could not be read:', gap)

for raw in bag.messages():  # in time order
    message = read_message(raw.kind, raw.data)
    print(f'first message: {raw.topic} at {raw.time_ns} ns: {message}')
    break
