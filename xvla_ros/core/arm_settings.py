# SPDX-License-Identifier: Apache-2.0
"""The settings of one arm and its gripper."""

from dataclasses import dataclass

import numpy as np

from xvla_ros.core.joint_settings import JointMap, JointSettings, ordered
from xvla_ros.core.names import name_objection
from xvla_ros.core.schema import check_corners, check_lengths, param

# Prefix of `urdf` when it names a topic.
TOPIC = 'topic:'
# The time of a message: its header's stamp, or its arrival.
HEADER, RECEIVE = 'header', 'receive'
# Drivers that take joints; `cartesian_pose` takes poses of the tool.
JOINT_DRIVERS = ('joint_trajectory', 'joint_position', 'joint_target', 'interbotix', 'piper')
IDENTITY_4X4 = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class GripperSettings:
    """One gripper: how the model value is used, how it is measured and commanded."""

    closed_probability: float = param(
        'Model value that means closed: 1.0 or 0.0.', 1.0, low=0.0, high=1.0
    )
    threshold: float = param(
        'Probability (of closed) at which the gripper closes.', 0.5, low=0.0, high=1.0
    )
    hysteresis: float = param(
        'The gripper opens again below threshold minus this.', 0.1, low=0.0, high=0.5
    )
    dwell_s: float = param(
        'Least time between two changes of the gripper [s].', 0.3, low=0.0, high=10.0
    )
    joint_states_topic: str = param(
        "sensor_msgs/JointState holding the finger joints. Empty: the arm's topic.",
        '',
        topic=True,
    )
    joint_names: tuple[str, ...] = param(
        'Finger joints in that message; opening is read from the first.'
    )
    stamp_source: str = param(
        "Stamp of the finger joints: header or receive. Empty: as the arm's.",
        '',
        choices=('', HEADER, RECEIVE),
    )
    max_age_s: float = param(
        "Oldest finger position that may be used [s]. 0 = the arm's max_age_s.",
        0.0,
        low=0.0,
        high=10.0,
    )
    open_position: float = param('Position of the first finger joint when open [m or rad].')
    closed_position: float = param('Position of the first finger joint when closed [m or rad].')
    driver: str = param(
        'Interface that moves the gripper.',
        choices=(
            'float64_array',
            'gripper_command',
            'parallel_gripper_command',
            'franka_gripper',
            'joint_trajectory',
            'interbotix',
            'with_arm',
        ),
    )
    command_topic: str = param(
        'Topic or action name of the gripper command. Empty for with_arm only.', '', topic=True
    )
    command_open: float = param('Command value that means open [driver unit].')
    command_closed: float = param('Command value that means closed [driver unit].')
    max_effort: float = param(
        'Effort limit sent with the command where the interface has one [N or N m].', 20.0, low=0.0
    )
    speed: float = param(
        'Speed sent with the command where the interface has one [m/s or rad/s].', 0.1, low=0.0
    )
    model_index: int = param(
        "Joint space: position of the gripper in the checkpoint's vectors; -1: it has none.",
        -1,
        low=-1,
    )
    model_closed: float = param('Joint space: the model value that means closed.', 0.0)
    model_open: float = param('Joint space: the model value that means open.', 1.0)

    def __post_init__(self) -> None:
        """Refuse a value for closed that is neither 0 nor 1, and a gripper without travel."""
        if self.closed_probability not in (0.0, 1.0):
            raise ValueError(
                f'closed_probability must be 0.0 or 1.0, got {self.closed_probability}'
            )
        if self.open_position == self.closed_position:
            raise ValueError(
                'open_position and closed_position are equal, so the opening cannot be measured'
            )
        if not self.joint_names:
            raise ValueError('joint_names must name at least one finger joint')
        if self.model_open == self.model_closed:
            raise ValueError('model_open and model_closed are equal')
        if self.driver != 'with_arm' and not self.command_topic:
            raise ValueError(f"driver '{self.driver}' needs command_topic")


