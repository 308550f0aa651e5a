# SPDX-License-Identifier: Apache-2.0
"""How far predictions in joint space are from demonstrations: degrees and grippers, open loop."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.adapt.validation import by_task
from xvla_ros.core.embodiment import Embodiment

LABELS = {'joint_deg': 'joints [deg]', 'gripper_percent': 'grippers [% of their way]'}


@dataclass(frozen=True, kw_only=True, slots=True)
class JointErrors:
    """
    Errors of N predictions with T anchors.

    joints_deg: (N, T, J), all arms in a row, named by `names`. grippers: (N, T, G) share of a
    gripper's way. task: (N,) index into `tasks`.
    """

    joints_deg: NDArray[np.float64]
    grippers: NDArray[np.float64]
    names: tuple[str, ...]
    task: NDArray[np.intp]
    tasks: tuple[str, ...]

    @property
    def score(self) -> float:
        """
        Return one number to choose a checkpoint by, less is better.

        A degree counts as much as a per cent of a gripper's way.
        """
        return sum(self._means(slice(None)).values())

    def summary(self) -> dict[str, Any]:
        """Return means over all, by joint, by anchor and by task, for a file."""
        by_joint = self.joints_deg.mean(axis=(0, 1)).tolist()
        count = self.joints_deg.shape[1]
        anchors = [self._means((slice(None), slice(n, n + 1))) for n in range(count)]
        return {
            'samples': len(self.task),
            'score': self.score,
            **self._means(slice(None)),
            'joints': dict(zip(self.names, by_joint, strict=True)),
            'anchors': {name: [mean[name] for mean in anchors] for name in LABELS},
            'tasks': by_task(self.task, self.tasks, self._means),
        }

    def line(self) -> str:
        """Return the means as a line."""
        means = self._means(slice(None))
        last = float(self.joints_deg[:, -1].mean())
        return (
            f'joints {means["joint_deg"]:.2f} deg (last anchor {last:.2f}), '
            f'grippers {means["gripper_percent"]:.1f} % of their way'
        )

    def _means(self, part: Any) -> dict[str, float]:
        joints, grippers = self.joints_deg[part], self.grippers[part]
        return {
            'joint_deg': float(joints.mean()),
            'gripper_percent': 100 * float(grippers.mean()) if grippers.size else 0.0,
        }


def compare_joints(
    predicted: NDArray[np.float32],
    done: NDArray[np.float32],
    embodiment: Embodiment,
    task: NDArray[np.intp],
    tasks: tuple[str, ...],
) -> JointErrors:
    """Measure predictions (N, T, n) against demonstrations (N, T, n), in the model's units."""
    joints, grippers, names = [], [], []
    for name, arm in embodiment.arms.items():
        table, count = arm.joint_map(), len(arm.joint_names)
        one, other = (table.to_robot(x[..., table.index]) for x in (predicted, done))
        apart = np.abs(one - other)
        joints.append(np.degrees(apart[..., :count]))
        grippers.append(apart[..., count:])
        names += [f'{name}/{joint}' for joint in arm.joint_names]
    return JointErrors(
        joints_deg=np.concatenate(joints, axis=-1),
        grippers=np.concatenate(grippers, axis=-1),
        names=tuple(names),
        task=task,
        tasks=tasks,
    )
