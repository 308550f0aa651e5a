# SPDX-License-Identifier: Apache-2.0
"""What a bag shows, read as the live nodes read it: where the arms were, and pictures."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.nodes.arm_state import ArmStates
from xvla_ros.nodes.images import image_from_message
from xvla_ros.nodes.policy_thread import ArmReader
from xvla_ros.nodes.record import message_class
from xvla_ros.nodes.replay_inputs import (
    BagClock,
    BagNode,
    decoded,
    with_recorded_descriptions,
)
from xvla_ros.replay.bag import Bag
from xvla_ros.replay.chunks import arm_rows
from xvla_ros.replay.topics import recorded_name

# Poses are read at this rate [Hz]: twice what an eye resolves in a plot of a minute.
RATE_HZ = 25.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One picture: (H, W, 3) uint8 RGB, received at time_ns."""

    time_ns: int
    picture: NDArray[np.uint8]


def measured_arms(
    bag: Bag, embodiment: Embodiment, offset_ns: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """
    Return where the arms were: times (N,) [ns], rows (N, arms, 8) as `arm_rows`.

    :param offset_ns: how far the recorder's clock is ahead of the stamps'.
    """
    embodiment = with_recorded_descriptions(bag, embodiment)
    clock = BagClock()
    node = BagNode(clock, bag.topics)
    arms = ArmReader(embodiment, ArmStates(node, embodiment), clock)
    period_ns, due_ns = round(NANOSECONDS / RATE_HZ), bag.start_ns - offset_ns
    times, rows = [], []
    for raw in bag.messages(node.topics):
        node.deliver(raw)
        clock.advance(raw.time_ns - offset_ns)
        if clock.now_ns < due_ns:
            continue
        due_ns = clock.now_ns + period_ns
        try:
            rows.append(arm_rows(arms.read()))
            times.append(clock.now_ns)
        except ObservationError:
            continue
    shape = (len(times), len(embodiment.arm_names), 8)
    return np.array(times, np.int64), np.array(rows).reshape(shape)


def frames(bag: Bag, embodiment: Embodiment, count: int) -> dict[str, list[Frame]]:
    """Return up to `count` pictures of each camera, evenly spread; only these are decoded."""
    names = {
        recorded_name(camera.topic, bag.topics): name
        for name, camera in embodiment.cameras.items()
    }
    names.pop(None, None)
    span_ns = max(bag.end_ns - bag.start_ns, 1)
    due = {topic: [bag.start_ns + span_ns * i // count for i in range(count)] for topic in names}
    found: dict[str, list[Frame]] = {name: [] for name in names.values()}
    for raw in bag.messages(names):
        waiting = due[raw.topic]
        if not waiting or raw.time_ns < waiting[0]:
            continue
        while waiting and waiting[0] <= raw.time_ns:
            waiting.pop(0)
        camera = embodiment.cameras[names[raw.topic]]
        message = decoded(raw, message_class(raw.kind))
        picture = image_from_message(message, raw.topic, camera.rotate_180)
        found[names[raw.topic]].append(Frame(time_ns=raw.time_ns, picture=picture))
    return found


def jpeg(picture: NDArray[np.uint8], width: int) -> bytes:
    """Return a picture as JPEG, no wider than `width`."""
    import cv2

    height = max(1, round(picture.shape[0] * width / picture.shape[1]))
    if picture.shape[1] > width:
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode('.jpg', cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return bytes(data.tobytes())
