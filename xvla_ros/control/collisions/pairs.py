# SPDX-License-Identifier: Apache-2.0
"""
Finds the pairs of links that need no check, and writes them to a file beside the URDF.

`python -m xvla_ros.control.collisions.pairs EMBODIMENT...` writes `<urdf>.srdf` for every arm:
pairs that a joint connects, pairs that touch in every posture or at home (shapes overlap where
links meet), and pairs that never come near each other. The postures are a fixed set, spread evenly
over the joints' limits.
"""

from collections.abc import Sequence
from pathlib import Path
import sys
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
import pinocchio as pin
from scipy.stats import qmc

from xvla_ros.control.collisions.shapes import (
    arm_file,
    CLEARANCE_M,
    moving_pairs,
    pairs_file,
    read_shapes,
)
from xvla_ros.core.embodiment import load_embodiment
from xvla_ros.core.resources import shared_file

Vector = NDArray[np.float64]

# Number of postures, a power of two. A pair never nearer than NEVER_M is not checked.
POSTURES_LOG2 = 14
NEVER_M = 0.02
# A pair that touches in this share of all postures counts as always touching.
ALWAYS = 0.999


def find_allowed(
    path: Path, joint_names: Sequence[str], home_rad: Sequence[float]
) -> dict[tuple[str, str], str]:
    """Return pairs of links (in alphabetical order) that need no check, and why."""
    model, geometry = read_shapes(path, joint_names)
    pairs = moving_pairs(geometry)
    for one, other in pairs:
        geometry.addCollisionPair(pin.CollisionPair(one, other))
    data, shapes = model.createData(), geometry.createData()
    low, high = (np.clip(x, -np.pi, np.pi) for x in _limits(model))
    postures = low + qmc.Sobol(model.nq, seed=0).random_base2(POSTURES_LOG2) * (high - low)
    near, touch = np.zeros(len(pairs), int), np.zeros(len(pairs), int)
    for margin, counts in ((NEVER_M, near), (0.0, touch)):
        for request in shapes.collisionRequests:
            request.security_margin = margin
        for q in postures:
            pin.computeCollisions(model, data, geometry, shapes, q, False)
            counts += [result.isCollision() for result in shapes.collisionResults]
    for request in shapes.collisionRequests:
        request.security_margin = CLEARANCE_M
    pin.computeCollisions(model, data, geometry, shapes, np.array(home_rad), False)
    home = np.array([result.isCollision() for result in shapes.collisionResults])
    return _reasons(model, geometry, pairs, near, np.maximum(touch / len(postures), home))


def _limits(model: pin.Model) -> tuple[Vector, Vector]:
    return model.lowerPositionLimit, model.upperPositionLimit


def _reasons(
    model: pin.Model,
    geometry: pin.GeometryModel,
    pairs: Sequence[tuple[int, int]],
    near: NDArray[np.intp],
    touch: Vector,
) -> dict[tuple[str, str], str]:
    """Return why pairs of links need no check; all shapes of a link count together."""
    links: dict[tuple[str, str], list[int]] = {}
    joints: dict[tuple[str, str], tuple[int, int]] = {}
    for index, pair in enumerate(pairs):
        one, other = sorted((geometry.geometryObjects[i] for i in pair), key=lambda g: g.name)
        names = sorted(str(model.frames[shape.parentFrame].name) for shape in (one, other))
        key = (names[0], names[1])
        links.setdefault(key, []).append(index)
        joints[key] = (one.parentJoint, other.parentJoint)
    found: dict[tuple[str, str], str] = {}
    for key, indices in links.items():
        first, second = joints[key]
        if model.parents[first] == second or model.parents[second] == first:
            found[key] = 'Adjacent'
        elif touch[indices].max() >= ALWAYS:
            found[key] = 'Default'
        elif not near[indices].any():
            found[key] = 'Never'
    return found


def write_allowed(path: Path, allowed: dict[tuple[str, str], str]) -> None:
    """Write the file beside a URDF."""
    lines = [
        '<?xml version="1.0"?>',
        f'<!-- Made by xvla_ros.control.collisions.pairs from {path.name}: pairs of links that '
        'are not checked. -->',
        f'<robot name={quoteattr(path.stem)}>',
    ]
    for (one, other), reason in sorted(allowed.items()):
        pair = f'link1={quoteattr(one)} link2={quoteattr(other)}'
        lines.append(f'  <disable_collisions {pair} reason="{reason}"/>')
    pairs_file(path).write_text('\n'.join([*lines, '</robot>', '']), encoding='utf-8')


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the files of the embodiments that the command line names."""
    for name in sys.argv[1:] if arguments is None else arguments:
        for arm_name, arm in load_embodiment(shared_file('config', name)).arms.items():
            path = arm_file(arm_name, arm)
            allowed = find_allowed(path, arm.joint_names, arm.home_rad)
            write_allowed(path, allowed)
            sys.stdout.write(f'{pairs_file(path)}: {len(allowed)} pairs of links\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
