# SPDX-License-Identifier: Apache-2.0
"""Streams are complete, fresh and of one moment, or the culprit is named."""

import pytest

from xvla_ros.core.errors import ObservationError
from xvla_ros.core.observation import check_skew, check_streams, Observation, StreamLimit

MS = 1_000_000
NOW = 10_000 * MS
LIMITS = (
    StreamLimit(name='camera.main', max_age_s=0.3),
    StreamLimit(name='camera.wrist', max_age_s=0.3),
    StreamLimit(name='arm.arm', max_age_s=0.2),
)


def stamps(**ages_ms):
    """Return the stamps of three streams that are 20 ms old, but for what the arguments say."""
    ages = {'main': 20, 'wrist': 20, 'arm': 20, **ages_ms}
    names = {'main': 'camera.main', 'wrist': 'camera.wrist', 'arm': 'arm.arm'}
    return {names[name]: NOW - age * MS for name, age in ages.items() if age is not None}


def test_fresh_streams_of_one_moment_are_good():
    check_streams(stamps(wrist=60), LIMITS, NOW, max_skew_s=0.15)


def test_an_observation_has_the_stamp_of_its_oldest_input():
    observation = Observation(images=(), arms=(), instruction='', stamps_ns=stamps(wrist=60))
    assert observation.stamp_ns == NOW - 60 * MS


@pytest.mark.parametrize(
    ('ages_ms', 'message'),
    [
        ({'main': None}, r'camera\.main: nothing received yet'),
        ({'arm': None}, r'arm\.arm: nothing received yet'),
        ({'wrist': 301}, r'camera\.wrist: last message is 0\.301 s old, limit 0\.3'),
        ({'arm': 201}, r'arm\.arm: last message is 0\.201 s old, limit 0\.2'),
        ({'main': -60}, r'camera\.main: stamp is 0\.060 s in the future.*clocks'),
        ({'main': 180}, r'camera\.main is 0\.160 s older than .*limit 0\.15'),
    ],
)
def test_what_is_missing_stale_future_or_apart_is_named(ages_ms, message):
    with pytest.raises(ObservationError, match=message):
        check_streams(stamps(**ages_ms), LIMITS, NOW, max_skew_s=0.15)


def test_skew_alone_looks_at_no_age():
    check_skew(stamps(main=5000, wrist=5000, arm=5100), 0.15)
    with pytest.raises(ObservationError, match=r'arm\.arm is 0\.200 s older than camera'):
        check_skew(stamps(main=5000, wrist=5000, arm=5200), 0.15)
