# SPDX-License-Identifier: Apache-2.0
"""
An embodiment: all settings of one robot, one lab and one checkpoint.

Each embodiment is one ROS parameter file. It is validated in full when it is read; no other code
checks it again. The blocks of settings are in `settings.py`; this module combines them, checks
them against each other and reads them from files.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xvla_ros.core.errors import ConfigError
from xvla_ros.core.joint_settings import JOINT_MODES
from xvla_ros.core.parameter_file import parse_value, POLICY_NODE, read_parameter_file
from xvla_ros.core.scene_settings import SceneBox
from xvla_ros.core.schema import kind_of, param, read
from xvla_ros.core.settings import (
    ArmSettings,
    CameraSettings,
    ControlSettings,
    LimitSettings,
    PolicySettings,
)
from xvla_ros.core.sim_settings import SimSettings

# Parameters that ROS itself adds to every node.
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
        'Name of the robot: labels results and seeds simulated scenes. No code depends on it.'
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
    scene: dict[str, SceneBox] = param(
        'Boxes that no moving link may touch, one block each; see limits.check_collisions.', {}
    )
    sim: SimSettings | None = param('The simulation of this robot; only in *_sim.yaml.', None)
    autostart: bool = param(
        'Configure and activate the policy node by itself when it starts.', True
    )
    exit_on_refusal: bool = param(
        'End the policy node when it cannot start by itself, with exit code 1; else it stays and '
        'its status says why. Launch files set it.',
        False,
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
        self._check_space()
        if self.sim is not None:
            self._check_simulation(self.sim)

    @property
    def joint_space(self) -> bool:
        """Whether the checkpoint's actions are joint positions instead of tool poses."""
        return self.policy.action_mode in JOINT_MODES

    @property
    def joint_counts(self) -> tuple[int, ...]:
        """How many joints each arm's actions have; empty for tool poses."""
        if not self.joint_space:
            return ()
        return tuple(len(arm.joint_names) for arm in self.arms.values())

    def _check_space(self) -> None:
        """Check that arms have a joints table when, and only when, the checkpoint needs it."""
        policy = self.policy
        for name, arm in self.arms.items():
            if bool(arm.joints) != self.joint_space:
                has = 'has' if arm.joints else 'lacks'
                raise ValueError(
                    f"'arms.{name}' {has} a joints table, but policy.action_mode is "
                    f"'{policy.action_mode}'"
                )
        used = [int(i) for arm in self.arms.values() if arm.joints for i in arm.joint_map().index]
        if self.joint_space and sorted(used) != list(range(len(used))):
            raise ValueError(
                f'model_index of all joints and grippers are {sorted(used)}, expected each of 0 '
                f'to {len(used) - 1} once'
            )
        drivers = {name: arm.driver for name, arm in self.arms.items()}
        if self.limits.check_collisions and 'cartesian_pose' in drivers.values():
            raise ValueError(
                'limits.check_collisions is true, but a Cartesian controller chooses the joints: '
                f'expected false with the drivers {drivers}'
            )
        paths = set(drivers.values()) == {'joint_trajectory'} and self.joint_space
        if self.control.ahead_s > (self.control.hold_after_s if paths else 0.0):
            raise ValueError(
                f'control.ahead_s is {self.control.ahead_s}, expected at most hold_after_s '
                f'({self.control.hold_after_s}) in joint space with drivers joint_trajectory, '
                f'else 0; the action mode is {policy.action_mode}, the drivers are {drivers}'
            )
        if self.joint_space and policy.relative_position:
            raise ValueError('relative_position is for tool poses, expected false in joint space')

    def frame_prefix(self, arm: str) -> str:
        """
        Return the prefix that makes an arm's frame names unique in TF.

        Empty, unless arms have the same base frame: then it is the arm's name and a slash, as
        with the parameter `frame_prefix` of robot_state_publisher.
        """
        bases = [settings.base_frame for settings in self.arms.values()]
        return '' if len(set(bases)) == len(bases) else f'{arm}/'

    def _check_simulation(self, sim: SimSettings) -> None:
        """Check that the simulation has this robot's arms and cameras."""
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


def load_embodiment(
    path: str | Path, overrides: Mapping[str, Any] | None = None, node: str = POLICY_NODE
) -> Embodiment:
    """
    Read one embodiment's ROS parameter file.

    :param overrides: dotted parameter names to values that replace the file's, as `ros2 run -p
        name:=value` does.
    :param node: the node whose parameters are read, where a file has sections for several.
    :raises ConfigError: the file is missing or no ROS parameter file, or a value in it is wrong;
        the message names the key or the line.
    """
    parameters = _nest(read_parameter_file(path, node), str(path))
    for name, value in (overrides or {}).items():
        _put(parameters, name, value, 'overrides')
    return embodiment_from_parameters(parameters, str(path))


def uses_sim_time(path: str | Path) -> bool:
    """
    Tell whether the nodes that read a parameter file use the time on /clock.

    :raises ConfigError: the file cannot be read, or is not a ROS parameter file.
    """
    return read_parameter_file(path).get('use_sim_time') is True


def parse_override(name: str, text: str) -> Any:
    """
    Return the value that a text on a command line gives to a setting.

    A text setting gets the text unchanged, or the part inside its quotes. Other values are read
    as in a parameter file, and whole numbers become floats if the setting is a float.

    :param name: dotted name of the setting; an unknown one is refused when it is used.
    :raises ConfigError: the text is not one value.
    """
    kind = kind_of(Embodiment, name)
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in '"\''
    if kind is str and not quoted:
        return text
    value = parse_value(text, name)
    if kind == tuple[float, ...] and isinstance(value, list):
        return [float(v) if type(v) is int else v for v in value]
    return value


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
