# SPDX-License-Identifier: Apache-2.0
"""A home motion ends with a stop, and a stop outlasts a deactivation. Without ROS."""

import pytest

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import Reason
from xvla_ros.core.resources import shared_file
from xvla_ros.runtime.control import PolicyControl
from xvla_ros.runtime.home import HomeMotion
from xvla_ros.runtime.state import State

TICK_NS = 20_000_000
BEGIN_NS = 500 * TICK_NS
EMBODIMENT = load_embodiment(shared_file('config', 'franka_sim.yaml'))


def arm(y_m):
    return ArmPose(position=(0.45, y_m, 0.30), quaternion=(1.0, 0.0, 0.0, 0.0), gripper=1.0)


HERE, HOME = (arm(0.0),), (arm(0.3),)


def stop_by_block(source):
    """Return a stop that a block makes and takes back."""
    return (
        lambda control, now_ns: control.block(source, Reason('gone', 'gone'), now_ns),
        lambda control, now_ns: control.unblock(source),
    )


STOPS = {
    'fault': (
        lambda control, now_ns: control.fault(Reason('e-stop', 'e-stop pressed'), now_ns),
        lambda control, now_ns: control.reset(now_ns),
    ),
    'disarmed': (
        lambda control, now_ns: control.set_armed(False),
        lambda control, now_ns: control.set_armed(True),
    ),
    **{source: stop_by_block(source) for source in ('deadman', 'inputs', 'worker', 'state')},
}


@pytest.mark.parametrize('name', STOPS)
def test_a_home_motion_does_not_go_on_after_a_stop(name):
    stop, go = STOPS[name]
    control = PolicyControl(EMBODIMENT)
    control.go_home(HomeMotion(HERE, HOME, EMBODIMENT.limits, BEGIN_NS))
    assert control.tick(BEGIN_NS + TICK_NS, HERE, '').targets is not None
    stop(control, BEGIN_NS + TICK_NS)
    go(control, BEGIN_NS + 30 * TICK_NS)
    assert control.tick(BEGIN_NS + 31 * TICK_NS, HERE, '').targets is None
    assert control.state(BEGIN_NS + 31 * TICK_NS) == State.IDLE


def test_what_holds_goes_on_holding_after_an_activation():
    control = PolicyControl(EMBODIMENT)
    control.block(
        'inputs', Reason('camera main', 'camera main: nothing received yet'), BEGIN_NS
    )  # told on change only
    control.activate()
    control.set_task('pick up the red block')
    assert control.snapshot(BEGIN_NS).message == 'camera main: nothing received yet'
    control.fault(Reason('e-stop', 'e-stop pressed'), BEGIN_NS)
    control.activate()
    assert control.state(BEGIN_NS) == State.FAULT
    assert control.held_by.text == 'e-stop pressed'
    control.reset(BEGIN_NS)
    assert control.held_by.text == 'camera main: nothing received yet'
    control.unblock('inputs')
    assert not control.held_by
