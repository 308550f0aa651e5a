# SPDX-License-Identifier: Apache-2.0
"""Chooses MuJoCo's off-screen OpenGL backend. Import this before mujoco, which reads it once."""

import ctypes
import os

EGL_EXTENSION_QUERY = b'eglQueryDevicesEXT'


def choose() -> str:
    """
    Set and return the variable MUJOCO_GL.

    The user's value is kept. Without one it is 'egl' when EGL has a device, else 'osmesa'.
    """
    if not os.environ.get('MUJOCO_GL'):
        os.environ['MUJOCO_GL'] = 'egl' if _egl_devices() else 'osmesa'
    return os.environ['MUJOCO_GL']


def _egl_devices() -> int:
    """Return the number of devices that EGL can render on; 0 without EGL."""
    try:
        egl = ctypes.CDLL('libEGL.so.1')
    except OSError:
        return 0
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    address = egl.eglGetProcAddress(EGL_EXTENSION_QUERY)
    if not address:
        return 0
    query = ctypes.CFUNCTYPE(ctypes.c_uint, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(
        address
    )
    count = ctypes.c_int(0)
    return count.value if query(0, None, ctypes.addressof(count)) else 0


BACKEND = choose()
