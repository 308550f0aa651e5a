# SPDX-License-Identifier: Apache-2.0
"""What the safety gate allows."""

from dataclasses import dataclass

from xvla_ros.core.schema import param


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """Limits of the safety gate, per arm; `on_*`: clamp or reject what exceeds them."""

    max_linear_speed_m_s: float = param('Fastest tool speed [m/s].', 0.5, low=0.001, high=3.0)
    max_angular_speed_rad_s: float = param(
        'Fastest tool rotation [rad/s].', 1.5, low=0.001, high=10.0
    )
    max_linear_acceleration_m_s2: float = param(
        'Largest tool acceleration [m/s^2].', 5.0, low=0.01, high=50.0
    )
    max_angular_acceleration_rad_s2: float = param(
        'Largest rotational acceleration [rad/s^2].', 15.0, low=0.01, high=200.0
    )
    max_first_step_m: float = param(
        "Largest distance of a chunk's first anchor from the measured tool [m].",
        0.10,
        low=0.001,
        high=2.0,
    )
    max_first_step_rad: float = param('Same for rotation [rad].', 0.6, low=0.001, high=3.2)
    max_following_error_m: float = param(
        'Controller: largest distance of an arm from its targets of the last following_lag_s [m]; '
        'beyond it the arm is stopped until ~/reset. 0 = unchecked.',
        0.05,
        low=0.0,
        high=2.0,
    )
    max_following_error_rad: float = param('Same for rotation [rad].', 0.3, low=0.0, high=3.2)
    following_lag_s: float = param(
        'Largest lag of an arm and its driver behind the targets [s].', 0.3, low=0.0, high=2.0
    )
    min_arm_distance_m: float = param(
        'Least distance between the two tools [m]; 0 = unchecked.', 0.0, low=0.0, high=2.0
    )
    max_rotation_residual: float = param(
        'Largest Rotate6D residual of a raw action; above it the layout is taken as wrong.',
        0.3,
        low=0.001,
        high=2.0,
    )
    on_workspace: str = param(
        'For targets outside the box or planes.', 'clamp', choices=('clamp', 'reject')
    )
    on_speed: str = param(
        'For targets that need more speed or acceleration.', 'clamp', choices=('clamp', 'reject')
    )
    on_first_step: str = param(
        'For chunks that begin too far away.', 'reject', choices=('clamp', 'reject')
    )
    on_arm_distance: str = param(
        'For tools that come too close.', 'reject', choices=('clamp', 'reject')
    )
    max_first_step_joint_rad: float = param(
        "Joint space: largest distance of a chunk's first anchor from a measured joint [rad]; "
        'includes the lead of a leader arm.',
        0.35,
        low=0.001,
        high=3.2,
    )
    joint_margin_rad: float = param(
        "Joint space: how far commands stay inside the joints' limits [rad].",
        0.02,
        low=0.0,
        high=0.5,
    )
    check_collisions: bool = param(
        'Refuse motions in which links touch each other or a scene box (needs URDF files).', False
    )
