# SPDX-License-Identifier: Apache-2.0
"""The settings blocks of an embodiment: checkpoint facts, arms, cameras, control and limits."""

from dataclasses import dataclass

from xvla_ros.core.rotations import LAYOUTS
from xvla_ros.core.schema import param

IDENTITY_4X4 = (1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class PolicySettings:
    """Facts that only another checkpoint would change, and how the model is run."""

    checkpoint: str = param(
        'Checkpoint directory; relative paths are looked up in the package share. Empty: none.', ''
    )
    server_url: str = param(
        'X-VLA server to ask instead of a local checkpoint, http:// or ws://. Empty: local.', ''
    )
    server_token: str = param('Bearer token for the server. Empty: none.', '')
    instruction: str = param('Instruction to start with. Empty: wait for one.', '')
    domain_id: int = param('Soft prompt row of this embodiment in the checkpoint.', low=0)
    action_mode: str = param(
        'Action mode; the real-time path is EE6D.', 'ee6d', choices=('ee6d', 'agibot_ee6d')
    )
    rotation_6d_layout: str = param(
        'Order of the six rotation numbers.', 'interleaved', choices=LAYOUTS
    )
    anchor_period_s: float = param(
        'Time between anchors of a chunk [s]: training window / 30.', low=0.005, high=2.0
    )
    denoising_steps: int = param('Denoising steps; the reference uses 10.', 10, low=1, high=50)
    tolerance_mm: float = param(
        'Stop denoising when predictions agree this well [mm]; 0 = never early.', 0.0, low=0.0
    )
    tolerance_deg: float = param(
        'Same for rotation [deg]; used when tolerance_mm > 0.', 1.0, low=0.0
    )
    proprio_source: str = param(
        'What the model is told of the arm: the sensor, the last executed target, the last '
        'action of the previous '
        'chunk (the sensor until there is one), or zeros.',
        'measured',
        choices=('measured', 'commanded', 'chunk_end', 'zeros'),
    )
    proprio_rotation: str = param(
        'Rotation told to the model from the sensor: measured, or identity (the Bridge client).',
        'measured',
        choices=('measured', 'identity'),
    )
    proprio_gripper: str = param(
        'Gripper told to the model: its closedness, or zero.',
        'measured',
        choices=('measured', 'zero'),
    )
    relative_position: bool = param(
        'Action xyz are relative to the commanded xyz at query time (Google robot).', False
    )
    anchor_stride: int = param(
        'Execute every n-th anchor, one period apart (Google robot: 2).', 1, low=1, high=30
    )
    anchor_limit: int = param(
        'Execute at most this many anchors of a chunk after striding; 0 = all.', 0, low=0
    )
    device: str = param('Torch device. Never replaced by another.', 'cpu')
    dtype: str = param(
        'Arithmetic of the model.', 'float32', choices=('float32', 'bfloat16', 'float16')
    )
    compile: bool = param(
        'Compile the model before activation (minutes on first use, then faster).', False
    )
    threads: int = param('Torch threads of the inference worker.', 1, low=1, high=256)
    nice: int = param(
        'Nice level of the inference worker, so that it never delays control.', 10, low=0, high=19
    )
    request_timeout_s: float = param(
        'How long a server may take to answer [s].', 5.0, low=0.1, high=60.0
    )
    seed: int = param('Seed of the sampling noise; -1 draws anew each time.', -1, low=-1)


@dataclass(frozen=True, kw_only=True)
class GripperSettings:
    """One gripper: how its model value becomes an opening, how it is measured and commanded."""

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
        "sensor_msgs/JointState holding the finger joints. Empty: the arm's topic.", ''
    )
    joint_names: tuple[str, ...] = param(
        'Finger joints in that message; opening is read from the first.'
    )
    open_position: float = param('Position of the first finger joint when open [m or rad].')
    closed_position: float = param('Position of the first finger joint when closed [m or rad].')
    driver: str = param(
        'Interface that moves the gripper.',
        choices=(
            'float64_array',
            'gripper_command',
            'franka_gripper',
            'joint_trajectory',
            'interbotix',
            'with_arm',
        ),
    )
    command_topic: str = param(
        'Topic or action name of the gripper command. Empty for with_arm.', ''
    )
    command_open: float = param('Command value that means open [driver unit].')
    command_closed: float = param('Command value that means closed [driver unit].')
    max_effort: float = param(
        'Effort limit sent with the command where the interface has one [N].', 20.0, low=0.0
    )
    speed: float = param(
        'Speed sent with the command where the interface has one [m/s].', 0.1, low=0.0
    )

    def __post_init__(self) -> None:
        """Refuse a polarity between the two and a gripper that cannot be measured."""
        if self.closed_probability not in (0.0, 1.0):
            raise ValueError(
                f'closed_probability must be 0.0 or 1.0, got {self.closed_probability}'
            )
        if self.open_position == self.closed_position:
            raise ValueError(
                'open_position and closed_position are equal, so the opening cannot be measured'
            )


