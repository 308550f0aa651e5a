# SPDX-License-Identifier: Apache-2.0
"""What the worker says of its inputs, and when: a changed reason at once, changed ages rarely."""

import pytest

from xvla_ros.core.errors import ObservationError
from xvla_ros.runtime.inputs import InputWatch


class Script:
    """Inputs that have one trouble after the other, and the link that is told of it."""

    def __init__(self):
        self.trouble, self.said = None, []

    def check(self):
        if self.trouble:
            raise ObservationError(*self.trouble)

    def send(self, waiting):
        self.said.append(waiting.reason.text)


@pytest.fixture
def script():
    return Script()


def test_every_change_of_the_reason_is_said(script):
    watch = InputWatch(script, script.send)
    troubles = [
        ('camera main: nothing received yet', 'camera main', 'missing'),
        ('camera main: stamp is 5.002 s in the future', 'camera main', 'early'),
        ('camera main: last message is 0.310 s old, limit 0.3 s', 'camera main', 'stale'),
        ('camera wrist: last message is 0.310 s old, limit 0.3 s', 'camera wrist', 'stale'),
        None,
        ('camera main: nothing received yet', 'camera main', 'missing'),
    ]
    for trouble in troubles:
        script.trouble = trouble
        for _ in range(3):
            watch.look()
    assert script.said == [trouble[0] if trouble else '' for trouble in troubles]


def test_an_age_that_grows_is_said_again_but_not_at_every_look(script):
    now_s = 0.0
    watch = InputWatch(script, script.send, lambda: now_s)
    for look in range(300):
        now_s = 10.0 + look / 100
        text = f'camera main: last message is {look / 100:.3f} s old'
        script.trouble = (text, 'camera main', 'stale')
        watch.look()
    assert len(script.said) == len(set(script.said)) == 3
