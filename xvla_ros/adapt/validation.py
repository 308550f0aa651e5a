# SPDX-License-Identifier: Apache-2.0
"""How far predictions are from demonstrations: millimetres, degrees and gripper, open loop."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xvla_ros.core.ee6d import ARM_SIZE, GRIPPER, POSITION, ROTATION
from xvla_ros.core.rotations import split_rotate6d

LABELS = {
    'position_mm': 'position [mm]',
    'rotation_deg': 'rotation [deg]',
    'gripper_wrong': 'gripper wrong [share]',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Errors:
    """
    Errors of N predictions with T anchors and A arms.

    position_mm and rotation_deg: (N, T, A). gripper: (N, T, A) bool, open instead of closed or the
    reverse. task: (N,) index into `tasks`.
    """

    position_mm: NDArray[np.float64]
    rotation_deg: NDArray[np.float64]
    gripper: NDArray[np.bool_]
    task: NDArray[np.intp]
    tasks: tuple[str, ...]

    @property
    def score(self) -> float:
        """
        Return one number to choose a checkpoint by, less is better.

        A millimetre counts as much as a degree and as a per cent of wrong grippers.
        """
        means = self.position_mm.mean(), self.rotation_deg.mean(), 100 * self.gripper.mean()
        return float(sum(means))

    def summary(self) -> dict[str, Any]:
        """Return means over all, by anchor and by task, for a file."""
        everything = slice(None)
        return {
            'samples': len(self.task),
            'score': self.score,
            **self._means(everything),
            'anchors': {
                'position_mm': self.position_mm.mean(axis=(0, 2)).tolist(),
                'rotation_deg': self.rotation_deg.mean(axis=(0, 2)).tolist(),
                'gripper_wrong': self.gripper.mean(axis=(0, 2)).tolist(),
            },
            'tasks': by_task(self.task, self.tasks, self._means),
        }

    def line(self) -> str:
        """Return the means as a line."""
        return (
            f'{self.position_mm.mean():.1f} mm, {self.rotation_deg.mean():.1f} deg, '
            f'{self.gripper.mean():.1%} of grippers wrong'
        )

    def _means(self, rows: slice | NDArray[np.bool_]) -> dict[str, float]:
        return {
            'position_mm': float(self.position_mm[rows].mean()),
            'rotation_deg': float(self.rotation_deg[rows].mean()),
            'gripper_wrong': float(self.gripper[rows].mean()),
        }


def by_task(
    task: NDArray[np.intp],
    tasks: Sequence[str],
    means: Callable[[NDArray[np.bool_]], dict[str, float]],
) -> dict[str, dict[str, float]]:
    """
    Return the number of samples and the means of each task that has samples.

    :param task: (N,) index into `tasks`. :param means: of the samples that a mask (N,) chooses.
    """
    return {
        name: {'samples': int((task == i).sum()), **means(task == i)}
        for i, name in enumerate(tasks)
        if (task == i).any()
    }


def compare(
    predicted: NDArray[np.float32],
    done: NDArray[np.float32],
    layout: str,
    task: NDArray[np.intp],
    tasks: tuple[str, ...],
) -> Errors:
    """
    Measure predictions (N, T, 20) against demonstrations (N, T, 20).

    :param layout: of Rotate6D in both.
    """
    arms = 2 if done[..., ARM_SIZE:].any() else 1
    one, other = (
        x[..., : ARM_SIZE * arms].reshape(*x.shape[:2], arms, -1) for x in (predicted, done)
    )
    apart = np.linalg.norm(one[..., POSITION] - other[..., POSITION], axis=-1)
    wrong = (one[..., GRIPPER] > 0.5) != (other[..., GRIPPER] > 0.5)
    return Errors(
        position_mm=1e3 * apart.astype(np.float64),
        rotation_deg=angles(one[..., ROTATION], other[..., ROTATION], layout),
        gripper=wrong,
        task=task,
        tasks=tasks,
    )


def angles(
    one: NDArray[np.float32], other: NDArray[np.float32], layout: str
) -> NDArray[np.float64]:
    """Return the angles (...) between rotations (..., 6) [deg]."""
    first, second = (split_rotate6d(v, layout)[0] for v in (one, other))
    trace = np.einsum('...ij,...ij->...', first, second)
    found: NDArray[np.float64] = np.degrees(np.arccos(np.clip((trace - 1) / 2, -1, 1)))
    return found
