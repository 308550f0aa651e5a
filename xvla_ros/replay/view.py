# SPDX-License-Identifier: Apache-2.0
"""Reads the path of the arms and camera images from a bag, as the live nodes do."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.bags.bag import Bag
from xvla_ros.bags.chunks import arm_rows
from xvla_ros.bags.topics import recorded_name
from xvla_ros.core.chunk import NANOSECONDS
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.inputs.arm_state import ArmReader, ArmStates
from xvla_ros.inputs.images import image_from_message
from xvla_ros.replay.graph import BagGraph, decoded, Transforms, with_recorded_descriptions
from xvla_ros.runtime.simulated import SimulatedClock

# Poses are read at this rate [Hz], twice the visible resolution of a plot of one minute.
RATE_HZ = 25.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Frame:
    """One image: (H, W, 3) uint8 RGB, received at time_ns."""

    time_ns: int
    image: NDArray[np.uint8]


def measured_arms(
    bag: Bag, embodiment: Embodiment, offset_ns: int, transforms: Transforms | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """
    Return the path of the arms: times (N,) [ns], rows (N, arms, 8) as `arm_rows`.

    :param offset_ns: how far the recorder's clock is ahead of the stamps' clock.
    :param transforms: reads TF, if an arm's pose comes from it.
    """
    embodiment = with_recorded_descriptions(bag, embodiment)
    clock, graph = SimulatedClock(), BagGraph(bag.topics, transforms, offset_ns)
    arms = ArmReader(embodiment, ArmStates(graph, embodiment), clock)
    period_ns, due_ns = round(NANOSECONDS / RATE_HZ), bag.start_ns - offset_ns
    times, rows = [], []
    for raw in bag.messages(graph.topics):
        graph.deliver(raw)
        clock.advance(raw.time_ns - offset_ns)
        if clock.now_ns() < due_ns:
            continue
        due_ns = clock.now_ns() + period_ns
        try:
            rows.append(arm_rows(arms.read()))
            times.append(clock.now_ns())
        except ObservationError:
            continue
    shape = (len(times), len(embodiment.arm_names), 8)
    return np.array(times, np.int64), np.array(rows).reshape(shape)


def frames(bag: Bag, embodiment: Embodiment, count: int) -> dict[str, list[Frame]]:
    """Return up to `count` images of each camera, evenly spaced; only these are decoded."""
    recorded = {n: recorded_name(c.topic, bag.topics) for n, c in embodiment.cameras.items()}
    names = {topic: name for name, topic in recorded.items() if topic is not None}
    span_ns = max(bag.end_ns - bag.start_ns, 1)
    due = {topic: [bag.start_ns + span_ns * i // count for i in range(count)] for topic in names}
    found: dict[str, list[Frame]] = {name: [] for name in names.values()}
    for raw in bag.messages(names):
        waiting = due[raw.topic]
        if not waiting or raw.time_ns < waiting[0]:
            continue
        camera = embodiment.cameras[names[raw.topic]]
        try:
            message = decoded(raw)
            image = image_from_message(message, raw.topic, camera.rotate_180, camera.encoding)
        except ObservationError:
            continue  # use the next readable one instead
        while waiting and waiting[0] <= raw.time_ns:
            waiting.pop(0)
        found[names[raw.topic]].append(Frame(time_ns=raw.time_ns, image=image))
    return found


def jpeg(image: NDArray[np.uint8], width: int) -> bytes:
    """Return an image as JPEG, at most `width` pixels wide."""
    import cv2

    height = max(1, round(image.shape[0] * width / image.shape[1]))
    if image.shape[1] > width:
        smaller = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        image = np.asarray(smaller, np.uint8)
    _, data = cv2.imencode('.jpg', cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    return bytes(data.tobytes())
