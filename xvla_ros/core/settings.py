# SPDX-License-Identifier: Apache-2.0
"""The settings blocks of an embodiment: cameras, control and limits; the others by import."""

from dataclasses import dataclass

from xvla_ros.core.arm_settings import ArmSettings, GripperSettings, HEADER, RECEIVE
from xvla_ros.core.camera_settings import CameraSettings
from xvla_ros.core.limit_settings import LimitSettings
from xvla_ros.core.policy_settings import PolicySettings
from xvla_ros.core.schema import param

__all__ = [
    'HEADER',
    'RECEIVE',
    'ArmSettings',
    'CameraSettings',
    'ControlSettings',
    'GripperSettings',
    'LimitSettings',
    'PolicySettings',
]


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """From chunk to targets."""

    rate_hz: float = param('Rate of published targets [Hz].', 50.0, low=1.0, high=1000.0)
    strategy: str = param(
        'How a new chunk is joined to the current targets.',
        'blend',
        choices=('replace', 'blend', 'ensemble', 'inpaint'),
    )
    blend_s: float = param(
        'Length of the cross-fade of blend and inpaint [s].', 0.4, low=0.0, high=5.0
    )
    ensemble_decay: float = param(
        'Weight decay per older chunk of ensemble (ACT: 0.01).', 0.01, low=0.0, high=5.0
    )
    inpaint_s: float = param(
        'How far beyond the latency the soft prefix of inpaint reaches [s].',
        0.2,
        low=0.0,
        high=5.0,
    )
    engage_s: float = param(
        'Length of the ramp from the measured pose to the plan when motion begins [s].',
        0.5,
        low=0.0,
        high=10.0,
    )
    max_skew_s: float = param(
        'Largest time between two inputs of one observation [s].', 0.15, low=0.001, high=10.0
    )
    future_tolerance_s: float = param(
        'How far in the future a stamp may be [s].', 0.05, low=0.0, high=1.0
    )
    hold_after_s: float = param(
        'Controller: hold after this long without a target [s].', 0.1, low=0.01, high=5.0
    )
    ahead_s: float = param(
        'Joint space and driver joint_trajectory: hand over this much of the plan after each '
        'target, with a stop at its end; at most hold_after_s [s]. 0: one point per target.',
        0.0,
        low=0.0,
        high=0.5,
    )
    worker_timeout_s: float = param(
        'Hold when the inference worker has given no sign of life for this long [s]; it is '
        'replaced after 20 s.',
        0.5,
        low=0.1,
        high=10.0,
    )
    replan_period_s: float = param(
        'Least time between two inferences [s]; 0 = as fast as the model.', 0.0, low=0.0, high=30.0
    )
    start_armed: bool = param('Start armed instead of in dry-run. Never on hardware.', False)
    resume_after_restart: bool = param(
        'Resume motion by itself after the inference worker restarted.', True
    )
    deadman_topic: str = param(
        'std_msgs/Bool that must be true and recent for the robot to move; else policy and '
        'controller hold. Empty: no deadman switch.',
        '',
        topic=True,
    )
    deadman_timeout_s: float = param(
        'Age at which the deadman counts as released [s].', 0.25, low=0.02, high=5.0
    )
    estop_topic: str = param(
        'std_msgs/Bool; true latches a fault. Empty: no e-stop topic.', 'estop', topic=True
    )
