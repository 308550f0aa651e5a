# SPDX-License-Identifier: Apache-2.0
"""Settings that change while a policy runs: what is refused, and what the changed ones do."""

from dataclasses import replace

from counts import FEW
from hypothesis import example, given
from hypothesis import strategies as st
import numpy as np
import pytest

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.gripper import GripperFilter
from xvla_ros.core.live_settings import AT_REST, live_names, SAFER, with_limit, with_warm_start
from xvla_ros.core.resources import shared_file
from xvla_ros.core.settings import LimitSettings
from xvla_ros.core.step_gate import StepGate

DT_S = 0.02
HOME = ArmPose(position=(0.45, 0.0, 0.30), quaternion=(1.0, 0.0, 0.0, 0.0), gripper=1.0)
# Shares of what is given: 1 is the same, below it is safer where less is.
SHARES = st.floats(0.1, 2.0)


@pytest.fixture(scope='module')
def embodiment():
    return load_embodiment(shared_file('config', 'franka_sim.yaml'))


@pytest.mark.parametrize('key', SAFER)
@FEW
@given(now=st.floats(0.1, 1.0), wanted=SHARES, armed=st.booleans())
def test_only_towards_safer_without_disarming_and_never_beyond_the_start(key, now, wanted, armed):
    """In shares of safety: 1 is what the policy was started with, more is safer."""
    start = LimitSettings(min_arm_distance_m=0.1)

    def value(share):
        return getattr(start, key) * (share if SAFER[key] < 0 else 1 / share)

    limits = replace(start, **{key: value(now)})
    allowed = wanted <= 1 and (not armed or (wanted <= now and key not in AT_REST))
    if not allowed:
        with pytest.raises(ConfigError, match=f'limits.{key}'):
            with_limit(limits, key, value(wanted), given=start, armed=armed)
        return
    changed = with_limit(limits, key, value(wanted), given=start, armed=armed)
    assert getattr(changed, key) == value(wanted)


def test_every_live_setting_is_a_setting(embodiment):
    for name in live_names(embodiment):
        value = embodiment
        for part in name.split('.'):
            value = value[part] if isinstance(value, dict) else getattr(value, part)
        assert value is not None


@FEW
@example(speed=0.021484375, goals=[(0, 0, 0.0625), (0, 0.25, 0), (0, 0, 0), (0, 0, 0)], change=2)
@given(
    speed=st.floats(0.02, 0.4),
    goals=st.lists(st.tuples(*[st.floats(-0.4, 0.4)] * 3), min_size=4, max_size=30),
    change=st.integers(1, 3),
)
def test_a_motion_brakes_to_a_lower_speed_and_keeps_it(speed, goals, change):
    """
    The speed falls until it is allowed, and stays so.

    The velocity moves by at most a * dt towards one that is allowed. Where that one points
    elsewhere, part of the change turns the velocity, so the speed falls by less than a * dt.
    """
    embodiment = load_embodiment(shared_file('config', 'franka_sim.yaml'))
    gate, limits = StepGate(embodiment), embodiment.limits
    before, velocity = np.array(HOME.position), 0.0
    for step, offset in enumerate(goals):
        if step == change:
            gate.limit(replace(limits, max_linear_speed_m_s=speed))
        target = replace(HOME, position=np.add(HOME.position, offset))
        verdict = gate.check([target], [HOME], DT_S)
        if verdict.targets is None:
            return
        now = float(np.linalg.norm(verdict.targets[0].position - before)) / DT_S
        change_m_s = limits.max_linear_acceleration_m_s2 * DT_S
        if step >= change:
            share = min(1.0, change_m_s / (velocity + speed))
            assert now <= max(speed, velocity - share * (velocity - speed)) + 1e-6
        before, velocity = verdict.targets[0].position, now


def test_a_grippers_decision_stays_until_the_new_threshold_says_else(embodiment):
    settings = replace(embodiment.arms['arm'].gripper, threshold=0.5, hysteresis=0.1, dwell_s=0.0)
    gripper = GripperFilter(settings)
    assert gripper.update(0.6, 1) == 0.0
    gripper.retune(replace(settings, threshold=0.65))
    assert gripper.update(0.6, 2) == 0.0  # closed, and above the release at 0.55
    assert gripper.update(0.5, 3) == 1.0
    assert gripper.update(0.6, 4) == 1.0


def test_a_warm_start_that_does_not_fit_is_refused(embodiment):
    assert with_warm_start(embodiment.policy, 0.4).warm_start_time == 0.4
    google = replace(embodiment.policy, relative_position=True)
    with pytest.raises(ValueError, match='warm start needs relative_position false'):
        with_warm_start(google, 0.4)