@dataclass(frozen=True, kw_only=True)
class ArmSettings:
    """One arm: its frames, how it is measured and commanded, and its workspace."""

    base_frame: str = param('Frame that all poses of this arm are in.')
    tool_frame: str = param(
        'Tool centre frame, between the fingertips, z pointing out of the gripper; for other axes '
        'set policy_from_tool.'
    )
    pose_source: str = param(
        'How the tool pose is measured: a pose topic, joints through the URDF, or TF.',
        choices=('pose', 'joints', 'tf'),
    )
    pose_topic: str = param(
        'geometry_msgs/PoseStamped of the tool in base_frame; for pose_source pose.',
        '',
        topic=True,
    )
    joint_states_topic: str = param('sensor_msgs/JointState of the arm.', topic=True)
    joint_names: tuple[str, ...] = param('Arm joints, in the order of the URDF chain.')
    urdf: str = param(
        'URDF file; relative paths are looked up in the package share. topic:NAME: the '
        'std_msgs/String that robot_state_publisher latches there (topic:robot_description). '
        'Empty: no kinematics.',
        '',
    )
    home_rad: tuple[float, ...] = param('Joint positions of the start pose [rad].')
    base_from_policy: tuple[float, ...] = param(
        '4x4 row-major: maps policy-frame poses to base_frame (left factor).', IDENTITY_4X4
    )
    policy_from_tool: tuple[float, ...] = param(
        '4x4 row-major right factor: tool pose = base_from_policy * policy pose * this '
        '(Bridge: Ry(90 deg)).',
        IDENTITY_4X4,
    )
    base_in_world: tuple[float, ...] = param(
        'x, y, z [m], yaw [rad] of base_frame in a world shared by both arms; used for the '
        'arm-arm distance. A simulation puts the base there too.',
        (0.0, 0.0, 0.0, 0.0),
    )
    workspace_min_m: tuple[float, ...] = param(
        'Lower corner of the box that the tool must stay in, base_frame [m].'
    )
    workspace_max_m: tuple[float, ...] = param('Upper corner of that box [m].')
    half_spaces: tuple[float, ...] = param(
        'Planes as rows of four, nx, ny, nz, d (unit n, metres): the tool must keep n.p >= d. '
        '(0,0,0,-1) = none.',
        (0.0, 0.0, 0.0, -1.0),
    )
    stamp_source: str = param(
        'Time of the state: the stamp in its header, or its arrival (receive) for a driver '
        'that does not stamp or whose clock cannot be synchronised.',
        HEADER,
        choices=(HEADER, RECEIVE),
    )
    max_age_s: float = param('Oldest arm state that may be used [s].', 0.2, low=0.005, high=10.0)
    driver: str = param(
        'Interface that moves the arm.',
        choices=('cartesian_pose', *JOINT_DRIVERS),
    )
    command_topic: str = param('Topic of the arm command.', topic=True)
    command_frame: str = param('frame_id that the controller expects. Empty: base_frame.', '')
    gripper: GripperSettings = param('The gripper of this arm.')
    joints: dict[str, JointSettings] = param(
        'Joint-space checkpoints: one block per joint. Absent: the checkpoint is EE6D.', {}
    )

    def __post_init__(self) -> None:
        """Check lengths and that sources have what they need."""
        self._check_lengths()
        if self.joints:
            self._check_joints()
        for name in ('base_from_policy', 'policy_from_tool'):
            if not _is_rigid(getattr(self, name)):
                raise ValueError(
                    f'{name} must be a rotation and a translation, rows of '
                    f'[R t; 0 0 0 1], got {getattr(self, name)}'
                )
        check_corners(self, 'workspace_min_m', 'workspace_max_m')
        if self.pose_source == 'pose' and not self.pose_topic:
            raise ValueError("pose_source 'pose' needs pose_topic")
        if self.pose_source == 'tf' and self.stamp_source != HEADER:
            raise ValueError("pose_source 'tf' needs stamp_source 'header': TF has its own stamps")
        objection = name_objection(self.urdf_topic) if self.urdf.startswith(TOPIC) else ''
        if objection:
            raise ValueError(
                f"urdf '{self.urdf}' names no topic: {objection}; expected one as in "
                'topic:robot_description'
            )
        if not self.urdf and (self.pose_source == 'joints' or self.driver != 'cartesian_pose'):
            raise ValueError(
                f'pose_source {self.pose_source!r} with driver {self.driver!r} needs urdf'
            )

    @property
    def joint_table(self) -> tuple[JointSettings, ...]:
        """The joints table in the order of `joint_names`; empty for an EE6D checkpoint."""
        return ordered(self.joints, self.joint_names) if self.joints else ()

    def joint_map(self) -> JointMap:
        """Return the maps between the checkpoint's numbers, radians and the opening."""
        table, gripper = self.joint_table, self.gripper
        rows = [(joint.model_index, joint.scale, joint.offset) for joint in table]
        if gripper.model_index >= 0:
            travel = gripper.model_open - gripper.model_closed
            rows.append((gripper.model_index, travel, gripper.model_closed))
        index, scale, offset = zip(*rows, strict=True)
        return JointMap(
            index=np.array(index, np.intp), scale=np.array(scale), offset=np.array(offset)
        )

    def _check_joints(self) -> None:
        """Check that the table lists this arm's joints, and that they are measured."""
        ordered(self.joints, self.joint_names)
        if self.pose_source != 'joints' or self.driver == 'cartesian_pose':
            raise ValueError(
                f"a joints table needs pose_source 'joints' and a driver that takes joints, got "
                f'{self.pose_source!r} and {self.driver!r}'
            )

    @property
    def gripper_max_age_s(self) -> float:
        """Oldest finger position that may be used [s]."""
        return self.gripper.max_age_s or self.max_age_s

    @property
    def urdf_topic(self) -> str:
        """Topic of the URDF; empty when it is a file or missing."""
        return self.urdf.removeprefix(TOPIC) if self.urdf.startswith(TOPIC) else ''

    def _check_lengths(self) -> None:
        """Check how many numbers each list holds."""
        matrices = {'base_from_policy': 16, 'policy_from_tool': 16, 'base_in_world': 4}
        box = {'workspace_min_m': 3, 'workspace_max_m': 3}
        check_lengths(self, {**matrices, **box, 'home_rad': len(self.joint_names)})
        if len(self.half_spaces) % 4:
            raise ValueError(
                f'half_spaces must hold rows of 4 numbers, got {len(self.half_spaces)}'
            )


def _is_rigid(numbers: tuple[float, ...]) -> bool:
    """Return whether 16 numbers are a rigid 4x4 transform, row-major."""
    matrix = np.reshape(numbers, (4, 4))
    rotation = matrix[:3, :3]
    return bool(
        np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-4)
        and np.linalg.det(rotation) > 0
        and np.array_equal(matrix[3], (0.0, 0.0, 0.0, 1.0))
    )
