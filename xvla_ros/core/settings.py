# SPDX-License-Identifier: Apache-2.0
"""The settings blocks of an embodiment: checkpoint facts, arms, cameras, control and limits."""

from dataclasses import dataclass

from xvla_ros.core.arm_settings import ArmSettings, GripperSettings, HEADER, RECEIVE
from xvla_ros.core.camera_settings import CameraSettings
from xvla_ros.core.joint_settings import EE6D_MODES, JOINT_MODES
from xvla_ros.core.limit_settings import LimitSettings
from xvla_ros.core.rotations import ROTATION_LAYOUTS
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
class PolicySettings:
    """Properties of the checkpoint, and how the model is run."""

    checkpoint: str = param(
        'Checkpoint directory; relative paths are looked up in the package share. Empty: none.', ''
    )
    adapter: str = param(
        'LoRA adapter directory (PEFT) to merge into the checkpoint. Empty: none.', ''
    )
    server_url: str = param(
        'X-VLA server to ask instead of a local checkpoint, http:// or ws://. Empty: local.', ''
    )
    server_token_file: str = param(
        'File with the bearer token for the server, one word. Empty: the word in the environment '
        'variable XVLA_SERVER_TOKEN, or none.',
        '',
    )
    instruction: str = param('Instruction to start with. Empty: wait for one.', '')
    domain_id: int = param(
        'Row of this embodiment among the soft prompts of the checkpoint.', low=0
    )
    action_mode: str = param(
        'Action mode of the checkpoint; all but the first two are of joint space.',
        'ee6d',
        choices=(*EE6D_MODES, *JOINT_MODES),
    )
    rotation_6d_layout: str = param(
        'Order of the six rotation numbers.', 'interleaved', choices=ROTATION_LAYOUTS
    )
    anchor_period_s: float = param(
        'Time between anchors of a chunk [s]: training window / 30.', low=0.005, high=2.0
    )
    denoising_steps: int = param('Denoising steps; the reference uses 10.', 10, low=1, high=50)
    tolerance_mm: float = param(
        'Stop denoising early when two predictions differ by less than this [mm]; 0 = never.',
        0.0,
        low=0.0,
    )
    tolerance_deg: float = param(
        'Same for rotation [deg]; used when tolerance_mm > 0.', 1.0, low=0.0
    )
    warm_start_time: float = param(
        'Flow time at which denoising starts, from the plan being executed. Without a plan the '
        'model first predicts one from noise. 0 = always from noise.',
        0.0,
        low=0.0,
        high=1.0,
    )
    proprio_source: str = param(
        'Proprioception of the model: the measured pose, the last executed target, the last '
        'action of the previous chunk (the measured pose before there is one), or zeros.',
        'measured',
        choices=('measured', 'commanded', 'chunk_end', 'zeros'),
    )
    proprio_rotation: str = param(
        'Rotation in the proprioception: measured, or identity (as the Bridge client).',
        'measured',
        choices=('measured', 'identity'),
    )
    proprio_gripper: str = param(
        'Gripper in the proprioception: measured (as the model value), or zero.',
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
    dtype: str = param('Arithmetic of the model.', 'float32', choices=('float32', 'bfloat16'))
    threads: int = param('Torch threads of the inference worker.', 1, low=1, high=256)
    nice: int = param(
        'Nice level of a restarted inference worker while it loads; 0 while it works.',
        10,
        low=0,
        high=19,
    )
    request_timeout_s: float = param(
        'How long a server may take to answer [s].', 5.0, low=0.1, high=60.0
    )
    seed: int = param('Seed of the sampling noise; -1 draws anew each time.', -1, low=-1)

    def __post_init__(self) -> None:
        """Refuse a warm start for a checkpoint whose actions cannot serve as its plan."""
        if self.warm_start_time and (self.relative_position or self.anchor_stride > 1):
            raise ValueError(
                f'warm_start_time is {self.warm_start_time:g}, but a warm start needs '
                'relative_position false and anchor_stride 1; expected 0'
            )


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
        'std_msgs/Bool that must be true, and recent, for the robot to move; policy and '
        'controller hold without it. Empty: no deadman.',
        '',
        topic=True,
    )
    deadman_timeout_s: float = param(
        'Age at which the deadman counts as released [s].', 0.25, low=0.02, high=5.0
    )
    estop_topic: str = param(
        'std_msgs/Bool; true latches a fault. Empty: no e-stop topic.', 'estop', topic=True
    )
