# SPDX-License-Identifier: Apache-2.0
"""Checks of a robot's file: description, home pose, simulation."""

from collections.abc import Iterator
from itertools import product

import numpy as np
from numpy.typing import NDArray

from xvla_ros.control.arm_kinematics import arm_kinematics
from xvla_ros.core.embodiment import Embodiment
from xvla_ros.core.errors import ConfigError
from xvla_ros.core.findings import Finding, metres, OK, PROBLEM, WARNING
from xvla_ros.core.settings import ArmSettings

LEAST_PX = 64  # enough to check that images can be rendered


def robot_findings(embodiment: Embodiment) -> Iterator[Finding]:
    """Check that each arm fits its description, and that the simulation can be built."""
    for name, arm in embodiment.arms.items():
        if arm.urdf and not arm.urdf_topic:  # a topic has it only while the robot runs
            yield _arm(name, arm)
    if embodiment.sim is not None:
        yield _simulation(embodiment)


def _arm(name: str, arm: ArmSettings) -> Finding:
    try:
        kinematics = arm_kinematics(arm)
    except ConfigError as error:
        return Finding(level=PROBLEM, name=f'arm {name}', found=str(error))
    home = np.array(arm.home_rad)
    tool, _ = kinematics.forward(home)
    found = f'{len(home)} joints; home_rad puts the tool at {metres(tool)} in {arm.base_frame}'
    beyond = [
        joint
        for joint, q, low, high in zip(
            arm.joint_names, home, kinematics.lower, kinematics.upper, strict=True
        )
        if low < high and not low <= q <= high
    ]
    fix = ''
    if beyond:
        fix = f'arms.{name}.home_rad is beyond the limits of {", ".join(beyond)}'
    elif (tool < arm.workspace_min_m).any() or (tool > arm.workspace_max_m).any():
        box = f'{metres(arm.workspace_min_m)} to {metres(arm.workspace_max_m)}'
        fix = f'outside its workspace, {box}: change home_rad or workspace_*'
    unusable = kinematics.limits.unusable()
    if unusable and not fix:  # the driver does not use inverse kinematics of this package
        fix = f'{unusable}: fine for driver {arm.driver}, but not for one that takes joints'
        return Finding(level=WARNING, name=f'arm {name}', found=found, fix=fix)
    return Finding(level=PROBLEM if fix else OK, name=f'arm {name}', found=found, fix=fix)


def _simulation(embodiment: Embodiment) -> Finding:
    """Build the cell, render an image, and check that the tool reaches the block area."""
    from xvla_ros.sim.world import World  # mujoco: a second to import

    assert embodiment.sim is not None
    try:
        world = World(embodiment)
        world.render(embodiment.camera_names[0], LEAST_PX, LEAST_PX)
        world.close()
        far = [
            f'{name} at {metres(p)}' for name in embodiment.arms for p in _far(embodiment, name)
        ]
    except ConfigError as error:
        return Finding(level=PROBLEM, name='simulation', found=str(error))
    found = f'cameras {", ".join(embodiment.sim.cameras)}'
    if far:
        fix = f'block_min_m, block_max_m: out of reach or of the workspace: {"; ".join(far)}'
        return Finding(level=WARNING, name='simulation', found=found, fix=fix)
    return Finding(level=OK, name='simulation', found=f'{found}; every block can be reached')


def _far(embodiment: Embodiment, name: str) -> Iterator[NDArray[np.float64]]:
    """Yield the corners of the block area that one arm's tool cannot reach, upright as at home."""
    assert embodiment.sim is not None
    arm, place = embodiment.arms[name], embodiment.sim.arms[name]
    kinematics = arm_kinematics(arm)
    _, upright = kinematics.forward(arm.home_rad)
    height = embodiment.sim.block_size_m / 2 + embodiment.sim.hover_m - place.base_position_m[2]
    for x, y in product(*zip(place.block_min_m, place.block_max_m, strict=True)):
        hover = np.array([x, y, height])
        inside = (hover >= arm.workspace_min_m).all() and (hover <= arm.workspace_max_m).all()
        if not inside or not kinematics.inverse(hover, upright, arm.home_rad).converged:
            yield hover
