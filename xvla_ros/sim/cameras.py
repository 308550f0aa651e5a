# SPDX-License-Identifier: Apache-2.0
"""Drawing the simulated cameras without a screen."""

import weakref

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from xvla_ros.core.errors import ConfigError
from xvla_ros.sim.gl import BACKEND


class Cameras:
    """Draws the cameras of one world; one drawing context per size, made when first needed."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData) -> None:
        """:param data: the state to draw, read at every call."""
        self._model, self._data = model, data
        self._renderers: dict[tuple[int, int], mujoco.Renderer] = {}
        # Contexts must go before the interpreter does, also when nobody calls close.
        weakref.finalize(self, _close, self._renderers)
        self._names = [model.camera(i).name for i in range(model.ncam)]

    def render(
        self, name: str, width: int, height: int, shadows: bool = False
    ) -> NDArray[np.uint8]:
        """
        Return what a camera sees, (height, width, 3) RGB.

        :param shadows: nicer, and many times slower without a GPU.
        """
        if name not in self._names:
            raise ConfigError(f"no simulated camera '{name}'; there are: {', '.join(self._names)}")
        renderer = self._renderer(width, height)
        renderer.update_scene(self._data, camera=name)
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = shadows
        renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = False
        return renderer.render()

    def project(self, name: str, points: ArrayLike) -> NDArray[np.float64]:
        """
        Return where a square picture of a camera shows points (N, 3) of the world [m].

        :return: (N, 2), x right and y down, 0 to 1 across the picture; NaN behind the camera.
        """
        camera, half = (
            self._data.camera(name),
            np.tan(np.radians(self._model.camera(name).fovy[0]) / 2),
        )
        seen = (np.asarray(points, np.float64) - camera.xpos) @ camera.xmat.reshape(3, 3)
        depth = np.where(seen[:, 2] < 0, -seen[:, 2], np.nan)[:, None]
        return 0.5 + seen[:, :2] * (0.5, -0.5) / (half * depth)

    def close(self) -> None:
        """Free the drawing contexts."""
        _close(self._renderers)

    def _renderer(self, width: int, height: int) -> mujoco.Renderer:
        if (width, height) not in self._renderers:
            try:
                self._renderers[width, height] = mujoco.Renderer(self._model, height, width)
            except (mujoco.FatalError, RuntimeError, ImportError, AttributeError) as error:
                raise ConfigError(
                    f'cannot draw with MUJOCO_GL={BACKEND}: {error}; install it with '
                    "'apt install libegl1 libgl1-mesa-dri' or 'apt install libosmesa6'"
                ) from error
        return self._renderers[width, height]


def _close(renderers: dict[tuple[int, int], mujoco.Renderer]) -> None:
    for renderer in renderers.values():
        renderer.close()
    renderers.clear()
