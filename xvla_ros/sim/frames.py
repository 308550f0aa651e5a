# SPDX-License-Identifier: Apache-2.0
"""Frames and intrinsics of a simulated cell, in the conventions of ROS (REP 103, REP 105)."""

from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from xvla_ros.core.embodiment import Embodiment

WORLD_FRAME = 'world'
# MuJoCo's camera looks along -z with y up, an optical frame along z with y down: half a turn about
# x.
OPTICAL = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True, kw_only=True, slots=True)
class Placement:
    """A frame `child` in its parent: position (3,) [m] and quaternion (4,) xyzw."""

    parent: str
    child: str
    position: NDArray[np.float64]
    quaternion: NDArray[np.float64]


def optical_frame(camera: str) -> str:
    """Return the frame of a simulated camera's images."""
    return f'{camera}_optical_frame'


def intrinsics(fov_deg: float, width: int, height: int) -> NDArray[np.float64]:
    """
    Return the camera matrix (3, 3) [pixels] of a camera with square pixels and no distortion.

    Pixel (0, 0) is the middle of the upper left one, as in OpenCV and sensor_msgs/CameraInfo.

    :param fov_deg: vertical field of view [deg].
    """
    focal = height / 2 / np.tan(np.radians(fov_deg) / 2)
    return np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])


class Frames:
    """Tells where the links and cameras of one world are."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, embodiment: Embodiment) -> None:
        """:param data: the state to read; every call reads it anew."""
        self._model, self._data = model, data
        arms = embodiment.arm_names
        names = [model.body(i).name for i in range(model.nbody)]
        self._bodies = [i for i, name in enumerate(names) if name.split('/')[0] in arms]
        self._names = {i: _frame(names[i], embodiment) for i in (0, *self._bodies)}
        self._rigid = {i for i in self._bodies if model.body_jntnum[i] == 0}

    def fixed(self) -> list[Placement]:
        """Return the links that never move in their parents."""
        return self._links([i for i in self._bodies if i in self._rigid])

    def moving(self) -> list[Placement]:
        """Return the links behind joints, and the cameras, which a scene may shift."""
        return [
            *self._links([i for i in self._bodies if i not in self._rigid]),
            *(self._camera(i) for i in range(self._model.ncam)),
        ]

    def _links(self, bodies: list[int]) -> list[Placement]:
        if not bodies:
            return []
        matrices = self._data.xmat.reshape(-1, 3, 3)
        parents = self._model.body_parentid[bodies]
        back = matrices[parents].transpose(0, 2, 1)
        offsets = self._data.xpos[bodies] - self._data.xpos[parents]
        positions = np.einsum('nij,nj->ni', back, offsets)
        turns = Rotation.from_matrix(back @ matrices[bodies]).as_quat()
        return [
            Placement(parent=self._names[int(p)], child=self._names[b], position=x, quaternion=q)
            for b, p, x, q in zip(bodies, parents, positions, turns, strict=True)
        ]

    def _camera(self, index: int) -> Placement:
        camera, body = self._data.camera(index), int(self._model.cam_bodyid[index])
        back = self._data.xmat[body].reshape(3, 3).T
        turn = back @ camera.xmat.reshape(3, 3) @ OPTICAL
        return Placement(
            parent=self._names[body],
            child=optical_frame(camera.name),
            position=back @ (camera.xpos - self._data.xpos[body]),
            quaternion=Rotation.from_matrix(turn).as_quat(),
        )


def _frame(body: str, embodiment: Embodiment) -> str:
    """Return the frame of a body of the model, '<arm>/<link>' or the world."""
    arm, _, link = body.partition('/')
    return f'{embodiment.frame_prefix(arm)}{link}' if link else WORLD_FRAME
