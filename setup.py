"""
What pip installs: the part of xvla_ros that runs without ROS, with the files it reads.

The description is in pyproject.toml. An installation with ROS is made by CMake (colcon build, or
make build); never mix the two in one environment.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

from setuptools import find_packages, setup

ROOT = Path(__file__).parent
# Folders of the checkout that become xvla_ros/share/<folder>, where core/resources.py looks.
DATA = ('config', 'resource', 'msg')
WITH_ROS_ONLY = ('xvla_ros.nodes', 'xvla_ros.nodes.*')


def data_packages() -> dict[str, str]:
    """Return each folder of files as the name of a package, with its place in the checkout."""
    tops = [ROOT / name for name in DATA]
    folders = [d for top in tops for d in (top, *top.rglob('*')) if d.is_dir()]
    places = [folder.relative_to(ROOT).as_posix() for folder in folders]
    return {f'xvla_ros.share.{place.replace("/", ".")}': place for place in places}


# A build folder of its own: build/ is colcon's, and a wheel takes whatever an earlier one left.
with TemporaryDirectory() as build:
    setup(
        packages=[
            *find_packages(include=['xvla_ros', 'xvla_ros.*'], exclude=WITH_ROS_ONLY),
            *data_packages(),
        ],
        package_dir=data_packages(),
        package_data={'xvla_ros': ['py.typed'], **{name: ['*'] for name in data_packages()}},
        options={'build': {'build_base': build}},
    )
