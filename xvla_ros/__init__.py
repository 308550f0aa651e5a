# SPDX-License-Identifier: Apache-2.0
"""
Drive robot arms with X-VLA policies, over ROS 2 or as a library.

    from xvla_ros import load_policy

    policy = load_policy('demo_policy')
    chunk = policy.predict([image], proprio, 'pick up the red block', domain_id=0)

The names of `__all__` are loaded when they are first used: importing this package imports neither
numpy nor torch. docs/how-it-works.md walks through the folders.
"""

from importlib import import_module
from pkgutil import extend_path
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from xvla_ros.core.embodiment import Embodiment, load_embodiment
    from xvla_ros.core.errors import XvlaError
    from xvla_ros.core.rotations import matrix_to_rotate6d, rotate6d_to_matrix
    from xvla_ros.model import load_policy, Policy

# The generated messages (xvla_ros.msg, xvla_ros.action) are installed, the sources may be imported
# from a checkout: one package, two places. Every `xvla_ros` folder on sys.path becomes part of it.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'

__all__ = [
    'Embodiment',
    'Policy',
    'XvlaError',
    'load_embodiment',
    'load_policy',
    'matrix_to_rotate6d',
    'rotate6d_to_matrix',
]
_MODULES = {
    'Embodiment': 'xvla_ros.core.embodiment',
    'Policy': 'xvla_ros.model',
    'XvlaError': 'xvla_ros.core.errors',
    'load_embodiment': 'xvla_ros.core.embodiment',
    'load_policy': 'xvla_ros.model',
    'matrix_to_rotate6d': 'xvla_ros.core.rotations',
    'rotate6d_to_matrix': 'xvla_ros.core.rotations',
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    """List the public names, too."""
    return sorted({*globals(), *_MODULES})
