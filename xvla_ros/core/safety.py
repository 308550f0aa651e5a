# SPDX-License-Identifier: Apache-2.0
"""The safety gate: checks every chunk and every step before publication, and counts reasons."""

from collections import Counter
from collections.abc import Sequence
from copy import copy

from xvla_ros.core.chunk import Chunk
from xvla_ros.core.chunk_gate import ChunkGate
from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.joint_chunk_gate import JointChunkGate
from xvla_ros.core.joint_model import JointModel
from xvla_ros.core.joint_step_gate import JointStepGate
from xvla_ros.core.step_gate import StepGate
from xvla_ros.core.verdict import Verdict


def make_chunk_gate(
    embodiment: Embodiment, model: JointModel | None
) -> ChunkGate | JointChunkGate:
    """Return the gate for chunks; a joint-space embodiment needs `model`."""
    return JointChunkGate(embodiment, model) if model else ChunkGate(embodiment)


def make_step_gate(embodiment: Embodiment, model: JointModel | None) -> StepGate | JointStepGate:
    """Return the gate for steps; a joint-space embodiment needs `model`."""
    return JointStepGate(embodiment, model) if model else StepGate(embodiment)


class SafetyGate:
    """
    Both halves of the gate, for chunks (`ChunkGate`) and steps (`StepGate`), and their counts.

    Not thread-safe: one gate per thread. A copy (`copy.copy`) is independent: controllers keep one
    to return to if a step was not executed.
    """

    def __init__(self, embodiment: Embodiment, model: JointModel | None = None) -> None:
        """
        Read limits and workspaces; nothing has moved yet.

        :param model: for a joint-space embodiment (control.robot_model.robot_model).
        """
        self._chunks = make_chunk_gate(embodiment, model)
        self._steps = make_step_gate(embodiment, model)
        self._counts: Counter[str] = Counter()

    def __copy__(self) -> 'SafetyGate':
        """Return an independent gate with the same motion and the same counts."""
        other = object.__new__(SafetyGate)
        other._chunks, other._steps = self._chunks, copy(self._steps)
        other._counts = self._counts.copy()
        return other

    @property
    def counts(self) -> dict[str, int]:
        """How often each reason clamped or rejected a chunk or a step."""
        return dict(self._counts)

    def check(self, chunk: Chunk, measured: Sequence[ArmPose] | None = None) -> Verdict:
        """Check a chunk; see `ChunkGate.check`."""
        return self._counted(self._chunks.check(chunk, measured))

    def check_step(
        self, targets: Sequence[ArmPose], measured: Sequence[ArmPose], dt_s: float
    ) -> Verdict:
        """Check a step; see `StepGate.check`."""
        return self._counted(self._steps.check(targets, measured, dt_s))

    def hold(self, dt_s: float) -> tuple[ArmPose, ...] | None:
        """Return the next targets of braking to a stop and staying there; None before a motion."""
        return self._steps.hold(dt_s)

    def reset(self) -> None:
        """Forget the motion: the next step starts at rest from the measured poses."""
        self._steps.reset()

    def rest(self) -> None:
        """Note that the tools have stopped at their last targets."""
        self._steps.rest()

    def _counted(self, verdict: Verdict) -> Verdict:
        self._counts.update(verdict.reasons)
        return verdict
