"""
Install the ROS-free part of xvla_ros (core, model, serve, adapt, control, sim, tools) with pip.

For those who want the policy, its server or the training without ROS. An installation with ROS is
made by CMake (colcon build, or make build); the two are never mixed in one environment.
"""

from pathlib import Path
import re

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def version() -> str:
    """Read the version from package.xml, which owns it."""
    return re.search(r'<version>(.+?)</version>', (ROOT / 'package.xml').read_text()).group(1)


def requirements() -> list[str]:
    """Read the direct dependencies, pinned."""
    text = ''.join(
        (ROOT / 'requirements' / f'{name}.in').read_text() for name in ('core', 'runtime')
    )
    lines = (line.split('#')[0].strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith('-r')]


setup(
    name='xvla_ros',
    version=version(),
    description='Run, safeguard and adapt X-VLA vision-language-action policies on robot arms.',
    license='Apache-2.0',
    python_requires='>=3.10,<3.14',
    packages=find_packages(
        include=['xvla_ros', 'xvla_ros.*'], exclude=['xvla_ros.nodes', 'xvla_ros.nodes.*']
    ),
    package_data={'xvla_ros': ['**/*.urdf', '**/*.xml', '**/*.yaml', '**/*.json']},
    install_requires=requirements(),
    extras_require={'ray': ['ray[serve]==2.60.0']},  # xvla_ros.serve.ray
    entry_points={'console_scripts': ['xvla = xvla_ros.tools.cli:main']},
)
