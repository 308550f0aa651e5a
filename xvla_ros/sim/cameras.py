# SPDX-License-Identifier: Apache-2.0
"""Off-screen rendering of the simulated cameras."""

import weakref

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.core.errors import ConfigError
from xvla_ros.sim.gl import BACKEND


class Cameras:
    """
    Renders the cameras of one world.

    It makes one OpenGL context per image size, when that size is first asked for.
    """

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """:param data: the state to render; every call reads it anew."""
        self._model, self._data = model, data
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        # Free the contexts before the interpreter ends, even when nobody calls close.
        weakref.finalize(self, _close, self._renderers)
        self._names = [model.camera(i).name for i in range(model.ncam)]

    def render(
        self, name: str, width: int, height: int, shadows: bool = False
    ) -> NDArray[np.uint8]:
        """
        Return the image of a camera, (height, width, 3) uint8 RGB.

        :param name: a key of `sim.cameras`.
        :param width: of the image [pixels]; :param height: likewise.
        :param shadows: draw shadows; many times slower without a GPU.
        :raises ConfigError: there is no such camera, or OpenGL does not work on this machine.
        """
        if name not in self._names:
            raise ConfigError(
                f"no simulated camera '{name}': expected one of {', '.join(self._names)}"
            )
        renderer = self._renderer(width, height)
        renderer.update_scene(self._data, camera=name)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        image: NDArray[np.uint8] = renderer.render()
        return image

    def project(self, name: str, points: ArrayLike) -> NDArray[np.float64]:
        """
        Project points (N, 3) [m] of the world frame into a square image of a camera.

        :return: (N, 2), x right and y down, 0 to 1 across the image; NaN behind the camera.
        """
        camera, half = (
            self._data.camera(name),
            np.tan(np.radians(self._model.camera(name).fovy[0]) / 2),
        )
        seen = (np.asarray(points, np.float64) - camera.xpos) @ camera.xmat.reshape(3, 3)
        depth = np.where(seen[:, 2] < 0, -seen[:, 2], np.nan)[:, None]
        shown: NDArray[np.float64] = 0.5 + seen[:, :2] * (0.5, -0.5) / (half * depth)
        return shown

    def close(self) -> None:
        """Free the OpenGL contexts."""
        _close(self._renderers)

    def _renderer(self, width: int, height: int) -> mujoco.Renderer:
        if (width, height) not in self._renderers:
            try:
                self._renderers[width, height] = mujoco.Renderer(self._model, height, width)
            except (mujoco.FatalError, RuntimeError, ImportError, AttributeError) as error:
                raise ConfigError(
                    f'cannot render with MUJOCO_GL={BACKEND}: {error}; install it with '
                    "'apt install libegl1 libgl1-mesa-dri' or 'apt install libosmesa6'"
                ) from error
        return self._renderers[width, height]


def _close(renderers: dict[tuple[int, int], mujoco.Renderer]) -> None:
    for renderer in renderers.values():
        renderer.close()
    renderers.clear()
