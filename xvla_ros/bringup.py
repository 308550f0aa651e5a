# SPDX-License-Identifier: Apache-2.0
"""
What starts together, as one table: the launch files and `xvla demo` both read it.

Imports nothing of ROS: launch files turn it into launch actions, bringup_runner.py into processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import sys
from typing import Any

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

PACKAGE = 'xvla_ros'
# Both names: Fast DDS 2 (Jazzy) reads the first, Fast DDS 3 the second.
PROFILE_VARIABLES = ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE')
# Transport profiles in config/: shared memory for images; without it where no publisher may wait.
IMAGES, CONTROL = 'fastdds.xml', 'fastdds_control.xml'
CONTROL_LOCALHOST = 'fastdds_control_localhost.xml'
RANGE_VARIABLE = 'ROS_AUTOMATIC_DISCOVERY_RANGE'


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """
    One process of the system.

    :param name: of its node. :param executable: as `ros2 run xvla_ros` knows it.
    :param module: the same for a machine without ros2.
    :param parameters: ROS parameter file; `overrides` replace single parameters of it.
    :param remaps: topic or service names, from -> to.
    """

    name: str
    executable: str
    module: str
    parameters: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    remaps: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Return the command line that runs it with this interpreter."""
        arguments = ['--params-file', str(self.parameters)]
        for name, value in self.overrides.items():
            arguments += ['-p', f'{name}:={json.dumps(value)}']
        for source, target in self.remaps.items():
            arguments += ['-r', f'{source}:={target}']
        return [sys.executable, '-m', self.module, '--ros-args', *arguments]


def embodiment_file(name: str, sim: bool) -> Path:
    """
    Return the parameter file of an embodiment: a path, or a robot's name looked up in config/.

    :raises ConfigError: there is no such file; the message lists where it was looked for, or which
        robots there are.
    """
    if name.endswith(('.yaml', '.yml')):
        return Path(name) if Path(name).exists() else shared_file('config', name)
    files = {file.stem: file for file in sorted(shared_file('config', '').glob('*.yaml'))}
    wanted = f'{name}_sim' if sim else name
    if wanted not in files:
        known = [s.removesuffix('_sim') for s in files if s.endswith('_sim')] if sim else files
        raise ConfigError(
            f"unknown {'simulated robot' if sim else 'robot'} '{name}': expected one of "
            f'{", ".join(known)}, or a parameter file (.yaml)'
        )
    return files[wanted]


def checkpoint_folder(name: str) -> str:
    """Return a folder below the working directory as an absolute path, other names as they are."""
    return str(Path(name).resolve()) if Path(name).is_dir() else name


def processes(
    embodiment: Path, *, sim: bool, overrides: Mapping[str, Any] | None = None
) -> tuple[Process, ...]:
    """
    Return what runs one robot: policy and controller, and the simulated cell in place of hardware.

    :param overrides: parameters of all of them, as `embodiment` holds them.
    """
    nodes = [('policy_node', 'policy'), ('controller_node', 'controller')]
    if sim:
        nodes.insert(0, ('sim_node', 'sim'))
    return tuple(
        Process(
            name=executable,
            executable=executable,
            module=f'{PACKAGE}.nodes.{module}',
            parameters=embodiment,
            overrides=dict(overrides or {}),
            environment=transport_environment(),
        )
        for executable, module in nodes
    )


def transport_environment() -> dict[str, str]:
    """Return the variables that set the transport profile, unless the user has set one."""
    if any(name in os.environ for name in PROFILE_VARIABLES):
        return {}
    return dict.fromkeys(PROFILE_VARIABLES, str(shared_file('config', IMAGES)))


def choose_transport(profile: str) -> None:
    """
    Use IMAGES or CONTROL in this process, unless the user has chosen a profile of their own.

    To be called before `rclpy.init`, which reads the environment. With the discovery range
    LOCALHOST rmw_fastrtps adds shared memory to whatever a profile says (participant.cpp), so that
    CONTROL has a profile that is that range without it.
    """
    if 'fastrtps' not in os.environ.get('RMW_IMPLEMENTATION', 'fastrtps'):
        return
    ours = {name: shared_file('config', name) for name in (IMAGES, CONTROL, CONTROL_LOCALHOST)}
    contents = {path.read_bytes(): name for name, path in ours.items()}
    chosen = [Path(os.environ[name]) for name in PROFILE_VARIABLES if name in os.environ]
    names = [contents.get(path.read_bytes()) if path.is_file() else None for path in chosen]
    if None in names:
        return
    local = os.environ.get(RANGE_VARIABLE) == 'LOCALHOST' or CONTROL_LOCALHOST in names
    if local and not os.environ.get('ROS_STATIC_PEERS'):
        os.environ[RANGE_VARIABLE] = 'SYSTEM_DEFAULT' if profile == CONTROL else 'LOCALHOST'
        profile = CONTROL_LOCALHOST if profile == CONTROL else profile
    os.environ.update(dict.fromkeys(PROFILE_VARIABLES, str(ours[profile])))
