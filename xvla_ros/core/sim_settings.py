# SPDX-License-Identifier: Apache-2.0
"""The `sim` block of an embodiment. World frame: z up, table top at z = 0."""

from dataclasses import dataclass

import numpy as np

from xvla_ros.core.schema import check_corners, check_lengths, param

# Length of view x up [m] below which a camera's horizontal axis is undefined.
LEAST_SIDE = 1e-6


@dataclass(frozen=True, kw_only=True)
class SimArmSettings:
    """One simulated arm."""

    base_position_m: tuple[float, ...] = param('Arm base frame in the world [m].', (0.0, 0.0, 0.0))
    base_yaw_rad: float = param('Rotation of the base frame about world z [rad].', 0.0)
    finger_joints: tuple[str, ...] = param('Prismatic finger joints in the URDF.')
    finger_open_m: tuple[float, ...] = param('Their positions when open [m].')
    finger_closed_m: tuple[float, ...] = param('Their positions when closed [m].')
    gap_open_m: float = param(
        "Gap between the fingertips when open [m]; 0 = the fingers' whole travel.", 0.0, low=0.0
    )
    block_min_m: tuple[float, ...] = param(
        'Lower x, y corner of the block area in the arm base frame [m].'
    )
    block_max_m: tuple[float, ...] = param('Upper corner of that area [m].')

    def __post_init__(self) -> None:
        """Refuse fingers that do not move and an empty block area."""
        fingers = len(self.finger_joints)
        lists = {'finger_open_m': fingers, 'finger_closed_m': fingers, 'base_position_m': 3}
        check_lengths(self, {**lists, 'block_min_m': 2, 'block_max_m': 2})
        ends = list(zip(self.finger_open_m, self.finger_closed_m, strict=True))
        if not ends or any(opened == closed for opened, closed in ends):
            raise ValueError(
                'expected at least one of finger_joints, and finger_open_m to differ from '
                f'finger_closed_m for each, got {self.finger_open_m} and {self.finger_closed_m}'
            )
        check_corners(self, 'block_min_m', 'block_max_m')


@dataclass(frozen=True, kw_only=True)
class SimCameraSettings:
    """One simulated camera."""

    mount: str = param(
        'Name of the arm whose tool frame carries it; empty: fixed in the world.', ''
    )
    position_m: tuple[float, ...] = param('Where it is, in the world or the tool frame [m].')
    target_m: tuple[float, ...] = param('The point it looks at, in the same frame [m].')
    up: tuple[float, ...] = param(
        'Direction that is up in its image, same frame.', (0.0, 0.0, 1.0)
    )
    fov_deg: float = param('Vertical field of view [deg].', 45.0, low=5.0, high=150.0)

    def __post_init__(self) -> None:
        """Refuse a camera without a viewing direction."""
        check_lengths(self, {'position_m': 3, 'target_m': 3, 'up': 3})
        view = np.subtract(self.target_m, self.position_m)
        if np.linalg.norm(np.cross(view, self.up)) < LEAST_SIDE:
            raise ValueError(
                f'from position_m {self.position_m} to target_m {self.target_m} with up {self.up} '
                'is no view: expected two different points, and up not along the line between them'
            )


@dataclass(frozen=True, kw_only=True)
class SimSettings:
    """The simulated world of one embodiment."""

    arms: dict[str, SimArmSettings] = param('One block per arm, same names as `arms`.')
    cameras: dict[str, SimCameraSettings] = param(
        'One block per camera of `cameras`; more are allowed (demo view).'
    )
    physics_rate_hz: float = param('Physics steps per second.', 500.0, low=100.0, high=5000.0)
    state_rate_hz: float = param(
        'Rate of joint and pose topics [Hz].', 100.0, low=1.0, high=1000.0
    )
    camera_rate_hz: float = param('Rate of the camera topics [Hz].', 15.0, low=1.0, high=60.0)
    image_width: int = param('Width of published images [px].', 224, low=32, high=1920)
    image_height: int = param('Height of published images [px].', 224, low=32, high=1080)
    block_size_m: float = param('Edge of the blocks [m].', 0.04, low=0.01, high=0.1)
    hover_m: float = param(
        "Height of the expert's hover above the block centre [m].", 0.07, low=0.0, high=0.15
    )
    expert_speed_m_s: float = param('Speed of the scripted expert [m/s].', 0.2, low=0.01, high=1.0)
    table_min_m: tuple[float, ...] = param(
        'Lower x, y corner of the table top in the world [m].', (-0.2, -0.6)
    )
    table_max_m: tuple[float, ...] = param('Upper corner [m].', (0.9, 0.6))

    def __post_init__(self) -> None:
        """Refuse a table without an area."""
        check_lengths(self, {'table_min_m': 2, 'table_max_m': 2})
        check_corners(self, 'table_min_m', 'table_max_m')
