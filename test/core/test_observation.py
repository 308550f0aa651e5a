# SPDX-License-Identifier: Apache-2.0
"""An observation is complete, fresh and consistent, or there is none and the culprit is named."""

from hypothesis import given
from hypothesis import strategies as st
import numpy as np
import pytest

from xvla_ros.core.errors import ObservationError
from xvla_ros.core.observation_buffer import ObservationBuffer

MS = 1_000_000
NOW = 10_000 * MS
IMAGE = np.zeros((4, 6, 3), dtype=np.uint8)


@pytest.fixture(scope='session')
def filled(franka, pose):
    """Make a buffer in which every input is 20 ms old, but for what the arguments say."""

    def make(ages_ms=None, instruction='pick up the red block'):
        ages = {'camera.main': 20, 'camera.wrist': 20, 'arm.arm': 20, **(ages_ms or {})}
        buffer = ObservationBuffer(franka)
        buffer.set_instruction(instruction)
        for name, age in ages.items():
            kind, _, which = name.partition('.')
            if age is None:
                continue
            value = IMAGE if kind == 'camera' else pose()
            put = buffer.put_image if kind == 'camera' else buffer.put_arm
            put(which, value, NOW - int(age * MS))
        return buffer

    return make


def test_fresh_inputs_are_one_observation_of_the_oldest_stamp(filled):
    observation = filled({'camera.wrist': 60}).snapshot(NOW)
    assert observation.stamp_ns == NOW - 60 * MS
    assert observation.age_s(NOW) == pytest.approx(0.06)
    assert len(observation.images) == 2
    assert len(observation.arms) == 1
    assert observation.instruction == 'pick up the red block'


@pytest.mark.parametrize(
    ('ages_ms', 'message'),
    [
        ({'camera.main': None}, r'camera\.main: nothing received yet'),
        ({'arm.arm': None}, r'arm\.arm: nothing received yet'),
        ({'camera.wrist': 301}, r'camera\.wrist: last message is 0\.301 s old, limit 0\.3'),
        ({'arm.arm': 201}, r'arm\.arm: last message is 0\.201 s old, limit 0\.2'),
        ({'camera.main': -60}, r'camera\.main: stamp is 0\.060 s in the future.*clocks'),
        ({'camera.main': 180}, r'camera\.main is 0\.160 s older than .*limit 0\.15'),
    ],
)
def test_what_is_missing_stale_future_or_apart_is_named(filled, ages_ms, message):
    with pytest.raises(ObservationError, match=message):
        filled(ages_ms).snapshot(NOW)


def test_without_an_instruction_nothing_is_predicted(filled):
    with pytest.raises(ObservationError, match='instruction'):
        filled(instruction=' ').snapshot(NOW)


def test_the_arms_alone_need_no_camera(filled):
    assert len(filled({'camera.main': None}, '').arms(NOW)) == 1
    with pytest.raises(ObservationError, match=r'arm\.arm'):
        filled({'arm.arm': 500}).arms(NOW)


@given(st.lists(st.integers(0, 250), min_size=1, max_size=20))
def test_the_newest_message_wins_in_whatever_order_they_come(filled, ages_ms):
    buffer = filled({'camera.main': 300})
    for age_ms in ages_ms:
        buffer.put_image('main', np.full_like(IMAGE, age_ms), NOW - age_ms * MS)
    stored = buffer._images['main']
    assert stored[0, 0, 0] == min(ages_ms)


@pytest.mark.parametrize(
    'image', [np.zeros((4, 6), np.uint8), np.zeros((4, 6, 4), np.uint8), np.zeros((4, 6, 3)),
              np.zeros((0, 6, 3), np.uint8)]
)  # fmt: skip
def test_an_image_of_another_shape_or_type_is_refused(filled, image):
    with pytest.raises(ObservationError, match=r'camera\.main: expected \(H, W, 3\) uint8 RGB'):
        filled().put_image('main', image, NOW)


def test_unknown_streams_are_refused(filled, pose):
    with pytest.raises(ObservationError, match=r'camera\.left: unknown.*main'):
        filled().put_image('left', IMAGE, NOW)
    with pytest.raises(ObservationError, match=r'arm\.left: unknown'):
        filled().put_arm('left', pose(), NOW)


def test_after_a_jump_of_the_clock_everything_is_new(filled):
    buffer = filled()
    buffer.clear()
    with pytest.raises(ObservationError, match='nothing received yet'):
        buffer.snapshot(NOW)
