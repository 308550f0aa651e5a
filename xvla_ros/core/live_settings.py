# SPDX-License-Identifier: Apache-2.0
"""
The settings that may change while a policy runs, and the checks of a change.

A limit may become safer at any time. It may return towards its value at the start only while the
robot is not armed. It never becomes less safe than at the start, because the controller keeps that
value. Limits of acceleration change only while the robot is not armed, because braking uses them.
"""

from dataclasses import replace
from typing import Any

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.settings import LimitSettings, PolicySettings

# +1: a higher value is safer, -1: a lower one.
SAFER = {
    'max_linear_speed_m_s': -1,
    'max_angular_speed_rad_s': -1,
    'max_linear_acceleration_m_s2': -1,
    'max_angular_acceleration_rad_s2': -1,
    'max_first_step_m': -1,
    'max_first_step_rad': -1,
    'max_rotation_residual': -1,
    'min_arm_distance_m': 1,
}
AT_REST = ('max_linear_acceleration_m_s2', 'max_angular_acceleration_rad_s2')
GRIPPER = ('threshold', 'hysteresis')


def live_names(embodiment: Embodiment) -> tuple[str, ...]:
    """Return the dotted names of the settings that may change while a policy runs."""
    grippers = [f'arms.{arm}.gripper.{key}' for arm in embodiment.arm_names for key in GRIPPER]
    policy = ('policy.checkpoint', 'policy.instruction', 'policy.warm_start_time')
    return ('control.strategy', *policy, *(f'limits.{key}' for key in SAFER), *grippers)


def with_limit(
    limits: LimitSettings, key: str, value: float, *, given: LimitSettings, armed: bool
) -> LimitSettings:
    """
    Return the limits with one changed.

    :param given: the limits that the policy was started with. :param armed: whether it may move.
    :raises ConfigError: the change is not allowed now; the message says when it is.
    """
    sign = SAFER[key]
    was, most = getattr(limits, key), getattr(given, key)
    name = f'limits.{key}'
    if sign * (value - most) < 0:
        raise ConfigError(
            f'{name}: {value:g} is less safe than {most:g}, with which policy and controller were '
            'started: restart both to change it'
        )
    if armed and key in AT_REST:
        raise ConfigError(f'{name}: braking uses it, so it changes only while not armed')
    if armed and sign * (value - was) < 0:
        raise ConfigError(f'{name}: {value:g} is less safe than {was:g}: disarm first')
    changed: dict[str, Any] = {key: value}
    return replace(limits, **changed)


def with_warm_start(policy: PolicySettings, time: float) -> PolicySettings:
    """
    Return the settings with another time at which denoising starts.

    :raises ValueError: warm starts do not fit the other settings.
    """
    return replace(policy, warm_start_time=time)
