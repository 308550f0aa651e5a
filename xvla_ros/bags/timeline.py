# SPDX-License-Identifier: Apache-2.0
"""Detects whether recorder and stamps use one clock, and the offset if they do not."""

from collections.abc import Iterable

import numpy as np

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.message_types import header_stamp_ns, STAMP_END
from xvla_ros.core.chunk import NANOSECONDS

# Number of messages to check per topic.
SAMPLES = 50
# With one clock a message is received at most the first time after its stamp, and at most the
# second before it (the error of synchronised clocks) [s].
MOST_DELAY_S, MOST_LEAD_S = 1.0, 0.05


def clock_offset_ns(bag: Bag, topics: Iterable[str]) -> int:
    """
    Return how far the recorder's clock is ahead of the stamps' [ns]; 0 when they are the same.

    :param topics: names of topics whose messages begin with a header.
    """
    delays: dict[str, list[int]] = {topic: [] for topic in topics}
    for raw in bag.messages(delays):
        if len(delays[raw.topic]) < SAMPLES and len(raw.data) >= STAMP_END:
            delays[raw.topic].append(raw.time_ns - header_stamp_ns(raw.data))
        if all(len(each) >= SAMPLES for each in delays.values()):
            break
    found = np.array([delay for each in delays.values() for delay in each])
    if not len(found):
        return 0
    usual = float(np.median(found)) / NANOSECONDS
    return 0 if -MOST_LEAD_S <= usual <= MOST_DELAY_S else int(found.min())
