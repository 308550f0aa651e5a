# SPDX-License-Identifier: Apache-2.0
"""
An embodiment: everything that is true of one robot, one lab and one checkpoint, as data.

One ROS parameter file per embodiment, validated in full when it is read; nothing downstream checks
it again. The settings blocks are in `settings.py`; here they are put together, checked against
each other and read from files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.schema import param, read
from xvla_ros.core.settings import (
    ArmSettings,
    CameraSettings,
    ControlSettings,
    LimitSettings,
    PolicySettings,
)
from xvla_ros.core.sim_settings import SimSettings

# Parameters that ROS itself puts on a node beside ours.
ROS_PARAMETERS = ('use_sim_time', 'qos_overrides', 'start_type_description_service')


@dataclass(frozen=True, kw_only=True)
class Embodiment:
    """
    One robot with its cameras, limits and checkpoint facts.

    Each field is the ROS parameter (block) of the same name.
    `arms` and `cameras` iterate in the order of `arm_names` and `camera_names`: left arm first,
    main view first.
    """

    robot: str = param(
        'Name of the robot: labels results and seeds simulated scenes. Never decides behaviour.'
    )
    arm_names: tuple[str, ...] = param(
        'The arms, left first: one or two names of blocks under `arms`.'
    )
    camera_names: tuple[str, ...] = param(
        'The cameras in view order, main first: one to three names under `cameras`.'
    )
    policy: PolicySettings = param('Facts of the checkpoint and how it is run.')
    control: ControlSettings = param('From chunk to targets: rates, strategy, ages.')
    limits: LimitSettings = param('What the safety gate allows.')
    arms: dict[str, ArmSettings] = param('One block per arm.')
    cameras: dict[str, CameraSettings] = param('One block per camera.')
    sim: SimSettings | None = param('The simulation of this robot; only in *_sim.yaml.', None)
    autostart: bool = param(
        'Configure and activate the policy node by itself when it starts.', True
    )

    def __post_init__(self) -> None:
        """Check the blocks against each other and put them in order."""
        if len(self.arm_names) not in (1, 2):
            raise ValueError(f'arm_names must name one or two arms, got {list(self.arm_names)}')
        if not 1 <= len(self.camera_names) <= 3:
            raise ValueError(
                f'camera_names must name one to three cameras, got {list(self.camera_names)}'
            )
        self._order('arms', self.arm_names)
        self._order('cameras', self.camera_names)
        if self.sim is not None:
            self._check_simulation(self.sim)

    def _check_simulation(self, sim: SimSettings) -> None:
        """Check that the simulation is of this robot."""
        self._same('sim.arms', sim.arms, self.arm_names)
        missing = set(self.camera_names) - set(sim.cameras)
        if missing:
            raise ValueError(f'sim.cameras lacks {sorted(missing)}, which camera_names lists')
        for name, camera in sim.cameras.items():
            if camera.mount and camera.mount not in self.arms:
                raise ValueError(
                    f"'sim.cameras.{name}.mount' is '{camera.mount}', expected one of the arms "
                    f'{list(self.arm_names)}, or nothing for a camera fixed in the world'
                )
        for name, arm in self.arms.items():
            if not arm.urdf or arm.urdf_topic:
                raise ValueError(f"a simulated arm needs 'arms.{name}.urdf', a file")
            place = (*sim.arms[name].base_position_m, sim.arms[name].base_yaw_rad)
            if place != arm.base_in_world:
                raise ValueError(
                    f"'arms.{name}.base_in_world' is {list(arm.base_in_world)}, but "
                    f"'sim.arms.{name}' puts the base at {list(place)} "
                    '(base_position_m, base_yaw_rad): make them equal'
                )

    def _order(self, block: str, names: tuple[str, ...]) -> None:
        """Sort one block by its names, which must be the same set."""
        blocks = getattr(self, block)
        self._same(block, blocks, names)
        object.__setattr__(self, block, {name: blocks[name] for name in names})

    @staticmethod
    def _same(block: str, blocks: Mapping[str, object], names: tuple[str, ...]) -> None:
        if set(blocks) != set(names) or len(set(names)) != len(names):
            raise ValueError(
                f'{block} has blocks {sorted(blocks)} but the list of names is {list(names)}'
            )


def embodiment_from_parameters(parameters: Mapping[str, Any], source: str) -> Embodiment:
    """
    Return the embodiment of nested or dotted ROS parameters.

    :raises ConfigError: naming the key, its value, what was expected and the source.
    """
    nested = {k: v for k, v in _nest(parameters, source).items() if k not in ROS_PARAMETERS}
    return read(Embodiment, nested, source)


def load_embodiment(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Embodiment:
    """
    Read one embodiment's ROS parameter file.

    :param overrides: dotted parameter names to values that replace the file's, as `ros2 run -p
        name:=value` does.
    :raises ConfigError: the file is missing or not YAML, or a value in it is wrong; the message
        names the culprit.
    """
    parameters = _nest(read_parameter_file(path), str(path))
    for name, value in (overrides or {}).items():
        _put(parameters, name, value, 'overrides')
    return embodiment_from_parameters(parameters, str(path))


def read_parameter_file(path: str | Path) -> dict[str, Any]:
    """
    Return the parameters under '/**' of a ROS parameter file.

    :raises ConfigError: the file cannot be read, or is not a ROS parameter file.
    """
    try:
        document = yaml.safe_load(Path(path).read_text(encoding='utf-8'))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f'{path}: cannot read the embodiment file: {error}') from error
    except yaml.YAMLError as error:
        raise ConfigError(f'{path}: not valid YAML: {error}') from error
    block = (
        document.get('/**') if isinstance(document, dict) and set(document) == {'/**'} else None
    )
    parameters = block.get('ros__parameters') if isinstance(block, dict) else None
    if not isinstance(parameters, dict):
        raise ConfigError(
            f"{path}: expected one '/**:' block holding 'ros__parameters:', "
            'as in config/franka.yaml'
        )
    return parameters


def _nest(parameters: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Return dotted names as nested blocks; nested blocks stay."""
    nested: dict[str, Any] = {}
    for name, value in parameters.items():
        _put(
            nested,
            str(name),
            _nest(value, source) if isinstance(value, Mapping) else value,
            source,
        )
    return nested


def _put(nested: dict[str, Any], name: str, value: Any, source: str) -> None:
    """Set one dotted name in nested blocks, merging blocks."""
    *parents, leaf = name.split('.')
    for parent in parents:
        nested = nested.setdefault(parent, {})
        if not isinstance(nested, dict):
            raise ConfigError(f"{source}: '{name}': '{parent}' is a value, not a block")
    if isinstance(value, dict) and isinstance(nested.get(leaf), dict):
        for key, item in value.items():
            _put(nested[leaf], key, item, source)
    else:
        nested[leaf] = value
