# SPDX-License-Identifier: Apache-2.0
"""
The table of processes that run one robot; the launch files and `xvla demo` both use it.

This module does not import ROS. launching.py turns the table into launch actions, runner.py into
processes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
import json
import os
from pathlib import Path
import sys
from typing import Any

from xvla_ros.bringup.transport import transport_environment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file

PACKAGE = 'xvla_ros'


@dataclass(frozen=True, kw_only=True, slots=True)
class Process:
    """
    One process of the system.

    :param name: name of its node. :param executable: its name for `ros2 run xvla_ros`.
    :param module: its name for `python -m`.
    :param parameters: ROS parameter file. :param overrides: values that replace single parameters
        of it, by dotted name.
    :param remaps: remapped names of topics or services, from -> to.
    :param environment: environment variables that it needs.
    """

    name: str
    executable: str
    module: str
    parameters: Path
    overrides: Mapping[str, Any] = field(default_factory=dict)
    remaps: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def command(self) -> list[str]:
        """Return the command line that runs the process with this interpreter."""
        arguments = ['--params-file', str(self.parameters)]
        for name, value in self.overrides.items():
            arguments += ['-p', f'{name}:={json.dumps(value)}']
        for source, target in self.remaps.items():
            arguments += ['-r', f'{source}:={target}']
        return [sys.executable, '-m', self.module, '--ros-args', *arguments]


def embodiment_file(name: str, sim: bool) -> Path:
    """
    Return the parameter file of an embodiment.

    :param name: path of a parameter file, or name of a robot in config/.
    :param sim: whether a robot's name means its *_sim.yaml.
    :raises ConfigError: there is no such file; the message lists the places that were searched, or
        the known robots.
    """
    if not name:
        raise ConfigError(f'no robot given: expected {_expected(sim)}')
    if name.endswith(('.yaml', '.yml')):
        return Path(name) if Path(name).exists() else shared_file('config', name)
    files, wanted = _files(), f'{name}_sim' if sim else name
    if wanted not in files:
        kind = 'simulated robot' if sim else 'robot'
        raise ConfigError(f"unknown {kind} '{name}': expected {_expected(sim)}")
    return files[wanted]


def _files() -> dict[str, Path]:
    """Return the parameter files in config/, by name."""
    return {file.stem: file for file in sorted(shared_file('config', '').glob('*.yaml'))}


def _expected(sim: bool) -> str:
    """Return what names a robot, in words."""
    files = _files()
    known = [s.removesuffix('_sim') for s in files if s.endswith('_sim')] if sim else files
    return f'one of {", ".join(sorted(known))}, or a parameter file (.yaml)'


def checkpoint_folder(name: str) -> str:
    """Return the absolute path of a folder; return a name that is not a folder unchanged."""
    path = Path(os.path.expanduser(name))  # pathlib's expanduser raises for an unknown user
    return str(path.resolve()) if path.is_dir() else name


def processes(
    embodiment: Path, *, sim: bool, overrides: Mapping[str, Any] | None = None
) -> tuple[Process, ...]:
    """
    Return the processes that run one robot: policy, controller, and with `sim` the simulated cell.

    :param embodiment: the parameter file. :param overrides: values that replace parameters of that
        file in all processes, by dotted name.
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
