# SPDX-License-Identifier: Apache-2.0
"""Reads one arm's chain of joints from a URDF."""

from dataclasses import dataclass
from pathlib import Path
import xml.etree.ElementTree as ElementTree

import numpy as np
import pinocchio as pin

from xvla_ros.control.joint_limits import JointLimits, LIMIT_MARGIN_RAD
from xvla_ros.core.errors import ConfigError

# Limits [rad] given to pinocchio for a continuous joint, because its own type for such a joint
# holds cosine and sine instead of an angle.
ENDLESS_RAD = 1e6
SLIDING = frozenset(f'JointModelP{axis}' for axis in ('X', 'Y', 'Z')) | {
    'JointModelPrismaticUnaligned'
}


def read_chain(
    urdf: str | Path, joint_names: tuple[str, ...], base_frame: str = ''
) -> tuple[str, pin.Model, JointLimits]:
    """
    Return the source's name for messages, the model with only the listed joints free, limits.

    :param urdf: path of a URDF file, or its XML text.
    :param joint_names: base to tool; every other joint is fixed at neutral.
    :param base_frame: link that becomes the origin; empty: the root link.
    :raises ConfigError: the URDF cannot be read, or a joint or the link is missing or in a wrong
        place.
    """
    source, text = _text(urdf)
    text, endless = _with_limits(text, joint_names, source)
    try:
        model = pin.buildModelFromXML(text)
    except (ValueError, RuntimeError) as error:
        raise ConfigError(f'{source}: cannot read the URDF: {error}') from error
    model = _only(model, joint_names, source)
    if base_frame:
        _rebase(model, base_frame, source)
    return source, model, _limits(model, joint_names, endless)


@dataclass(frozen=True, kw_only=True, slots=True)
class JointRange:
    """A joint's limits in the URDF: its ends [rad], infinite without limits; speed [rad/s]."""

    lower: float
    upper: float
    speed: float


def joint_ranges(urdf: str | Path) -> dict[str, JointRange]:
    """
    Return the turning joints of a URDF in its order.

    :raises ConfigError: the URDF cannot be read.
    """
    source, text = _text(urdf)
    try:
        joints = ElementTree.fromstring(text).iter('joint')
        return {
            joint.get('name', ''): _range(joint)
            for joint in joints
            if joint.get('type') in ('revolute', 'continuous')
        }
    except (ElementTree.ParseError, ValueError) as error:
        raise ConfigError(f'{source}: cannot read the URDF: {error}') from error


def _range(joint: ElementTree.Element) -> JointRange:
    limit, endless = joint.find('limit'), joint.get('type') == 'continuous'
    told = {} if limit is None else limit.attrib
    return JointRange(
        lower=-np.inf if endless else float(told.get('lower', 0)),
        upper=np.inf if endless else float(told.get('upper', 0)),
        speed=float(told.get('velocity', 0)),
    )


def _text(urdf: str | Path) -> tuple[str, str]:
    """Return a name for messages and the text of a URDF file or text."""
    if '<robot' in str(urdf):
        return 'robot_description', str(urdf)
    try:
        return str(urdf), Path(urdf).read_text(encoding='utf-8')
    except (OSError, ValueError) as error:
        raise ConfigError(f'{urdf}: cannot read the URDF: {error}') from error


def _with_limits(
    text: str, joint_names: tuple[str, ...], source: str
) -> tuple[str, frozenset[str]]:
    """Return the URDF with limits added to the listed continuous joints, and their names."""
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ConfigError(f'{source}: cannot read the URDF: {error}') from error
    endless = set()
    for joint in root.iter('joint'):
        name, kind = joint.get('name', ''), joint.get('type')
        _check_limit(joint, name, source)
        if kind == 'continuous' and name in joint_names:
            limit = joint.find('limit')
            limit = ElementTree.SubElement(joint, 'limit') if limit is None else limit
            for key, value in (('effort', '0'), ('velocity', '0')):
                limit.set(key, limit.get(key, value))
            limit.set('lower', str(-ENDLESS_RAD))
            limit.set('upper', str(ENDLESS_RAD))
            joint.set('type', 'revolute')
            endless.add(name)
    return (ElementTree.tostring(root, 'unicode') if endless else text), frozenset(endless)


def _check_limit(joint: ElementTree.Element, name: str, source: str) -> None:
    """Refuse a joint without the limits that its type needs. pinocchio's error has no name."""
    limit, kind = joint.find('limit'), joint.get('type')
    if limit is None and kind in ('revolute', 'prismatic'):
        raise ConfigError(f"{source}: joint '{name}' is {kind} and has no <limit>")
    speed = '0' if limit is None else limit.get('velocity', '0')
    if speed.strip().startswith('-'):
        raise ConfigError(f"{source}: joint '{name}' has a velocity limit of {speed}")


def _limits(
    model: pin.Model, joint_names: tuple[str, ...], endless: frozenset[str]
) -> JointLimits:
    free = np.array([name in endless for name in joint_names])
    return JointLimits(
        names=joint_names,
        lower=np.where(free, -np.inf, model.lowerPositionLimit + LIMIT_MARGIN_RAD),
        upper=np.where(free, np.inf, model.upperPositionLimit - LIMIT_MARGIN_RAD),
        velocity=model.velocityLimit.copy(),
        sliding=np.array([joint.shortname() in SLIDING for joint in list(model.joints)[1:]]),
    )


def _only(model: pin.Model, joint_names: tuple[str, ...], source: str) -> pin.Model:
    """Return the model with every joint but the listed ones fixed at neutral."""
    missing = [name for name in joint_names if not model.existJointName(name)]
    if missing or not joint_names:
        raise ConfigError(
            f'{source}: no joints {missing}; it has: {", ".join(list(model.names)[1:])}'
        )
    others = [i for i, name in enumerate(model.names) if i and name not in joint_names]
    reduced = pin.buildReducedModel(model, others, pin.neutral(model))
    others = [n for n, joint in zip(reduced.names, reduced.joints, strict=True) if joint.nq > 1]
    if others:
        raise ConfigError(
            f"{source}: joint '{others[0]}' is of a type that is not supported: expected "
            'revolute, continuous or prismatic'
        )
    if tuple(reduced.names)[1:] != joint_names:
        raise ConfigError(
            f'{source}: joints must be listed base to tool: {", ".join(list(reduced.names)[1:])}'
        )
    return reduced


def _rebase(model: pin.Model, base_frame: str, source: str) -> None:
    """Make a fixed link the origin of the model."""
    if not model.existFrame(base_frame):
        names = ', '.join(frame.name for frame in model.frames)
        raise ConfigError(f"{source}: no link '{base_frame}' for the base; it has: {names}")
    base = model.frames[model.getFrameId(base_frame)]
    if base.parentJoint:
        moved_by = model.names[base.parentJoint]
        raise ConfigError(f"{source}: the base '{base_frame}' moves with '{moved_by}'")
    origin = base.placement.inverse()
    for frame in model.frames:
        if frame.parentJoint == 0:
            frame.placement = origin * frame.placement
    for joint in range(1, model.njoints):
        if model.parents[joint] == 0:
            model.jointPlacements[joint] = origin * model.jointPlacements[joint]
