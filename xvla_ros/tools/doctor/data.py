# SPDX-License-Identifier: Apache-2.0
"""Checks of the statistics of a checkpoint's training data."""

from collections.abc import Iterator, Sequence

from xvla_ros.control.joint_data import arms_data, told, UNKNOWN, urdf_ranges
from xvla_ros.core.checkpoints import checkpoint_folder
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.findings import Finding, OK, WARNING
from xvla_ros.core.joint_detective import detect, Findings, Joint
from xvla_ros.core.joint_settings import JOINT_MODES
from xvla_ros.runtime.worker_messages import CheckpointFacts


def data_findings(embodiment: Embodiment, facts: CheckpointFacts) -> Iterator[Finding]:
    """Yield warnings about the data, and the possible units of each arm's numbers."""
    for text in _warnings(embodiment):
        yield Finding(level=WARNING, name='data', found=text, fix='see docs/checkpoints.md')
    if facts.action_mode in JOINT_MODES and facts.action_range is not None:
        for arm, joints in _arms(embodiment, facts):
            yield unit_finding(arm, joints)


def _warnings(embodiment: Embodiment) -> Iterator[str]:
    if not embodiment.policy.checkpoint:
        return
    from xvla_ros.model.inspection import inspect

    folder = checkpoint_folder(embodiment.policy.checkpoint, working_folder=False)
    yield from inspect(folder).data.warnings()


def _arms(embodiment: Embodiment, facts: CheckpointFacts) -> Iterator[tuple[str, Sequence[Joint]]]:
    """Yield each arm's joints: from its table, or else in the order of LeRobot's data."""
    if embodiment.joint_space:
        for data in arms_data(embodiment, facts.action_range, facts.state_range):
            yield data.arm, data.joints
        return
    begin = 0
    for name, arm in embodiment.arms.items():
        ranges = urdf_ranges(arm)
        joints = [
            Joint(
                name=joint,
                lower=ranges.get(joint, UNKNOWN).lower,
                upper=ranges.get(joint, UNKNOWN).upper,
                action=told(facts.action_range, begin + index),
                state=told(facts.state_range, begin + index),
            )
            for index, joint in enumerate(arm.joint_names)
        ]
        yield name, joints
        begin += len(arm.joint_names) + 1  # the gripper comes after its arm


def unit_finding(arm: str, joints: Sequence[Joint]) -> Finding:
    """Return the possible units of an arm's numbers."""
    found = detect(joints)
    if not found.units:
        text = f'no unit fits its data{" unless it hardly moved" if found.still else ""}'
        fix = 'the joints are of another robot, or in another order: check the data'
        return Finding(level=WARNING, name=f'units {arm}', found=text, fix=fix)
    units = ' or '.join(found.units)
    unit = f'the data is in {units}' if found.unit else f'undecided: {units}'
    return Finding(level=OK, name=f'units {arm}', found=f'{unit}; {joint_text(found)}')


def joint_text(found: Findings) -> str:
    """Return for each joint the simplest hypothesis that fits, and the number of others."""
    texts = []
    for joint in found.joints:
        plainest = str(joint.fitting[0]) if joint.fitting else 'nothing fits'
        others = f' (undecided, {len(joint.fitting) - 1} others fit)' if joint.fitting[1:] else ''
        texts.append(f'{joint.name}: {plainest}{others}')
    return '; '.join(texts)
