# SPDX-License-Identifier: Apache-2.0
"""One arm for MuJoCo, from its URDF; what cannot be simulated is refused in one line."""

from collections.abc import Sequence
from pathlib import Path

import mujoco

from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.resources import shared_file
from xvla_ros.core.settings import ArmSettings
from xvla_ros.core.sim_settings import SimArmSettings

# Without these MuJoCo leaves shapes for the eye and links without joints out of a URDF, and
# refuses inertias that are a little off.
COMPILER = (
    '<mujoco><compiler fusestatic="false" discardvisual="false" balanceinertia="true"/></mujoco>'
)
# What MuJoCo says (user_objects.cc, user_mesh.cc), and what that needs.
NEEDED = {
    'mjMINVAL': ' (a link that moves needs an <inertial> with mass and inertia above zero, or a '
    'shape to take them from)',
    'opening file': ' (no mesh is needed: boxes, cylinders and spheres do)',
}


def read_arm(name: str, arm: ArmSettings, place: SimArmSettings) -> mujoco.MjSpec:
    """
    Return what MuJoCo makes of one arm's URDF.

    :raises ConfigError: it cannot be read, or lacks a joint or link that the embodiment names; the
        message names the file, the key and what there is.
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
    """Return a URDF as MuJoCo reads it: what it wants to be told is added where it is not."""
    text = path.read_text(encoding='utf-8')
    if '<mujoco' in text:
        return mujoco.MjSpec.from_file(str(path))
    robot = mujoco.MjSpec.from_string(text.replace('</robot>', f'{COMPILER}</robot>'))
    robot.meshdir = str(path.parent)
    return robot


def _check_joints(
    robot: mujoco.MjSpec, name: str, arm: ArmSettings, place: SimArmSettings, path: Path
) -> None:
    """Check that all joints are there, each for one purpose and with some force."""
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
                f"{path}: joint '{joint}' ('{key}') has an effort limit of 0, expected the most "
                'that its motor can do: <limit effort="..."/> in N m or N'
            )


def compile_world(spec: mujoco.MjSpec, embodiment: Embodiment) -> mujoco.MjModel:
    """
    Compile a world with the arms of an embodiment in it, named '<arm>/<link>'.

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
    """Return what MuJoCo says, in one line."""
    return ' '.join(str(error).split()).removeprefix('Error: ')
