# SPDX-License-Identifier: Apache-2.0
"""The settings block for the checkpoint and how it is run."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.chunk import FIRST_INDEX
from xvla_ros.core.joint_settings import EE6D_MODES, JOINT_MODES
from xvla_ros.core.rotations import ROTATION_LAYOUTS
from xvla_ros.core.schema import param

# Value of `first_anchor_index` that means: use the checkpoint's.
FROM_CHECKPOINT = -1
DTYPES = ('float32', 'bfloat16', 'int8')
BACKENDS = ('auto', 'torch', 'onnxruntime', 'openvino')


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
        'Action mode of the checkpoint; all but the first two are joint space.',
        'ee6d',
        choices=(*EE6D_MODES, *JOINT_MODES),
    )
    rotation_6d_layout: str = param(
        'Order of the six rotation numbers.', 'interleaved', choices=ROTATION_LAYOUTS
    )
    anchor_period_s: float = param(
        'Time between anchors of a chunk [s]: training window / 30.', low=0.005, high=2.0
    )
    first_anchor_index: int = param(
        'When the first action of a chunk is due: 0 at the stamp of its observation (LeRobot), 1 '
        "one period later (the authors). -1: as the checkpoint's format says.",
        FROM_CHECKPOINT,
        low=FROM_CHECKPOINT,
        high=1,
    )
    denoising_steps: int = param('Denoising steps; the reference uses 10.', 10, low=1, high=50)
    least_denoising_steps: int = param(
        'How few steps a server (server_url) may spend when its answer would otherwise come after '
        'the end of the plan; 0 = always denoising_steps.',
        0,
        low=0,
        high=50,
    )
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
    device: str = param('Torch device. There is no fallback to another.', 'cpu')
    dtype: str = param('Number format of matrix products.', 'float32', choices=DTYPES)
    backend: str = param('Library that runs the network; auto: fastest.', 'auto', choices=BACKENDS)
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

    @property
    def first_index(self) -> int:
        """Periods from an observation to its first action; the authors' value by default."""
        told = self.first_anchor_index != FROM_CHECKPOINT
        return self.first_anchor_index if told else FIRST_INDEX

    def executed(self, raw: NDArray[np.floating], width: int) -> NDArray[np.float64]:
        """
        Return a copy of the actions that are executed (T', width) of a model's output.

        :param raw: (T, width) model output; values may be anything, NaN included.
        :raises ValueError: raw is not (T, width).
        """
        actions = np.array(raw, dtype=np.float64)
        if actions.ndim != 2 or actions.shape[1] != width or not len(actions):
            raise ValueError(f'model output must be (T, {width}), got {actions.shape}')
        return actions[:: self.anchor_stride][: self.anchor_limit or None]

    def __post_init__(self) -> None:
        """Refuse a warm start without a usable plan, and a minimum of steps above the maximum."""
        if self.least_denoising_steps > self.denoising_steps:
            raise ValueError(
                f'least_denoising_steps is {self.least_denoising_steps}, expected at most '
                f'denoising_steps, {self.denoising_steps}'
            )
        if self.warm_start_time and (self.relative_position or self.anchor_stride > 1):
            raise ValueError(
                f'warm_start_time is {self.warm_start_time:g}, but a warm start needs '
                'relative_position false and anchor_stride 1; expected 0'
            )
