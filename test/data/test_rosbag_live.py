# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: E402
"""A frame of a bag's episode is the observation that a live node makes of the same messages."""

import time

import numpy as np
import pytest

rclpy = pytest.importorskip('rclpy', reason='the live side is ROS')

from xvla_ros.bags.bag import open_bag
from xvla_ros.bags.topics import observation_streams
from xvla_ros.core.profile import ActionProfile
from xvla_ros.data.context import Context
from xvla_ros.data.opening import load_episodes, open_source
from xvla_ros.inputs.observations import ObservationInputs
from xvla_ros.nodes.common.polled import message_class, RosGraph
from xvla_ros.runtime.simulated import SimulatedClock

PATIENCE_S = 60.0


class CountingGraph(RosGraph):
    """The real graph, which tells how many messages of each topic have been handed over."""

    def __init__(self, node):
        super().__init__(node)
        self.feeds, self.counts = {}, {}

    def subscribe(self, kind, topic, store, depth):
        name = '/' + topic
        self.counts.setdefault(name, 0)

        def counted(message, received_ns):
            self.counts[name] += 1
            store(message, received_ns)

        self.feeds[name] = super().subscribe(kind, topic, counted, depth)
        return self.feeds[name]


@pytest.fixture
def node():
    rclpy.init()
    node = rclpy.create_node('parity')
    yield node
    node.destroy_node()
    rclpy.try_shutdown()


def wait(condition, what):
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.0005)


def live_observations(node, bag):
    """Publish a bag's messages over DDS, one by one; return what a live node's inputs make."""
    embodiment = bag.recording.load_embodiment('bag', {})
    clock, graph = SimulatedClock(), CountingGraph(node)
    inputs = ObservationInputs(graph, embodiment, clock)
    streams = {'/' + s.topic: s.kind for s in observation_streams(embodiment)}
    sent = {t: node.create_publisher(message_class(k), t, 10) for t, k in streams.items()}
    wait(lambda: all(p.get_subscription_count() for p in sent.values()), 'discovery')
    last_ns, seen = 0, []
    for raw in bag.messages(streams):
        before = graph.counts[raw.topic]
        sent[raw.topic].publish(raw.data)

        def arrived(topic=raw.topic, before=before):
            graph.feeds[topic].take()
            return graph.counts[topic] > before

        clock.advance(raw.time_ns)
        wait(arrived, raw.topic)
        if inputs.wait_for_frame(last_ns, 0.0):
            seen.append(inputs.observe(''))
            last_ns = seen[-1].stamp_ns
    return embodiment, seen


def test_an_episode_holds_what_the_live_node_saw(bag, node):
    embodiment, seen = live_observations(node, open_bag(bag))
    profile = ActionProfile(embodiment)
    episodes = load_episodes(open_source(bag), Context())
    frames = [(episode, frame) for episode in episodes for frame in range(len(episode))]
    assert len(seen) - 1 <= len(frames) <= len(seen)  # the first may come before any task
    for observation, (episode, frame) in zip(seen[-len(frames) :], frames, strict=True):
        images = episode.look(frame)
        assert all(np.array_equal(a, b) for a, b in zip(observation.images, images, strict=True))
        live = profile.proprio(observation.arms)
        assert np.abs(live - profile.proprio(episode.poses(frame))).max() <= 1e-6
