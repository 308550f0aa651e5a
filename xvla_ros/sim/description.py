# SPDX-License-Identifier: Apache-2.0
"""Reads one arm's URDF into MuJoCo, and refuses one that cannot be simulated."""

from collections.abc import Sequence
from pathlib import Path

import mujoco

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.settings import ArmSettings
from xvla_ros.core.sim_settings import SimArmSettings

# By default MuJoCo drops visual shapes and links without joints from a URDF, and refuses inertias
# that are slightly inconsistent. These options change that.
COMPILER = (
    '<mujoco><compiler fusestatic="false" discardvisual="false" balanceinertia="true"/></mujoco>'
)
# Parts of MuJoCo's error messages (user_objects.cc, user_mesh.cc), and a hint for each.
NEEDED = {
    'mjMINVAL': ' (a link that moves needs an <inertial> with mass and inertia above zero, or a '
    'shape to take them from)',
    'opening file': ' (no mesh is needed: boxes, cylinders and spheres do)',
}


def read_arm(name: str, arm: ArmSettings, place: SimArmSettings) -> mujoco.MjSpec:
    """
    Return the MuJoCo specification of one arm's URDF.

    :param name: the arm's name in the embodiment, for messages.
    :raises ConfigError: the URDF cannot be read, or lacks a joint or link that the embodiment
        names. The message gives the file, the key, and the names that the URDF has.
    """
    path = shared_file('resource', arm.urdf)
    try:
        robot = _parsed(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f'{path}: MuJoCo cannot read it: {_line(error)}') from error
    _check_joints(robot, name, arm, place, path)
    links = [body.name for body in robot.bodies[1:]]
    if arm.tool_frame not in links:
        raise _unknown(path, 'link', f'arms.{name}.tool_frame', arm.tool_frame, links)
    if arm.base_frame != links[0]:
        raise ConfigError(
            f"{path}: its root is the link '{links[0]}', but 'arms.{name}.base_frame' is "
            f"'{arm.base_frame}': make them equal"
        )
    return robot


def _parsed(path: Path) -> mujoco.MjSpec:
    """Return a URDF as MuJoCo reads it, with COMPILER added where it has no <mujoco> block."""
    text = path.read_text(encoding='utf-8')
    if '<mujoco' in text:
        return mujoco.MjSpec.from_file(str(path))
    robot = mujoco.MjSpec.from_string(text.replace('</robot>', f'{COMPILER}</robot>'))
    robot.meshdir = str(path.parent)
    return robot


def _check_joints(
    robot: mujoco.MjSpec, name: str, arm: ArmSettings, place: SimArmSettings, path: Path
) -> None:
    """Check that every joint exists, has only one use, and has an effort limit above 0."""
    known = {joint.name: joint for joint in robot.joints}
    keys = dict.fromkeys(arm.joint_names, f'arms.{name}.joint_names')
    for finger in place.finger_joints:
        key = f'sim.arms.{name}.finger_joints'
        if finger in keys:
            raise ConfigError(f"{path}: '{key}' names '{finger}', which is in '{keys[finger]}'")
        keys[finger] = key
    for joint, key in keys.items():
        if joint not in known:
            raise _unknown(path, 'joint', key, joint, sorted(known))
        if known[joint].actfrcrange[1] <= 0:
            raise ConfigError(
                f"{path}: joint '{joint}' ('{key}') has an effort limit of 0, expected the "
                'largest torque or force of its motor: <limit effort="..."/> in N m or N'
            )


def compile_world(spec: mujoco.MjSpec, embodiment: Embodiment) -> mujoco.MjModel:
    """
    Compile the specification of a world. Its arms' links are named '<arm>/<link>'.

    :raises ConfigError: MuJoCo refuses it; the message names the URDF and the link.
    """
    try:
        return spec.compile()
    except ValueError as error:
        text = _line(error)
        named = [name for name in embodiment.arm_names if f"'{name}/" in text]
        files = [embodiment.arms[name].urdf for name in named or embodiment.arm_names]
        where = ', '.join(str(shared_file('resource', file)) for file in dict.fromkeys(files))
        for name in named:
            text = text.replace(f"'{name}/", "'")
        needed = ''.join(hint for words, hint in NEEDED.items() if words in text)
        raise ConfigError(f'{where}: MuJoCo refuses it: {text}{needed}') from error


def _unknown(path: Path, kind: str, key: str, name: str, known: Sequence[str]) -> ConfigError:
    return ConfigError(f"{path}: no {kind} '{name}' ('{key}'); it has: {', '.join(known)}")


def _line(error: Exception) -> str:
    """Return MuJoCo's error message as one line."""
    return ' '.join(str(error).split()).removeprefix('Error: ')