@dataclass(frozen=True, kw_only=True)
class ArmSettings:
    """One arm: its frames, how its pose is measured, how it is commanded, and where it may go."""

    base_frame: str = param('Frame that all poses of this arm are in.')
    tool_frame: str = param('Tool centre frame, between the fingertips, z out of the gripper.')
    pose_source: str = param(
        'How the tool pose is measured: a pose topic, joints through the URDF, or TF.',
        choices=('pose', 'joints', 'tf'),
    )
    pose_topic: str = param(
        'geometry_msgs/PoseStamped of the tool in base_frame; for pose_source pose.', ''
    )
    joint_states_topic: str = param('sensor_msgs/JointState of the arm.')
    joint_names: tuple[str, ...] = param('Arm joints, in the order of the URDF chain.')
    urdf: str = param(
        'URDF file; relative paths are looked up in the package share. Empty: no kinematics.', ''
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
        'arm-arm distance.',
        (0.0, 0.0, 0.0, 0.0),
    )
    workspace_min_m: tuple[float, ...] = param(
        'Lower corner of the box the tool may be in, base_frame [m].'
    )
    workspace_max_m: tuple[float, ...] = param('Upper corner of that box [m].')
    half_spaces: tuple[float, ...] = param(
        'Planes nx, ny, nz, d (unit n, metres) in rows of four: the tool must keep n.p >= d. '
        '(0,0,0,-1) = none.',
        (0.0, 0.0, 0.0, -1.0),
    )
    max_age_s: float = param('Oldest arm state that may be used [s].', 0.2, low=0.005, high=10.0)
    driver: str = param(
        'Interface that moves the arm.',
        choices=('cartesian_pose', 'joint_trajectory', 'joint_position', 'interbotix', 'piper'),
    )
    command_topic: str = param('Topic of the arm command.')
    command_frame: str = param('frame_id that the controller insists on. Empty: base_frame.', '')
    gripper: GripperSettings = param('The gripper of this arm.')

    def __post_init__(self) -> None:
        """Check lengths and that sources have what they need."""
        for name, size in (
            ('base_from_policy', 16), ('policy_from_tool', 16), ('base_in_world', 4),
            ('workspace_min_m', 3), ('workspace_max_m', 3), ('home_rad', len(self.joint_names)),
        ):  # fmt: skip
            if len(getattr(self, name)) != size:
                raise ValueError(
                    f'{name} must hold {size} numbers, got {len(getattr(self, name))}'
                )
        if len(self.half_spaces) % 4:
            raise ValueError(
                f'half_spaces must hold rows of 4 numbers, got {len(self.half_spaces)}'
            )
        if any(
            low >= high
            for low, high in zip(self.workspace_min_m, self.workspace_max_m, strict=True)
        ):
            raise ValueError(
                f'workspace_min_m {self.workspace_min_m} must be below '
                f'workspace_max_m {self.workspace_max_m}'
            )
        if self.pose_source == 'pose' and not self.pose_topic:
            raise ValueError("pose_source 'pose' needs pose_topic")
        if not self.urdf and (self.pose_source == 'joints' or self.driver != 'cartesian_pose'):
            raise ValueError(
                f'pose_source {self.pose_source!r} with driver {self.driver!r} needs urdf'
            )


@dataclass(frozen=True, kw_only=True)
class CameraSettings:
    """One camera view."""

    topic: str = param('Image topic.')
    compressed: bool = param('The topic is sensor_msgs/CompressedImage instead of Image.', False)
    rotate_180: bool = param('Turn the image by 180 degrees (LIBERO agentview).', False)
    max_age_s: float = param('Oldest image that may be used [s].', 0.3, low=0.005, high=10.0)
    rate_hz: float = param(
        'Rate the camera is expected at [Hz]; doctor and diagnostics compare.',
        30.0,
        low=0.1,
        high=240.0,
    )


@dataclass(frozen=True, kw_only=True)
class ControlSettings:
    """From chunk to targets."""

    rate_hz: float = param('Rate of published targets [Hz].', 50.0, low=1.0, high=1000.0)
    strategy: str = param(
        'How a new chunk joins the old one.',
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
        'Length of the soft prefix beyond the latency for inpaint [s].', 0.2, low=0.0, high=5.0
    )
    engage_s: float = param(
        'Ramp from the measured pose to the plan when motion begins [s].', 0.5, low=0.0, high=10.0
    )
    max_skew_s: float = param(
        'Most that two inputs of one observation may be apart [s].', 0.15, low=0.001, high=10.0
    )
    future_tolerance_s: float = param(
        'How far in the future a stamp may lie [s].', 0.05, low=0.0, high=1.0
    )
    hold_after_s: float = param(
        'Controller: hold when no target came for this long [s].', 0.1, low=0.01, high=5.0
    )
    replan_period_s: float = param(
        'Least time between two inferences [s]; 0 = as fast as the model.', 0.0, low=0.0, high=30.0
    )
    start_armed: bool = param('Start armed instead of in dry-run. Never on hardware.', False)
    resume_after_restart: bool = param(
        'Resume motion by itself after the inference worker restarted.', True
    )
    deadman_topic: str = param(
        'std_msgs/Bool that must be true and fresh to move. Empty: none.', ''
    )
    deadman_timeout_s: float = param(
        'Age at which the deadman counts as released [s].', 0.25, low=0.02, high=5.0
    )
    estop_topic: str = param('std_msgs/Bool: true latches a fault.', 'estop')


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What the safety gate allows, per arm; `on_*` says what happens beyond: clamp or reject."""

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
        'Farthest that a chunk may begin from the measured tool [m].', 0.10, low=0.001, high=2.0
    )
    max_first_step_rad: float = param('Same for rotation [rad].', 0.6, low=0.001, high=3.2)
    min_arm_distance_m: float = param(
        'Least distance between the two tools [m]; 0 = unchecked.', 0.0, low=0.0, high=2.0
    )
    max_rotation_residual: float = param(
        'Largest Rotate6D residual of a raw action before the layout is doubted.',
        0.3,
        low=0.001,
        high=2.0,
    )
    on_workspace: str = param('Beyond the box or planes.', 'clamp', choices=('clamp', 'reject'))
    on_speed: str = param(
        'Beyond the speeds or accelerations.', 'clamp', choices=('clamp', 'reject')
    )
    on_first_step: str = param('Chunk begins too far away.', 'reject', choices=('clamp', 'reject'))
    on_arm_distance: str = param('Tools too close.', 'reject', choices=('clamp', 'reject'))
