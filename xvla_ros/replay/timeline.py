# SPDX-License-Identifier: Apache-2.0
"""Whether the recorder's clock is the one that stamped the messages, and if not, how far apart."""

from collections.abc import Iterable

import numpy as np

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.replay.bag import Bag
from xvla_ros.replay.message_types import header_stamp_ns

# Looked at, per topic.
SAMPLES = 50
# A message is received this soon after its stamp, or the clocks are two; and this much before,
# which is what synchronised clocks are apart.
MOST_DELAY_S, MOST_LEAD_S = 1.0, 0.05


def clock_offset_ns(bag: Bag, topics: Iterable[str]) -> int:
    """
    Return how far the recorder's clock is ahead of the stamps' [ns]; 0 when they are the same.

    :param topics: names of topics whose messages begin with a header.
    """
    delays: dict[str, list[int]] = {topic: [] for topic in topics}
    for raw in bag.messages(delays):
        if len(delays[raw.topic]) < SAMPLES and len(raw.data) >= 12:
            delays[raw.topic].append(raw.time_ns - header_stamp_ns(raw.data))
        if all(len(each) >= SAMPLES for each in delays.values()):
            break
    found = np.array([delay for each in delays.values() for delay in each])
    if not len(found):
        return 0
    usual = float(np.median(found)) / NANOSECONDS
    return 0 if -MOST_LEAD_S <= usual <= MOST_DELAY_S else int(found.min())
