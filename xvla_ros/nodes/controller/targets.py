# SPDX-License-Identifier: Apache-2.0
"""Reads the targets of a command."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from xvla_ros.core.ee6d import ArmPose
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ObservationError
from xvla_ros.core.settings import ArmSettings
from xvla_ros.core.space import Space
from xvla_ros.inputs.messages import stamp_to_ns
from xvla_ros.msg import EndEffectorCommand


def read_targets(
    message: EndEffectorCommand, embodiment: Embodiment, space: Space, now_ns: int
) -> list[ArmPose]:
    """
    Return the targets of a command, in the order of `arm_names`.

    :param space: the embodiment's space; poses of joint targets are computed, not read.
    :param now_ns: the node's clock [ns].
    :raises ObservationError: the command is old or in the future, is for other arms or frames,
        or has an invalid pose.
    """
    control = embodiment.control
    age_s = (now_ns - stamp_to_ns(message.header.stamp)) * 1e-9
    if age_s > control.hold_after_s:
        text = f'target is {age_s:.3f} s old, limit {control.hold_after_s} s'
        raise ObservationError(text, code='target_old')
    if age_s < -control.future_tolerance_s:
        raise ObservationError(
            f'target is {-age_s:.3f} s in the future, limit {control.future_tolerance_s} s',
            code='target_future',
        )
    names = [target.arm for target in message.targets]
    if names != list(embodiment.arm_names):
        raise ObservationError(
            f'target is for arms {names}, expected {list(embodiment.arm_names)}',
            code='target_arms',
        )
    targets = [_pose(target, embodiment.arms[target.arm]) for target in message.targets]
    if not embodiment.joint_space:
        return targets
    return list(space.arms([space.state(target) for target in targets]))


def read_ahead(
    message: EndEffectorCommand, targets: Sequence[ArmPose]
) -> tuple[tuple[ArmPose, ...], ...]:
    """
    Return the joint targets of the following control periods, as many as every arm has.

    Their poses are those of the command's targets, because only the joints count.

    :param targets: what `read_targets` returned for this message.
    """
    arms = []
    for sent, target in zip(message.targets, targets, strict=True):
        rows = [] if target.joints is None else np.array(sent.joints)
        count = 1 if target.joints is None else len(target.joints)
        arms.append([replace(target, joints=q) for q in np.reshape(rows, (-1, count))[1:]])
    return tuple(zip(*arms, strict=False))


def _check_joints(target: object, count: int) -> None:
    """Raise ObservationError unless a target has `count` finite joints, or several such rows."""
    size = len(target.joints)
    if size != count and (not count or not size or size % count):
        text = f"target of arm '{target.arm}' has {size} joints, expected {count}"
        raise ObservationError(text, code='target_joints')
    if not np.isfinite(target.joints).all():
        text = f"target of arm '{target.arm}' has joints that are not finite"
        raise ObservationError(text, code='target_pose')


def _pose(target: object, arm: ArmSettings) -> ArmPose:
    """Return one arm's target pose; raise ObservationError if frame or pose are wrong."""
    if target.frame_id != arm.base_frame:
        raise ObservationError(
            f"target of arm '{target.arm}' is in frame '{target.frame_id}', "
            f"expected '{arm.base_frame}'",
            code='target_frame',
        )
    p, q = target.pose.position, target.pose.orientation
    count = len(arm.joint_names) if arm.joints else 0
    _check_joints(target, count)
    try:
        return ArmPose(
            position=[p.x, p.y, p.z],
            quaternion=[q.x, q.y, q.z, q.w],
            gripper=target.gripper,
            joints=target.joints[:count] if count else None,
        )
    except ValueError as error:
        text = f"target of arm '{target.arm}': {error}"
        raise ObservationError(text, code='target_pose') from error
