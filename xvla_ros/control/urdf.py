# SPDX-License-Identifier: Apache-2.0
"""Reading one arm's chain of joints from a URDF."""

from pathlib import Path

import pinocchio as pin

from xvla_ros.core.errors import ConfigError


def read_chain(
    urdf: str | Path, joint_names: tuple[str, ...], base_frame: str = ''
) -> tuple[str, pin.Model]:
    """
    Return a name of the source for messages, and the model with only the listed joints free.

    :param urdf: path of a URDF file, or its XML text.
    :param joint_names: base to tool; every other joint is fixed at neutral.
    :param base_frame: link that becomes the origin; empty: the root link.
    :raises ConfigError: the URDF cannot be read, or a joint or the link is missing or in a wrong
        place.
    """
    source, model = _read(urdf)
    model = _only(model, joint_names, source)
    if base_frame:
        _rebase(model, base_frame, source)
    return source, model


def _read(urdf: str | Path) -> tuple[str, pin.Model]:
    """Return a name for messages and the model of a URDF file or text."""
    text, source = str(urdf), 'robot_description'
    try:
        if '<robot' not in text:
            source, text = str(urdf), Path(urdf).read_text(encoding='utf-8')
        return source, pin.buildModelFromXML(text)
    except (OSError, ValueError, RuntimeError) as error:
        raise ConfigError(f'{source}: cannot read the URDF: {error}') from error


def _only(model: pin.Model, joint_names: tuple[str, ...], source: str) -> pin.Model:
    """Return the model with every joint but the listed ones fixed at neutral."""
    missing = [name for name in joint_names if not model.existJointName(name)]
    if missing or not joint_names:
        raise ConfigError(
            f'{source}: no joints {missing}; it has: {", ".join(list(model.names)[1:])}'
        )
    others = [i for i, name in enumerate(model.names) if i and name not in joint_names]
    reduced = pin.buildReducedModel(model, others, pin.neutral(model))
    endless = [n for n, joint in zip(reduced.names, reduced.joints, strict=True) if joint.nq > 1]
    if endless:
        raise ConfigError(
            f"{source}: joint '{endless[0]}' is of a type that is not supported (continuous?): "
            'expected revolute with limits, or prismatic'
        )
    if tuple(reduced.names)[1:] != joint_names:
        raise ConfigError(
            f'{source}: joints must be listed base to tool: {", ".join(list(reduced.names)[1:])}'
        )
    return reduced


def _rebase(model: pin.Model, base_frame: str, source: str) -> None:
    """Move the model so that a link, which must not move with the joints, is its origin."""
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
